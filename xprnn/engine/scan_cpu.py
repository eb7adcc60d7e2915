"""Linear cells by a scan on the compiled kernels of the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xprnn import host_kernels
from xprnn.backend import Array
from xprnn.cells import DiagonalCell, State, Weights
from xprnn.cells.diagonal import rowwise
from xprnn.cells.linear import summed_to
from xprnn.engine import cpu, kernels
from xprnn.engine.call import Gradients, SequenceCall
from xprnn.engine.cell_kinds import is_diagonal, linear_number_of
from xprnn.engine.control import Control
from xprnn.engine.scan import Given, Saved, Scan, held, held_vjp, linear


class CompiledScan(Scan):
    """The loop over time compiled: of a cell with a kind all of it, of others the recurrence alone.

    Of LRU and S5 the products before and behind it, too.
    """

    def times(self, a: Array, b: Array) -> Array:
        return host_kernels.matmul(a, b)

    def reasons_against(self, call: SequenceCall) -> list[str]:
        return super().reasons_against(call) or cpu.reasons_of_arrays(call)

    def walked(self, call: SequenceCall, x: Array, control: Control) -> tuple[State, Any]:
        if not is_diagonal(call.cell):
            return super().walked(call, x, control)
        cell, host = diagonal(call), host_kernels.kernels().diagonal
        (p, q), (b, d) = cell.diagonals(call.weights), cell.apart(call.weights["weight_ih"])
        w = host.Weights(p, rowwise(q, b), d, cell.read_out(call.weights))
        h, c, every = host.forward(x, w, call.state[1], kernels.flags_of(control))
        return (held(h, call.state[0], control, self), c), DiagonalSaved(q, w, every)

    def project(self, call: SequenceCall, x: Array) -> Array:
        cell, w = linear(call), call.weights
        if linear_number_of(cell) is None or cell.late or cell.sees_x(w, call.state[0].shape[-1]):
            return super().project(call, x)
        z = host_kernels.linear(x.reshape(-1, x.shape[2]), w["weight_ih"], w.get("bias_ih"))
        return z.reshape(*x.shape[:2], -1)

    def walked_vjp(
        self, call: SequenceCall, x: Array, saved: Any, control: Control, given: list[Given], need_dx: bool
    ) -> Gradients:
        if not isinstance(saved, DiagonalSaved):
            return super().walked_vjp(call, x, saved, control, given, need_dx)
        cell, w = diagonal(call), call.weights
        (dh, dh_end), (dc, dc_end) = given
        if dh is None:
            dh = np.zeros((*x.shape[:2], call.state[0].shape[1]), x.dtype)
        dh_start = np.zeros_like(call.state[0])
        if dh_end is not None or control.advance is not None:
            dh, dh_start = held_vjp(dh, dh_start if dh_end is None else dh_end, control, self)
        dlast = np.zeros_like(call.state[1]) if dc_end is None else dc_end
        dx, dstart, found = host_kernels.kernels().diagonal.backward(
            x, saved.weights, saved.every, dh, dc, dlast, kernels.flags_of(control), need_dx
        )
        db, dq = cell.scaled_vjp(w, saved.q, found.before)
        gradients = {
            "weight_ih": np.concatenate([db, found.beside]), "weight_ch": cell.read_out_vjp(found.behind),
            **cell.diagonals_vjp(w, found.turn, dq),
        }  # fmt: skip
        return Gradients(dx, (dh_start, dstart), gradients)

    def states(self, call: SequenceCall, z: Array, control: Control) -> State:
        number = linear_number_of(call.cell)
        if number is None:
            return super().states(call, z, control)
        cell, host = linear(call), host_kernels.kernels().gated_scan
        h, c = host.forward(
            number, z, call.state[cell.place], call.state[0] if cell.place else None, kernels.flags_of(control)
        )
        return (c,) if h is None else (h, c)

    def states_vjp(
        self, call: SequenceCall, saved: Saved, control: Control, cotangents: list[tuple[Array, Array]]
    ) -> tuple[Array, State, Weights]:
        number = linear_number_of(call.cell)
        if number is None:
            return super().states_vjp(call, saved, control, cotangents)
        cell, host = linear(call), host_kernels.kernels().gated_scan
        start, c = call.state[cell.place], saved.sequences[cell.place]
        dh = cotangents[0] if cell.place else None
        dz, first_h, first = host.backward(number, saved.z, start, c, dh, cotangents[-1], kernels.flags_of(control))
        return dz, (first,) if first_h is None else (first_h, first), {}

    def scan(self, pairs: bool, a: Array, b: Array, start: Array, control: Control) -> Array:
        flags = agreed(b, a, start, control)
        return host_kernels.kernels().scan.scan(pairs, a, b, start, flags)

    def scan_vjp(self, pairs: bool, a: Array, g: Array, dlast: Array, control: Control) -> tuple[Array, Array]:
        flags = agreed(g, a, dlast, control)
        return host_kernels.kernels().scan.scan_back(pairs, a, g, dlast, flags)

    def factor_vjp(self, pairs: bool, a: Array, start: Array, c: Array, dc: Array, control: Control) -> Array:
        if a.ndim == 3 and a.shape[0] > 1:
            return super().factor_vjp(pairs, a, start, c, dc, control)
        flags = agreed(c, dc, start, control)
        d = host_kernels.kernels().scan.factor_back(pairs, start, c, dc, flags)
        return summed_to(tuple(a.shape), d.reshape(1, *d.shape) if a.ndim == 3 else d)


class DiagonalSaved(NamedTuple):
    """What a way back through LRU or S5 needs: q, the weights as kernels have them, c before all and after each."""

    q: Array
    weights: Any
    every: Array


def diagonal(call: SequenceCall) -> DiagonalCell:
    """The cell of a call that has kernels of its own."""
    assert isinstance(call.cell, DiagonalCell)
    return call.cell


def agreed(steps: Array, beside: Array, row: Array, control: Control) -> Any:
    """The flags of a scan. Raises ValueError, or TypeError, where compiled code would read past the end of an array."""
    flags, shape = kernels.flags_of(control), steps.shape
    each = all(n in (1, m) for n, m in zip(reversed(beside.shape), reversed(shape), strict=False))
    if not each or row.shape != shape[1:] or any(flag is not None and flag.shape != shape[:2] for flag in flags):
        came = f"{beside.shape} and {row.shape}, flags {[None if flag is None else flag.shape for flag in flags]}"
        raise ValueError(f"a scan of steps of shape {shape} has beside them {came}; expected (T, B, S), (B, S), (T, B)")
    if not steps.dtype == beside.dtype == row.dtype:
        raise TypeError(f"a scan has dtypes {steps.dtype}, {beside.dtype} and {row.dtype}; expected one")
    return flags


WAY = CompiledScan()
