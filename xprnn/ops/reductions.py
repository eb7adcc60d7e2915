"""Sums, means, extrema and norms over axes, and softmax, which divides by a sum."""

from __future__ import annotations

import math

from xprnn import host_kernels
from xprnn.backend import dtype_name, namespace
from xprnn.flags import true_or_false
from xprnn.ops.choices import where
from xprnn.ops.elementwise import astype, exp, square
from xprnn.ops.operands import X, lifted, ones_like, zeros_like
from xprnn.ops.shapes import Axis, all_axes, broadcast_to, one_axis, reshape
from xprnn.tape import record
from xprnn.tensor import Tensor


def _kept(y: Tensor, axes: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """A reduced Tensor with its lost axes back at length 1."""
    return reshape(y, tuple(1 if i in axes else n for i, n in enumerate(shape)))


def _rounded(name: str, x: Tensor) -> Tensor:
    """x itself, but for integers and float16, whose sums overflow, and complex numbers."""
    word = dtype_name(x.data)
    if "float" not in word or word == "float16":
        raise TypeError(f"{name}: x has dtype {word}; expected float32 or float64: cast it first")
    return x


@lifted
def sum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over the axes, or over all of them."""
    axes, keepdims = all_axes(axis, x.ndim), true_or_false("sum", "keepdims", keepdims)
    data = namespace(x.data).sum(x.data, axis=axes, keepdims=keepdims)
    return record("sum", data, (x,), [lambda g, y: broadcast_to(_kept(g, axes, x.shape), x.shape)])


@lifted
def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over the axes, or over all of them. NaN over nothing."""
    axes, xp, keepdims = all_axes(axis, x.ndim), namespace(x.data), true_or_false("mean", "keepdims", keepdims)
    if dtype_name(x.data) == "float16":  # whose sum overflows long before its mean
        return astype(mean(astype(x, xp.float32), axes, keepdims), x.dtype)
    count = math.prod([x.shape[a] for a in axes])
    share = 1.0 / count if count else math.nan
    data = xp.sum(x.data, axis=axes, keepdims=keepdims) * share
    return record("mean", data, (x,), [lambda g, y: broadcast_to(_kept(g * share, axes, x.shape), x.shape)])


@lifted
def var(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The variance, divided by the number of elements."""
    x, keepdims = _rounded("var", x), true_or_false("var", "keepdims", keepdims)
    centred = x - mean(x, axis, keepdims=True)
    # Once more, for the digits that a mean far from 0 has lost.
    return mean(square(centred - mean(centred, axis, keepdims=True)), axis, keepdims)


@lifted
def max(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The maximum; equal maxima share the gradient."""
    return _extremum("max", x, axis, keepdims)


@lifted
def min(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The minimum; equal minima share the gradient."""
    return _extremum("min", x, axis, keepdims)


def _extremum(name: str, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    xp, axes, keepdims = namespace(x.data), all_axes(axis, x.ndim), true_or_false(name, "keepdims", keepdims)

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        reached = xp.astype(x.data == _kept(y, axes, x.shape).data, x.dtype)
        return _kept(g, axes, x.shape) * (reached / xp.sum(reached, axis=axes, keepdims=True))

    if axes and not math.prod([x.shape[a] for a in axes]):
        raise ValueError(f"{name}: x has shape {x.shape}; expected at least one number along axes {axes}")
    return record(name, getattr(xp, name)(x.data, axis=axes, keepdims=keepdims), (x,), [vjp], (x,), X)


@lifted
def vector_norm(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The Euclidean norm over the axes, with gradient 0 at 0."""
    xp, axes, keepdims = namespace(x.data), all_axes(axis, x.ndim), true_or_false("vector_norm", "keepdims", keepdims)
    _rounded("vector_norm", x)

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        norm = _kept(y, axes, x.shape)
        zero = norm.data == 0
        return where(zero, zeros_like(x), _kept(g, axes, x.shape) * x / where(zero, ones_like(norm), norm))

    data = xp.sqrt(xp.sum(x.data * x.data, axis=axes, keepdims=keepdims))
    return record("vector_norm", data, (x,), [vjp], (x,), X)


@lifted
def logsumexp(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log of the sum of e ** x, without overflow; -inf of nothing."""
    xp, axes, keepdims = namespace(x.data), all_axes(axis, x.ndim), true_or_false("logsumexp", "keepdims", keepdims)
    _rounded("logsumexp", x)
    top = host_kernels.row_max(xp, x.data, axes)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    above = xp.log(xp.sum(xp.exp(x.data - top), axis=axes, keepdims=True))
    data = above + top

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        # y - top, with the digits that y lost where top is large.
        lost = record("subtract", above, (_kept(y, axes, x.shape),), [lambda g, y: g])
        return _kept(g, axes, x.shape) * exp((x - top) - lost)

    return record("logsumexp", data if keepdims else xp.squeeze(data, axis=axes), (x,), [vjp], (x,), X)


@lifted
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """e ** x / sum of e ** x along an axis."""
    xp, x, axis = namespace(x.data), _rounded("softmax", x), one_axis(axis, x.ndim)
    powers = xp.exp(x.data - host_kernels.row_max(xp, x.data, (axis,)))
    data = powers / xp.sum(powers, axis=axis, keepdims=True)
    return record("softmax", data, (x,), [lambda g, y: y * (g - sum(g * y, axis=axis, keepdims=True))])


@lifted
def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """log of softmax, without loss of precision."""
    xp, x, axis = namespace(x.data), _rounded("log_softmax", x), one_axis(axis, x.ndim)
    shifted = x.data - host_kernels.row_max(xp, x.data, (axis,))
    data = shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))
    return record("log_softmax", data, (x,), [lambda g, y: g - exp(y) * sum(g, axis=axis, keepdims=True)])
