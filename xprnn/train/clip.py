"""Clipping, against gradients that explode through time (Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from xprnn.backend import Array, namespace, to_numpy
from xprnn.postponed import require
from xprnn.tensor import Tensor
from xprnn.together import make, new_gradient

Held = list[tuple[Tensor, Tensor]]
"""(parameter, gradient) for each parameter that has one."""

Number = Any
"""A float, or an array without axes on a device, which nobody has waited for."""


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
    norm: float = _norm("clip_grad_norm", held, to_numpy(_squares("clip_grad_norm", held)))
    _scale(held, norm, max_norm)
    return norm


def clip_grad_value(parameters: Iterable[Tensor], max_value: float) -> float:
    """Limit every element of every gradient to +-max_value; returns the joint norm before. Raises as clip_grad_norm."""
    if not max_value > 0:
        raise ValueError(f"clip_grad_value: max_value is {max_value}; expected a number above 0")
    held = _with_gradient(parameters)
    norm: float = _norm("clip_grad_value", held, to_numpy(_squares("clip_grad_value", held)))
    _limit(held, norm, max_value)
    return norm


def clip(
    place: str, parameters: Sequence[Tensor], clip_norm: float | None, clip_value: float | None
) -> tuple[Number, Number]:
    """What fit does: clip by norm or by value or not at all; the joint norms before and after, without waiting.

    ``place`` begins the message of a gradient that is not finite, a check that may be postponed.
    """
    owner, held = f"{place}: clip_grad_{'norm' if clip_value is None else 'value'}", _with_gradient(parameters)
    before = _norm(owner, held, _squares(owner, held))
    if clip_value is not None:
        _limit(held, before, clip_value)
        held = _with_gradient(parameters)
        return before, _norm(owner, held, _squares(owner, held))
    if clip_norm is not None:
        return before, before * _scale(held, before, clip_norm)
    return before, before


def _with_gradient(parameters: Iterable[Tensor]) -> Held:
    """Those that have a gradient, a repeated one once."""
    distinct = {id(parameter): parameter for parameter in parameters}.values()
    return [(parameter, parameter.grad) for parameter in distinct if parameter.grad is not None]


def _squares(owner: str, held: Held) -> Array:
    """The sum of squares of each gradient, float64."""
    if all(type(gradient.data) is np.ndarray for _, gradient in held):  # the most common, with less to say
        wide = [gradient.data.astype(np.float64, copy=False) for _, gradient in held]
        return np.array([np.add.reduce(array * array, axis=None) for array in wide])
    xp = namespace(**{f"{owner}: gradient {k}": gradient.data for k, (_, gradient) in enumerate(held)})
    squares = []
    for _, gradient in held:
        wide = xp.astype(gradient.data, xp.float64, copy=False)  # the squares of large float32 numbers overflow
        squares.append(xp.sum(wide * wide))
    return xp.stack(squares)


def _norm(owner: str, held: Held, squares: Array) -> Number:
    """The joint norm, which is required to be finite."""
    xp, shapes = namespace(squares), [gradient.shape for _, gradient in held]

    def not_finite() -> FloatingPointError:
        finite = np.isfinite(to_numpy(squares)).tolist()
        wrong = [k for k, is_finite in enumerate(finite) if not is_finite] or list(range(len(shapes)))
        names = ", ".join(f"{k} (shape {shapes[k]})" for k in wrong[:5]) + ", ..." * (len(wrong) > 5)
        return FloatingPointError(
            f"{owner}: {len(wrong)} of {len(shapes)} gradients are not finite: {names}; nothing was clipped. "
            "Look for a too large learning rate, or NaN in the data"
        )

    if type(squares) is np.ndarray:
        total = float(squares.sum())
        require(not math.isfinite(total), not_finite)
        return math.sqrt(total)
    total = xp.sum(squares)
    require(~xp.isfinite(total), not_finite)
    return xp.sqrt(total)


def _scale(held: Held, norm: Number, max_norm: float) -> Number:
    """Multiply all gradients by min(1, max_norm / (norm + 1e-6)); returns this factor."""
    coefficient = float(max_norm) / (norm + 1e-6)
    if isinstance(coefficient, float):
        if coefficient < 1.0:
            make([new_gradient(parameter, Tensor(gradient.data * coefficient)) for parameter, gradient in held])
        return min(1.0, coefficient)
    xp = namespace(coefficient)
    factor = xp.minimum(coefficient, 1.0)
    scaled = [Tensor(gradient.data * xp.astype(factor, gradient.dtype)) for _, gradient in held]  # float64 would widen
    make([new_gradient(parameter, gradient) for (parameter, _), gradient in zip(held, scaled, strict=True)])
    return factor


def _limit(held: Held, norm: Number, max_value: float) -> None:
    """Bring all elements of all gradients between +-max_value."""
    if isinstance(norm, float) and norm <= max_value:  # no element is larger than the norm
        return
    limit, changes = float(max_value), []
    for parameter, gradient in held:
        xp = namespace(gradient.data)
        # Not clip: on CuPy that of array-api-compat picks elements by a mask, and to count them waits for the GPU.
        changes.append(new_gradient(parameter, Tensor(xp.minimum(xp.maximum(gradient.data, -limit), limit))))
    make(changes)
