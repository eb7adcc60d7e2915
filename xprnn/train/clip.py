"""Clipping, against gradients that explode through time (Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from xprnn.backend import Array, namespace, to_numpy
from xprnn.postponed import require
from xprnn.tensor import Tensor
from xprnn.together import make, new_gradients

Held = list[tuple[Tensor, Tensor]]
"""(parameter, gradient) for each parameter that has one."""

SMALL = 2**16
"""Numbers of all gradients together: up to so many NumPy's are squared as one array; more would take much memory."""

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
    norm: float = _norm("clip_grad_norm", held, wait=True)
    _scale(held, norm, max_norm)
    return norm


def clip_grad_value(parameters: Iterable[Tensor], max_value: float) -> float:
    """Limit every element of every gradient to +-max_value; returns the joint norm before. Raises as clip_grad_norm."""
    if not max_value > 0:
        raise ValueError(f"clip_grad_value: max_value is {max_value}; expected a number above 0")
    held = _with_gradient(parameters)
    norm: float = _norm("clip_grad_value", held, wait=True)
    _limit(held, norm, max_value)
    return norm


def clip(
    place: str, parameters: Sequence[Tensor], clip_norm: float | None, clip_value: float | None
) -> tuple[Number, Number]:
    """What fit does: clip by norm or by value or not at all; the joint norms before and after, without waiting.

    ``place`` begins the message of a gradient that is not finite, a check that may be postponed.
    """
    owner, held = f"{place}: clip_grad_{'norm' if clip_value is None else 'value'}", _with_gradient(parameters)
    before = _norm(owner, held)
    if clip_value is not None:
        _limit(held, before, clip_value)
        held = _with_gradient(parameters)
        return before, _norm(owner, held)
    if clip_norm is not None:
        return before, before * _scale(held, before, clip_norm)
    return before, before


def _with_gradient(parameters: Iterable[Tensor]) -> Held:
    """Those that have a gradient, a repeated one once."""
    distinct = {id(parameter): parameter for parameter in parameters}.values()
    return [(parameter, parameter.grad) for parameter in distinct if parameter.grad is not None]


def _norm(owner: str, held: Held, wait: bool = False) -> Number:
    """The joint norm, which is required to be finite. NumPy's gradients, or if we ``wait`` all, give a float."""
    shapes = [gradient.shape for _, gradient in held]
    if all(type(gradient.data) is np.ndarray for _, gradient in held):  # the most common, and nothing to wait for
        total = _total([gradient.data for _, gradient in held])
        require(not math.isfinite(total), lambda: _not_finite(owner, _squares(owner, held), shapes))
        return math.sqrt(total)
    squares = to_numpy(_squares(owner, held)) if wait else _squares(owner, held)
    xp = namespace(squares)
    squared = xp.sum(squares)
    require(~xp.isfinite(squared), lambda: _not_finite(owner, squares, shapes))
    return math.sqrt(squared) if wait else xp.sqrt(squared)


def _total(arrays: Sequence[np.ndarray[Any, Any]]) -> float:
    """The sum of all squares, in float64, since those of large float32 numbers overflow."""
    if 0 < sum([array.size for array in arrays]) <= SMALL:
        wide = np.concatenate(arrays, axis=None, dtype=np.float64)
        return float(np.add.reduce(np.square(wide, out=wide)))
    squares = (np.square(array.astype(np.float64, copy=False)) for array in arrays)
    return sum(float(np.add.reduce(square, axis=None)) for square in squares)


def _squares(owner: str, held: Held) -> Array:
    """The sum of squares of each gradient, float64."""
    xp = namespace(**{f"{owner}: gradient {k}": gradient.data for k, (_, gradient) in enumerate(held)})
    squares = []
    for _, gradient in held:
        wide = xp.astype(gradient.data, xp.float64, copy=False)
        squares.append(xp.sum(wide * wide))
    return xp.stack(squares)


def _not_finite(owner: str, squares: Array, shapes: Sequence[tuple[int, ...]]) -> FloatingPointError:
    finite = np.isfinite(to_numpy(squares)).tolist()
    wrong = [k for k, is_finite in enumerate(finite) if not is_finite] or list(range(len(shapes)))
    names = ", ".join(f"{k} (shape {shapes[k]})" for k in wrong[:5]) + ", ..." * (len(wrong) > 5)
    return FloatingPointError(
        f"{owner}: {len(wrong)} of {len(shapes)} gradients are not finite: {names}; nothing was clipped. "
        "Look for a too large learning rate, or NaN in the data"
    )


def _scale(held: Held, norm: Number, max_norm: float) -> Number:
    """Multiply all gradients by min(1, max_norm / (norm + 1e-6)); returns this factor."""
    coefficient = float(max_norm) / (norm + 1e-6)
    if isinstance(coefficient, float):
        if coefficient < 1.0:
            _give(held, [gradient.data * coefficient for _, gradient in held])
        return min(1.0, coefficient)
    xp = namespace(coefficient)
    factor = xp.minimum(coefficient, 1.0)
    _give(held, [gradient.data * xp.astype(factor, gradient.dtype) for _, gradient in held])  # float64 would widen
    return factor


def _limit(held: Held, norm: Number, max_value: float) -> None:
    """Bring all elements of all gradients between +-max_value."""
    if isinstance(norm, float) and norm <= max_value:  # no element is larger than the norm
        return
    limit, limited = float(max_value), []
    for _, gradient in held:
        xp = namespace(gradient.data)
        # Not clip: on CuPy that of array-api-compat picks elements by a mask, and to count them waits for the GPU.
        limited.append(xp.minimum(xp.maximum(gradient.data, -limit), limit))
    _give(held, limited)


def _give(held: Held, arrays: Sequence[Array]) -> None:
    """New gradients, to all parameters or, where an interrupt comes, to none."""
    make([new_gradients([parameter for parameter, _ in held], [*map(Tensor, arrays)])])
