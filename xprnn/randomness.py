"""Random generators: one seed for all that is drawn without one of its own, and states that are put back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from xprnn.settings import SEED, Choice

Rng: TypeAlias = "int | np.random.Generator | None"  # a word for now: NumPy imports its generators when asked to
Generators = Iterator["np.random.Generator"]


class use_seed(Choice[Generators]):  # noqa: N801 - reads as a verb in both of its uses
    """Let all that is made without ``rng`` draw from one seed; for the process or, as a context manager, for a block.

    >>> with use_seed(0):
    ...     model = nn.Sequential(nn.LSTM(3, 8), nn.Dropout(0.5))  # doctest: +SKIP

    The weights of layers, dropout, the order of batches: the k-th of them to be made gets the k-th generator of the
    seed for its own, so that the same program draws the same bits, and none changes what another draws. What is given
    an ``rng``, and estimators, which have a seed of their own, are not touched. Raises TypeError for what is no
    integer, ValueError for one below 0.
    """

    def __init__(self, seed: int) -> None:
        whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
        if not whole or seed < 0:
            raise (ValueError if whole else TypeError)(f"use_seed: seed is {seed!r}; expected an integer of at least 0")
        self.seed = int(seed)
        super().__init__(SEED, map(partial(_generator, self.seed), itertools.count()))

    def __repr__(self) -> str:
        return f"use_seed({self.seed})"


POSITIONS = {"pos": 624, "buffer_pos": 4}
"""Places in a generator's own memory, with the last one there is. NumPy reads at any that a state names."""


def restore(generator: np.random.Generator, state: Any) -> None:
    """Give a generator a state. Raises ValueError, and changes nothing, for one that its kind cannot be in."""
    kind = type(generator.bit_generator)
    problem = f"the state does not fit a {kind.__name__} generator"
    if not isinstance(state, Mapping):
        raise ValueError(f"{problem}: it is a {type(state).__name__}; expected dict")
    trial = kind()
    try:
        trial.state = state
        found = trial.state
        wrong = [name for name in found if not _same(found[name], state.get(name))]
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{problem}: {error}") from error
    places = {**found, **found["state"]} if isinstance(found.get("state"), Mapping) else found
    wrong += [name for name, last in POSITIONS.items() if not 0 <= places.get(name, 0) <= last]
    if wrong:
        raise ValueError(f"{problem}: {wrong[0]} holds other numbers than were expected")
    generator.bit_generator.state = found


def _same(found: Any, given: Any) -> bool:
    """Whether two parts of a generator's state hold the same."""
    if isinstance(found, Mapping):
        return isinstance(given, Mapping) and all(_same(part, given.get(name)) for name, part in found.items())
    return np.shape(found) == np.shape(given) and bool(np.all(np.asarray(found == given)))


def _generator(seed: int, k: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k,)))


def generator(rng: Rng = None) -> np.random.Generator:
    """A NumPy random generator from a seed, a generator (returned as it is), or None for one of ``use_seed``'s.

    Where no seed was chosen, None is for a fresh one. All random numbers are drawn on the host, so that one seed gives
    the same bits on every backend.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        chosen: Generators | None = SEED.get()
        return np.random.default_rng() if chosen is None else next(chosen)
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)):
        raise TypeError(f"rng is a {type(rng).__name__}; expected an int seed, a numpy.random.Generator or None")
    if rng < 0:
        raise ValueError(f"rng is {rng}; expected a seed of at least 0, a numpy.random.Generator or None")
    return np.random.default_rng(int(rng))
