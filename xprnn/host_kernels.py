"""Operations of the tape that the compiled kernels can take, above all large matrix products.

Those keep out of the way of the recurrent layers' threads, which the threads of NumPy's library do not.
"""

from __future__ import annotations

import importlib
import math
from functools import cache
from typing import Any

import numpy as np

from xprnn.backend import NATIVE, Array, backend_of, namespace
from xprnn.beyond_standard import erf as erf_array
from xprnn.beyond_standard import scatter_add as scatter_add_array
from xprnn.settings import KERNELS

# Below so many multiply-adds NumPy's library takes one thread; with fewer rows a product is not worth its packing.
LEAST_WORK, LEAST_ROWS = 2**18, 16
LEAST_LINEAR = 2**15  # multiply-adds of the way back through an affine map, which is three operations of NumPy's
LEAST_STACKS = 10**7  # multiply-adds of stacks of such products, which are worth more than one thread
LEAST_ELEMENTS = 2**14  # below, a call of the kernels is not worth their import
WAYS = (None, "auto", "compiled", "compiled-scan", "compiled-filled", "reservoir")
"""What may be forced where these kernels run: a sequence by its own name has the products that it has by "auto"."""


@cache
def kernels() -> Any:
    """The kernels, imported and compiled only when a call needs them; or why there are none."""
    try:
        if importlib.import_module("numba").config.DISABLE_JIT:
            return "NUMBA_DISABLE_JIT is set"
        if _in_a_subinterpreter():
            return "compiled code that lets other threads run would wait for ever in a subinterpreter"
        return importlib.import_module("xprnn.kernels.cpu")
    except Exception as error:  # a broken compiler stack raises far more than ImportError
        return f"Numba cannot be used ({type(error).__name__}: {error})"


def _in_a_subinterpreter() -> bool:
    """Whether this is not the main interpreter of its process: Numba asks for that one's lock."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # from Python 3.13 on, and before
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False


@cache
def int8_kernels() -> Any:
    """Those of weights of 8 bits, which few programs need; or why there are none."""
    found = kernels()
    return found if isinstance(found, str) else importlib.import_module("xprnn.kernels.cpu.int8_stream")


def matmul(a: Array, b: Array) -> Array:
    """The product of two arrays, by their library's own rules."""
    name = _product(a, b)
    found = kernels_for(a, b) if name else None
    return _librarys(a, b) if found is None else getattr(found, name)(a, b)


def _librarys(a: Array, b: Array) -> Array:
    """The product that the arrays' own library computes."""
    outer = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] == 1  # at which libraries for sums are slow
    return a * b if outer else a @ b


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """x W^T + b, for x (N, I), W (O, I) and b (O,), or without b."""
    large = x.shape[0] >= LEAST_ROWS and math.prod(x.shape) * weight.shape[0] > LEAST_WORK
    if large and (found := kernels_for(x, weight, *(() if bias is None else (bias,)))) is not None:
        return found.affine(x, weight, bias)
    y = _librarys(x, weight.T)
    if bias is not None:
        y += bias
    return y


def linear_back(
    g: Array, x: Array, weight: Array, need_x: bool, need_weight: bool, need_bias: bool = False
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of x W^T + b in x, W and b, for g (N, O), x (N, I) and W (O, I); None for those not asked for."""
    many = g.shape[0] >= LEAST_ROWS and g.shape[0] * math.prod(weight.shape) >= LEAST_LINEAR
    if many and (found := kernels_for(g, x, weight)) is not None:
        return found.linear_back(g, x, weight, need_x, need_weight, need_bias)
    dx = _librarys(g, weight) if need_x else None
    dw = matmul(g.T, x) if need_weight else None
    return dx, dw, namespace(g).sum(g, axis=0) if need_bias else None


def erf(x: Array) -> Array:
    """The error function of every element."""
    found = kernels_for(x) if math.prod(x.shape) >= LEAST_ELEMENTS else None
    return erf_array(x) if found is None else found.erf(x)


def row_max(xp: Any, x: Array, axes: tuple[int, ...]) -> Array:
    """The largest numbers along axes, which stay with length 1; -inf where there are none."""
    if 0 in x.shape:
        shape = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
        return xp.full(shape, -math.inf, dtype=x.dtype, device=backend_of(x).device)
    found = loaded_for(x) if axes == (x.ndim - 1,) else None
    return xp.max(x, axis=axes, keepdims=True) if found is None else found.row_max(x)


def surprise(x: Array, target: Array) -> tuple[Array, Array] | None:
    """-log softmax(x)[t] for logits x (..., C) and class numbers t (...), and the softmax; None where NumPy serves.

    Rows whose t is below 0 are not looked at: both are 0 there, and so is the way back.
    """
    small = math.prod(x.shape) < LEAST_ELEMENTS
    if small or type(target) is not np.ndarray or (found := kernels_for(x)) is None:
        return None
    losses, softmax = found.surprise(x.reshape(-1, x.shape[-1]), target.reshape(-1))
    return losses.reshape(target.shape), softmax.reshape(x.shape)


def surprise_back(softmax: Array, target: Array, flow: Array) -> Array:
    """The way back from what :func:`surprise` gave: flow (softmax - 1 at the target), for one flow or one each."""
    found = kernels().surprise_back(softmax.reshape(-1, softmax.shape[-1]), target.reshape(-1), flow.reshape(-1))
    return found.reshape(softmax.shape)


def scatter_add(index: Array, values: Array, size: int) -> Array:
    """As that of :mod:`xprnn.beyond_standard`."""
    found = loaded_for(values) if type(index) is np.ndarray else None
    return scatter_add_array(index, values, size) if found is None else found.scatter_add(index, values, size)


def kernels_for(*arrays: Array) -> Any:
    """The compiled kernels, where they take these arrays and ``use_kernels`` has not forced others; else None."""
    if KERNELS.get() not in WAYS:
        return None
    for array in arrays:
        if type(array) is not np.ndarray or array.dtype != arrays[0].dtype:
            return None
    if arrays[0].dtype not in NATIVE.values():  # or in another order of bytes
        return None
    found = kernels()
    return None if isinstance(found, str) else found


def loaded_for(*arrays: Array) -> Any:
    """The same where something has loaded them already: for what has the same bits without them."""
    return kernels_for(*arrays) if kernels.cache_info().currsize else None


def _product(a: Array, b: Array) -> str:
    """Which of the kernels' products is made for arrays of such sizes; none where their library's is best."""
    if not (a.ndim == b.ndim >= 2 and a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2]):
        return ""
    count, (rows, k), columns = math.prod(a.shape[:-2]), a.shape[-2:], b.shape[-1]
    each = rows * k * columns
    if each <= LEAST_WORK:
        return "matmul_stacks" if a.ndim > 2 and count * each > LEAST_STACKS else ""
    if rows < LEAST_ROWS:
        return ""
    return "matmul" if a.ndim == 2 else "matmul_large_stacks" if len(a) > 1 else ""
