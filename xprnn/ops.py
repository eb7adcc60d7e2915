"""Differentiable primitives: forward and vjp side by side.

Names and arguments are the array API standard's, so this module is the namespace of Tensors: the code of a cell, which
asks ``xp = namespace(x)``, runs on arrays and on Tensors alike. A vjp maps (cotangent g, output y) to the cotangent of
one input, and is itself made of primitives. Arguments may be Tensors, arrays of the same library, or numbers.
"""

from __future__ import annotations

import functools
import math
import numbers
import operator
import reprlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from xprnn import backend, counts, host_kernels, indices
from xprnn.backend import Array, namespace
from xprnn.flags import several, true_or_false
from xprnn.postponed import within
from xprnn.tape import is_grad_enabled, is_recorded, record, record_joint
from xprnn.tensor import Cotangents, Parameter, Tensor

Axis = int | tuple[int, ...] | None
Operand = Any  # Tensor, array or number
P = ParamSpec("P")
R = TypeVar("R")
X = ("x",)
ORDINARY = frozenset((Tensor, Parameter))
"""Tensors that may be read without asking; a class of its own may refuse to be an operand."""
CROSSWISE = ("the right operand", "the left operand")
DIVISOR, FIRST = ("the right operand",) * 2, ("the left operand",) * 2
"""What errors call that which the rule of each operand reads."""


def value(x: Operand) -> Any:
    """The array, or number, behind an operand."""
    return x._read() if isinstance(x, Tensor) else x


def values(a: Operand, b: Operand) -> tuple[Any, Any]:
    """The arrays, or numbers, behind two operands.

    A number of NumPy beside an array is taken as Python's: its dtype would widen float32, and other libraries refuse
    it.
    """
    left, right = value(a), value(b)
    if isinstance(left, np.generic) != isinstance(right, np.generic):
        if isinstance(right, np.generic) and hasattr(left, "shape"):
            right = _plain(right)
        elif hasattr(right, "shape"):
            left = _plain(left)
    return left, right


def _plain(number: np.generic) -> Any:
    """A number of NumPy as Python's."""
    item = number.item()
    return float(item) if isinstance(item, np.floating) else item  # long doubles stay NumPy's


def as_tensor(x: Any) -> Tensor:
    """The operand itself where it is a Tensor, else a constant around it."""
    return x if type(x) in ORDINARY or value(x) is not x else Tensor(x)


def lifted(primitive: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Operand, P], R]:
    """Let a primitive take an array or a number where it is written for a Tensor."""

    @functools.wraps(primitive)
    def on_operand(x: Operand, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return primitive(x if type(x) in ORDINARY else _operand(primitive.__name__, x), *args, **kwargs)

    return on_operand


def _operand(name: str, x: Any) -> Tensor:
    """A Tensor, or one around what is none. Raises TypeError for arrays of what are no numbers."""
    tensor = as_tensor(x)
    if type(tensor.data) is np.ndarray and tensor.data.dtype.kind in "OSUMmV":
        raise TypeError(f"{name}: x is an array of dtype {tensor.data.dtype}; expected numbers")
    return tensor


# --- arithmetic, with broadcasting ----------------------------------------------------------------------------------


def unbroadcast(g: Tensor, x: Operand) -> Tensor:
    """Sum a cotangent over the axes along which x was broadcast."""
    shape = tuple(x.shape)
    if g.dtype != x.dtype:  # a float32 operand beside a float64 one
        g = astype(g, x.dtype)
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and g.shape[extra + i] != 1)
    return reshape(sum(g, axis=axes), shape)


def _binary(
    name: str,
    a: Operand,
    b: Operand,
    compute: Callable[[Any, Any], Array],
    left_rule: Callable[[Tensor, Tensor], Tensor],
    right_rule: Callable[[Tensor, Tensor], Tensor],
    reads: tuple[Operand, ...] = (),
    labels: tuple[str, ...] = CROSSWISE,
) -> Tensor:
    left, right = a._read() if isinstance(a, Tensor) else a, b._read() if isinstance(b, Tensor) else b
    if type(left) is not np.ndarray or type(right) not in (np.ndarray, float):  # the most common, and nothing to check
        left, right = values(a, b)
        namespace(**{f"{name}'s left operand": left, f"{name}'s right operand": right})
    rules = (lambda g, y: unbroadcast(left_rule(g, y), a), lambda g, y: unbroadcast(right_rule(g, y), b))
    try:
        data = compute(left, right)
    except (TypeError, ValueError) as error:
        raise _unfit(name, left, right, error) from error
    return record(name, data, (a, b), rules, reads, labels)


def _unfit(name: str, left: Any, right: Any, error: Exception) -> Exception:
    """What an array library said of two operands, with what they are."""
    shown = [
        f"an array of shape {tuple(x.shape)} and dtype {x.dtype}" if hasattr(x, "shape") else reprlib.repr(x)
        for x in (left, right)
    ]
    return type(error)(f"{name}: the left operand is {shown[0]}, the right one {shown[1]}: {error}")


def add(a: Operand, b: Operand) -> Tensor:
    """a + b."""
    return _binary("add", a, b, operator.add, lambda g, y: g, lambda g, y: g)


def subtract(a: Operand, b: Operand) -> Tensor:
    """a - b."""
    return _binary("subtract", a, b, operator.sub, lambda g, y: g, lambda g, y: -g)


def squared_error(a: Operand, b: Operand) -> Tensor:
    """(a - b)^2, as one operation."""
    left, right = values(a, b)
    namespace(**{"squared_error's left operand": left, "squared_error's right operand": right})
    try:
        difference = left - right
    except (TypeError, ValueError) as error:
        raise _unfit("squared_error", left, right, error) from error

    def slope() -> Tensor:
        return 2.0 * _difference(a, b, difference)

    rules = (lambda g, y: unbroadcast(g * slope(), a), lambda g, y: unbroadcast(-g * slope(), b))
    return record("squared_error", difference * difference, (a, b), rules)


def _difference(a: Operand, b: Operand, data: Array) -> Tensor:
    """a - b, which is known already."""
    return record("subtract", data, (a, b), (lambda g, y: unbroadcast(g, a), lambda g, y: unbroadcast(-g, b)))


def multiply(a: Operand, b: Operand) -> Tensor:
    """a * b."""
    return _binary("multiply", a, b, operator.mul, lambda g, y: g * b, lambda g, y: g * a, reads=(b, a))


def divide(a: Operand, b: Operand) -> Tensor:
    """a / b."""
    return _binary(
        "divide", a, b, operator.truediv, lambda g, y: g / b, lambda g, y: -g * y / b, reads=(b, b), labels=DIVISOR
    )


def logaddexp(a: Operand, b: Operand) -> Tensor:
    """log(e ** a + e ** b), without overflow."""
    left, right = values(a, b)
    xp = namespace(**{"logaddexp's left operand": left, "logaddexp's right operand": right})
    try:
        data = xp.logaddexp(left, right)
    except (TypeError, ValueError) as error:
        raise _unfit("logaddexp", left, right, error) from error
    rules: Sequence[Callable[[Tensor, Tensor], Tensor]] = ()
    if is_recorded(x for x in (a, b) if isinstance(x, Tensor)):
        # sigmoid(a - b), small ones too; not by the result, which has lost digits where both are far from 0.
        difference = left - right
        rules = (
            lambda g, y: unbroadcast(g * exp(-softplus(-_difference(a, b, difference))), a),
            lambda g, y: unbroadcast(g * exp(-softplus(_difference(a, b, difference))), b),
        )
    return record("logaddexp", data, (a, b), rules)


@lifted
def pow(x: Tensor, exponent: Any) -> Tensor:  # noqa: A001 - the array API's name
    """x ** exponent, for a number as exponent."""
    if not isinstance(exponent, numbers.Real):
        raise TypeError(
            f"pow: the exponent is a {type(exponent).__name__}; expected a number (write exp(b * log(a)) otherwise)"
        )
    # NumPy's numbers have a dtype, which would widen a float32 base; Python's do not.
    exponent = int(exponent) if isinstance(exponent, numbers.Integral) else float(exponent)
    power = 1.0 if exponent == 0 else exponent
    return record("pow", x.data**exponent, (x,), [lambda g, y: g * (exponent * x ** (power - 1))], (x,), X)


@lifted
def negative(x: Tensor) -> Tensor:
    """-x."""
    return record("negative", -x.data, (x,), [lambda g, y: -g])


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of two, NaN where either is; where they are equal, the gradient goes to a."""
    return _chosen("maximum", a, b)


def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of two, NaN where either is; where they are equal, the gradient goes to a."""
    return _chosen("minimum", a, b)


def _chosen(name: str, a: Operand, b: Operand) -> Tensor:
    first = values(a, b)[0]
    return _binary(
        name,
        a,
        b,
        lambda a, b: getattr(namespace(a, b), name)(a, b),
        lambda g, y: where(first == y.data, g, zeros_like(g)),
        lambda g, y: where(first == y.data, zeros_like(g), g),
        reads=(a, a),
        labels=FIRST,
    )


@lifted
def clip(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:  # noqa: A002 - the array API's names
    """x, but no less than min and no more than max. The gradient is that of x from the one to the other, 0 outside."""
    x = x if min is None else maximum(x, min)
    return x if max is None else minimum(x, max)


def where(condition: Operand, a: Operand, b: Operand) -> Tensor:
    """a where the condition holds, else b. Nothing flows back from an element that was not chosen, not even NaN."""
    chosen, (left, right) = value(condition), values(a, b)
    xp = namespace(condition=chosen, a=left, b=right)
    like = left if hasattr(left, "dtype") else right
    if not hasattr(like, "dtype"):
        raise TypeError("where: a and b are both numbers; expected an array or Tensor for at least one of them")
    if not backend.dtype_name(like).startswith("float") and (isinstance(left, float) or isinstance(right, float)):
        raise TypeError(
            f"where: a float beside an array of {backend.dtype_name(like)} would be cut off; cast the array first"
        )
    left, right = (x if hasattr(x, "dtype") else xp.full_like(like, x) for x in (left, right))
    return record(
        "where",
        xp.where(chosen, left, right),
        (a, b),
        [
            lambda g, y: unbroadcast(where(chosen, g, zeros_like(g)), a),
            lambda g, y: unbroadcast(where(chosen, zeros_like(g), g), b),
        ],
        (chosen, chosen),
        ("the condition",) * 2,
    )


# --- elementwise functions ------------------------------------------------------------------------------------------


@lifted
def exp(x: Tensor) -> Tensor:
    """e ** x."""
    return record("exp", namespace(x.data).exp(x.data), (x,), [lambda g, y: g * y])


@lifted
def log(x: Tensor) -> Tensor:
    """The natural logarithm."""
    return record("log", namespace(x.data).log(x.data), (x,), [lambda g, y: g / x], (x,), X)


@lifted
def sqrt(x: Tensor) -> Tensor:
    """The square root. Its gradient at 0 is infinite."""
    return record("sqrt", namespace(x.data).sqrt(x.data), (x,), [lambda g, y: g / (2.0 * y)])


@lifted
def square(x: Tensor) -> Tensor:
    """x * x."""
    return record("square", x.data * x.data, (x,), [lambda g, y: g * (2.0 * x)], (x,), X)


@lifted
def abs(x: Tensor) -> Tensor:  # noqa: A001 - the array API's name
    """|x|, with gradient 0 at 0."""
    xp = namespace(x.data)
    return record("abs", xp.abs(x.data), (x,), [lambda g, y: g * xp.sign(x.data)], (x,), X)


@lifted
def sin(x: Tensor) -> Tensor:
    """The sine."""
    return record("sin", namespace(x.data).sin(x.data), (x,), [lambda g, y: g * cos(x)], (x,), X)


@lifted
def cos(x: Tensor) -> Tensor:
    """The cosine."""
    return record("cos", namespace(x.data).cos(x.data), (x,), [lambda g, y: -g * sin(x)], (x,), X)


@lifted
def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return record("tanh", namespace(x.data).tanh(x.data), (x,), [lambda g, y: g * (1.0 - y * y)])


@lifted
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e ** -x), computed as tanh(x/2)/2 + 1/2.

    This neither overflows nor needs a case distinction, and is exact to a rounding error of 1, not of the result: below
    x = -38 (float32: -20) it is 0. For the logarithm take ``-softplus(-x)``.
    """
    data = 0.5 * namespace(x.data).tanh(0.5 * x.data) + 0.5
    return record("sigmoid", data, (x,), [lambda g, y: g * (y * (1.0 - y))])


@lifted
def relu(x: Tensor) -> Tensor:
    """max(x, 0), with gradient 0 at 0. NaN stays NaN."""
    xp = namespace(x.data)
    # A product with zeros and ones is several times faster than where, which the CPU cannot predict.
    return record("relu", xp.maximum(x.data, 0), (x,), [lambda g, y: g * xp.astype(y.data != 0, x.dtype)])


@lifted
def softplus(x: Tensor) -> Tensor:
    """log(1 + e ** x), without overflow."""
    xp = namespace(x.data)
    return record("softplus", xp.logaddexp(x.data, xp.zeros_like(x.data)), (x,), [lambda g, y: g * sigmoid(x)], (x,), X)


@lifted
def erf(x: Tensor) -> Tensor:
    """The error function."""
    return record(
        "erf", host_kernels.erf(x.data), (x,), [lambda g, y: g * (2.0 / math.sqrt(math.pi) * exp(-x * x))], (x,), X
    )


@lifted
def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function of x (Hendrycks and Gimpel 2016, arXiv 1606.08415), exact."""
    return x * (0.5 + 0.5 * erf(x * math.sqrt(0.5)))


# --- reductions -----------------------------------------------------------------------------------------------------


def _axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, all of them for None. Raises ValueError for one that is not there."""
    # A tuple is asked for by itself, since abstract classes are slow to answer.
    axes = range(ndim) if axis is None else axis if isinstance(axis, (tuple, Iterable)) else (axis,)
    return tuple(_axis(a, ndim) for a in axes)


def _axis(axis: int, ndim: int) -> int:
    """The same of one axis."""
    try:
        axis = operator.index(axis)
    except TypeError:
        raise TypeError(f"the axis is {reprlib.repr(axis)}; expected an integer") from None
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis {axis} is out of range for {ndim} dimensions")
    return axis % ndim


def _kept(y: Tensor, axes: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """A reduced Tensor with its lost axes back at length 1."""
    return reshape(y, tuple(1 if i in axes else n for i, n in enumerate(shape)))


@lifted
def sum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:  # noqa: A001 - the array API's name
    """The sum over the axes, or over all of them."""
    axes, keepdims = _axes(axis, x.ndim), true_or_false("sum", "keepdims", keepdims)
    data = namespace(x.data).sum(x.data, axis=axes, keepdims=keepdims)
    return record("sum", data, (x,), [lambda g, y: broadcast_to(_kept(g, axes, x.shape), x.shape)])


@lifted
def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over the axes, or over all of them. NaN over nothing."""
    axes, xp, keepdims = _axes(axis, x.ndim), namespace(x.data), true_or_false("mean", "keepdims", keepdims)
    count = math.prod([x.shape[a] for a in axes])
    share = 1.0 / count if count else math.nan
    data = xp.sum(x.data, axis=axes, keepdims=keepdims) * share
    return record("mean", data, (x,), [lambda g, y: broadcast_to(_kept(g * share, axes, x.shape), x.shape)])


@lifted
def var(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The variance, divided by the number of elements."""
    keepdims = true_or_false("var", "keepdims", keepdims)
    return mean(square(x - mean(x, axis, keepdims=True)), axis, keepdims)


@lifted
def max(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:  # noqa: A001 - the array API's name
    """The maximum; equal maxima share the gradient."""
    return _extremum("max", x, axis, keepdims)


@lifted
def min(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:  # noqa: A001 - the array API's name
    """The minimum; equal minima share the gradient."""
    return _extremum("min", x, axis, keepdims)


def _extremum(name: str, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    xp, axes, keepdims = namespace(x.data), _axes(axis, x.ndim), true_or_false(name, "keepdims", keepdims)

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        reached = xp.astype(x.data == _kept(y, axes, x.shape).data, x.dtype)
        return _kept(g, axes, x.shape) * (reached / xp.sum(reached, axis=axes, keepdims=True))

    return record(name, getattr(xp, name)(x.data, axis=axes, keepdims=keepdims), (x,), [vjp], (x,), X)


@lifted
def vector_norm(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The Euclidean norm over the axes, with gradient 0 at 0."""
    xp, axes, keepdims = namespace(x.data), _axes(axis, x.ndim), true_or_false("vector_norm", "keepdims", keepdims)

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        norm = _kept(y, axes, x.shape)
        zero = norm.data == 0
        return where(zero, zeros_like(x), _kept(g, axes, x.shape) * x / where(zero, ones_like(norm), norm))

    data = xp.sqrt(xp.sum(x.data * x.data, axis=axes, keepdims=keepdims))
    return record("vector_norm", data, (x,), [vjp], (x,), X)


@lifted
def logsumexp(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log of the sum of e ** x, without overflow."""
    xp, axes, keepdims = namespace(x.data), _axes(axis, x.ndim), true_or_false("logsumexp", "keepdims", keepdims)
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
    xp, axis = namespace(x.data), _axis(axis, x.ndim)
    powers = xp.exp(x.data - host_kernels.row_max(xp, x.data, (axis,)))
    data = powers / xp.sum(powers, axis=axis, keepdims=True)
    return record("softmax", data, (x,), [lambda g, y: y * (g - sum(g * y, axis=axis, keepdims=True))])


@lifted
def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """log of softmax, without loss of precision."""
    xp, axis = namespace(x.data), _axis(axis, x.ndim)
    shifted = x.data - host_kernels.row_max(xp, x.data, (axis,))
    data = shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))
    return record("log_softmax", data, (x,), [lambda g, y: g - exp(y) * sum(g, axis=axis, keepdims=True)])


# --- products -------------------------------------------------------------------------------------------------------


def matmul(a: Operand, b: Operand) -> Tensor:
    """The matrix product, with the array API's rules for one axis and for broadcasting of leading axes."""
    a, b = as_tensor(a), as_tensor(b)
    if b.ndim == 1:
        return squeeze(matmul(a, expand_dims(b, 1)), -1)
    if a.ndim == 1:
        return squeeze(matmul(expand_dims(a, 0), b), -2)
    if a.ndim > 2 and b.ndim == 2:  # one large product instead of many small ones
        rows = reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))
        return reshape(matmul(rows, b), (*a.shape[:-1], b.shape[-1]))
    namespace(**{"matmul's left operand": a.data, "matmul's right operand": b.data})
    return record(
        "matmul",
        host_kernels.matmul(a.data, b.data),
        (a, b),
        [
            lambda g, y: unbroadcast(matmul(g, matrix_transpose(b)), a),
            lambda g, y: unbroadcast(matmul(matrix_transpose(a), g), b),
        ],
        (b, a),
        CROSSWISE,
    )


def linear(x: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """x weight^T + bias as one operation, for x (..., I), weight (O, I), bias (O,) of one dtype.

    Raises TypeError for several dtypes, ValueError for other shapes.
    """
    given = (x, weight) if bias is None else (x, weight, bias)
    x, weight, *rest = inputs = tuple(map(as_tensor, given))
    arrays = [part.data for part in inputs]
    names = ("x", "weight", "bias")[: len(inputs)]
    backend.shared_namespace("linear", names, *arrays)
    shape, fits = x.shape, weight.shape
    if len(fits) != 2 or shape[-1:] != fits[1:] or (rest and rest[0].shape != fits[:1]):
        came = ", ".join(f"{name} {part.shape}" for name, part in zip(names, inputs, strict=True))
        raise ValueError(f"linear: the shapes are {came}; expected x (..., I), weight (O, I), bias (O,)")
    dtype = arrays[0].dtype
    if any([array.dtype != dtype for array in arrays]):  # noqa: C419 - a generator takes longer
        came = ", ".join(f"{name} {part.dtype}" for name, part in zip(names, inputs, strict=True))
        raise TypeError(f"linear: the dtypes are {came}; expected one")
    (*lead, _), (outputs, width) = shape, fits
    count = math.prod(lead)
    rows = backend.reshaped(arrays[0], (count, width))
    y = host_kernels.linear(rows, arrays[1], arrays[2] if rest else None)

    def pullback(cotangents: Cotangents, results: Sequence[Tensor | None]) -> Cotangents:
        (g,) = cotangents
        assert g is not None
        if is_grad_enabled():
            g_rows = reshape(g, (count, outputs))
            dx = reshape(matmul(g_rows, weight), shape) if x.requires_grad else None
            dw = matmul(matrix_transpose(g_rows), reshape(x, rows.shape)) if weight.requires_grad else None
            return [dx, dw, *[sum(g_rows, axis=0) for _ in rest]]
        g_rows, wanted = backend.reshaped(g.data, (count, outputs)), [part.requires_grad for part in inputs]
        dx, *others = host_kernels.linear_back(g_rows, rows, weight.data, *wanted)
        found = (None if dx is None else backend.reshaped(dx, shape), *others)
        return [None if array is None else Tensor(array) for array in found[: len(inputs)]]

    reads = weight if x.requires_grad else None, x if weight.requires_grad else None
    data = backend.reshaped(y, (*lead, outputs))
    (result,) = record_joint("linear", (data,), inputs, pullback, reads, ("weight", "x"))
    return result


# --- shape ----------------------------------------------------------------------------------------------------------


@lifted
def reshape(x: Tensor, shape: int | tuple[int, ...]) -> Tensor:
    """The same elements in another shape; one length may be -1."""
    try:
        shape = tuple(map(operator.index, shape if isinstance(shape, (tuple, Iterable)) else (shape,)))
    except TypeError:
        raise TypeError(f"reshape: shape is {reprlib.repr(shape)}; expected integers") from None
    if -1 in shape and x.size == 0:  # array libraries cannot infer a length from no elements
        shape = tuple(0 if n == -1 else n for n in shape)
    return record("reshape", backend.reshaped(x.data, shape), (x,), [lambda g, y: reshape(g, x.shape)])


@lifted
def expand_dims(x: Tensor, axis: int) -> Tensor:
    """A new axis of length 1."""
    before = (slice(None),) * _axis(axis, x.ndim + 1)  # indexing is several times faster than np.expand_dims
    return record("expand_dims", x.data[(*before, None, ...)], (x,), [lambda g, y: reshape(g, x.shape)])


@lifted
def squeeze(x: Tensor, axis: Axis) -> Tensor:
    """Without axes of length 1. Raises ValueError for others, as the array API does; ``x.squeeze`` leaves them."""
    data = namespace(x.data).squeeze(x.data, axis=_axes(axis, x.ndim))
    return record("squeeze", data, (x,), [lambda g, y: reshape(g, x.shape)])


@lifted
def broadcast_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeated along axes of length 1 and new leading axes."""
    data = namespace(x.data).broadcast_to(x.data, shape)
    return record("broadcast_to", data, (x,), [lambda g, y: unbroadcast(g, x)])


@lifted
def permute_dims(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The axes in another order."""
    given, axes = axes, _axes(axes, x.ndim)
    if sorted(axes) != [*range(x.ndim)]:
        raise ValueError(f"permute_dims: axes are {given}; expected each of 0 to {x.ndim - 1} once")
    data = namespace(x.data).permute_dims(x.data, axes)
    inverse = tuple(sorted(range(x.ndim), key=axes.__getitem__))
    return record("permute_dims", data, (x,), [lambda g, y: permute_dims(g, inverse)])


@lifted
def matrix_transpose(x: Tensor) -> Tensor:
    """The last two axes exchanged."""
    data = namespace(x.data).matrix_transpose(x.data)
    return record("matrix_transpose", data, (x,), [lambda g, y: matrix_transpose(g)])


@lifted
def flip(x: Tensor, axis: Axis = None) -> Tensor:
    """In reverse order along the axes."""
    axes = _axes(axis, x.ndim)
    return record("flip", namespace(x.data).flip(x.data, axis=axes), (x,), [lambda g, y: flip(g, axes)])


def concat(arrays: Sequence[Operand], axis: int = 0) -> Tensor:
    """Joined along an existing axis."""
    parts = [as_tensor(x) for x in several("concat", "arrays", arrays)]
    xp = namespace(**{f"concat's operand {k}": x.data for k, x in enumerate(parts)})
    for k, x in enumerate(parts):
        if x.ndim == 0:
            raise ValueError(f"concat: operand {k} has no axes; expected at least one (stack joins along a new axis)")
    axis = _axis(axis, parts[0].ndim)
    data = xp.concat([x.data for x in parts], axis=axis)
    keys: list[Any] = []
    start = 0
    for x in parts:
        keys.append((*[slice(None)] * axis, slice(start, start + x.shape[axis]), ...))
        start += x.shape[axis]
    return record("concat", data, parts, _picks(keys, parts))


def stack(arrays: Sequence[Operand], axis: int = 0) -> Tensor:
    """Joined along a new axis."""
    parts = [as_tensor(x) for x in several("stack", "arrays", arrays)]
    xp = namespace(**{f"stack's operand {k}": x.data for k, x in enumerate(parts)})
    axis = _axis(axis, parts[0].ndim + 1)
    keys = [(*[slice(None)] * axis, k, ...) for k in range(len(parts))]
    return record("stack", xp.stack([x.data for x in parts], axis=axis), parts, _picks(keys, parts))


@lifted
def unstack(x: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, all recorded as one operation: their cotangents are stacked once."""
    axis = _axis(axis, x.ndim)

    def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        given = next(g for g in cotangents if g is not None)
        return [stack([zeros_like(given) if g is None else g for g in cotangents], axis)]

    return record_joint("unstack", namespace(x.data).unstack(x.data, axis=axis), (x,), pullback)


@lifted
def split(x: Tensor, sections: int, axis: int = 0) -> tuple[Tensor, ...]:
    """So many parts of one length along an axis, such as a cell's gates; all are recorded as one operation.

    As NumPy's and PyTorch's ``chunk``. Raises ValueError where the axis has no whole multiple of that length.
    """
    axis, sections = _axis(axis, x.ndim), counts.size("split", "sections", sections)
    length, rest = divmod(x.shape[axis], sections)
    if rest:
        raise ValueError(f"split: axis {axis} has length {x.shape[axis]}; expected a multiple of sections, {sections}")

    def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        given = next(g for g in cotangents if g is not None)
        return [concat([zeros_like(given) if g is None else g for g in cotangents], axis)]

    keys = [(*[slice(None)] * axis, slice(k * length, (k + 1) * length), ...) for k in range(sections)]
    return record_joint("split", [x.data[key] for key in keys], (x,), pullback)


def _picks(keys: Sequence[Any], parts: Sequence[Tensor]) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """Rules that give each part the piece of the cotangent at its key, in the part's dtype."""
    return [lambda g, y, key=key, x=x: unbroadcast(g[key], x) for key, x in zip(keys, parts, strict=True)]  # type: ignore[misc]


@lifted
def getitem(x: Tensor, key: Any) -> Tensor:
    """Indexing as NumPy's: integers, slices, ..., None, and arrays or lists of integers or booleans.

    Numbers that come several times have their gradients added up. Raises IndexError for what is out of range.
    """
    if type(key) is int:  # the most common, and nothing to check
        return record("getitem", x.data[key, ...], (x,), [lambda g, y: _place(g, (key, ...), x.shape)])
    key = key if isinstance(key, tuple) else (key,)
    for part in key:
        if part is True or part is False:
            raise TypeError(indices.SINGLE)
        if not (isinstance(part, (int, slice)) or part is None or part is ... or _is_number(part)):
            return _picked(x, indices.picks(tuple(value(part) for part in key), x.data))
    key = tuple(
        part if isinstance(part, slice) or not hasattr(part, "__index__") else operator.index(part) for part in key
    )
    if ... not in key:
        key = (*key, ...)
    return record("getitem", x.data[key], (x,), [lambda g, y: _place(g, key, x.shape)])


def _picked(x: Tensor, picks: indices.Picks) -> Tensor:
    """An index with arrays: rows picked by number, and the axes of the numbers brought to where they belong."""
    if any(part != slice(None) for part in picks.basic):
        x = getitem(x, picks.basic)
    rest = [axis for axis in range(x.ndim) if axis not in picks.axes]
    if picks.axes != tuple(range(len(picks.axes))):
        x = permute_dims(x, (*picks.axes, *rest))
    shape = x.shape[len(picks.axes) :]
    found = take(reshape(x, (math.prod(x.shape[: len(picks.axes)]), *shape)), picks.numbers)
    if not picks.place:
        return found
    front = tuple(range(picks.numbers.ndim))
    others = range(len(front), found.ndim)
    return permute_dims(found, (*others[: picks.place], *front, *others[picks.place :]))


def _is_number(part: Any) -> bool:
    """Whether an index is a single integer of any kind."""
    boolean = hasattr(part, "dtype") and backend.dtype_name(part) == "bool"
    return hasattr(part, "__index__") and getattr(part, "ndim", 0) == 0 and not boolean


def _place(g: Tensor, key: tuple[Any, ...], shape: tuple[int, ...]) -> Tensor:
    """Zeros, with g at the indexed place: the other direction of getitem."""
    xp = namespace(g.data)
    out = backend.backend_of(g.data).zeros(shape, backend.dtype_name(g.data))
    target = tuple(part for part in key if part is not None)
    out[target] = xp.reshape(g.data, tuple(out[target].shape))
    return record("place", out, (g,), [lambda h, y: getitem(h, key)])


def _require_array(owner: str, indices: Any) -> None:
    if not hasattr(indices, "shape"):
        raise TypeError(f"{owner}: indices is a {type(indices).__name__}; expected an array of integers")


@lifted
def take(x: Tensor, indices: Array, axis: int = 0) -> Tensor:
    """Slices of x picked by number along an axis. The axes of indices, of any shape, take that one's place."""
    axis = _axis(axis, x.ndim)
    _require_array("take", value(indices))
    if axis != 0:
        order = (axis, *(a for a in range(x.ndim) if a != axis))
        rows = take(permute_dims(x, order), indices)
        front = tuple(range(value(indices).ndim))
        rest = [a for a in range(rows.ndim) if a not in front]
        return permute_dims(rows, (*rest[:axis], *front, *rest[axis:]))
    indices, shape = value(indices), x.shape
    xp = namespace(x=x.data, indices=indices)
    if type(indices) is np.ndarray:
        rows = x.data.take(indices, axis=0)
    else:  # the standard has it for one axis of numbers
        rows = xp.reshape(xp.take(x.data, xp.reshape(indices, (-1,)), axis=0), (*indices.shape, *shape[1:]))
    return record("take", rows, (x,), [lambda g, y: _scatter_add(g, indices, shape)], (indices,), ("indices",))


def _scatter_add(g: Tensor, indices: Array, shape: tuple[int, ...]) -> Tensor:
    """Parts of g summed into rows of zeros: the other direction of take."""
    numbers = backend.reshaped(indices, (-1,))
    rows = backend.reshaped(g.data, (numbers.shape[0], math.prod(shape[1:])))
    summed = backend.reshaped(host_kernels.scatter_add(numbers, rows, shape[0]), shape)
    return record("scatter_add", summed, (g,), [lambda h, y: take(h, indices)])


@lifted
def take_along_axis(x: Tensor, indices: Array, axis: int = -1) -> Tensor:
    """Elements of x picked along an axis, other axes side by side: for the last, y[..., k] = x[..., indices[..., k]].

    indices have x's number of axes, and its lengths but along that axis; below 0 they count from the end.
    Raises IndexError for numbers that the axis has not.
    """
    axis, indices = _axis(axis, x.ndim), value(indices)
    _require_array("take_along_axis", indices)
    xp = namespace(x=x.data, indices=indices)
    indices = xp.astype(indices, xp.int64, copy=False)  # a narrow type could not number all elements
    if axis != x.ndim - 1:
        order = (*(a for a in range(x.ndim) if a != axis), axis)
        back = tuple(sorted(range(x.ndim), key=order.__getitem__))
        return permute_dims(take_along_axis(permute_dims(x, order), xp.permute_dims(indices, order)), back)
    if tuple(indices.shape[:-1]) != x.shape[:-1]:
        raise ValueError(f"take_along_axis: indices have shape {tuple(indices.shape)}; x has {x.shape}")
    length, rows = x.shape[-1], math.prod(x.shape[:-1])
    starts = xp.reshape(backend.backend_of(indices).arange(rows) * length, (*x.shape[:-1], 1))

    def outside(number: int) -> Exception:
        return IndexError(f"take_along_axis: indices have {number}, counted from 0; the axis has length {length}")

    wrapped = within(xp.where(indices < 0, indices + length, indices), length, outside)  # else of the next row
    return take(reshape(x, (rows * length,)), wrapped + starts)


# --- constants like a Tensor ----------------------------------------------------------------------------------------


def zeros_like(x: Operand) -> Tensor:
    """Zeros of the same shape, dtype and device; a constant."""
    return Tensor(namespace(value(x)).zeros_like(value(x)))


def ones_like(x: Operand) -> Tensor:
    """Ones of the same shape, dtype and device; a constant."""
    return Tensor(backend.ones_like(value(x)))


def _is_numeric(dtype: Any) -> bool:
    """Whether NumPy knows it as a dtype of numbers."""
    try:
        return np.dtype(dtype).kind in "biuf"
    except TypeError:
        return False


@lifted
def astype(x: Tensor, dtype: Any, copy: bool = True) -> Tensor:
    """In another floating-point dtype; gradients come back in the old one."""
    old = x.dtype
    if dtype is None or (isinstance(dtype, (str, type, np.ndarray, list, dict)) and not _is_numeric(dtype)):
        raise TypeError(f"astype: dtype is {reprlib.repr(dtype)}; expected one of numbers, such as 'float64'")
    data = namespace(x.data).astype(x.data, dtype, copy=true_or_false("astype", "copy", copy))
    return record("astype", data, (x,), [lambda g, y: astype(g, old)])


# --- operators ------------------------------------------------------------------------------------------------------


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Tensor, Any], Any]:
    """A comparison that gives a plain boolean array."""

    def compared(a: Tensor, b: Operand) -> Any:
        left, right = values(a, b)
        if hasattr(right, "shape") and type(right) is not type(left):
            namespace(**{"the comparison's left operand": left, "the comparison's right operand": right})
        return compare(left, right)

    return compared


METHODS = (
    *(sum, mean, max, min, logsumexp, softmax, log_softmax),
    *(exp, log, sqrt, square, abs, sin, cos, tanh, sigmoid, relu, clip, pow, astype),
)
"""Functions that Tensors have as methods, with the same arguments."""


def _exchanged(x: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two axes exchanged."""
    a, b = _axes((axis0, axis1), x.ndim)
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return permute_dims(x, tuple(order))


def _flattened(x: Tensor, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The axes from the one to the other as one."""
    first, last = _axes((start_axis, end_axis), x.ndim) if x.ndim else (0, -1)
    shape = x.shape
    return reshape(x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def _squeezed(x: Tensor, axis: Axis = None) -> Tensor:
    """Without axes of length 1, all of them or those given; longer ones stay, as in PyTorch."""
    return squeeze(x, tuple(a for a in _axes(axis, x.ndim) if x.shape[a] == 1))


def _place_of(name: str, x: Tensor, axis: int | None) -> Array:
    """Where an extremum is, by argmax or argmin."""
    array = value(x)
    return getattr(namespace(array), name)(array, axis=None if axis is None else _axis(axis, x.ndim))


def _give_operators() -> None:
    """Tensor's operators are these primitives; tensor.py cannot import them, so they are set here."""
    operators: dict[str, Any] = {
        "__array_namespace__": lambda self, api_version=None: sys.modules[__name__],
        "__add__": add,
        "__radd__": lambda a, b: add(b, a),
        "__sub__": subtract,
        "__rsub__": lambda a, b: subtract(b, a),
        "__mul__": multiply,
        "__rmul__": lambda a, b: multiply(b, a),
        "__truediv__": divide,
        "__rtruediv__": lambda a, b: divide(b, a),
        "__pow__": pow,
        "__neg__": negative,
        "__matmul__": matmul,
        "__rmatmul__": lambda a, b: matmul(b, a),
        "__getitem__": getitem,
        "__eq__": _comparison(operator.eq),
        "__ne__": _comparison(operator.ne),
        "__lt__": _comparison(operator.lt),
        "__le__": _comparison(operator.le),
        "__gt__": _comparison(operator.gt),
        "__ge__": _comparison(operator.ge),
        "__abs__": abs,
        "T": property(matrix_transpose),
        "reshape": lambda x, *shape: reshape(x, shape[0] if len(shape) == 1 else shape),
        "permute": lambda x, *axes: permute_dims(x, axes[0] if len(axes) == 1 else axes),
        "transpose": _exchanged,
        "flatten": _flattened,
        "unsqueeze": expand_dims,
        "squeeze": _squeezed,
        "argmax": lambda x, axis=None: _place_of("argmax", x, axis),
        "argmin": lambda x, axis=None: _place_of("argmin", x, axis),
        **{method.__name__: method for method in METHODS},
    }
    for name, primitive in operators.items():
        setattr(Tensor, name, primitive)


_give_operators()
