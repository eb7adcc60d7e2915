"""Linear cells by a scan on the compiled kernels of the host."""

from __future__ import annotations

from typing import Any

from xprnn import host_kernels
from xprnn.backend import Array
from xprnn.cells import State, Weights
from xprnn.cells.linear import summed_to
from xprnn.engine import cpu, kernels
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control
from xprnn.engine.scan import Saved, Scan, linear


class CompiledScan(Scan):
    """The loop over time compiled: of a cell with a kind all of it, of others the recurrence alone."""

    def times(self, a: Array, b: Array) -> Array:
        return host_kernels.matmul(a, b)

    def reasons_against(self, call: SequenceCall) -> list[str]:
        return super().reasons_against(call) or cpu.reasons_of_arrays(call)

    def states(self, call: SequenceCall, z: Array, control: Control) -> State:
        number = kernels.linear_number_of(call.cell)
        if number is None:
            return super().states(call, z, control)
        cell, host = linear(call), host_kernels.kernels().scan
        h, c = host.forward(
            number, z, call.state[cell.place], call.state[0] if cell.place else None, kernels.flags_of(control)
        )
        return (c,) if h is None else (h, c)

    def states_vjp(
        self, call: SequenceCall, saved: Saved, control: Control, cotangents: list[tuple[Array, Array]]
    ) -> tuple[Array, State, Weights]:
        number = kernels.linear_number_of(call.cell)
        if number is None:
            return super().states_vjp(call, saved, control, cotangents)
        cell, host = linear(call), host_kernels.kernels().scan
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
