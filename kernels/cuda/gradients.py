"""What the way back does after its loop over time: one product for each gradient, whichever kernels ran the loop."""

from __future__ import annotations

from typing import Any

from ..kinds import Flags, Kind, State, Weights

Array = Any


def after_steps(steps: int, reverse: bool) -> slice:
    """Where the states after each step stand among all T + 1."""
    return slice(0, steps) if reverse else slice(1, steps + 1)


def states_before(xp: Any, states: Array, flags: Flags, reverse: bool) -> Array:
    """The states (T, B, H) that each step started from, of all T + 1."""
    before = states[after_steps(states.shape[0] - 1, not reverse)]
    return before if flags.restart is None else xp.where(flags.restart[..., None], states.dtype.type(0), before)


def weight_gradients(
    place: Any, w: Weights, x: Array, hs: Array, dzx: Array, dzh: Array, flags: Flags, reverse: bool, need_dx: bool
) -> tuple[Array | None, Weights]:
    """What needs no loop over time, one product each: dx, and the gradients of both matrices."""
    xp, columns, inputs, size = place.xp, dzx.shape[2], x.shape[2], hs.shape[2]
    if flags.advance is not None:  # what was not looked at may be NaN, and zero times NaN is NaN
        x = xp.where(flags.advance[..., None], x, x.dtype.type(0))
    rows_x, rows_h = dzx.reshape(-1, columns), dzh.reshape(-1, columns)
    gradients = {"weight_ih": xp.empty_like(w["weight_ih"]), "weight_hh": xp.empty_like(w["weight_hh"])}
    place.product(rows_x, x.reshape(-1, inputs), gradients["weight_ih"], transpose_a=True)
    before = states_before(xp, hs, flags, reverse)
    place.product(rows_h, before.reshape(-1, size), gradients["weight_hh"], transpose_a=True)
    if not need_dx:
        return None, gradients
    dx = xp.empty_like(x)
    place.product(rows_x, w["weight_ih"], dx.reshape(-1, inputs))
    return dx, gradients


def diagonal_gradients(xp: Any, about: Kind, states: State, dzx: Array, flags: Flags, reverse: bool) -> Array:
    """The gradients of elementwise weights (diagonals, H), from all T + 1 states."""
    size, after = states[0].shape[2], after_steps(dzx.shape[0], reverse)
    before = {
        part: states_before(xp, states[part], flags, reverse)
        for part in {row.part for row in about.diagonals if not row.new}
    }
    seen = [states[row.part][after] if row.new else before[row.part] for row in about.diagonals]
    dzs = [dzx[..., row.gate * size : (row.gate + 1) * size] for row in about.diagonals]
    return xp.stack([xp.sum(dz * part, axis=(0, 1)) for dz, part in zip(dzs, seen, strict=True)])
