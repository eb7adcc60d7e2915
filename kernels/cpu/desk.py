"""Parts of some work that compiled code hands to helpers, who do them without Python: nobody waits for the GIL.

The helpers of a pool have one desk. A caller who finds it free lays out a job, the address of code and of its
arguments, and how many parts are left; whoever takes one of them does it, the caller too. He goes when all that was
taken is done. Who finds the desk in use does all parts himself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import inlined_kernel, kernel
from .intrinsics import address, breathe, call_job, claim, count_up, publish, read_count, replace
from .waiting import LINE, PATIENCE, wait_for

# Where its numbers lie, on lines of their own what several threads write: parts that are left, parts that helpers have
# done, whether a caller is here, and what he alone writes.
LEFT, DONE, TAKEN, JOB = range(0, 4 * LINE, LINE)
ARGUMENTS, FAILED = JOB + 1, JOB + 2
NUMBERS = JOB + LINE
LONGER = 8  # times as many looks while a caller is here


def new_desk() -> np.ndarray[Any, Any]:
    """One that nobody uses."""
    return np.zeros(NUMBERS, np.int64)


@inlined_kernel
def _take(desk):
    """The number of a part that nobody else does; 0 if there is none, since that one is the caller's from the start."""
    left = read_count(address(desk, LEFT))
    while left > 0 and not replace(address(desk, LEFT), left, left - 1):  # another was faster, and there may be more
        left = read_count(address(desk, LEFT))
    return left


@inlined_kernel
def _do(desk, part):
    if call_job(desk[JOB], desk[ARGUMENTS], part):
        desk[FAILED] = 1


@inlined_kernel
def share_out(desk, job, arguments, parts):
    """Have all parts of a job done; False if one has failed, which it does where there is no memory left."""
    failed = False
    if parts > 1 and claim(address(desk, TAKEN)):
        desk[JOB], desk[ARGUMENTS], desk[FAILED], desk[DONE] = job, arguments, 0, 0
        publish(address(desk, LEFT), parts - 1)
        part, others = 0, parts
        while others == parts or part > 0:
            _do(desk, part)
            others -= 1
            part = _take(desk)
        wait_for(address(desk, DONE), others, PATIENCE)
        failed = desk[FAILED] != 0
        publish(address(desk, TAKEN), 0)
    else:
        for part in range(parts):
            failed = call_job(job, arguments, part) or failed
    return not failed


@kernel
def attend(desk, calls, seen, looks, meanwhile, done):
    """A helper looks so many times for parts to do, and whether ``calls`` (1,) is still the number that was seen; if it
    is not, for ``meanwhile`` at nothing. ``done`` (1,) is set before, for who waits for what he did in Python.

    While a caller is there he looks for longer: who came too late for a part would else be asleep at the next call, and
    late again.
    """
    done[0] = 1
    left = LONGER * looks
    while left > 0:
        if read_count(address(calls, 0)) != seen:
            for _ in range(meanwhile):
                breathe()
            return
        part = _take(desk)
        if part > 0:
            _do(desk, part)
            count_up(address(desk, DONE))
            left = LONGER * looks
        else:
            breathe()
            left -= LONGER if read_count(address(desk, TAKEN)) == 0 else 1
