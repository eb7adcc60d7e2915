"""Products of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xprnn import backend, host_kernels
from xprnn.backend import namespace
from xprnn.grad_mode import is_grad_enabled
from xprnn.ops.operands import CROSSWISE, Operand, as_tensor, factor
from xprnn.ops.shapes import expand_dims, matrix_transpose, reshape, squeeze, unbroadcast
from xprnn.tape import handed, record, record_joint
from xprnn.tensor import Cotangents, Tensor


def matmul(a: Operand, b: Operand) -> Tensor:
    """The matrix product, with the array API's rules for one axis and for broadcasting of leading axes."""
    a, b = factor("matmul's left operand", a), factor("matmul's right operand", b)
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
    return affine(*inputs)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`linear` of what is known to fit."""
    inputs = (x, weight) if bias is None else (x, weight, bias)
    shape, (outputs, width) = x.shape, weight.shape
    lead = shape[:-1]
    count = math.prod(lead)
    rows = backend.reshaped(x.data, (count, width))
    y = host_kernels.linear(rows, weight.data, None if bias is None else bias.data)

    def pullback(cotangents: Cotangents, results: Sequence[Tensor | None]) -> Cotangents:
        (g,) = cotangents
        assert g is not None
        if is_grad_enabled():
            g_rows = reshape(g, (count, outputs))
            dx = reshape(matmul(g_rows, weight), shape) if x.requires_grad else None
            dw = matmul(matrix_transpose(g_rows), reshape(x, rows.shape)) if weight.requires_grad else None
            return [dx, dw, *[g_rows.sum(axis=0) for _ in inputs[2:]]]
        g_rows, wanted = backend.reshaped(g.data, (count, outputs)), [part.requires_grad for part in inputs]
        dx, *others = host_kernels.linear_back(g_rows, rows, weight.data, *wanted)
        found = [None if dx is None else backend.reshaped(dx, shape), *others]
        return [None if array is None else handed(leaf, array) for leaf, array in zip(inputs, found, strict=False)]

    reads = weight if x.requires_grad else None, x if weight.requires_grad else None
    data = backend.reshaped(y, (*lead, outputs))
    return record_joint("linear", (data,), inputs, pullback, reads, ("weight", "x"))[0]
