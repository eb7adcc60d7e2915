"""One seed for all that is drawn without one of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np

from xprnn.settings import SEED, Choice

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


def _generator(seed: int, k: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k,)))


def new_generator() -> np.random.Generator:
    """A generator for something that was given none."""
    chosen: Generators | None = SEED.get()
    return np.random.default_rng() if chosen is None else next(chosen)
