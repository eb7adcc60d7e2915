"""Reservoirs on the host: their matrix is mostly zeros, and nobody goes back through them to learn."""

from __future__ import annotations

import numpy as np

from xprnn import host_kernels
from xprnn.cells import State
from xprnn.cells.echo_state import EchoState
from xprnn.engine import cpu, kernels, reference
from xprnn.engine.call import Gradients, Result, SequenceCall, Way
from xprnn.engine.scan import flipped, in_time

LEAST_STEPS = 16  # with fewer it does not pay to look for zeros
SHARES = ((4, 0.2), (1, 0.05))  # from so many sequences on, the share of other numbers up to which it is worth it


class Reservoir(Way):
    """A call of an EchoState, forward only."""

    def reasons_against(self, call: SequenceCall) -> list[str]:
        """What keeps the kernel from running a call."""
        reasons = cpu.reasons_of_arrays(call)
        if call.keep:
            reasons.append("gradients are asked for, and it has no way back")
        if call.x.shape[0] < LEAST_STEPS:
            reasons.append(f"there are fewer than {LEAST_STEPS} steps")
        if not reasons:
            batch, weight = call.x.shape[1], call.weights["weight_hh"]
            most = next(share for least, share in SHARES if batch >= least)
            if np.count_nonzero(weight != 0) > most * weight.size:
                reasons.append(f"more than {most:.0%} of weight_hh are not zero, for a batch of {batch}")
        return reasons

    def forward(self, call: SequenceCall) -> tuple[Result, None]:
        """Run a call."""
        assert isinstance(call.cell, EchoState)
        kernels.check(call)
        x, control = in_time(call)
        z = np.ascontiguousarray(reference.project(call, x, host_kernels.matmul))
        flags, host = kernels.flags_of(control), host_kernels.kernels()
        states = host.reservoir.forward(z, call.state[0], call.weights["weight_hh"], call.cell.leak, *flags)
        final, shown = states[-1].copy(), control.shown(states)
        return Result((flipped(shown) if call.reverse else shown,), (final,)), None

    def backward(self, call: SequenceCall, saved: None, dsequences: State, dfinal: State, need_dx: bool) -> Gradients:
        """There is none: calls that keep something are declined."""
        raise RuntimeError(f"{call.cell.name}: the kernel of reservoirs has no way back")


WAY = Reservoir()
