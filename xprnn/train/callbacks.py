"""Things that happen during fit, beside the training itself."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from os import PathLike
from typing import Any

from xprnn.arguments import whole_number
from xprnn.train.checkpoint import save_checkpoint
from xprnn.train.run import Run


class Callback:
    """Override what you need. With ``state_dict`` and ``load_state_dict`` a callback becomes part of checkpoints."""

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

    An epoch counts as better when its loss is below the best one - min_delta; NaN never is. With ``restore_best`` the
    model ends with the weights of the best epoch.
    """

    def __init__(self, patience: int, min_delta: float = 0.0, restore_best: bool = True) -> None:
        self.patience = whole_number("EarlyStopping", "patience", patience)
        self.min_delta, self.restore_best = min_delta, restore_best
        self._forget()

    def _forget(self) -> None:
        self.best, self.best_epoch, self.waited, self._weights = math.inf, 0, 0, dict[str, Any]()

    def on_fit_start(self, run: Run) -> None:
        if not run.history.epochs:
            self._forget()

    def on_epoch_end(self, run: Run) -> None:
        if run.metric < self.best - self.min_delta:
            self.best, self.best_epoch, self.waited = run.metric, run.epoch, 0
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
        """Take what :meth:`state_dict` gave. Raises ValueError for another run's ``restore_best``."""
        if math.isfinite(state["best"]) and bool(state["weights"]) != self.restore_best:
            raise ValueError(f"EarlyStopping: the state was kept with restore_best={bool(state['weights'])}")
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])
        self.waited, self._weights = int(state["waited"]), dict(state["weights"])


LOSS_EVERY = 0.5  # seconds between looks at a loss that must be waited for


class ProgressBar(Callback):
    """One line on stderr: epochs, batches, time, and the losses; at the end, whether and where the run was stopped.

    A loss on a GPU, which must be waited for, is shown every half second only.
    """

    _bar: Any = None
    _due = 0.0  # when to look at a loss that must be waited for

    def on_fit_start(self, run: Run) -> None:
        from tqdm import tqdm

        each = run.batches or 1
        self._bar = tqdm(total=run.epochs * each, initial=run.epoch * each, unit="batch" if run.batches else "epoch")
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
        shown = [name for name in ("loss", "validation_loss") if name in last]
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

    fit runs checkpoints after all other callbacks, so that they hold what those learned in the epoch.
    """

    def __init__(self, path: str | PathLike[str], every: int = 1) -> None:
        self.path, self.every = path, whole_number("Checkpoint", "every", every)

    def on_epoch_end(self, run: Run) -> None:
        if run.epoch % self.every == 0 or run.epoch == run.epochs or run.stop:
            save_checkpoint(self.path, **run.parts)
