"""Checks of arguments that count something: what could be counted to, and what could lie in memory."""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Mapping
from typing import Any

LARGEST, AT_MOST = 2**44, "2^44, as no memory holds more"
"""Numbers of 8 bytes that a process can address: 2^47 bytes are what processors of 64 bits leave it."""


def integer(owner: str, name: str, number: Any, least: int = 0) -> int:
    """An integer of Python or NumPy, as Python's. Raises ValueError for anything else and below the least."""
    whole = type(number) is int or (isinstance(number, numbers.Integral) and not isinstance(number, bool))
    if not whole or number < least:
        raise ValueError(f"{owner}: {name} is {shown(number)}; expected an integer of at least {least}")
    return int(number)


def whole_number(owner: str, name: str, number: Any, least: int = 1) -> int:
    """An integer as :func:`integer` takes it that something could count up to, below 2^63: sys.maxsize is one."""
    if integer(owner, name, number, least) >= 2**63:
        raise ValueError(f"{owner}: {name} is {shown(number)}; expected an integer of at least {least}, below 2^63")
    return int(number)


def size(owner: str, name: str, number: Any, least: int = 1) -> int:
    """How many of something there shall be, each with its place in memory. Raises ValueError for more than 2^44."""
    if integer(owner, name, number, least) > LARGEST:
        raise ValueError(f"{owner}: {name} is {shown(number)}; expected an integer from {least} to {AT_MOST}")
    return int(number)


def sizes(owner: str, **lengths: Any) -> tuple[int, ...]:
    """The lengths of one array by name, each a :func:`size`. Raises ValueError for a product above 2^44, too."""
    checked = {name: size(owner, name, length) for name, length in lengths.items()}
    affordable(owner, {"an array": (*checked.values(),)}, **checked)
    return (*checked.values(),)


def affordable(owner: str, shapes: Mapping[str, tuple[int, ...]], **asked: int | tuple[int, ...]) -> None:
    """Raises ValueError for arrays, by name, that could not lie in memory; it names the sizes that ask for them."""
    for name, shape in shapes.items():
        if math.prod(shape) > LARGEST:
            said = ", ".join(f"{key} is {number}" for key, number in asked.items())
            raise ValueError(f"{owner}: {said}: {name} would have shape {shape}; expected at most {AT_MOST}")


def shown(number: Any) -> str:
    """What came, in few letters. Python writes no integer of more than 4300 digits."""
    try:
        return reprlib.repr(number)
    except ValueError:
        return f"an integer of {number.bit_length()} bits"
