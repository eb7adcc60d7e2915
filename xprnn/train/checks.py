"""What ``fit`` is given, checked before it begins, and what has to hold while it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from xprnn.arguments import of_kind, real_number
from xprnn.backend import Array, namespace, to_numpy
from xprnn.engine.dispatch import logger
from xprnn.postponed import require
from xprnn.train.evaluation import Metric, check_batches
from xprnn.train.run import RECORDED, Run


def check_limits(clip_norm: Any, clip_value: Any) -> None:
    """Raise ValueError or TypeError for two limits of gradients at once, and for one that is no number above 0."""
    if clip_norm is not None and clip_value is not None:
        raise ValueError("fit: clip_norm and clip_value are both given; expected at most one")
    for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None:
            real_number("fit", name, limit, "a number above 0", low=math.ulp(0.0))


def check_sources(batches: Any, validation: Any) -> None:
    """Raise TypeError for what cannot give its batches anew in each epoch."""
    for name, source in (("batches", batches), ("validation", validation)):
        if source is not None or name == "batches":
            check_batches("fit", name, source)
        if isinstance(source, Iterator):
            raise TypeError(
                f"fit: {name} is a {type(source).__name__}, which lasts one epoch; expected a list or Batches"
            )


def named_metrics(metrics: Mapping[str, Metric] | None) -> dict[str, Metric]:
    """The metrics by name. Raises ValueError for a name that the history has already, TypeError for no function."""
    metrics = {} if metrics is None else of_kind("fit", "metrics", metrics, Mapping)
    for name, metric in metrics.items():
        if not isinstance(name, str) or name in RECORDED or name.startswith(("validation_", "val_")):
            raise ValueError(
                f"fit: a metric is named {name!r}; expected another name than {', '.join(RECORDED)}, "
                "and none that begins with validation_ or val_"
            )
        if not callable(metric):
            raise TypeError(f"fit: metrics[{name!r}] is a {type(metric).__name__}; expected a function(model, batch)")
    return dict(metrics)


def check_that_something_is_learned(run: Run) -> None:
    """Raise ValueError where no parameter that the optimizer moves has a gradient; tell of one that was replaced."""
    moved, model = run.optimizer.parameters, run.model
    if all(parameter.grad is None for parameter in moved):
        raise ValueError(
            "fit: the loss gives a gradient to none of the optimizer's parameters, so nothing would be "
            "learned: is the optimizer of this model, and made after the model's last change?"
        )
    if run.history.epochs:
        return
    own, known = dict(model.named_parameters()), set(map(id, moved))
    idle = [p for p in moved if p.requires_grad and p.grad is None and all(p is not each for each in own.values())]
    missed = [name for name, p in own.items() if p.requires_grad and p.grad is not None and id(p) not in known]
    if idle and missed:
        logger.warning(
            "fit: %s will not be learned, since the optimizer has another parameter, of shape %s, which is not the "
            "model's: make the optimizer after the model's last change",
            ", ".join(missed),
            idle[0].shape,
        )


def finite(loss: Array, place: str) -> Array:
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
