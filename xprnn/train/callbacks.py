"""Things that happen during fit, beside the training itself."""

from __future__ import annotations

import math
import reprlib
import sys
import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from xprnn.arguments import at_least_zero, checked_state, real_number, true_or_false, whole_number
from xprnn.train.checkpoint import save_checkpoint
from xprnn.train.run import RECORDED, Run


class Callback:
    """Override what you need. With ``state_dict`` and ``load_state_dict`` a callback becomes part of checkpoints."""

    def on_resume(self, run: Run) -> None:
        """After all of a resumed run has been loaded, which an error here takes back. For callbacks with a state."""

    def on_fit_start(self, run: Run) -> None:
        """Before the first epoch; after a resumed run has been loaded."""

    def on_batch_end(self, run: Run) -> None:
        """After the step of each training batch. To read ``run.loss`` here waits for a GPU, batch by batch."""

    def on_epoch_end(self, run: Run) -> None:
        """After the epoch was recorded in ``run.history``."""

    def on_fit_end(self, run: Run) -> None:
        """After the last epoch; not where an exception ended the run."""

    def on_exit(self, run: Run) -> None:
        """At the very end, whatever ended the run: for what must be closed."""


class EarlyStopping(Callback):
    """Stop when the validation loss, or without validation the training loss, has not fallen for ``patience`` epochs.

    ``monitor`` watches something else in the history, such as "val_accuracy" (for "validation_accuracy"), which shall
    fall or, with ``mode="max"``, rise. An epoch counts as better when it is so by more than min_delta; NaN never is.
    With ``restore_best`` the model ends with the weights of the best epoch. Raises ValueError for settings, and at the
    start of a run that will not record what is watched.
    """

    def __init__(
        self,
        patience: int,
        min_delta: float = 0.0,
        restore_best: bool = True,
        *,
        monitor: str | None = None,
        mode: str = "min",
    ) -> None:
        self.patience = whole_number("EarlyStopping", "patience", patience)
        self.min_delta = at_least_zero("EarlyStopping", "min_delta", min_delta)
        self.restore_best = true_or_false("EarlyStopping", "restore_best", restore_best)
        self.monitor, self.mode = _monitor("EarlyStopping", monitor), _mode("EarlyStopping", mode)
        self._forget()

    def _forget(self) -> None:
        self.best = -math.inf if self.mode == "max" else math.inf
        self.best_epoch, self.waited, self._weights = 0, 0, dict[str, Any]()

    def on_fit_start(self, run: Run) -> None:
        run.monitored("EarlyStopping", self.monitor)
        if not run.history.epochs:
            self._forget()

    def on_epoch_end(self, run: Run) -> None:
        value = run.history.epochs[-1][run.monitored("EarlyStopping", self.monitor)]
        if _better(value, self.best, self.mode, self.min_delta):
            self.best, self.best_epoch, self.waited = value, run.epoch, 0
            if self.restore_best:
                self._weights = run.model.state_dict()
        else:
            self.waited += 1
            run.stop = run.stop or self.waited >= self.patience

    def on_fit_end(self, run: Run) -> None:
        run.best_epoch = self.best_epoch
        if self._weights:
            run.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The best loss, its epoch and weights, and how long none was better."""
        numbers = {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}
        return {**numbers, "weights": dict(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave. Raises ValueError for anything else, or another ``restore_best``."""
        owner, weights = "EarlyStopping", checked_state("EarlyStopping", state, self.state_dict())["weights"]
        best = real_number(owner, "the state's best", state["best"], "a number", -math.inf)
        counts = [whole_number(owner, f"the state's {name}", state[name], 0) for name in ("best_epoch", "waited")]
        if not isinstance(weights, Mapping) or not all(hasattr(array, "shape") for array in weights.values()):
            raise ValueError(f"{owner}: the state's weights are {reprlib.repr(weights)}; expected a dict of arrays")
        if math.isfinite(best) and bool(weights) != self.restore_best:
            raise ValueError(f"{owner}: the state was kept with restore_best={bool(weights)}; expected the same here")
        self.best, (self.best_epoch, self.waited), self._weights = best, counts, dict(weights)

    def on_resume(self, run: Run) -> None:
        """Raise ValueError where the best weights so far are those of another model."""
        came = {name: tuple(array.shape) for name, array in self._weights.items()}
        expected = {name: parameter.shape for name, parameter in run.model.named_parameters()}
        for name in {**came, **expected} if came else ():
            if came.get(name) != expected.get(name):
                raise ValueError(
                    f"EarlyStopping: the state's best {name} has shape {came.get(name)}; expected {expected.get(name)}"
                )


def _monitor(owner: str, monitor: Any) -> str | None:
    if monitor is None or isinstance(monitor, str):
        return monitor
    raise TypeError(f"{owner}: monitor is a {type(monitor).__name__}; expected a name of the history, or None")


def _mode(owner: str, mode: Any) -> str:
    if not isinstance(mode, str) or mode not in ("min", "max"):
        raise ValueError(f"{owner}: mode is {mode!r}; expected 'min' or 'max'")
    return str(mode)


def _better(value: float, best: float, mode: str, min_delta: float = 0.0) -> bool:
    return value > best + min_delta if mode == "max" else value < best - min_delta


LOSS_EVERY = 0.5  # seconds between looks at a loss that must be waited for


class ProgressBar(Callback):
    """One line on stderr: epochs, batches, time, losses and metrics; at the end, whether and where the run was stopped.

    A loss on a GPU, which must be waited for, is shown every half second only.
    """

    _bar: Any = None
    _due = 0.0  # when to look at a loss that must be waited for

    def on_fit_start(self, run: Run) -> None:
        from tqdm import tqdm

        each = run.batches or 1
        unit, hidden = "batch" if run.batches else "epoch", sys.stderr is None  # as where a program has no terminal
        self._bar = tqdm(total=run.epochs * each, initial=run.epoch * each, unit=unit, disable=hidden)
        self._due = time.monotonic() + LOSS_EVERY

    def on_batch_end(self, run: Run) -> None:
        if run.batches:
            self._show_loss(run)
            self._bar.update()

    def _show_loss(self, run: Run) -> None:
        if run.measured.settled or time.monotonic() >= self._due:
            self._bar.set_postfix_str(f"loss {run.loss:.4g}", refresh=False)
            self._due = time.monotonic() + LOSS_EVERY

    def on_epoch_end(self, run: Run) -> None:
        last = run.history.epochs[-1]
        shown = [name for name in last if name == "loss" or name not in RECORDED]
        losses = ", ".join(f"{name.replace('_', ' ')} {last[name]:.4g}" for name in shown)
        self._bar.set_description_str(f"epoch {run.epoch}/{run.epochs}: {losses}", refresh=False)
        if run.batches:
            self._show_loss(run)
        else:
            self._bar.update()

    def on_exit(self, run: Run) -> None:
        if self._bar is None:
            return
        if run.stop and run.epoch < run.epochs:
            best = f", best epoch {run.best_epoch}" if run.best_epoch else ""
            self._bar.set_description_str(f"stopped early after epoch {run.epoch}{best}", refresh=False)
            self._bar.refresh()
        self._bar.close()


class Checkpoint(Callback):
    """Write everything that ``fit(..., resume=path)`` needs after every ``every``-th epoch, and after the last one.

    With ``monitor``, such as "val_loss", instead after each epoch in which that was better than in all before: lower
    or, with ``mode="max"``, higher. fit runs checkpoints after all other callbacks, so that they hold what those
    learned in the epoch. With ``resume`` fit begins where the file stands, if there is one, as with its own argument:
    for jobs that are stopped and started again, and for estimators. Raises ValueError for settings, and at the start of
    a run that will not record the monitor.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        every: int = 1,
        *,
        monitor: str | None = None,
        mode: str = "min",
        resume: bool = False,
    ) -> None:
        self.path, self.every = path, whole_number("Checkpoint", "every", every)
        self.resume = true_or_false("Checkpoint", "resume", resume)
        self.monitor, self.mode = _monitor("Checkpoint", monitor), _mode("Checkpoint", mode)
        if monitor is not None and self.every > 1:
            raise ValueError("Checkpoint: every and monitor are both given; expected at most one")
        if monitor is None and mode == "max":
            raise ValueError("Checkpoint: mode is given, but no monitor that it could be of")

    def on_fit_start(self, run: Run) -> None:
        run.monitored("Checkpoint", self.monitor)

    def on_epoch_end(self, run: Run) -> None:
        run.stop = run.ranks.add_up([run.stop])[0] > 0  # of any rank, lest some write and wait for the others
        if self._due(run):
            run.ranks.bring_together(run.parts)
            run.ranks.once(lambda: save_checkpoint(self.path, **run.parts))

    @property
    def begun(self) -> bool:
        """Whether there is something to go on from, and it shall be gone on from."""
        return self.resume and Path(self.path).exists()

    def _due(self, run: Run) -> bool:
        if self.monitor is None:
            return run.epoch % self.every == 0 or run.epoch == run.epochs or run.stop
        *before, last = run.history[self.monitor]
        known = [value for value in before if not math.isnan(value)]
        return not math.isnan(last) and all(_better(last, value, self.mode) for value in known)
