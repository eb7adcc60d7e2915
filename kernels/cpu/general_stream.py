"""Streams with kinds of general_gates.py among their parts: those of stream.py, with these compiled in."""

from __future__ import annotations

from .compiling import kernel
from .intrinsics import address
from .stream import BATCH, OUT, SHOWN, SIZE, Array, Stack, X, run


@kernel
def _step(weights, memory, plan):
    """As in stream.py."""
    shown, last = 1 - plan[0, SHOWN], plan.shape[0] - 1
    out = address(memory, plan[0, OUT] + shown * plan[last, BATCH] * plan[last, SIZE])
    run(True, weights, memory, plan, address(memory, plan[0, X]), out, 1)
    plan[0, SHOWN] = shown
    return shown


@kernel
def _block(weights, memory, plan, x, out, steps):
    run(True, weights, memory, plan, address(x, 0), address(out, 0), steps)


class GeneralStack(Stack):
    """Of any cells."""

    def step(self) -> int:
        number: int = _step(self._weights, self._memory, self._plan)
        return number

    def block(self, x: Array, out: Array) -> None:
        _block(self._weights, self._memory, self._plan, x.ravel(), out.ravel(), len(x))
