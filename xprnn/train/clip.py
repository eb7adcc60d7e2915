"""Clipping, against gradients that explode through time (Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from xprnn import host_kernels
from xprnn.arguments import real_number
from xprnn.backend import Array, dtype_name, namespace, to_numpy
from xprnn.postponed import require
from xprnn.tape import tensors_of
from xprnn.tensor import Tensor
from xprnn.together import make, new_gradients

Held = list[tuple[Tensor, Tensor]]
"""(parameter, gradient) for each parameter that has one."""

LEAST, SMALL = 2**10, 2**16
"""Of all gradients on NumPy together: from LEAST numbers on kernels are worth their import; up to SMALL they are
squared as one array, which for more would take much memory."""

Number = Any
"""A float, or an array without axes on a device, which nobody has waited for."""


LEAST_NORM = 2.0**-400
"""A norm below it may lack squares that are too small for float64."""
SMALLER, LARGER = 2.0**-600, 2.0**600
"""Factors that bring squares back into range; as powers of two they cost no bit."""


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most max_norm; returns the norm before.

    g = g max_norm / (norm + 1e-6) where that is less than g. ``max_norm=math.inf`` only measures. Waits for a GPU once.

    Raises
    ------
    FloatingPointError
        A gradient holds NaN or infinity, or the norm is above what float64 holds; all gradients are as they were.
    ValueError
        max_norm is not above 0, or a gradient has not its parameter's shape.
    TypeError
        What parameters has is no Tensor, or a gradient is none.
    """
    limit = _limit_of("clip_grad_norm", "max_norm", max_norm)
    held = _checked("clip_grad_norm", parameters)
    norm: float = _norm("clip_grad_norm", held, waiting=True)
    _scale(held, norm, limit)
    return norm


def clip_grad_value(parameters: Iterable[Tensor], max_value: float) -> float:
    """Limit every element of every gradient to +-max_value; returns the joint norm before. Raises as clip_grad_norm."""
    limit = _limit_of("clip_grad_value", "max_value", max_value)
    held = _checked("clip_grad_value", parameters)
    norm: float = _norm("clip_grad_value", held, waiting=True)
    _limit(held, norm, limit)
    return norm


def clip(
    place: str, parameters: Sequence[Tensor], clip_norm: float | None, clip_value: float | None
) -> tuple[Number, Number]:
    """What ``fit`` does: clip by norm, by value or not at all. Returns the joint norms before and after; never waits.

    ``place`` begins the error for a gradient that is not finite, which may come later.
    """
    owner = f"{place}: clip_grad_{'norm' if clip_value is None else 'value'}"
    held = _with_gradient(parameters)
    before = _norm(owner, held)
    if clip_value is not None:
        _limit(held, before, clip_value)
        return before, _norm(owner, _with_gradient(parameters))
    if clip_norm is not None:
        return before, before * _scale(held, before, clip_norm)
    return before, before


def _limit_of(owner: str, name: str, limit: Any) -> float:
    return real_number(owner, name, limit, "a number above 0", math.ulp(0.0))


def _checked(owner: str, parameters: Iterable[Tensor]) -> Held:
    """Those that have a gradient. Raises TypeError or ValueError where somebody assigned one that does not fit."""
    held = _with_gradient(tensors_of(owner, "parameters", parameters))
    for k, (parameter, gradient) in enumerate(held):
        if not isinstance(gradient, Tensor):
            raise TypeError(f"{owner}: gradient {k} is a {type(gradient).__name__}; expected a Tensor")
        if gradient.data.shape != parameter.data.shape:
            raise ValueError(f"{owner}: gradient {k} has shape {gradient.shape}; expected {parameter.shape}")
    return held


def _with_gradient(parameters: Sequence[Tensor]) -> Held:
    """The parameters that have a gradient, each once."""
    distinct = {id(parameter): parameter for parameter in parameters}.values()
    return [(parameter, parameter.grad) for parameter in distinct if parameter.grad is not None]


def _norm(owner: str, held: Held, waiting: bool = False) -> Number:
    """The joint norm, required to be finite: a float, or for gradients on a device, unless ``waiting``, an array."""
    arrays = [gradient.data for _, gradient in held]
    norm: Number = None
    if set(map(type, arrays)) <= {np.ndarray}:  # the most common, and nothing to wait for
        norm = math.sqrt(_total(arrays))
        if not held or LEAST_NORM <= norm < math.inf:
            return norm
    with np.errstate(over="ignore", under="ignore"):
        if norm is None:
            squares = _squares(owner, held)
            if not waiting:
                return _unknown_norm(owner, held, squares)
            norm = math.sqrt(to_numpy(squares).sum())
        if not LEAST_NORM <= norm < math.inf:  # NaN too
            scale = LARGER if norm < LEAST_NORM else SMALLER
            squares = to_numpy(_squares(owner, held, scale))
            norm = math.sqrt(squares.sum()) / scale
            require(not math.isfinite(norm), _not_finite(owner, held, squares))
        return norm


def _total(arrays: Sequence[np.ndarray[Any, Any]]) -> float:
    """The sum of all squares, in float64, since those of large float32 numbers overflow."""
    if 0 < sum([array.size for array in arrays]) <= SMALL:
        flat = np.concatenate(arrays, axis=None)
        # By size alone, and not by whether kernels are loaded: the last bits must not depend on what ran before.
        if flat.size >= LEAST and (found := host_kernels.kernels_for(flat)) is not None:
            return float(found.square_sum(flat))
        arrays = [flat]
    with np.errstate(over="ignore", under="ignore"):
        squares = (np.square(array.astype(np.float64, copy=False)) for array in arrays)
        return sum(float(np.add.reduce(square, axis=None)) for square in squares)


def _squares(owner: str, held: Held, scale: float = 1.0) -> Array:
    """The sum of squares of each gradient, float64, times the square of a scale."""
    xp = namespace(**{f"{owner}: gradient {k}": gradient.data for k, (_, gradient) in enumerate(held)})
    squares = []
    for _, gradient in held:
        array = xp.astype(gradient.data, xp.float64, copy=False)
        array = array if scale == 1.0 else array * scale
        squares.append(xp.sum(array * array))
    return xp.stack(squares)


def _unknown_norm(owner: str, held: Held, squares: Array) -> Array:
    """The joint norm on a device, without waiting: all that may be needed is computed there, and chosen there."""
    xp = namespace(squares)
    norm = xp.sqrt(xp.sum(squares))
    if any(dtype_name(gradient.data) == "float64" for _, gradient in held):  # of float32 no square is out of range
        lesser, squares = _squares(owner, held, LARGER), _squares(owner, held, SMALLER)
        norm = xp.where(xp.isfinite(norm), norm, xp.sqrt(xp.sum(squares)) / SMALLER)
        norm = xp.where(norm < LEAST_NORM, xp.sqrt(xp.sum(lesser)) / LARGER, norm)
    require(~xp.isfinite(norm), _not_finite(owner, held, squares))
    return norm


def _not_finite(owner: str, held: Held, squares: Array) -> Callable[[], FloatingPointError]:
    """Makes the error for a norm that is not finite; ``squares`` are on the gradients' device."""
    shapes = [gradient.shape for _, gradient in held]

    def error() -> FloatingPointError:
        wrong = [k for k, is_finite in enumerate(np.isfinite(to_numpy(squares)).tolist()) if not is_finite]
        names = ", ".join(f"{k} (shape {shapes[k]})" for k in wrong[:5]) + ", ..." * (len(wrong) > 5)
        came = f"{len(wrong)} of {len(shapes)} gradients are not finite: {names}"
        if not wrong:
            came = f"the joint norm of {len(shapes)} gradients is above what float64 holds"
        return FloatingPointError(
            f"{owner}: {came}; nothing was clipped. Look for a too large learning rate, or NaN in the data"
        )

    return error


def _scale(held: Held, norm: Number, max_norm: float) -> Number:
    """Multiply all gradients by min(1, max_norm / (norm + 1e-6)); returns this factor."""
    coefficient = max_norm / (norm + 1e-6)
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
    limited = []
    for _, gradient in held:
        xp = namespace(gradient.data)
        # Not clip: on CuPy that of array-api-compat picks elements by a mask, and to count them waits for the GPU.
        limited.append(xp.minimum(xp.maximum(gradient.data, -max_value), max_value))
    _give(held, limited)


def _give(held: Held, arrays: Sequence[Array]) -> None:
    """New gradients, to all parameters or, where an interrupt comes, to none."""
    make([new_gradients([parameter for parameter, _ in held], [*map(Tensor, arrays)])])
