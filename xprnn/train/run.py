"""What is known about a training run: its history, and the run itself, which callbacks look at."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from xprnn.arguments import any_number, checked_state, true_or_false
from xprnn.nn.module import Module
from xprnn.train.measured import Measured
from xprnn.train.optimizer import Optimizer
from xprnn.train.ranks import Ranks
from xprnn.train.schedules import Schedule

NORMS = ("gradient_norm", "clipped_norm")
RECORDED = ("loss", "lr", *NORMS, "seconds")
"""What the history of every run has."""


def full_name(name: str) -> str:
    """The name under which something is recorded: val_ is short for validation_."""
    return f"validation_{name.removeprefix('val_')}" if name.startswith("val_") else name


class History:
    """What was recorded in each epoch: ``history.epochs[2]["loss"]``, ``history["loss"]`` for the list over epochs.

    ``history["val_loss"]`` is short for ``history["validation_loss"]``.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def __getitem__(self, name: str) -> list[float]:
        """The values of one name. Raises KeyError, with the names there are."""
        names, name = list(self.epochs[0]) if self.epochs else [], full_name(name)
        if name not in names:
            raise KeyError(f"History: {name!r} was not recorded; there is {', '.join(names) or 'nothing yet'}")
        return [epoch[name] for epoch in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the records."""
        return {"epochs": [dict(epoch) for epoch in self.epochs]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave. Raises ValueError for anything else."""
        epochs = checked_state("History", state, ("epochs",))["epochs"]
        if not isinstance(epochs, (list, tuple)) or not all(isinstance(epoch, Mapping) for epoch in epochs):
            raise ValueError(f"History: the state's epochs are {reprlib.repr(epochs)}; expected a list of dicts")
        for k, epoch in enumerate(epochs):
            if epoch.keys() != epochs[0].keys():
                raise ValueError(
                    f"History: epoch {k + 1} of the state has {sorted(epoch)}; expected {sorted(epochs[0])}"
                )
        self.epochs = [
            {name: any_number("History", f"{name} of epoch {k + 1}", number) for name, number in epoch.items()}
            for k, epoch in enumerate(epochs)
        ]

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.epochs[-1].items()) if self.epochs else "empty"
        return f"History({len(self)} epochs, last: {last})"


class Run:
    """A call of fit, as callbacks see it.

    Attributes
    ----------
    model, optimizer, schedule
        As given to fit.
    history
        One record for each finished epoch.
    epoch, epochs
        The number of the running or last epoch, from 1, and how many there will be.
    batch, batches
        Likewise within the epoch; ``batches`` is None where their number is not known before.
    loss, gradient_norm, clipped_norm
        Of the last batch, and of the last step the norm of all gradients before and after clipping. To read them waits
        for a GPU, and raises what was wrong in the batches since they were read last.
    measured
        All that is measured of the batches of the epoch.
    recorded
        The names that each record of the history has.
    stop
        Set it to True to end after this epoch.
    best_epoch
        The epoch whose loss was the best, where :class:`EarlyStopping` looked for it and the run is over; else 0.
    ranks
        What decides for all ranks of a communicator; ``run.ranks.rank`` is the number of this one, 0 where it is alone.
    parts
        What a checkpoint must hold to continue: everything of the above that has a state.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        schedule: Schedule | None,
        epochs: int,
        batches: int | None,
        metrics: tuple[str, ...] = (),
        validated: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.history, self.stop, self.ranks = History(), False, ranks or Ranks()
        self.epoch, self.epochs, self.batch, self.batches = 0, epochs, 0, batches
        self.recorded = (*RECORDED, *metrics, *[f"validation_{name}" for name in ("loss", *metrics) if validated])
        self.best_epoch, self.measured = 0, Measured([0.0] * (3 + len(metrics)))
        self.parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "run": self}

    def measure(self) -> Measured:
        """Begin to measure the batches of an epoch. Until one is known, the last batch of the epoch before counts."""
        self.measured = Measured(self.measured.last)
        return self.measured

    @property
    def loss(self) -> float:
        return self._last(0)

    @property
    def gradient_norm(self) -> float:
        return self._last(-2)

    @property
    def clipped_norm(self) -> float:
        return self._last(-1)

    def _last(self, position: int) -> float:
        self.measured.settle()
        return self.measured.last[position]

    def mark(self) -> Callable[[], None]:
        """Returns a function that sets the counts of batches and of steps back to what they are now."""
        batch, counts = self.batch, self.optimizer.counts

        def undo() -> None:
            self.batch, self.optimizer.counts = batch, counts

        return undo

    @property
    def metric(self) -> float:
        """The last epoch's validation loss or, without one, its training loss."""
        last = self.history.epochs[-1]
        return last.get("validation_loss", last["loss"])

    def monitored(self, owner: str, name: str | None) -> str:
        """The name in the history of what a callback watches, by default that of :attr:`metric`.

        Raises ValueError where nothing of that name will be recorded.
        """
        if name is None:
            return "validation_loss" if "validation_loss" in self.recorded else "loss"
        if full_name(name) not in self.recorded:
            raise ValueError(f"{owner}: monitor is {name!r}; expected one of {', '.join(self.recorded)}")
        return full_name(name)

    def add_parts(self, others: Mapping[str, Any]) -> None:
        """Let checkpoints hold these parts too, as far as they have a state."""
        self.parts.update({name: part for name, part in others.items() if hasattr(part, "state_dict")})
        self.parts["run"] = self.parts.pop("run")  # loaded last, when it can see whether all go together

    def state_dict(self) -> dict[str, Any]:
        """The history, whether the run was stopped, and the names of all parts."""
        self.measured.settle()  # raises if the run has gone wrong, so that no checkpoint is made of it
        return {**self.history.state_dict(), "stop": self.stop, "parts": sorted(self.parts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave, after all other parts, which must go with this run then.

        Raises ValueError where this run has other parts or records something else.
        """
        parts, stop = checked_state("Run", state, self.state_dict())["parts"], state["stop"]
        if parts != sorted(self.parts):
            came = ", ".join(map(str, parts)) if isinstance(parts, list) else reprlib.repr(parts)
            raise ValueError(f"it was made by a run of {came}; this one has {', '.join(sorted(self.parts))}")
        history = History()
        history.load_state_dict({"epochs": state["epochs"]})
        if history.epochs and not history.epochs[0].keys() >= set(self.recorded):
            found, expected = sorted(history.epochs[0]), sorted(self.recorded)
            raise ValueError(f"Run: the state's epochs have {found}; expected {expected}, which this run records")
        stop = true_or_false("Run", "the state's stop", stop)
        for part in self.parts.values() if history.epochs else ():
            if hasattr(part, "on_resume"):
                part.on_resume(self)
        self.history.epochs, self.epoch, self.stop = history.epochs, len(history), stop
