"""GRU-D on the kernels of the host: what is filled in for missing inputs, of all steps at once, and a GRU behind it.

Neither x^ nor how h fades depends on h. Last values and the time since they came are carried along in one pass, the
decays are products of all steps, and what is left is a GRU of x^ and the mask, whose h fades before each step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xprnn import host_kernels
from xprnn.backend import Array
from xprnn.cells import ResetBeforeGRU, State
from xprnn.cells.cell import outer_sum, rows_times, total
from xprnn.cells.gru_d import GRUD, decay
from xprnn.engine import cpu, kernels
from xprnn.engine.call import Gradients, Result, SequenceCall, Way


class Saved(NamedTuple):
    """What a way back needs: the GRU's call and cache; what was seen, last values, how long ago, and both decays."""

    gru: SequenceCall
    of_gru: Any
    seen: Array
    last: Array
    passed: Array
    of_x: tuple[Array, Array]
    of_h: tuple[Array, Array]


class Filling(Way):
    """A call of GRU-D."""

    def reasons_against(self, call: SequenceCall) -> list[str]:
        """What keeps the kernels from running a call."""
        return cpu.reasons_of_arrays(call)

    def forward(self, call: SequenceCall) -> tuple[Result, Saved | None]:
        """Run a call. Raises ValueError for arrays that do not fit each other."""
        w, inputs, control = call.weights, _check(call), call.control
        x = control.moving(call.x)
        m, seen, restart = x[..., inputs:-1], x[..., inputs:-1] > 0.5, kernels.walk_flags(call).restart
        last, since, passed = host_kernels.kernels().carry.forward(
            x[..., :inputs] - w["mean"], seen, x[..., -1], *call.state[1:], restart, call.reverse
        )
        of_x = decay(w, "x", passed * w["decay_x"])
        of_h = decay(w, "h", rows_times(passed, w["decay_h"].T, host_kernels.matmul))
        filled = w["mean"] + np.where(seen, last, of_x[1] * last)
        fade = of_h[1] if control.advance is None else np.where(control.advance, of_h[1], of_h[1].dtype.type(1))
        gru = _gru(call, np.concatenate([filled, m], axis=-1))
        (hs, h_end), of_gru = cpu.forward(gru, fade)
        end = 0 if call.reverse else -1
        result = Result((*hs, *map(control.shown, (last, since))), (*h_end, last[end].copy(), since[end].copy()))
        return result, Saved(gru, of_gru, seen, last, passed, of_x, of_h) if call.keep else None

    def backward(self, call: SequenceCall, saved: Saved, dsequences: State, dfinal: State, need_dx: bool) -> Gradients:
        """The way back through a call. Raises as :meth:`forward` does, also for another call's cache."""
        w, inputs, control = call.weights, _check(call), call.control
        gru, of_gru, seen, last, passed, (at_x, fade_x), (at_h, fade_h) = saved
        found = cpu.backward(gru, of_gru, dsequences[:1], dfinal[:1], True)
        assert found.x is not None
        dgru, dfilled = found.weights, found.x[..., :inputs]
        dat_h = control.moving(np.where(at_h < 0.0, np.zeros_like(at_h), -dgru["fade"] * fade_h))
        dat_x = np.where(seen | (at_x < 0.0), np.zeros_like(at_x), -dfilled * last * fade_x)
        given = [np.zeros_like(last) if d is None else control.shown(d) for d in dsequences[1:]]
        dlast, dpassed = np.where(seen, dfilled, dfilled * fade_x), dat_x * w["decay_x"]
        dpassed += rows_times(dat_h, w["decay_h"], host_kernels.matmul)
        ends = [np.zeros_like(part) if d is None else d for part, d in zip(call.state[1:], dfinal[1:], strict=True)]
        dx, dpassed, *dbefore = host_kernels.kernels().carry.backward(
            seen, dlast + given[0], given[1], dpassed, ends, kernels.walk_flags(call).restart, call.reverse
        )
        gradients = {
            "weight_ih": dgru["weight_ih"][:, :inputs],
            "weight_oh": dgru["weight_ih"][:, inputs:],
            "weight_hh": dgru["weight_hh"],
            "decay_x": total(dat_x * passed),
            "decay_h": outer_sum(dat_h, passed, host_kernels.matmul),
            "mean": total(dfilled - dx),
        }
        if "bias_ih" in w:
            gradients |= {"bias_ih": dgru["bias_ih"], "bias_decay_x": total(dat_x), "bias_decay_h": total(dat_h)}
        dstate = (*found.state, *dbefore)
        if not need_dx:
            return Gradients(None, dstate, gradients)
        dtimes = control.moving(np.sum(dpassed, axis=-1, keepdims=True))
        return Gradients(np.concatenate([dx, np.zeros_like(dx), dtimes], axis=-1), dstate, gradients)

    def how(self, call: SequenceCall) -> str:
        """What is said of the GRU."""
        return cpu.how(_gru(call, call.x[..., :-1]), faded=True)


def _gru(call: SequenceCall, x: Array) -> SequenceCall:
    """The call of a GRU of x^ and the mask, side by side (T, B, 2I)."""
    w = call.weights
    joined = {"weight_ih": np.concatenate([w["weight_ih"], w["weight_oh"]], axis=1), "weight_hh": w["weight_hh"]}
    if "bias_ih" in w:
        joined |= {"bias_ih": w["bias_ih"], "bias_hh": np.zeros_like(w["bias_ih"])}
    return replace(call, cell=ResetBeforeGRU(), weights=joined, x=x, state=call.state[:1])


def _check(call: SequenceCall) -> int:
    """How many inputs a call has. Raises ValueError where its arrays do not fit; the GRU's call checks the rest."""
    assert isinstance(call.cell, GRUD)
    cell, (_, batch, columns), inputs = call.cell, call.x.shape, call.cell.input_size
    if columns != 2 * inputs + 1:
        raise ValueError(f"{cell.name}: x has shape {call.x.shape}; expected (T, B, {2 * inputs + 1})")
    size = call.state[0].shape[1]
    for name, part, width in zip(cell.state_names, call.state, cell.state_sizes(size), strict=True):
        if part.shape != (batch, width):
            raise ValueError(f"{cell.name}: state {name} has shape {part.shape}; expected {(batch, width)}")
    kernels.check_weights(cell, call.weights, columns, size)
    return inputs


WAY = Filling()
