"""What operators around recurrent layers compute: of Tensors, and of arrays on the host where numbers are whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import to_numpy
from xprnn.cells import Activation
from xprnn.interop.onnx import products
from xprnn.interop.onnx.parsed import Node
from xprnn.interop.onnx.rearranging import REARRANGING, as_operand, whole_numbers
from xprnn.tensor import Tensor

FLOATS = {1: "float32", 11: "float64"}
WHOLE = {2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool"}


def _cast(node: Node, x: Any) -> Any:
    to = node.attribute("to", int)
    if to not in FLOATS and to not in WHOLE:
        raise node.error(f"casts to the type {to}; expected float32, float64, whole numbers or bool")
    if to in FLOATS:
        return ops.astype(x, FLOATS[to]) if isinstance(x, Tensor) else Tensor(x.astype(FLOATS[to]))
    return to_numpy(x).astype(WHOLE[to])


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


def _modulo(node: Node, a: Any, b: Any) -> Any:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        raise node.error("has no counterpart here but for whole numbers")
    if not np.all(b):
        raise node.error("divides whole numbers by 0")
    return (np.fmod if node.attribute("fmod", int, 0) else np.mod)(a, b)


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


def _range(node: Node, start: Any, limit: Any, delta: Any) -> Any:
    host = [np.asarray(to_numpy(ops.value(number))).reshape(()) for number in (start, limit, delta)]
    (first, last, step), dtype = (number.item() for number in host), host[0].dtype
    count = max(math.ceil((last - first) / step), 0)
    return as_operand((first + np.arange(count) * step).astype(dtype))


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
    **REARRANGING, "Cast": _cast, "Gemm": _gemm, "Div": _divide, "Pow": _power, "Range": _range, "Where": _where,
    "LayerNormalization": _layer_norm, "Gelu": _gelu, "Dropout": _dropout,
    "ReduceMean": _reduction(ops.mean), "ReduceSum": _reduction(ops.sum, np.sum),
    "ReduceMax": _reduction(ops.max, np.max), "ReduceMin": _reduction(ops.min, np.min),
    "ReduceProd": _reduction(None, np.prod), "ReduceL2": _reduction(ops.vector_norm),
    "ReduceLogSumExp": _reduction(ops.logsumexp), "Einsum": products.einsum, "Conv": products.conv,
    "MaxPool": products.max_pool, "BatchNormalization": products.batch_norm, "Attention": products.attention,
    "Pad": products.pad, "Clip": _clip, "CumSum": _cumulative, "ArgMax": _most,
    "Sin": _unary(ops.sin), "Cos": _unary(ops.cos), "Reciprocal": _unary(lambda x: 1.0 / x),
    "Not": _unary(lambda x: ~x), "And": _binary(lambda a, b: a & b), "Or": _binary(lambda a, b: a | b),
    "Softmax": lambda node, x: ops.softmax(x, axis=node.attribute("axis", int, -1)),
    "LogSoftmax": lambda node, x: ops.log_softmax(x, axis=node.attribute("axis", int, -1)),
    "Identity": _unary(lambda x: x), "Relu": _unary(ops.relu), "Tanh": _unary(ops.tanh), "Sigmoid": _unary(ops.sigmoid),
    "Softplus": _unary(ops.softplus), "Erf": _unary(ops.erf), "Exp": _unary(ops.exp), "Log": _unary(ops.log),
    "Sqrt": _unary(ops.sqrt), "Abs": _unary(ops.abs), "Neg": _unary(lambda x: -x),
    "Elu": _activation("elu", alpha=1.0), "LeakyRelu": _activation("leaky_relu", alpha=0.01),
    "PRelu": _binary(lambda x, slope: ops.where(x < 0, slope * x, x)),
    "HardSwish": _unary(lambda x: x * Activation("hard_sigmoid", 1.0 / 6.0, 0.5)(x)),
    "Mish": _unary(lambda x: x * ops.tanh(ops.softplus(x))), "Mod": _modulo,
    "HardSigmoid": _activation("hard_sigmoid", alpha=0.2, beta=0.5), "Softsign": _activation("softsign"),
    "MatMul": _binary(lambda a, b: a @ b), "Add": _binary(lambda a, b: a + b), "Sub": _binary(lambda a, b: a - b),
    "Mul": _binary(lambda a, b: a * b), "Less": _binary(lambda a, b: a < b), "Greater": _binary(lambda a, b: a > b),
    "Equal": _binary(lambda a, b: ops.value(a) == ops.value(b)), "Max": _chosen(ops.maximum, np.maximum),
    "Min": _chosen(ops.minimum, np.minimum),
    "LessOrEqual": _binary(lambda a, b: a <= b), "GreaterOrEqual": _binary(lambda a, b: a >= b),
}  # fmt: skip
"""By ONNX's names: of a node and the values of its inputs, that of its output, or a tuple of them."""
