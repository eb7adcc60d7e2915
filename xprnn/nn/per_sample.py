"""Gradients of each sample of a batch by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xprnn.arguments import whole_number
from xprnn.backend import Array, namespace
from xprnn.grad_mode import set_grad_enabled
from xprnn.nn.module import Module
from xprnn.tape import grad
from xprnn.tensor import Tensor


def per_sample_grad(
    loss: Callable[..., Tensor], model: Module, *batch: Any, axis: int | Sequence[int | None] = 0
) -> dict[str, Array]:
    """The gradient of a loss in every parameter, for each sample of a batch alone.

    >>> def loss(model, x, y):  # x (T, 1, I), y (1, O)
    ...     return ((model(x)[0][-1] - y) ** 2).mean()  # doctest: +SKIP
    >>> per_sample_grad(loss, model, x, y, axis=(1, 0))["weight_ih_l0"].shape  # doctest: +SKIP
    (32, 256, 64)

    Each sample takes its own way forward and back, so that there is never more in memory than one of them needs beside
    the result; a batch of N costs N calls. A whole batch could go one way only if every operation of the model and of
    the loss knew which of its axes is that of the samples, and kept to it; none does, and a guess would be wrong
    without a word. The model stays in its mode, and every ``.grad`` as it is.

    Parameters
    ----------
    loss
        ``loss(model, *sample)`` gives a Tensor of one number. A sample has all axes of the batch, that of the samples
        with length 1.
    batch
        Arrays and Tensors, or tuples of them such as a state; None is passed on.
    axis
        The axis of the samples: of all of the batch, or a number for each part of it, None for what every sample gets
        whole. Of x (T, B, I) it is 1.

    Returns
    -------
    Arrays (N, ...) by the names of the parameters that want a gradient; zeros where the loss does not depend on one.

    Raises
    ------
    TypeError
        The model is no Module, or a part of the batch no array.
    ValueError
        There is nothing to tell N from, parts of the batch have different N, or an axis is none of theirs.
    """
    if not isinstance(model, Module):
        raise TypeError(f"per_sample_grad: model is a {type(model).__name__}; expected a Module")
    axes = tuple(axis) if isinstance(axis, Sequence) else (axis,) * len(batch)
    if len(axes) != len(batch):
        raise ValueError(f"per_sample_grad: axis has {len(axes)} numbers; expected one, or {len(batch)}")
    counts = {n for part, own in zip(batch, axes, strict=True) for n in _counts(part, own)}
    if len(counts) != 1:
        raise ValueError(f"per_sample_grad: the batch has {sorted(counts) or 'no'} samples; expected the same in all")
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found: list[list[Array]] = []
    for n in range(counts.pop()):
        with set_grad_enabled(True):
            value = loss(model, *(_sample(part, own, n) for part, own in zip(batch, axes, strict=True)))
        gradients = grad(value, parameters.values())
        found.append(
            [
                namespace(p.data).zeros_like(p.data) if g is None else g.data
                for p, g in zip(parameters.values(), gradients, strict=True)
            ]
        )
    if not found:
        return {name: namespace(p.data).stack([p.data])[:0, ...] for name, p in parameters.items()}
    columns = zip(*found, strict=True)
    return {name: namespace(p.data).stack(g) for (name, p), g in zip(parameters.items(), columns, strict=True)}


def _counts(part: Any, axis: int | None) -> set[int]:
    """How many samples there are along an axis of an array, or of each of a tuple."""
    if part is None or axis is None:
        return set()
    if isinstance(part, tuple):
        return {n for each in part for n in _counts(each, axis)}
    if not hasattr(part, "shape"):
        raise TypeError(
            f"per_sample_grad: a part of the batch is a {type(part).__name__}; expected an array, a Tensor, a tuple of "
            "them or None, or None as its axis"
        )
    place = whole_number("per_sample_grad", "axis", axis, -part.ndim)
    if place >= part.ndim:
        raise ValueError(f"per_sample_grad: axis is {axis}, but a part of the batch has shape {tuple(part.shape)}")
    return {part.shape[place]}


def _sample(part: Any, axis: int | None, n: int) -> Any:
    """The n-th sample, as a batch of one."""
    if part is None or axis is None:
        return part
    if isinstance(part, tuple):
        return tuple(_sample(each, axis, n) for each in part)
    before = axis % part.ndim
    return part[(*(slice(None),) * before, slice(n, n + 1), ...)]
