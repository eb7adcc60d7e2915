"""Linear cells by a scan over time, in array code: the coefficients of all steps at once, then associative.py.

The way back is the same scan from the other end: dc_t = g_t + conj(a_{t+1}) dc_{t+1}, with g the cotangents of c from
outside; then da_t = conj(c_{t-1}) dc_t and db_t = dc_t. A held step is a = 1, b = 0. A restart is a = 0, also where the
state before it is NaN, so restarts are known to the scan and not multiplied.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from xprnn.backend import Array, copied, namespace
from xprnn.cells import State, Weights
from xprnn.cells.cell import merged
from xprnn.cells.linear import LinearCell, conjugate, halves, product, summed_to
from xprnn.cells.returned import returned
from xprnn.engine import reference
from xprnn.engine.associative import associative, one
from xprnn.engine.call import Gradients, Result, SequenceCall, Way
from xprnn.engine.control import Control

Given = tuple[Array | None, Array | None]
"""The cotangents of a part of the state, after every step and at the end; None for zero."""


class Saved(NamedTuple):
    """What a way back needs, in the order of the walk: zx, and the state after every step, held ones too."""

    z: Array
    sequences: State


class Scan(Way):
    """One way to scan. Subclasses have other arithmetic for the two recurrences, and the same cells around them."""

    times = staticmethod(operator.matmul)

    def reasons_against(self, call: SequenceCall) -> list[str]:
        """What keeps a scan from running a call."""
        reasons = ["there is no step or no sequence to run"] if 0 in call.x.shape[:2] else []
        return reasons if call.noise is None else [*reasons, "zoneout and dropout between steps go step by step"]

    def forward(self, call: SequenceCall) -> tuple[Result, Any]:
        """Run a call."""
        x, control = in_time(call)
        sequences, saved = self.walked(call, x, control)
        shown = tuple(map(control.shown, sequences))
        final = tuple(copied(s[-1, ...]) for s in sequences)
        result = Result(tuple(map(flipped, shown)) if call.reverse else shown, final)
        return result, saved if call.keep else None

    def walked(self, call: SequenceCall, x: Array, control: Control) -> tuple[State, Any]:
        """Each part of the state after every step, in time's order, and what :meth:`walked_vjp` needs."""
        z = self.project(call, x)
        late: State = ()
        if linear(call).late:
            first, second = halves(z)
            late = (held(second, call.state[-1], control, self),)
            z = first + before(late[0], call.state[-1], control)
        sequences = (*self.states(call, z, control), *late)
        return sequences, Saved(z, sequences)

    def states(self, call: SequenceCall, z: Array, control: Control) -> State:
        """c after every step, behind h where the cell has an output."""
        cell, w = linear(call), call.weights
        start = call.state[cell.place]
        shape = *z.shape[:2], start.shape[-1]
        a, b = cell.checked(w, z, shape)
        c = self.scan(cell.pairs, a, namespace(z).broadcast_to(b, shape), start, control)
        if not cell.place:
            return (c,)
        size = call.state[0].shape[-1]
        h = returned(cell, "output returned h", cell.output_by(self.times, w, c, z), (*z.shape[:2], size), z)
        return held(h, call.state[0], control, self), c

    def backward(self, call: SequenceCall, saved: Any, dsequences: State, dfinal: State, need_dx: bool) -> Gradients:
        """The way back through a call. A cotangent may be None for zero."""
        x, control = in_time(call)
        turned = [d if d is None or not call.reverse else flipped(d) for d in dsequences]
        cotangents = list(zip(map(control.shown, turned), dfinal, strict=True))
        dx, dstate, gradients = self.walked_vjp(call, x, saved, control, cotangents, need_dx)
        return Gradients(flipped(dx) if call.reverse and need_dx else dx, dstate, gradients)

    def project(self, call: SequenceCall, x: Array) -> Array:
        """zx of all steps."""
        return reference.project(call, x, self.times)

    def walked_vjp(
        self, call: SequenceCall, x: Array, saved: Any, control: Control, given: list[Given], need_dx: bool
    ) -> Gradients:
        """The gradients of what :meth:`walked` was given, x in time's order."""
        cell, xp = linear(call), namespace(saved.z)
        cotangents = [
            (xp.zeros_like(like) if d is None else d, xp.zeros_like(like[0, ...]) if end is None else end)
            for (d, end), like in zip(given, saved.sequences, strict=True)
        ]
        dz, dstate, gradients = self.states_vjp(call, saved, control, cotangents[: cell.place + 1])
        if cell.late:
            dz, dlate = late_vjp(dz, *cotangents[-1], control, self)
            dstate = (*dstate, dlate)
        dx, of_input = reference.project_vjp(call, x, dz, need_dx, self.times)
        return Gradients(dx, dstate, merged(gradients, of_input))

    def states_vjp(
        self, call: SequenceCall, saved: Saved, control: Control, cotangents: list[tuple[Array, Array]]
    ) -> tuple[Array, State, Weights]:
        """dz, the cotangents of h and c before all steps, and the gradients of the cell's own weights."""
        cell, w, z = linear(call), call.weights, saved.z
        c, (dc, dlast) = saved.sequences[cell.place], cotangents[-1]
        gradients: Weights = {}
        dstart: State = ()
        if cell.place:
            dh, before_all = held_vjp(*cotangents[0], control, self)
            from_h, from_output, gradients = cell.output_vjp_by(self.times, w, c, z, dh)
            dc = dc + returned(cell, "output_vjp returned dc", from_h, tuple(c.shape), z)
            dstart = (before_all,)
        a, b = cell.checked(w, z, tuple(c.shape))
        dc, first = self.scan_vjp(cell.pairs, a, dc, dlast, control)
        da = self.factor_vjp(cell.pairs, a, call.state[cell.place], c, dc, control)
        dz, found = cell.coefficients_vjp(w, z, da, summed_to(tuple(b.shape), control.moving(dc)))
        dz = cell.joined(from_output, dz) if cell.place else dz
        dz = returned(cell, "coefficients_vjp and output_vjp returned dzx", dz, tuple(z.shape), z)
        return dz, (*dstart, first), merged(gradients, found)

    def scan(self, pairs: bool, a: Array, b: Array, start: Array, control: Control) -> Array:
        """c after every step; a broadcasts to b (T, B, S)."""
        xp = namespace(b)
        a = xp.broadcast_to(a, b.shape)
        if control.advance is not None:
            a, b = xp.where(control.advance, a, one(pairs, a)), xp.where(control.advance, b, xp.zeros_like(b))
        return associative(pairs, a, b, start, control.restart)

    def scan_vjp(self, pairs: bool, a: Array, g: Array, dlast: Array, control: Control) -> tuple[Array, Array]:
        """The complete cotangents of c after every step, and that of c before all."""
        xp = namespace(g)
        back = conjugate(pairs, xp.broadcast_to(a, g.shape))
        if control.advance is not None:
            back = xp.where(control.advance, back, one(pairs, back))
        following = xp.concat([back[1:, ...], one(pairs, back[:1, ...])], axis=0)
        cut = control.restart
        cut = cut if cut is None else xp.concat([cut[1:, ...], xp.zeros_like(cut[:1, ...])], axis=0)
        dc = flipped(associative(pairs, flipped(following), flipped(g), dlast, None if cut is None else flipped(cut)))
        first = product(pairs, back[0, ...], dc[0, ...])
        if control.restart is not None:
            first = xp.where(control.restart[0, ...], xp.zeros_like(first), first)
        return dc, first

    def factor_vjp(self, pairs: bool, a: Array, start: Array, c: Array, dc: Array, control: Control) -> Array:
        """The cotangent of a, in its shape, from the complete ones of c after every step."""
        d = product(pairs, conjugate(pairs, before(c, start, control)), control.moving(dc))
        return summed_to(tuple(a.shape), d)


def held(values: Array, start: Array, control: Control, scan: Scan) -> Array:
    """Values after every step (T, B, N), where held steps keep the last: by a scan that restarts at all others."""
    if control.advance is None:
        return values
    xp, (going, fresh) = namespace(values), _holding(control)
    cut = Control(restart=xp.logical_or(going, fresh))
    return scan.scan(False, xp.ones_like(values[:1, :1, :]), control.moving(values), start, cut)


def held_vjp(d: Array, dlast: Array, control: Control, scan: Scan) -> tuple[Array, Array]:
    """Cotangents of the values at steps that were not held, 0 at others; and that of what was before all."""
    xp = namespace(d)
    if control.advance is None:
        return xp.concat([d[:-1, ...], xp.expand_dims(d[-1, ...] + dlast, axis=0)], axis=0), xp.zeros_like(dlast)
    cut = Control(restart=xp.logical_or(*_holding(control)))
    d, first = scan.scan_vjp(False, xp.ones_like(d[:1, :1, :]), d, dlast, cut)
    return control.moving(d), first


def late_vjp(dz: Array, d: Array, dlast: Array, control: Control, scan: Scan) -> tuple[Array, Array]:
    """dzx of both halves, from the cotangent of z and those of the part that acts late; and that part's before all."""
    xp = namespace(dz)
    back = dz if control.restart is None else xp.where(control.restart, xp.zeros_like(dz), dz)
    d = d + xp.concat([back[1:, ...], xp.zeros_like(back[:1, ...])], axis=0)  # seen by the step after
    dkept, first = held_vjp(d, dlast, control, scan)
    return xp.concat([dz, dkept], axis=-1), first + back[0, ...]


def before(values: Array, start: Array, control: Control) -> Array:
    """Of a part of the state after every step, the one before it: zero where a sequence restarts."""
    xp = namespace(values)
    found = xp.concat([xp.expand_dims(start, axis=0), values[:-1, ...]], axis=0)
    return found if control.restart is None else xp.where(control.restart, xp.zeros_like(found), found)


def _holding(control: Control) -> tuple[Array, Array]:
    """Where a value is new, and where it is zero because a sequence restarts."""
    return control.advance, control.advance if control.restart is None else control.restart


def in_time(call: SequenceCall) -> tuple[Array, Control]:
    """x and the flags as the walk meets them; 0 at held steps."""
    control = call.control
    x = control.moving(call.x)
    if not call.reverse:
        return x, control
    control = control.reversed()
    return flipped(x), Control(*(None if f is None else flipped(f) for f in vars(control).values()))


def flipped(values: Array) -> Array:
    """From the last step to the first."""
    return namespace(values).flip(values, axis=0)


def linear(call: SequenceCall) -> LinearCell:
    """The cell of a call that a scan runs."""
    assert isinstance(call.cell, LinearCell)
    return call.cell


WAY = Scan()
"""In array code, for any library."""
