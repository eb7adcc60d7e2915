"""Hypothesis strategies for recurrent layers: sizes, dtypes, lengths, memory layouts, whole examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from xprnn.testing.example import Example
from xprnn.testing.layouts import LAYOUTS

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sizes:
    """T steps, B sequences, I inputs, H hidden units."""

    steps: int
    batch: int
    input_size: int
    hidden_size: int


def sizes(max_steps: int = 7, max_batch: int = 4, max_width: int = 6, min_steps: int = 1) -> st.SearchStrategy[Sizes]:
    """Small sizes: mistakes in shapes and at ends show at small sizes, and shrink there."""
    width = st.integers(1, max_width)
    return st.builds(Sizes, st.integers(min_steps, max_steps), st.integers(1, max_batch), width, width)


def dtypes() -> st.SearchStrategy[str]:
    """The dtypes there are, float64 first, since examples shrink to it."""
    return st.sampled_from(["float64", "float32"])


def lengths(steps: int, batch: int) -> st.SearchStrategy[Host]:
    """(B,) integers from 0 to T."""
    return st.lists(st.integers(0, steps), min_size=batch, max_size=batch).map(lambda n: np.asarray(n, dtype=np.int64))


def flags(steps: int, batch: int) -> st.SearchStrategy[Host]:
    """(T, B) booleans, for mask and reset."""
    row = st.lists(st.booleans(), min_size=batch, max_size=batch)
    return st.lists(row, min_size=steps, max_size=steps).map(lambda f: np.asarray(f, dtype=bool).reshape(steps, batch))


def layouts() -> st.SearchStrategy[Callable[[Host], Host]]:
    """Functions that return an equal array laid out differently: Fortran order, strided, backward, read-only."""
    return st.sampled_from(LAYOUTS)


def examples(layer: Any, input_size: int, *, max_steps: int = 7, max_batch: int = 4) -> st.SearchStrategy[Example]:
    """Arguments for a layer, with and without lengths; the numbers come from a drawn seed."""
    return st.builds(
        lambda steps, batch, ragged, rng: Example.draw(
            layer, input_size, steps=steps, batch=batch, ragged=ragged, rng=rng
        ),
        st.integers(1, max_steps),
        st.integers(1, max_batch),
        st.booleans(),
        st.integers(0, 2**32 - 1),
    )
