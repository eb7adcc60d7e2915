"""Few sequences and many units: the columns of every step are shared among threads.

A step is cut into parts of neighbouring units, all their gates together, one part a thread. A thread computes its part
from the whole h of the step before, by the weights of its own units alone, which stay in its processor's caches; then h
is whole, and the next step may begin. The way back is alike: from the cotangents of all pre-activations of the step
behind, those of its own units. So there is one exchange a step (waiting.py). The caller begins alone with all parts,
and helpers take theirs when they come. The same numbers come out whoever computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import accumulate, pairwise
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from numba import config

from ..kinds import KINDS, PARTS
from . import column_loops, equations, threads
from .arguments import Control, Cotangents, States, plain_tuples
from .host import TILE
from .product import EXACT, Array, Storage, padded, plain
from .scratch import lined
from .waiting import ALONE, MOOD, MOST, exchange

STEP = 3e4  # floating-point operations in a step, from which on the cache that sharing adds is worth more than its cost
CALL = 2.5e7  # and in all steps, from which on that beats what it costs to begin
BLOCK = 24  # steps whose input product is one
ENOUGH_ROWS = 2  # for each thread, and the batch is better cut by sequences
BUSY = 0.02  # seconds for which nothing is shared after helpers came too late: the processors have other work
MOST_THREADS = config.NUMBA_NUM_THREADS  # there never are more; to ask how many there are takes several microseconds


class _Processors:
    """What was seen of them."""

    busy_until = 0.0


_processors = _Processors()


def pays(kind: int, steps: int, batch: int, operations: float) -> bool:
    """Whether steps of so many operations are cut where all threads are free."""
    about = KINDS[kind]
    if operations < STEP or steps * operations < CALL or batch >= ENOUGH_ROWS * MOST_THREADS:
        return False
    return not (about.between or about.norms or about.functions) and len(about.places) > 0


def parts(kind: int, steps: int, batch: int, size: int, operations: float, itemsize: int) -> int:
    """Into how many parts a step of so many operations is cut; 1 where that does not pay, or cannot be done."""
    if not pays(kind, steps, batch, operations):
        return 1
    if batch >= ENOUGH_ROWS * (workers := threads.workers()) or monotonic() < _processors.busy_until:
        return 1
    return min(workers, padded(size, itemsize) // TILE.lanes(itemsize), MOST)


def run(
    count: int,
    kind: int,
    x: Array,
    w_ih: Array,
    w_hh: Array,
    bias: Array,
    diagonals: Array,
    states: States,
    control: Control,
    reverse: bool,
    keep: bool,
    storage: Storage,
) -> None:
    """Fill the states after every step, and z if it is to be kept, in ``count`` parts."""
    (steps, batch, inputs), (_, size), about = x.shape, w_hh.shape, KINDS[kind]
    plan = _plan(kind, count, size, x.itemsize)
    ends, units, block = plan.ends, int(plan.ends[-1]), min(BLOCK, steps)
    exact, seen = storage is EXACT, count * batch * size if control.restarts else 0
    room = [inputs * about.gates * exact, size * len(about.places) * exact, about.kept, len(diagonals)]
    room += [block * batch * about.kept, 2 * PARTS[kind] * batch]
    *shares, z, two_states = _cut(units, room, seen, x.dtype)
    matrices = plain(w_ih), plain(w_hh)
    prepare = partial(column_loops.prepare, *matrices, bias, diagonals, plan.lengths, ends, *shares)
    threads.share(prepare, count, 16.0 * (w_ih.size + w_hh.size) * exact)
    if not exact:
        shares[:2] = _packed(w_ih, [about.gates], ends, storage), _packed(w_hh, plan.lengths, ends, storage)
    groups = (*shares, ends, plan.runs), *plain_tuples(states, control), (z, two_states, block)
    (step, _), numbers, patience = equations.ahead(kind, x.itemsize), exchange(count), _patience(w_hh.size * batch)

    def part(own: int, calls: Array) -> None:
        column_loops.walk(kind, step, x, *groups, numbers, calls, patience, own, reverse, keep)

    _share(part, numbers)


def run_back(
    count: int,
    kind: int,
    w_hh: Array,
    diagonals: Array,
    states: States,
    cotangents: Cotangents,
    control: Control,
    reverse: bool,
    first_too: bool,
    storage: Storage,
) -> None:
    """Fill the cotangents of pre-activations, and those of the initial state if they are asked for, likewise."""
    about, batch, size = KINDS[kind], states.after[0].shape[1], w_hh.shape[1]
    ends, exact = _plan(kind, count, size, w_hh.itemsize).ends, storage is EXACT
    room = [len(w_hh) * exact, len(diagonals), (3 * PARTS[kind] + about.kept + 2 * about.gates) * batch]
    *shares, private = _cut(int(ends[-1]), room, 0, w_hh.dtype)
    prepare = partial(column_loops.prepare_back, plain(w_hh), diagonals, ends, *shares)
    threads.share(prepare, count, 16.0 * w_hh.size * exact)
    if not exact:
        shares[0] = _together([w_hh[:, low:high] for low, high in pairwise(ends)], storage)
    groups = (*shares, ends), *plain_tuples(states, cotangents, control), private
    (step_back, _), numbers = equations.back(kind, w_hh.itemsize), exchange(count)
    patience = _patience(w_hh.size * batch)

    def part(own: int, calls: Array) -> None:
        column_loops.walk_back(kind, step_back, *groups, numbers, calls, patience, own, reverse, first_too)

    _share(part, numbers)


def _share(part: Callable[[int, Array], None], numbers: Array) -> None:
    """Do all parts of the steps whose exchange is ``numbers``, and remember whether helpers came too late."""
    threads.led(part, len(numbers))
    if numbers[0, MOOD] == ALONE:
        _processors.busy_until = monotonic() + BUSY


def _patience(products: int) -> int:
    """How often to look for helpers that work at a step of so many products, each time some 20 nanoseconds."""
    return 5000 + products // 1000


class Plan(NamedTuple):
    """Where parts end, in whole vectors, the last one as far as its last vector. Runs of neighbouring blocks that a
    product with h is added to at once, the first one and how many; and how many alone.
    """

    ends: Array
    runs: Array
    lengths: Array


@lru_cache
def _plan(kind: int, count: int, size: int, itemsize: int) -> Plan:
    """That of so many parts."""
    lanes, places = TILE.lanes(itemsize), KINDS[kind].places
    ends = np.array([padded(size, itemsize) // lanes * k // count * lanes for k in range(count + 1)])
    starts = [k for k, place in enumerate(places) if k == 0 or place != places[k - 1] + 1]
    runs = np.array([(places[low], high - low) for low, high in pairwise([*starts, len(places)])])
    return Plan(ends, runs, runs[:, 1].copy())


def _cut(units: int, rows: Sequence[int], more: int, dtype: np.dtype[Any]) -> list[Array]:
    """Memory for so many rows of numbers of all units, and for some numbers more, which the last ones are given."""
    memory, starts = lined((sum(rows) * units + more,), dtype, np.zeros), [0, *accumulate(rows)]
    return [memory[low * units : high * units] for low, high in pairwise(starts[:-1])] + [memory[starts[-2] * units :]]


def _packed(w: Array, lengths: Sequence[int] | Array, ends: Array, storage: Storage) -> Array:
    """W (G*H, K) packed as its transpose, for each part so many blocks of its units at a time."""
    k = w.shape[1]
    whole = w.reshape(sum(lengths), -1, k)
    blocks = [slice(high - run, high) for run, high in zip(lengths, accumulate(lengths), strict=True)]
    cut = [whole[block, low:high] for low, high in pairwise(ends) for block in blocks]
    return _together([part.reshape(-1, k).T for part in cut], storage)


def _together(matrices: list[Array], storage: Storage) -> Array:
    """Matrices packed one by one."""
    packed = [storage.pack(w).reshape(-1) for w in matrices]
    result = lined((sum(part.size for part in packed),), packed[0].dtype, np.zeros)
    return np.concatenate(packed, out=result)
