"""Initial values of weights. All numbers are drawn on the host, so a seed gives the same bits on every backend.

Each function returns an array of the default backend. For a shape (out, in), fan_in = in and fan_out = out.
:func:`redraw` puts them into a recurrent layer, gate by gate.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn.arguments import affordable, any_number, at_least_zero, finite_number, float_dtype, size, whole_number
from xprnn.backend import Array, backend_of, default_backend, dtype_name, to_numpy
from xprnn.randomness import Rng, generator
from xprnn.tensor import Parameter

Shape = tuple[int, ...]
Draw = Callable[..., Array]
"""One of the functions here that take shape, rng and dtype; functools.partial gives it other options."""


def uniform(shape: Shape, bound: float, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """U(-bound, bound)."""
    bound = at_least_zero("init", "bound", bound)
    return _array(generator(rng).uniform(-bound, bound, _checked(shape)), dtype)


def normal(shape: Shape, std: float = 1.0, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """N(0, std^2)."""
    std = at_least_zero("init", "std", std)
    return _array(generator(rng).normal(0.0, std, _checked(shape)), dtype)


def constant(shape: Shape, value: float, *, dtype: str = "float32") -> Array:
    """The same value everywhere."""
    return _array(np.full(_checked(shape), any_number("init", "value", value)), dtype)


def xavier_uniform(shape: Shape, gain: float = 1.0, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010), also called Glorot."""
    fan_in, fan_out = _fans(shape)
    return uniform(
        shape, at_least_zero("init", "gain", gain) * math.sqrt(6.0 / (fan_in + fan_out)), rng=rng, dtype=dtype
    )


def xavier_normal(shape: Shape, gain: float = 1.0, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """N(0, s^2) with s = gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    fan_in, fan_out = _fans(shape)
    return normal(
        shape, at_least_zero("init", "gain", gain) * math.sqrt(2.0 / (fan_in + fan_out)), rng=rng, dtype=dtype
    )


def he_uniform(shape: Shape, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """U(-a, a) with a = sqrt(6 / fan_in), for relu (He et al. 2015, arXiv 1502.01852), also called Kaiming."""
    return uniform(shape, math.sqrt(6.0 / _fans(shape)[0]), rng=rng, dtype=dtype)


def he_normal(shape: Shape, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """N(0, 2 / fan_in), for relu (He et al. 2015, arXiv 1502.01852)."""
    return normal(shape, math.sqrt(2.0 / _fans(shape)[0]), rng=rng, dtype=dtype)


def orthogonal(
    shape: Shape, gain: float = 1.0, *, blocks: int | None = None, rng: Rng = None, dtype: str = "float32"
) -> Array:
    """Rows or columns, whichever are fewer, orthonormal up to the gain (Saxe et al. 2013, arXiv 1312.6120).

    ``blocks`` of them on top of each other, each by itself. By default a shape (k H, H), as recurrent weights have it,
    gets k, one for each gate, and any other shape 1.
    """
    rows, columns = _block(shape, blocks)
    gain, draws = finite_number("init", "gain", gain), generator(rng)
    parts = [_orthogonal(rows, columns, draws) for _ in range(shape[0] // rows)]
    return _array(gain * np.concatenate(parts), dtype)


def identity(
    shape: Shape, gain: float = 1.0, *, blocks: int | None = None, rng: Rng = None, dtype: str = "float32"
) -> Array:
    """The identity times the gain, for relu networks (Le, Jaitly and Hinton 2015, arXiv 1504.00941); draws nothing.

    ``blocks`` as of :func:`orthogonal`.
    """
    rows, columns = _block(shape, blocks)
    gain = finite_number("init", "gain", gain)
    return _array(gain * np.tile(np.eye(rows, columns), (shape[0] // rows, 1)), dtype)


def redraw(layer: Any, *, weight_ih: Draw | None = None, weight_hh: Draw | None = None, rng: Rng = None) -> None:
    """Give the input or the recurrent weights of a recurrent layer or cell new values, each gate's block by itself.

    All gates' weights lie in one matrix (G H, I), but each gate is a matrix (H, I) with its own fans: drawn as one, an
    LSTM's Xavier weights would be too small by up to sqrt(5/2). Orthogonal and identity are one whole matrix for each
    gate (``blocks=1``), unless functools.partial asks for more blocks.

    >>> redraw(lstm, weight_ih=xavier_uniform, weight_hh=orthogonal, rng=0)  # doctest: +SKIP

    Raises TypeError for other modules, and for what does not take shape, rng and dtype; ValueError where nothing is
    asked for, or a function gives another shape.
    """
    if not getattr(getattr(layer, "cell", None), "gates", None):
        raise TypeError(f"redraw: layer is a {type(layer).__name__}; expected a recurrent layer or cell with gates")
    asked = {name: draw for name, draw in (("weight_ih", weight_ih), ("weight_hh", weight_hh)) if draw is not None}
    if not asked:
        raise ValueError("redraw: neither weight_ih nor weight_hh is given; expected a function such as orthogonal")
    options = {kind: _options(kind, draw) for kind, draw in asked.items()}
    draws, drawn = generator(rng), list[tuple[Parameter, Array]]()
    for name, parameter in layer.named_parameters():
        if name[: len("weight_ih")] in asked:
            kind, shape = name[: len("weight_ih")], (layer.hidden_size, *parameter.shape[1:])
            gates = parameter.shape[0] // layer.hidden_size
            dtype = dtype_name(parameter.data)
            blocks = [to_numpy(asked[kind](shape, rng=draws, dtype=dtype, **options[kind])) for _ in range(gates)]
            if wrong := [block.shape for block in blocks if block.shape != shape]:
                raise ValueError(f"redraw: {kind} gave shape {wrong[0]} for {name}; expected {shape}")
            drawn.append((parameter, backend_of(parameter.data).asarray(np.concatenate(blocks), dtype)))
    for parameter, array in drawn:
        parameter.data = array


def _options(kind: str, draw: Any) -> dict[str, int]:
    """What redraw gives a function besides shape, rng and dtype: a gate is one block, though it may be (k I, I)."""
    try:
        signature = inspect.signature(draw)
        signature.bind((1, 1), rng=None, dtype="float32")
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"redraw: {kind} is {getattr(draw, '__name__', repr(draw))} ({error}); expected a function of "
            "(shape, rng=..., dtype=...) such as orthogonal, functools.partial giving it other options"
        ) from error
    blocks = signature.parameters.get("blocks")
    return {"blocks": 1} if blocks is not None and blocks.default is None else {}


def _orthogonal(rows: int, columns: int, draws: np.random.Generator) -> np.ndarray:
    tall = draws.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # without this the result is not uniform over orthogonal matrices
    return q if rows >= columns else q.T


def _block(shape: Shape, blocks: int | None) -> Shape:
    """The shape of one of the blocks on top of each other."""
    rows, columns = _matrix(shape)
    if blocks is None:
        return (columns if rows % columns == 0 else rows), columns
    blocks = whole_number("init", "blocks", blocks)
    if rows % blocks:
        raise ValueError(f"init: blocks is {blocks}; expected a divisor of the {rows} rows of shape {shape}")
    return rows // blocks, columns


def _fans(shape: Shape) -> tuple[int, int]:
    rows, columns = _matrix(shape)
    return columns, rows


def _matrix(shape: Shape) -> tuple[int, int]:
    if len(_checked(shape)) != 2 or min(shape) < 1:
        raise ValueError(f"init: shape is {shape}; expected (out, in), both at least 1")
    return shape[0], shape[1]


def _checked(shape: Shape) -> Shape:
    """A shape whose lengths are whole numbers, of an array that memory could hold."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"init: shape is a {type(shape).__name__}; expected a tuple of lengths")
    lengths = tuple(size("init", f"shape[{k}]", length, 0) for k, length in enumerate(shape))
    affordable("init", {"the array": lengths}, shape=lengths)
    return lengths


def _array(values: np.ndarray, dtype: str) -> Array:
    return default_backend().asarray(values.astype(float_dtype("init", dtype)))
