"""What operators around recurrent layers compute: of Tensors, and of arrays on the host where numbers are whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import backend_of, to_numpy
from xprnn.cells import Activation
from xprnn.interop.onnx import products
from xprnn.interop.onnx.parsed import Node
from xprnn.tensor import Tensor

FLOATS = {1: "float32", 11: "float64"}
WHOLE = {2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool"}


def whole_numbers(values: Any) -> tuple[int, ...]:
    """What a shape, axes or the like are given as."""
    return tuple(int(number) for number in np.asarray(to_numpy(values)).reshape(-1))


def _cast(node: Node, x: Any) -> Any:
    to = node.attribute("to", int)
    if to not in FLOATS and to not in WHOLE:
        raise node.error(f"casts to the type {to}; expected float32, float64, whole numbers or bool")
    if to in FLOATS:
        return ops.astype(x, FLOATS[to]) if isinstance(x, Tensor) else Tensor(x.astype(FLOATS[to]))
    return to_numpy(x).astype(WHOLE[to])


def _shape(node: Node, x: Any) -> Any:
    end = node.attribute("end", int, None)
    return np.array(x.shape[node.attribute("start", int, 0) : end], np.int64)


def _constant_of_shape(node: Node, shape: Any) -> Any:
    value = node.attribute("value", np.ndarray, np.zeros(1, np.float32))
    return _held(np.broadcast_to(value.reshape(()), whole_numbers(shape)))  # which takes no memory


def _held(array: Any) -> Any:
    """An array as the other operations take it."""
    return Tensor(array) if array.dtype.kind == "f" else array


def _gather(node: Node, x: Any, indices: Any) -> Any:
    axis, numbers = node.attribute("axis", int, 0), to_numpy(indices)
    length = x.shape[axis]
    outside = (numbers < -length) | (numbers >= length)
    if outside.any():
        raise node.error(f"picks number {numbers[outside][0]} of {length}")
    numbers = np.where(numbers < 0, numbers + length, numbers)
    if not isinstance(x, Tensor):
        return np.take(x, numbers, axis=axis)
    return ops.take(x, backend_of(x.data).asarray(numbers), axis=axis)


def _reshape(node: Node, x: Any, shape: Any) -> Any:
    numbers, keep = whole_numbers(shape), not node.attribute("allowzero", int, 0)
    target = tuple(x.shape[k] if n == 0 and keep else n for k, n in enumerate(numbers))
    return x.reshape(target)


def _flatten(node: Node, x: Any) -> Any:
    axis = node.attribute("axis", int, 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    rows = int(np.prod(x.shape[:axis]))
    return x.reshape((rows, int(np.prod(x.shape[axis:]))))


def _squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    chosen = whole_numbers(axes) if axes is not None else tuple(k for k, n in enumerate(x.shape) if n == 1)
    return ops.squeeze(x, chosen) if isinstance(x, Tensor) else np.squeeze(x, chosen)


def _unsqueeze(node: Node, x: Any, axes: Any) -> Any:
    chosen = whole_numbers(axes)
    rank = len(x.shape) + len(chosen)
    for axis in sorted(node.place(axis, rank) for axis in chosen):
        x = ops.expand_dims(x, axis) if isinstance(x, Tensor) else np.expand_dims(x, axis)
    return x


def _transpose(node: Node, x: Any) -> Any:
    perm = tuple(node.attribute("perm", list, [*range(len(x.shape))][::-1]))
    return ops.permute_dims(x, perm) if isinstance(x, Tensor) else np.transpose(x, perm)


def _concat(node: Node, *parts: Any) -> Any:
    axis = node.attribute("axis", int)
    return ops.concat(parts, axis=axis) if isinstance(parts[0], Tensor) else np.concatenate(parts, axis)


def _split(node: Node, x: Any, sizes: Any = None) -> Any:
    axis, count = node.attribute("axis", int, 0), len(node.outputs)
    axis = node.place(axis, len(x.shape))
    largest = -(-x.shape[axis] // count)
    found = whole_numbers(sizes) if sizes is not None else [largest] * (count - 1)
    if sizes is not None and (min(found, default=0) < 0 or sum(found) != x.shape[axis]):
        raise node.error(f"splits {x.shape[axis]} into {list(found)}")
    edges = [0, *np.cumsum(found).tolist()]
    edges = edges if sizes is not None else [*edges, x.shape[axis]]
    lead = (slice(None),) * axis
    return tuple(x[(*lead, slice(first, last))] for first, last in pairwise(edges))


def _slice(node: Node, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    first, last = whole_numbers(starts), whole_numbers(ends)
    chosen = whole_numbers(axes) if axes is not None else range(len(first))
    strides = whole_numbers(steps) if steps is not None else (1,) * len(first)
    key = [slice(None)] * len(x.shape)
    for axis, start, end, step in zip(chosen, first, last, strides, strict=True):
        length = x.shape[axis]
        if step < 0:  # then ONNX begins inside, and Python has None for what ends before the first
            start = max(start, -length)
        key[axis] = slice(start, None if step < 0 and end < -length else end, step)
    return x[tuple(key)]


def _gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise node.error(f"has factors of shapes {tuple(a.shape)} and {tuple(b.shape)}; expected matrices")
    a = a.T if node.attribute("transA", int, 0) else a
    b = b.T if node.attribute("transB", int, 0) else b
    alpha, beta = node.attribute("alpha", float, 1.0), node.attribute("beta", float, 1.0)
    y = a @ b
    y = y if alpha == 1.0 else y * alpha
    if c is not None and np.broadcast_shapes(tuple(c.shape), tuple(y.shape)) != tuple(y.shape):
        raise node.error(f"adds C of shape {tuple(c.shape)} to a product of shape {tuple(y.shape)}")
    return y if c is None else y + (c if beta == 1.0 else c * beta)


def _divide(node: Node, a: Any, b: Any) -> Any:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a / b
    a, b = np.asarray(a), np.asarray(b)
    if not b.all():
        raise node.error("divides whole numbers by 0")
    rest = np.fmod(a, b)  # of the sign of a
    return (a - rest) // b


def _power(node: Node, x: Any, exponent: Any) -> Any:
    exponent = to_numpy(exponent)
    if not isinstance(x, Tensor):  # whole numbers stay so: what lies between is cut off
        x = to_numpy(x)
        exact = exponent.dtype == x.dtype and np.all(exponent >= 0)
        with np.errstate(all="ignore"):
            return np.power(x if exact else x.astype("float64"), exponent).astype(x.dtype)
    if exponent.size != 1:
        raise node.error(f"has exponents of shape {exponent.shape}; expected one number")
    return x ** float(exponent.reshape(()))


def _expand(node: Node, x: Any, shape: Any) -> Any:
    target = np.broadcast_shapes(tuple(x.shape), whole_numbers(shape))
    return ops.broadcast_to(x, target) if isinstance(x, Tensor) else np.broadcast_to(x, target)


def _range(node: Node, start: Any, limit: Any, delta: Any) -> Any:
    host = [np.asarray(to_numpy(ops.value(number))).reshape(()) for number in (start, limit, delta)]
    (first, last, step), dtype = (number.item() for number in host), host[0].dtype
    count = max(math.ceil((last - first) / step), 0)
    return _held((first + np.arange(count) * step).astype(dtype))


def _where(node: Node, condition: Any, a: Any, b: Any) -> Any:
    tensors = isinstance(a, Tensor) or isinstance(b, Tensor)
    return ops.where(condition, a, b) if tensors else np.where(condition, a, b)


def _chosen(of_tensors: Callable[..., Any], of_arrays: Callable[..., Any]) -> Callable[..., Any]:
    def chosen(node: Node, *parts: Any) -> Any:
        tensors = any(isinstance(part, Tensor) for part in parts)
        return reduce(of_tensors if tensors else of_arrays, parts)

    return chosen


def _reduction(
    of_tensors: Callable[..., Any] | None, of_arrays: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    def reduced(node: Node, x: Any, axes: Any = None) -> Any:
        function = of_tensors if isinstance(x, Tensor) else of_arrays
        if function is None:
            raise node.error(f"has no counterpart here for numbers of {x.dtype}")
        chosen = tuple(node.attribute("axes", list, [])) if axes is None else whole_numbers(axes)
        if not chosen and node.attribute("noop_with_empty_axes", int, 0):
            return ops.abs(x) if node.operator == "ReduceL2" else x  # nothing is summed, but squared and rooted
        found = function(x, chosen or None, keepdims=bool(node.attribute("keepdims", int, 1)))
        return found if isinstance(found, Tensor) else found.astype(x.dtype)  # which NumPy widens

    return reduced


def _layer_norm(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    axis = node.attribute("axis", int, -1)
    axes = tuple(range(node.place(axis, len(x.shape)), len(x.shape)))
    centred = x - ops.mean(x, axes, keepdims=True)
    variance = ops.mean(ops.square(centred), axes, keepdims=True)
    y = centred / ops.sqrt(variance + node.attribute("epsilon", float, 1e-5)) * scale
    return y if bias is None else y + bias


def _gelu(node: Node, x: Any) -> Any:
    kind = node.attribute("approximate", bytes, b"none")
    if kind not in (b"none", b"tanh"):
        raise node.error(f"is the approximation {kind!r}; expected b'none' or b'tanh'")
    if kind == b"none":
        return ops.gelu(x)
    return 0.5 * x * (1.0 + ops.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


def _clip(node: Node, x: Any, least: Any = None, most: Any = None) -> Any:
    ends = [None if end is None else to_numpy(ops.value(end)).item() for end in (least, most)]
    return ops.clip(x, *ends) if isinstance(x, Tensor) else np.clip(x, *ends)


def _triangle(node: Node, x: Any, diagonal: Any = None) -> Any:
    rows, columns = x.shape[-2:]
    k, upper = 0 if diagonal is None else whole_numbers(diagonal)[0], node.attribute("upper", int, 1)
    lower = np.tri(rows, columns, k - 1 if upper else k, dtype=bool)
    kept = ~lower if upper else lower
    # And not a product, which would make NaN of the infinities that masks are made of.
    return (
        ops.where(backend_of(x.data).asarray(kept), x, 0.0)
        if isinstance(x, Tensor)
        else np.where(kept, x, x.dtype.type(0))
    )


def _cumulative(node: Node, x: Any, axis: Any) -> Any:
    if isinstance(x, Tensor) or node.attribute("exclusive", int, 0) or node.attribute("reverse", int, 0):
        raise node.error("has no counterpart here but for whole numbers, from the first to the last")
    if not x.ndim:
        raise node.error("sums up a number; expected at least one axis")
    return np.cumsum(x, whole_numbers(axis)[0], dtype=x.dtype)


def _most(node: Node, x: Any) -> Any:
    if node.attribute("select_last_index", int, 0):
        raise node.error("has select_last_index; expected the first")
    axis, host = node.attribute("axis", int, 0), to_numpy(ops.value(x))
    found = np.argmax(host, axis)
    return np.expand_dims(found, axis) if node.attribute("keepdims", int, 1) else found


def _gather_elements(node: Node, x: Any, indices: Any) -> Any:
    axis = node.place(node.attribute("axis", int, 0), len(x.shape))
    inner = tuple(slice(n if k != axis else None) for k, n in enumerate(indices.shape))
    if not isinstance(x, Tensor):
        return np.take_along_axis(x[inner], to_numpy(indices), axis)
    return ops.take_along_axis(x[inner], backend_of(x.data).asarray(to_numpy(indices)), axis)


def _gather_nd(node: Node, x: Any, indices: Any) -> Any:
    if node.attribute("batch_dims", int, 0):
        raise node.error("has batch_dims; expected none")
    numbers = to_numpy(indices)
    home = backend_of(ops.value(x))
    return x[tuple(home.asarray(numbers[..., k]) for k in range(numbers.shape[-1]))]


def _dropout(node: Node, x: Any, *_: Any) -> Any:
    return x  # models are given to be evaluated


def _activation(name: str, **defaults: float) -> Callable[..., Any]:
    def active(node: Node, x: Any) -> Any:
        return Activation(name, **{k: node.attribute(k, float, value) for k, value in defaults.items()})(x)

    return active


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda node, x: function(x)


def _binary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda node, a, b: function(a, b)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "Cast": _cast, "Shape": _shape, "ConstantOfShape": _constant_of_shape, "Gather": _gather, "Reshape": _reshape,
    "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Transpose": _transpose, "Concat": _concat,
    "Split": _split, "Slice": _slice, "Gemm": _gemm, "Div": _divide, "Pow": _power, "Expand": _expand, "Range": _range,
    "Where": _where, "LayerNormalization": _layer_norm, "Gelu": _gelu, "Dropout": _dropout,
    "ReduceMean": _reduction(ops.mean), "ReduceSum": _reduction(ops.sum, np.sum),
    "ReduceMax": _reduction(ops.max, np.max), "ReduceMin": _reduction(ops.min, np.min),
    "ReduceProd": _reduction(None, np.prod), "ReduceL2": _reduction(ops.vector_norm),
    "ReduceLogSumExp": _reduction(ops.logsumexp), "Einsum": products.einsum, "Conv": products.conv,
    "MaxPool": products.max_pool, "BatchNormalization": products.batch_norm, "Attention": products.attention,
    "Pad": products.pad, "Clip": _clip, "Trilu": _triangle, "CumSum": _cumulative, "ArgMax": _most,
    "GatherElements": _gather_elements, "GatherND": _gather_nd,
    "Sin": _unary(ops.sin), "Cos": _unary(ops.cos), "Reciprocal": _unary(lambda x: 1.0 / x),
    "Not": _unary(lambda x: ~x), "And": _binary(lambda a, b: a & b), "Or": _binary(lambda a, b: a | b),
    "Softmax": lambda node, x: ops.softmax(x, axis=node.attribute("axis", int, -1)),
    "LogSoftmax": lambda node, x: ops.log_softmax(x, axis=node.attribute("axis", int, -1)),
    "Identity": _unary(lambda x: x), "Relu": _unary(ops.relu), "Tanh": _unary(ops.tanh), "Sigmoid": _unary(ops.sigmoid),
    "Softplus": _unary(ops.softplus), "Erf": _unary(ops.erf), "Exp": _unary(ops.exp), "Log": _unary(ops.log),
    "Sqrt": _unary(ops.sqrt), "Abs": _unary(ops.abs), "Neg": _unary(lambda x: -x),
    "Elu": _activation("elu", alpha=1.0), "LeakyRelu": _activation("leaky_relu", alpha=0.01),
    "HardSigmoid": _activation("hard_sigmoid", alpha=0.2, beta=0.5), "Softsign": _activation("softsign"),
    "MatMul": _binary(lambda a, b: a @ b), "Add": _binary(lambda a, b: a + b), "Sub": _binary(lambda a, b: a - b),
    "Mul": _binary(lambda a, b: a * b), "Less": _binary(lambda a, b: a < b), "Greater": _binary(lambda a, b: a > b),
    "Equal": _binary(lambda a, b: ops.value(a) == ops.value(b)), "Max": _chosen(ops.maximum, np.maximum),
    "Min": _chosen(ops.minimum, np.minimum),
    "LessOrEqual": _binary(lambda a, b: a <= b), "GreaterOrEqual": _binary(lambda a, b: a >= b),
}  # fmt: skip
"""By ONNX's names: of a node and the values of its inputs, that of its output, or a tuple of them."""
