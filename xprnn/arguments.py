"""Checks of arguments, in the words that all layers and all of training share."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from xprnn.backend import DTYPES, NATIVE, dtype_name, plain
from xprnn.counts import affordable as affordable
from xprnn.counts import integer as integer
from xprnn.counts import shown
from xprnn.counts import size as size
from xprnn.counts import sizes as sizes
from xprnn.counts import whole_number as whole_number
from xprnn.flags import several as several  # these stand lower, where the tape asks them too
from xprnn.flags import true_or_false as true_or_false
from xprnn.tensor import Tensor

Check = Callable[[str, str, Any], Any]
"""Of (owner, name, value) the value to keep. Raises ValueError or TypeError that names owner and name."""


def real_number(owner: str, name: str, number: Any, expected: str, low: float = 0.0, high: float = math.inf) -> float:
    """A number of Python or NumPy from low to high, as Python's, whose dtype never widens float32 arrays."""
    value = _as_float(number)
    if not low <= value <= high:
        raise ValueError(f"{owner}: {name} is {shown(number)}; expected {expected}")
    return value


def above_zero(owner: str, name: str, number: Any) -> float:
    """A finite number above 0. Raises ValueError for anything else."""
    return real_number(owner, name, number, "a number above 0", math.ulp(0.0), sys.float_info.max)


def at_least_zero(owner: str, name: str, number: Any) -> float:
    """A finite number of at least 0. Raises ValueError for anything else."""
    return real_number(owner, name, number, "a number of at least 0", high=sys.float_info.max)


def finite_number(owner: str, name: str, number: Any) -> float:
    """A finite number. Raises ValueError for anything else."""
    return real_number(owner, name, number, "a finite number", -sys.float_info.max, sys.float_info.max)


def any_number(owner: str, name: str, number: Any) -> float:
    """A float of Python or NumPy, NaN and infinities too, or an integer that fits one. Raises ValueError otherwise."""
    if isinstance(number, float):
        return float(number)
    return real_number(owner, name, number, "a number", -math.inf)


def probability(owner: str, name: str, number: Any) -> float:
    """A number from 0 to 1. Raises ValueError for anything else."""
    return real_number(owner, name, number, "a probability from 0 to 1", high=1.0)


def share(owner: str, name: str, number: Any) -> float:
    """A number from 0 to below 1. Raises ValueError for anything else."""
    return real_number(owner, name, number, "a share from 0 to below 1", high=math.nextafter(1.0, 0.0))


def one_of(owner: str, name: str, word: Any, known: Iterable[str]) -> str:
    """One of the words that are known. Raises ValueError for anything else."""
    if not isinstance(word, str) or word not in known:
        raise ValueError(f"{owner}: {name} is {word!r}; expected one of {', '.join(map(repr, known))}")
    return str(word)


def float_dtype(owner: str, dtype: Any) -> str:
    """The name of a dtype that layers have, of which NumPy's own is one too. Raises ValueError for anything else."""
    name = str(dtype) if isinstance(dtype, np.dtype) else dtype
    if not isinstance(name, str) or name not in DTYPES:
        raise ValueError(f"{owner}: dtype is {dtype!r}; expected 'float32' or 'float64'")
    return name


def of_kind(owner: str, name: str, value: Any, kind: Any) -> Any:
    """What is of a kind. Raises TypeError for anything else."""
    if not isinstance(value, kind):
        raise TypeError(f"{owner}: {name} is a {type(value).__name__}; expected {kind.__name__}")
    return value


def function(owner: str, name: str, value: Any) -> Callable[..., Any]:
    """What can be called. Raises TypeError for anything else."""
    if not callable(value):
        raise TypeError(f"{owner}: {name} is a {type(value).__name__}; expected a function")
    return value


def each_true_or_false(owner: str, **flags: Any) -> Iterator[bool]:
    """Flags by name, each as :func:`true_or_false` gives it, in their order."""
    return (true_or_false(owner, name, flag) for name, flag in flags.items())


def at_least(least: int) -> Check:
    """The check that takes whole numbers from the least on."""
    return partial(whole_number, least=least)


def among(known: Collection[str]) -> Check:
    """The check that takes one of some words."""
    return partial(one_of, known=known)


def optional(check: Check) -> Check:
    """The check that takes None too."""
    return lambda owner, name, value: None if value is None else check(owner, name, value)


def checked_state(owner: str, state: Any, names: Iterable[str]) -> Mapping[str, Any]:
    """What a state_dict gave, by these names. Raises ValueError for anything else."""
    if not isinstance(state, Mapping):
        raise ValueError(f"{owner}: the state is a {type(state).__name__}; expected dict")
    if set(state) != set(names):
        raise ValueError(f"{owner}: the state has {sorted(map(str, state))}; expected {sorted(names)}")
    return state


def input_tensor(owner: str, name: str, x: Any, dtype: str | None = None) -> Tensor:
    """An argument as a Tensor, with its dtype checked. Raises TypeError naming the layer and the argument."""
    if not isinstance(x, Tensor):
        if not hasattr(x, "shape"):
            raise TypeError(f"{owner}: {name} is a {type(x).__name__}; expected an array or a Tensor")
        x = Tensor(x if type(x) is np.ndarray else plain(f"{owner}: {name}", x))
    if dtype is not None and x.data.dtype is not NATIVE.get(dtype) and dtype_name(x.data) != dtype:
        raise TypeError(
            f"{owner}: {name} has dtype {dtype_name(x.data)}; the layer has {dtype}: "
            f"cast {name}, or build the layer with dtype='float64'"
            if dtype_name(x.data) == "float64"
            else f"{owner}: {name} has dtype {dtype_name(x.data)}; expected {dtype}: cast it first"
        )
    return x


def floating_input(owner: str, name: str, x: Any, dtype: str | None = None) -> Tensor:
    """As :func:`input_tensor`, and None is float32 or float64."""
    x = input_tensor(owner, name, x, dtype)
    if dtype is None and dtype_name(x.data) not in DTYPES:
        raise TypeError(f"{owner}: {name} has dtype {dtype_name(x.data)}; expected float32 or float64: cast it first")
    return x


def _as_float(number: Any) -> float:
    """A real number as Python's; NaN for what is none, and for an integer that no float can hold."""
    if type(number) is float:  # the most common, and quickly known
        return number
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        return math.nan
    try:
        return float(number)
    except OverflowError:
        return math.nan
