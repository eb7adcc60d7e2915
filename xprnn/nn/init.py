"""Initial values of weights. All numbers are drawn on the host, so a seed gives the same bits on every backend.

Each function returns an array of the default backend. For a shape (out, in), fan_in = in and fan_out = out.
"""

from __future__ import annotations

import math

import numpy as np

from xprnn.backend import Array, Rng, check_dtype, default_backend, generator

Shape = tuple[int, ...]


def uniform(shape: Shape, bound: float, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """U(-bound, bound)."""
    return _array(generator(rng).uniform(-bound, bound, shape), dtype)


def normal(shape: Shape, std: float = 1.0, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """N(0, std^2)."""
    return _array(generator(rng).normal(0.0, std, shape), dtype)


def constant(shape: Shape, value: float, *, dtype: str = "float32") -> Array:
    """The same value everywhere."""
    return _array(np.full(shape, value), dtype)


def xavier_uniform(shape: Shape, gain: float = 1.0, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010), also called Glorot."""
    fan_in, fan_out = _fans(shape)
    return uniform(shape, gain * math.sqrt(6.0 / (fan_in + fan_out)), rng=rng, dtype=dtype)


def xavier_normal(shape: Shape, gain: float = 1.0, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """N(0, s^2) with s = gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    fan_in, fan_out = _fans(shape)
    return normal(shape, gain * math.sqrt(2.0 / (fan_in + fan_out)), rng=rng, dtype=dtype)


def he_uniform(shape: Shape, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """U(-a, a) with a = sqrt(6 / fan_in), for relu (He et al. 2015, arXiv 1502.01852), also called Kaiming."""
    return uniform(shape, math.sqrt(6.0 / _fans(shape)[0]), rng=rng, dtype=dtype)


def he_normal(shape: Shape, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """N(0, 2 / fan_in), for relu (He et al. 2015, arXiv 1502.01852)."""
    return normal(shape, math.sqrt(2.0 / _fans(shape)[0]), rng=rng, dtype=dtype)


def orthogonal(shape: Shape, gain: float = 1.0, *, rng: Rng = None, dtype: str = "float32") -> Array:
    """Rows or columns, whichever are fewer, orthonormal up to the gain (Saxe et al. 2013, arXiv 1312.6120).

    A shape (k H, H) with k > 1, as recurrent weights have it, gets k orthogonal blocks, one for each gate.
    """
    rows, columns = _matrix(shape)
    draws = generator(rng)
    blocks = rows // columns if rows % columns == 0 else 1
    parts = [_orthogonal(rows // blocks, columns, draws) for _ in range(blocks)]
    return _array(gain * np.concatenate(parts), dtype)


def _orthogonal(rows: int, columns: int, draws: np.random.Generator) -> np.ndarray:
    tall = draws.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # without this the result is not uniform over orthogonal matrices
    return q if rows >= columns else q.T


def _fans(shape: Shape) -> tuple[int, int]:
    rows, columns = _matrix(shape)
    return columns, rows


def _matrix(shape: Shape) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"init: shape is {shape}; expected (out, in), both at least 1")
    return shape[0], shape[1]


def _array(values: np.ndarray, dtype: str) -> Array:
    return default_backend().asarray(values.astype(check_dtype(dtype)))
