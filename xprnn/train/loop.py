"""The training loop."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import ExitStack
from os import PathLike
from typing import Any

from xprnn.arguments import function, of_kind, several, true_or_false, whole_number
from xprnn.engine.dispatch import slow_calls_told
from xprnn.grad_mode import no_grad
from xprnn.nn.module import Module
from xprnn.postponed import postponed
from xprnn.tensor import Tensor
from xprnn.train.accumulation import Accumulated, in_groups
from xprnn.train.callbacks import Callback, Checkpoint, ProgressBar
from xprnn.train.checkpoint import load_checkpoint
from xprnn.train.checks import check_limits, check_sources, check_that_something_is_learned, finite, named_metrics
from xprnn.train.clip import clip
from xprnn.train.communicator import Communicator
from xprnn.train.evaluation import Metric, means_over, size_of
from xprnn.train.measured import drawn
from xprnn.train.optimizer import Optimizer
from xprnn.train.ranks import Computed, Ranks, ranks_of
from xprnn.train.run import NORMS, History, Run
from xprnn.train.same_bits import SameBits
from xprnn.train.schedules import Schedule
from xprnn.train.weighted import weighed, weighed_number

Loss = Callable[[Any, Any], Tensor | tuple[Tensor, Any]]


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
    metrics: Mapping[str, Metric] | None = None,
    accumulate: int = 1,
    communicator: Communicator | None = None,
) -> History:
    """Train a model: for each batch of each epoch loss, backward, clipping, step.

    Parameters
    ----------
    batches, validation
        Each ``iter()`` is an epoch, as of :class:`xprnn.data.Batches` or a list.
    loss
        ``loss(model, batch)``, a scalar Tensor; or a tuple of one and its weight, a number or a scalar array.
    clip_norm, clip_value
        Limits for :func:`clip_grad_norm` or :func:`clip_grad_value`; at most one of them.
    schedule
        Steps after each epoch, with the validation loss or, without one, the training loss.
    progress
        Show a :class:`ProgressBar`.
    resume
        Continue from a file of the :class:`Checkpoint` callback, to the same bits as if never interrupted. The call
        must be otherwise the same.
    metrics
        ``{"accuracy": function}``, of ``function(model, batch)`` as ``loss``, which may return a plain number too. Each
        is taken of every training batch before its step, and of the validation, in evaluation mode and without
        recording: this costs one more forward pass.
    accumulate
        Step once for so many batches, and for those left at the end of an epoch, with the gradient of one large batch:
        that of the mean over all that their losses are means over, by their weights (see :func:`evaluate`).
    communicator
        Of several processes that make the same call, as :func:`xprnn.distributed.world` gives it. Each computes its
        part of every batch, and all take the steps of one that computed the whole: they begin as rank 0 stands, and
        losses, norms and metrics are those of all. Only rank 0 reads and writes checkpoints and shows progress; other
        callbacks run in all. Noise, as of dropout, differs from rank to rank. What one raises while it computes all
        raise; anything else that ends one ends all.

    Returns
    -------
    For each epoch: loss and validation_loss, means over all that is in the batches (see :func:`evaluate`); lr;
    gradient_norm and clipped_norm, means over the steps of the norm of all gradients before and after clipping; each
    metric, and validation_<metric>; seconds. The model is in training mode for this call only; a part that was set to
    evaluation by itself, as in ``model.encoder.eval()``, stays in it.

    Raises
    ------
    FloatingPointError
        A training loss or gradient is not finite. That batch has changed no parameter.
    TypeError, ValueError
        Wrong arguments; a loss that is not a scalar Tensor; an epoch without batches; a first step in which none of the
        optimizer's parameters has a gradient.

    A recurrent layer that kernels are made for and that runs without them, many times slower, is told of once, with the
    reason, on the logger "xprnn"; so is a parameter that was put in the place of one which the optimizer has.

    On a GPU no batch is waited for. Its numbers, and whether they are finite, whether tokens, classes and lengths in it
    were in range, come to the host with those of up to 64 batches, at the end of the epoch, or when a callback reads
    ``run.loss``. An error is then the one that would have been raised at once: neither the bad batch nor a later one
    has changed a parameter or what the optimizer keeps; only callbacks and the order of the data have gone on.
    """
    of_kind("fit", "model", model, Module)
    of_kind("fit", "optimizer", optimizer, Optimizer)
    function("fit", "loss", loss)
    if schedule is not None and of_kind("fit", "schedule", schedule, Schedule).optimizer is not optimizer:
        raise ValueError("fit: schedule is of another optimizer; expected one that was made with this optimizer")
    callbacks = [
        of_kind("fit", f"callbacks[{k}]", callback, Callback)
        for k, callback in enumerate(several("fit", "callbacks", callbacks))
    ]
    epochs, progress = whole_number("fit", "epochs", epochs, 0), true_or_false("fit", "progress", progress)
    check_limits(clip_norm, clip_value)
    check_sources(batches, validation)
    accumulate, metrics = whole_number("fit", "accumulate", accumulate), named_metrics(metrics)
    count = len(batches) if isinstance(batches, Sized) else None
    ranks = ranks_of(communicator, optimizer.parameters, 1 + len(metrics))
    run = Run(model, optimizer, schedule, epochs, count, tuple(metrics), validation is not None, ranks)
    run.add_parts({"schedule": schedule, "batches": batches, "validation": validation})
    stateful = [callback for callback in callbacks if hasattr(callback, "state_dict")]
    run.add_parts({f"{type(callback).__name__}_{k}": callback for k, callback in enumerate(stateful)})
    called = _in_order(callbacks, progress, ranks)
    with ranks, model.mode(True), ExitStack() as closing:
        ranks.apart(model, (batches, validation))  # before states are loaded, which may be different ones
        begun = (callback.path for callback in called if isinstance(callback, Checkpoint) and callback.begun)
        if (path := ranks.of_first(next(begun, None) if resume is None else resume)) is not None:
            ranks.once(functools.partial(load_checkpoint, path, **run.parts))
        ranks.same_start(run.parts)
        batches = ranks.portion("batches", batches)
        validation = None if validation is None else ranks.portion("validation", validation)
        closing.enter_context(slow_calls_told())
        for callback in called:
            closing.callback(callback.on_exit, run)
            callback.on_fit_start(run)
        while run.epoch < epochs and not run.stop:
            run.epoch += 1
            began, lr = time.perf_counter(), optimizer.lr
            clipping = functools.partial(clip, clip_norm=clip_norm, clip_value=clip_value)
            ranks.own_noise(model)
            record = _train(run, batches, loss, metrics, accumulate, clipping, called)
            norms = {name: record.pop(name) for name in NORMS}
            if validation is not None:
                means = means_over(model, validation, loss, metrics, ranks)
                record.update({f"validation_{name}": mean for name, mean in means.items()})
            seconds = time.perf_counter() - began
            run.history.epochs.append(ranks.of_first({**record, "lr": lr, **norms, "seconds": seconds}))
            if schedule is not None:
                schedule.step(run.metric)
            for callback in called:
                callback.on_epoch_end(run)
            run.stop = ranks.add_up([run.stop])[0] > 0
        for callback in called:
            callback.on_fit_end(run)
    return run.history


def _in_order(callbacks: Sequence[Callback], progress: bool, ranks: Ranks) -> list[Callback]:
    """All callbacks as they are called: progress, where it is shown, and then all others before checkpoints."""
    called = sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))
    if progress and not any(isinstance(callback, ProgressBar) for callback in called):
        called.insert(0, ProgressBar())
    called = [callback for callback in called if ranks.rank == 0 or not isinstance(callback, ProgressBar)]
    if ranks.size > 1 and not any(isinstance(callback, SameBits) for callback in called):
        called.insert(0, SameBits())
    return called


def _train(
    run: Run,
    batches: Iterable[Any],
    loss: Loss,
    metrics: Mapping[str, Metric],
    accumulate: int,
    clipping: Callable[[str, Sequence[Tensor]], tuple[Any, Any]],
    called: Sequence[Callback],
) -> dict[str, float]:
    """One epoch; the means of the loss, the metrics and the gradient norms."""
    model, optimizer, ranks, axis, run.batch = run.model, run.optimizer, run.ranks, getattr(batches, "axis", 0), 0
    gathered = Accumulated(optimizer.parameters, ranks) if accumulate > 1 or ranks.size > 1 else None
    source = in_groups(drawn(batches), accumulate)

    def computed() -> Computed | None:
        """Draw a batch, and compute its numbers and gradients."""
        item = next(source, None)
        if item is None:
            return None
        (batch, checks), due = item
        run.batch += 1
        size = size_of(batch, axis)
        if gathered is not None:
            gathered.begin()
        if ranks.is_idle(batch):
            nothing = [0.0] * (1 + len(metrics))
            return Computed(nothing, nothing, checks, due)
        with postponed(checks):  # on the host nothing is, and what is wrong ends the run here
            result, weight = weighed("loss", loss(model, batch), size)
            values, weights = [finite(result.data, f"epoch {run.epoch}, batch {run.batch}")], [weight]
            if gathered is None:
                optimizer.zero_grad()
                result.backward()
            else:
                gathered.add(result, weight, due)
            for name, metric in metrics.items():
                with model.mode(False), no_grad():
                    value, weight = weighed_number(f"metrics[{name!r}]", metric(model, batch), size)
                values.append(value.data)
                weights.append(weight)
        return Computed(values, weights, checks, due)

    with run.measure() as measured:
        while (found := ranks.agree(computed)) is not None:
            values, weights, checks, due = [*found.values], [*found.weights], found.checks, found.due
            place = f"epoch {run.epoch}, batch {run.batch}"
            if gathered is not None:
                gathered.count(weights[0])
            if due:
                if gathered is not None:
                    gathered.finish()
                with ranks.everywhere(), postponed(checks):
                    if run.batch <= accumulate:
                        check_that_something_is_learned(run)
                    values += clipping(f"fit: in {place}", optimizer.parameters)
                    weights += [1.0, 1.0]
            measured.add(place, values, weights, checks, run.mark)
            if due:
                if measured.allowed is None:
                    optimizer.step()
                else:
                    optimizer.step(where=measured.allowed)
            for callback in called:
                callback.on_batch_end(run)
    if run.batch == 0:
        raise ValueError(f"fit: batches had none in epoch {run.epoch}; each iter() must start anew")
    return dict(zip(("loss", *metrics, *NORMS), measured.means(), strict=True))
