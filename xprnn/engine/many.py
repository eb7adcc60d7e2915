"""Cells that can take many steps at once, in array code.

Steps that are held are brought behind those that count, sequence by sequence, so that a cell sees none between others;
its results go back to their places, and held steps show the last. That cannot be said of a state that starts again:
calls with resets walk.
"""

from __future__ import annotations

from typing import NamedTuple

from xprnn.backend import Array, backend_of, copied, namespace, zeros_beside
from xprnn.cells import State
from xprnn.cells.cell import merged
from xprnn.cells.composed import ManyStepCell
from xprnn.cells.returned import returned
from xprnn.engine import reference
from xprnn.engine.call import Gradients, Result, SequenceCall, Way
from xprnn.engine.scan import WAY as SCAN
from xprnn.engine.scan import flipped, held, held_vjp, in_time


class Saved(NamedTuple):
    """What a way back needs: zx in the order that the cell saw, how it came there and goes back, and which count."""

    z: Array
    there: Array | None
    back: Array | None
    live: Array | None


class Many(Way):
    """All steps of a call at once."""

    def reasons_against(self, call: SequenceCall) -> list[str]:
        """What keeps a call of such a cell from being run this way."""
        reasons = ["there is no step or no sequence to run"] if 0 in call.x.shape[:2] else []
        if call.control.restart is not None:
            reasons.append("resets go step by step")
        return reasons if call.noise is None else [*reasons, "zoneout and dropout between steps go step by step"]

    def forward(self, call: SequenceCall) -> tuple[Result, Saved | None]:
        """Run a call."""
        x, control = in_time(call)
        z, there, back, live = reference.project(call, x), None, None, None
        if control.advance is not None:
            xp = namespace(x)
            there = xp.argsort(xp.astype(xp.logical_not(control.advance[..., 0]), xp.int64), axis=0, stable=True)
            back = xp.argsort(there, axis=0, stable=True)
            z, live = _picked(z, there), _picked(control.advance, there)
        cell = _cell(call)
        sequences: list[Array | None] = []
        final: list[Array] = []
        results = cell.steps(call.weights, z, call.state, live, backend_of(z))
        steps = x.shape[:1]
        starts = zip(cell.state_names, call.state, cell.kept, strict=True)
        for found, (name, start, kept) in zip(results, starts, strict=True):
            returned(cell, f"steps returned {name}", found, (*(steps if kept else ()), *start.shape), start)
            if not kept:
                sequences.append(None)
                final.append(found)
                continue
            sequence = found if back is None else held(_picked(found, back), start, control, SCAN)
            final.append(copied(sequence[-1, ...]))
            sequence = control.shown(sequence)
            sequences.append(flipped(sequence) if call.reverse else sequence)
        return Result(tuple(sequences), tuple(final)), Saved(z, there, back, live) if call.keep else None

    def backward(self, call: SequenceCall, saved: Saved, dsequences: State, dfinal: State, need_dx: bool) -> Gradients:
        """The way back through a call. A cotangent may be None for zero."""
        x, control = in_time(call)
        xp, cell = namespace(x), _cell(call)
        cotangents: list[Array] = []
        before_all: list[Array | None] = []
        for d, last, start, kept in zip(dsequences, dfinal, call.state, cell.kept, strict=True):
            d_last, first = xp.zeros_like(start) if last is None else last, None
            if kept:
                whole = zeros_beside(start, (x.shape[0], *start.shape)) if d is None else d
                whole = control.shown(flipped(whole) if call.reverse else whole)
                d_last, first = held_vjp(whole, d_last, control, SCAN)
                d_last = d_last if saved.there is None else _picked(d_last, saved.there)
            cotangents.append(d_last)
            before_all.append(first)
        dz, dstate, gradients = cell.steps_vjp(call.weights, saved.z, call.state, saved.live, tuple(cotangents))
        dz = dz if saved.back is None else control.moving(_picked(dz, saved.back))
        dx, of_input = reference.project_vjp(call, x, dz, need_dx)
        dstate = tuple(d if first is None else d + first for d, first in zip(dstate, before_all, strict=True))
        return Gradients(flipped(dx) if call.reverse and need_dx else dx, dstate, merged(gradients, of_input))


def _picked(values: Array, order: Array) -> Array:
    """Values (T, B, N) reordered: at each place the step whose number stands there in ``order`` (T, B)."""
    xp, (steps, batch) = namespace(values), order.shape
    rows = xp.reshape(order * batch + backend_of(order).arange(batch), (-1,))
    return xp.reshape(xp.take(xp.reshape(values, (steps * batch, -1)), rows, axis=0), values.shape)


def _cell(call: SequenceCall) -> ManyStepCell:
    assert isinstance(call.cell, ManyStepCell)
    return call.cell


WAY = Many()
