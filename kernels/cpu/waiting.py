"""Threads at work on one array, of which one waits for what others do."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import inlined_kernel, kernel
from .intrinsics import address, breathe, give_way, publish, read_count

LOOKS = 6000  # at a number that another thread will change, before one sleeps: about as long as waking one takes
MEANWHILE = 200  # looks that the caller takes to let go of the GIL: who asks for it before is put to sleep
PATIENCE = 1000  # looks at a counter before another thread gets this core: some 20 microseconds


@inlined_kernel
def look(number, seen, looks, meanwhile):
    """Look so many times whether a number (1,) is still the one that was seen; if not, for ``meanwhile`` at nothing."""
    for _ in range(looks):
        if read_count(address(number, 0)) != seen:
            for _ in range(meanwhile):
                breathe()
            break
        breathe()


@kernel
def watch(number, seen, looks):
    """The same, without the GIL."""
    look(number, seen, looks, 0)


@inlined_kernel
def wait_for(counter, count, patience):
    """Until others have counted up to a number; what they wrote before is seen then. Whether it took very long."""
    looks = 0
    while read_count(counter) < count:
        looks += 1
        if looks > patience:
            give_way()
        else:
            breathe()
    return looks > patience


# --- steps that are shared, one after another ------------------------------------------------------------------------
#
# A leader has all parts of a step to begin with. Helpers may come at any time, or never: who has come says so, and does
# a part of its own from the step on that the leader names. Each thread has a number that it alone writes: a helper how
# many steps it has done, the leader likewise, and how many parts are done by helpers. Nobody begins a step before all
# have done the one before. Only the leader's compiled code lets anybody in, and it does not return before they are
# done: who comes earlier or later turns back.

MOST = 64  # parts
OVER = 1 << 62  # the leader's number before it begins and when it is done: no helpers
LINE = 16  # numbers from one thread's to the next one's: two cache lines, since processors fetch them in pairs
MOOD = 1  # behind the leader's number, which it alone writes: whether helpers are
AS_EVER, NEW, ALONE = range(3)  # the same, or some new ones; or were dismissed, all of them and for good


def exchange(parts: int) -> np.ndarray[Any, Any]:
    """The numbers of all threads, before anybody has come."""
    numbers = np.full((parts, LINE), -1, np.int64)
    numbers[0, 0], numbers[0, MOOD] = OVER, AS_EVER
    return numbers


@kernel
def first_turn(numbers, own, calls):
    """The first step that this thread has a part in, times MOST, and how many helpers there are; -1 where it has none.

    The leader's own part is 0, and ``calls`` is the number that idle helpers look at.
    """
    leader = address(numbers, 0)
    if own == 0:
        publish(leader, 0)
        publish(address(calls, 0), read_count(address(calls, 0)) + 1)
        return 0
    turn = read_count(leader)
    if turn != OVER:
        publish(address(numbers, own * LINE), 0)
    looks = 0
    while turn != OVER and turn % MOST < own:
        looks += 1
        if looks > PATIENCE:
            give_way()
        else:
            breathe()
        alone = read_count(address(numbers, MOOD)) == ALONE  # looked at first: whom it let in before that, it waits for
        turn = read_count(leader)
        if alone and turn % MOST < own:
            return -1
    return turn if turn != OVER else -1


@kernel
def next_turn(numbers, own, turn, steps, patience):
    """The same after a turn, of so many ``steps``, once the others have done theirs.

    Helpers that have the leader look for them more often than ``patience`` are dismissed: the machine has other work.
    """
    step, helpers, leader = turn // MOST + 1, turn % MOST, address(numbers, 0)
    if own == 0:
        return _lead(numbers, step, helpers, steps, patience)
    publish(address(numbers, own * LINE), step)
    if step == steps:
        return -1
    wait_for(leader, step * MOST, PATIENCE)
    come = read_count(leader) % MOST  # the leader may be a step further on by now, if as many do it
    if come < own:  # dismissed, maybe long ago
        return -1
    for other in range(1, helpers + 1):
        wait_for(address(numbers, other * LINE), step, PATIENCE)
    return step * MOST + come


@kernel
def _lead(numbers, step, helpers, steps, patience):
    """The leader's next turn."""
    leader, come, late = address(numbers, 0), helpers, False
    if numbers[0, MOOD] == ALONE:
        come = 0
    elif step < steps:
        while come + 1 < numbers.shape[0] and read_count(address(numbers, (come + 1) * LINE)) >= 0:
            come += 1
    # Who knows where to go on need not wait until this thread has waited for others; new ones must see where to begin.
    early = come == helpers and numbers[0, MOOD] == AS_EVER
    if early:
        publish(leader, step * MOST + come)
    for other in range(1, helpers + 1):
        late = wait_for(address(numbers, other * LINE), step, patience) or late
    if not early:
        publish(leader, step * MOST + come)
    if numbers[0, MOOD] != ALONE:
        publish(address(numbers, MOOD), ALONE if late else NEW if come > helpers else AS_EVER)
    if step < steps:
        return step * MOST + come
    publish(leader, OVER)
    return -1
