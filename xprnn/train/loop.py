"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack
from os import PathLike
from typing import Any

from xprnn.arguments import real_number, whole_number
from xprnn.backend import Array, namespace, to_numpy
from xprnn.engine.dispatch import slow_calls_told
from xprnn.nn.module import Module
from xprnn.postponed import postponed, require
from xprnn.tensor import Tensor, no_grad
from xprnn.train.callbacks import Callback, Checkpoint, ProgressBar
from xprnn.train.checkpoint import load_checkpoint
from xprnn.train.clip import clip
from xprnn.train.measured import Measured, drawn
from xprnn.train.optimizers import Optimizer
from xprnn.train.run import History, Run
from xprnn.train.schedules import Schedule

Loss = Callable[[Any, Any], Tensor]


def fit(
    model: Module,
    batches: Iterable[Any],
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: int,
    validation: Iterable[Any] | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: Schedule | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    resume: str | PathLike[str] | None = None,
) -> History:
    """Train a model: for each batch of each epoch loss, backward, clipping, step.

    Parameters
    ----------
    batches, validation
        Each ``iter()`` is an epoch, as of :class:`xprnn.data.Batches` or a list.
    loss
        ``loss(model, batch)``, a scalar Tensor.
    clip_norm, clip_value
        Limits for :func:`clip_grad_norm` or :func:`clip_grad_value`; at most one of them.
    schedule
        Steps after each epoch, with the validation loss or, without one, the training loss.
    progress
        Show a :class:`ProgressBar`.
    resume
        Continue from a file of the :class:`Checkpoint` callback, to the same bits as if never interrupted. The call
        must be otherwise the same.

    Returns
    -------
    For each epoch: loss and validation_loss, means over the batches weighted by their sizes (see :func:`evaluate`);
    lr; gradient_norm and clipped_norm, means over the batches of the norm of all gradients before and after clipping;
    seconds. The model's modes are as before.

    Raises
    ------
    FloatingPointError
        A training loss or gradient is not finite. That batch has changed no parameter.
    TypeError, ValueError
        Wrong arguments; a loss that is not a scalar Tensor; an epoch without batches; a first batch that gives none of
        the optimizer's parameters a gradient.

    A recurrent layer that kernels are made for and that runs without them, many times slower, is told of once, with the
    reason, on the logger "xprnn".

    On a GPU no batch is waited for. Its numbers, and whether they are finite, whether tokens, classes and lengths in it
    were in range, come to the host with those of up to 64 batches, at the end of the epoch, or when a callback reads
    ``run.loss``. An error is then the one that would have been raised at once: neither the bad batch nor a later one
    has changed a parameter or what the optimizer keeps; only callbacks and the order of the data have gone on.
    """
    epochs = whole_number("fit", "epochs", epochs, 0)
    if clip_norm is not None and clip_value is not None:
        raise ValueError("fit: clip_norm and clip_value are both given; expected at most one")
    for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None:
            real_number("fit", name, limit, "a number above 0", low=math.ulp(0.0))
    for name, source in (("batches", batches), ("validation", validation)):
        if isinstance(source, Iterator):
            raise TypeError(
                f"fit: {name} is a {type(source).__name__}, which lasts one epoch; expected a list or Batches"
            )
    run = Run(model, optimizer, schedule, epochs, len(batches) if isinstance(batches, Sized) else None)
    called = sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))
    run.add_parts({"schedule": schedule, "batches": batches, "validation": validation})
    stateful = [callback for callback in callbacks if hasattr(callback, "state_dict")]
    run.add_parts({f"{type(callback).__name__}_{k}": callback for k, callback in enumerate(stateful)})
    if progress and not any(isinstance(callback, ProgressBar) for callback in called):
        called.insert(0, ProgressBar())
    if resume is not None:
        load_checkpoint(resume, **run.parts)
    with model.mode(True), ExitStack() as closing:
        closing.enter_context(slow_calls_told())
        for callback in called:
            closing.callback(callback.on_exit, run)
            callback.on_fit_start(run)
        while run.epoch < epochs and not run.stop:
            run.epoch += 1
            began, lr = time.perf_counter(), optimizer.lr
            mean_loss, norms = _train(run, batches, loss, clip_norm, clip_value, called)
            record = {"loss": mean_loss}
            if validation is not None:
                record["validation_loss"] = evaluate(model, validation, loss)
            seconds = time.perf_counter() - began
            run.history.epochs.append({**record, "lr": lr, **norms, "seconds": seconds})
            if schedule is not None:
                schedule.step(run.metric)
            for callback in called:
                callback.on_epoch_end(run)
        for callback in called:
            callback.on_fit_end(run)
    return run.history


def evaluate(model: Module, batches: Iterable[Any], loss: Loss) -> float:
    """The mean of ``loss(model, batch)`` over batches, in evaluation mode and without recording.

    Each batch has the weight of its size: the length of its first array (of the batch itself, where it is one) along
    ``batches.axis``, or axis 0; of another object its ``len``, or 1. The mode of the model is restored. Waits for a GPU
    as :func:`fit` does. Raises TypeError for a loss that is not a scalar Tensor, ValueError where there are no batches.
    """
    axis, count = getattr(batches, "axis", 0), 0
    with model.mode(False), no_grad(), Measured([0.0]) as measured:
        for batch, checks in drawn(batches):
            count += 1
            with postponed(checks):
                value = _scalar(loss(model, batch)).data
            measured.add(f"batch {count} of an evaluation", [value], [_size(batch, axis)], checks)
    if count == 0:
        raise ValueError("evaluate: there are no batches")
    return measured.means()[0]


def _train(
    run: Run,
    batches: Iterable[Any],
    loss: Loss,
    clip_norm: float | None,
    clip_value: float | None,
    called: Sequence[Callback],
) -> tuple[float, dict[str, float]]:
    """One epoch; the means of the loss and of the gradient norms."""
    optimizer, axis, run.batch = run.optimizer, getattr(batches, "axis", 0), 0
    with run.measure() as measured:
        for batch, checks in drawn(batches):
            run.batch += 1
            place = f"epoch {run.epoch}, batch {run.batch}"
            with postponed(checks):  # on the host nothing is, and what is wrong ends the run here
                result = _scalar(loss(run.model, batch))
                value = _finite(result.data, place)
                optimizer.zero_grad()
                result.backward()
                if run.batch == 1 and all(parameter.grad is None for parameter in optimizer.parameters):
                    raise ValueError(
                        "fit: the loss gives a gradient to none of the optimizer's parameters, so nothing would be "
                        "learned: is the optimizer of this model, and made after the model's last change?"
                    )
                norms = clip(f"fit: in {place}", optimizer.parameters, clip_norm, clip_value)
            measured.add(place, (value, *norms), (_size(batch, axis), 1, 1), checks, run.mark)
            if measured.allowed is None:
                optimizer.step()
            else:
                optimizer.step(where=measured.allowed)
            for callback in called:
                callback.on_batch_end(run)
    if run.batch == 0:
        raise ValueError(f"fit: batches had none in epoch {run.epoch}; each iter() must start anew")
    mean_loss, gradient_norm, clipped_norm = measured.means()
    return mean_loss, {"gradient_norm": gradient_norm, "clipped_norm": clipped_norm}


def _finite(loss: Array, place: str) -> Array:
    """The loss as a float64 array without axes of its own, required to be finite."""
    xp = namespace(loss)
    value = xp.astype(xp.reshape(loss, ()), xp.float64)

    def not_finite() -> FloatingPointError:
        return FloatingPointError(
            f"fit: the loss is {float(to_numpy(value))} in {place}; no parameter was changed. "
            "Look for NaN in the data or a too large learning rate; clip_norm can help"
        )

    require(~xp.isfinite(value), not_finite)
    return value


def _size(batch: Any, axis: int) -> int:
    """How many elements a batch counts for, at least 1."""
    if isinstance(batch, (tuple, list)) and batch and hasattr(batch[0], "shape"):
        batch = batch[0]
    shape = getattr(batch, "shape", None)
    if shape is None:
        return max(1, len(batch)) if isinstance(batch, Sized) else 1
    return max(1, int(shape[axis])) if len(shape) > axis else 1


def _scalar(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.size != 1:
        came = f"a Tensor of shape {loss.shape}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise TypeError(f"loss(model, batch) returned {came}; expected a scalar Tensor")
    return loss
