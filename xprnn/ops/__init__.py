"""Differentiable primitives: forward and vjp side by side.

Names and arguments are the array API standard's, so this module is the namespace of Tensors: the code of a cell, which
asks ``xp = namespace(x)``, runs on arrays and on Tensors alike. A vjp maps (cotangent g, output y) to the cotangent of
one input, and is itself made of primitives. Arguments may be Tensors, arrays of the same library, or numbers.
"""

from xprnn.ops.arithmetic import add, divide, logaddexp, multiply, negative, pow, squared_error, subtract
from xprnn.ops.choices import clip, maximum, minimum, where
from xprnn.ops.elementwise import (
    abs,
    astype,
    cos,
    erf,
    exp,
    gelu,
    log,
    relu,
    sigmoid,
    sin,
    softplus,
    sqrt,
    square,
    tanh,
)
from xprnn.ops.indexing import getitem, take, take_along_axis
from xprnn.ops.joins import concat, split, stack, unstack
from xprnn.ops.methods import METHODS
from xprnn.ops.operands import as_tensor, lifted, ones_like, value, values, zeros_like
from xprnn.ops.products import linear, matmul
from xprnn.ops.reductions import log_softmax, logsumexp, max, mean, min, softmax, sum, var, vector_norm
from xprnn.ops.shapes import (
    broadcast_to,
    expand_dims,
    flip,
    matrix_transpose,
    permute_dims,
    reshape,
    squeeze,
    unbroadcast,
)

__all__ = [
    "value",
    "values",
    "as_tensor",
    "lifted",
    "unbroadcast",
    "add",
    "subtract",
    "squared_error",
    "multiply",
    "divide",
    "logaddexp",
    "pow",
    "negative",
    "maximum",
    "minimum",
    "clip",
    "where",
    "exp",
    "log",
    "sqrt",
    "square",
    "abs",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "relu",
    "softplus",
    "erf",
    "gelu",
    "sum",
    "mean",
    "var",
    "max",
    "min",
    "vector_norm",
    "logsumexp",
    "softmax",
    "log_softmax",
    "matmul",
    "linear",
    "reshape",
    "expand_dims",
    "squeeze",
    "broadcast_to",
    "permute_dims",
    "matrix_transpose",
    "flip",
    "concat",
    "stack",
    "unstack",
    "split",
    "getitem",
    "take",
    "take_along_axis",
    "zeros_like",
    "ones_like",
    "astype",
    "METHODS",
]
