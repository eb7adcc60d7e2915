"""Things that happen during fit, beside the training itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import Any

from xprnn.train.checkpoint import save_checkpoint
from xprnn.train.run import Run


class Callback:
    """Override what you need. With ``state_dict`` and ``load_state_dict`` a callback becomes part of checkpoints."""

    def on_fit_start(self, run: Run) -> None:
        """Before the first epoch; after a resumed run has been loaded."""

    def on_batch_end(self, run: Run) -> None:
        """After the step of each training batch."""

    def on_epoch_end(self, run: Run) -> None:
        """After the epoch was recorded in ``run.history``."""

    def on_fit_end(self, run: Run) -> None:
        """After the last epoch; not where an exception ended the run."""


class EarlyStopping(Callback):
    """Stop when the validation loss, or without validation the training loss, has not fallen for ``patience`` epochs.

    An epoch counts as better when its loss is below the best one - min_delta; NaN never is. With ``restore_best`` the
    model ends with the weights of the best epoch.
    """

    def __init__(self, patience: int, min_delta: float = 0.0, restore_best: bool = True) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f"EarlyStopping: patience is {patience!r}; expected an integer of at least 1")
        self.patience, self.min_delta, self.restore_best = patience, min_delta, restore_best
        self._forget()

    def _forget(self) -> None:
        self.best, self.waited, self._weights = math.inf, 0, dict[str, Any]()

    def on_fit_start(self, run: Run) -> None:
        if not run.history.epochs:
            self._forget()

    def on_epoch_end(self, run: Run) -> None:
        if run.metric < self.best - self.min_delta:
            self.best, self.waited = run.metric, 0
            if self.restore_best:
                self._weights = run.model.state_dict()
        else:
            self.waited += 1
            run.stop = run.stop or self.waited >= self.patience

    def on_fit_end(self, run: Run) -> None:
        if self._weights:
            run.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The best loss and its weights, and how long none was better."""
        return {"best": self.best, "waited": self.waited, "weights": dict(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave. Raises ValueError for another run's ``restore_best``."""
        if math.isfinite(state["best"]) and bool(state["weights"]) != self.restore_best:
            raise ValueError(f"EarlyStopping: the state was kept with restore_best={bool(state['weights'])}")
        self.best, self.waited, self._weights = float(state["best"]), int(state["waited"]), dict(state["weights"])


class ProgressBar(Callback):
    """One line on stderr: epochs, batches, time, and the losses."""

    def on_fit_start(self, run: Run) -> None:
        from tqdm import tqdm

        each = run.batches or 1
        self._bar = tqdm(total=run.epochs * each, initial=run.epoch * each, unit="batch" if run.batches else "epoch")

    def on_batch_end(self, run: Run) -> None:
        if run.batches:
            self._bar.set_postfix_str(f"loss {run.loss:.4g}", refresh=False)
            self._bar.update()

    def on_epoch_end(self, run: Run) -> None:
        last = run.history.epochs[-1]
        shown = [name for name in ("loss", "validation_loss") if name in last]
        losses = ", ".join(f"{name.replace('_', ' ')} {last[name]:.4g}" for name in shown)
        self._bar.set_description_str(f"epoch {run.epoch}/{run.epochs}: {losses}", refresh=False)
        if not run.batches:
            self._bar.update()

    def on_fit_end(self, run: Run) -> None:
        self._bar.close()


class Checkpoint(Callback):
    """Write everything that ``fit(..., resume=path)`` needs after every ``every``-th epoch, and after the last one.

    fit runs checkpoints after all other callbacks, so that they hold what those learned in the epoch.
    """

    def __init__(self, path: str | PathLike[str], every: int = 1) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"Checkpoint: every is {every!r}; expected an integer of at least 1")
        self.path, self.every = path, every

    def on_epoch_end(self, run: Run) -> None:
        if run.epoch % self.every == 0 or run.epoch == run.epochs or run.stop:
            save_checkpoint(self.path, **run.parts)
