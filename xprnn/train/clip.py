"""Clipping, against gradients that explode through time (Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063)."""

from __future__ import annotations

import math
from collections.abc import Iterable

from xprnn.backend import namespace, to_numpy
from xprnn.tensor import Tensor


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most max_norm; returns the norm before.

    g = g max_norm / (norm + 1e-6) where that is less than g. ``max_norm=math.inf`` only measures. Waits for a GPU once.

    Raises
    ------
    FloatingPointError
        A gradient holds NaN or infinity; all gradients are as they were.
    ValueError
        max_norm is not above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm: max_norm is {max_norm}; expected a number above 0")
    held = _with_gradient(parameters)
    norm = _norm("clip_grad_norm", held)
    coefficient = float(max_norm) / (norm + 1e-6)  # a number of NumPy's would widen float32 gradients
    if coefficient < 1.0:
        for parameter, gradient in held:
            parameter.grad = Tensor(gradient.data * coefficient)
    return norm


def clip_grad_value(parameters: Iterable[Tensor], max_value: float) -> float:
    """Limit every element of every gradient to +-max_value; returns the joint norm before. Raises as clip_grad_norm."""
    if not max_value > 0:
        raise ValueError(f"clip_grad_value: max_value is {max_value}; expected a number above 0")
    held = _with_gradient(parameters)
    norm = _norm("clip_grad_value", held)
    if norm > max_value:  # no element is larger than the norm
        for parameter, gradient in held:
            parameter.grad = Tensor(namespace(gradient.data).clip(gradient.data, -float(max_value), float(max_value)))
    return norm


def _with_gradient(parameters: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(parameter, gradient) for each parameter that has one, a repeated parameter once."""
    distinct = {id(parameter): parameter for parameter in parameters}.values()
    return [(parameter, parameter.grad) for parameter in distinct if parameter.grad is not None]


def _norm(owner: str, held: list[tuple[Tensor, Tensor]]) -> float:
    if not held:
        return 0.0
    xp = namespace(**{f"{owner}: gradient {k}": gradient.data for k, (_, gradient) in enumerate(held)})
    squares = []
    for _, gradient in held:
        wide = xp.astype(gradient.data, xp.float64, copy=False)  # the squares of large float32 numbers overflow
        squares.append(xp.sum(wide * wide))
    sums = [float(number) for number in to_numpy(xp.stack(squares))]
    if wrong := [k for k, number in enumerate(sums) if not math.isfinite(number)]:
        names = ", ".join(f"{k} (shape {held[k][1].shape})" for k in wrong[:5]) + ", ..." * (len(wrong) > 5)
        raise FloatingPointError(
            f"{owner}: {len(wrong)} of {len(held)} gradients are not finite: {names}; nothing was clipped. "
            "Look for a too large learning rate, or NaN in the data"
        )
    return math.sqrt(math.fsum(sums))
