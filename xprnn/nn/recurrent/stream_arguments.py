"""What a stream is given: x of any kind, an array for outputs. ``owner`` is the stream's name in errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.arguments import input_tensor
from xprnn.backend import Array, Backend, backend_of, dtype_name, namespace, plain
from xprnn.tensor import Tensor


def input_array(owner: str, x: Any, lead: tuple[str, ...], step: tuple[int, ...], home: Backend) -> Array:
    """x, whatever it came as, as an array of the right shape; ``lead`` names the axes before those of a step."""
    axes = [*lead, *map(str, step)]
    expected = f"({', '.join(axes)})" if len(axes) > 1 else f"({axes[0]},)"
    if isinstance(x, (Tensor, np.ndarray)):
        array = input_tensor(owner, "x", x).data
    elif hasattr(x, "shape"):  # of another library, which a step takes or refuses
        array = x
    else:
        array = _from_numbers(owner, x, expected, home)
    shape = tuple(array.shape)
    if len(shape) != len(axes) or shape[len(lead) :] != step:
        raise ValueError(f"{owner}: x has shape {shape}; expected {expected}")
    return array


def _from_numbers(owner: str, x: Any, expected: str, home: Backend) -> Array:
    """Numbers in lists, and what else NumPy makes an array of, beside the weights."""
    kind = f"{owner}: x is a {type(x).__name__}"
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{kind} of no one shape; expected numbers of shape {expected}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{kind}; expected an array, or numbers in lists, of shape {expected}")
    return home.asarray(array)


def copy(owner: str, target: Array, x: Array) -> Array:
    """The target, with the numbers of x. Raises TypeError for what is no array of real numbers of NumPy's, ValueError
    for numbers of another shape than x says.
    """
    try:
        numbers = np.asarray(x)
        if numbers.shape != target.shape:  # which would be broadcast
            came = f"a {type(x).__name__} of shape {tuple(x.shape)} whose numbers have shape {numbers.shape}"
            raise ValueError(f"{owner}: x is {came}; expected an array of NumPy's")
        np.copyto(target, numbers, casting="same_kind")
    except TypeError:
        what = f"x is a {type(x).__name__} of dtype {getattr(x, 'dtype', None)}"
        raise TypeError(f"{owner}: {what}; expected real numbers, in an array of NumPy's") from None
    return target


def real(owner: str, name: str, array: Array, dtype: str) -> Array:
    """An array of real numbers in a layer's dtype. Raises TypeError for any other."""
    if type(array) is np.ndarray:
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not dtype_name(array).startswith(("float", "int", "uint", "bool")):
        raise TypeError(f"{owner}: {name} has dtype {dtype_name(array)}; expected real numbers")
    xp = namespace(array)
    return xp.astype(array, getattr(xp, dtype), copy=False)


def target(owner: str, out: Any, shape: tuple[int, ...], dtype: str, home: Backend) -> Array:
    """``out`` as an array that outputs can be written to. Raises TypeError and ValueError for any other."""
    if type(out) is not np.ndarray or home.name != "numpy":
        if not hasattr(out, "shape") or isinstance(out, Tensor):
            kind = type(out).__name__
            raise TypeError(f"{owner}: out is a {kind}; expected an array of shape {shape} and dtype {dtype}")
        out = plain(f"{owner}: out", out)
        if backend_of(out) != home:
            raise TypeError(f"{owner}: out is an array of {backend_of(out)}; the layer's weights are of {home}")
    if tuple(out.shape) != shape:
        raise ValueError(f"{owner}: out has shape {tuple(out.shape)}; expected {shape}")
    if dtype_name(out) != dtype:
        raise TypeError(f"{owner}: out has dtype {dtype_name(out)}; expected {dtype}")
    if type(out) is np.ndarray and not out.flags.carray:
        flags = out.flags
        what = "not contiguous" if not flags.c_contiguous else "read-only" if not flags.writeable else "not aligned"
        raise ValueError(f"{owner}: out is {what}; expected an array that is C-contiguous, aligned and writeable")
    return out
