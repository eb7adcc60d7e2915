"""Layers with weights of 8 bits: on the host's kernels or, with the same bits, by int8_reference.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn import host_kernels
from xprnn.backend import Array
from xprnn.cells import Cell
from xprnn.engine import cpu, int8_reference, kernels
from xprnn.engine.call import Result, SequenceCall
from xprnn.engine.cell_kinds import number_of
from xprnn.settings import KERNELS


def serves(cell: Cell) -> bool:
    """Whether a cell can have weights of 8 bits."""
    return number_of(cell) in int8_reference.EQUATIONS


class Codes:
    """Weights as the kernels take them, made again where an array of them is another one; copies begin empty."""

    def __init__(self) -> None:
        self._of: tuple[tuple[Array, ...], Any] = ((), None)

    def __reduce__(self) -> tuple[Any, ...]:
        return Codes, ()

    def get(self, arrays: tuple[Array, ...], make: Callable[[], Any]) -> Any:
        """What ``make`` made, or makes, of these arrays."""
        before, made = self._of
        if len(before) != len(arrays) or any(a is not b for a, b in zip(before, arrays, strict=True)):
            made = make()
            self._of = arrays, made
        return made


def reasons_against(*arrays: Array) -> list[str]:
    """What keeps the compiled kernels from taking arrays, x first."""
    for array in arrays:
        if type(array) is not np.ndarray or not array.dtype.isnative:
            return [f"an array is a {type(array).__module__.split('.')[0]}.{type(array).__name__}, not a NumPy array"]
    if 0 in arrays[0].shape:
        return ["there is nothing to run"]
    if KERNELS.get() not in (None, "auto", "compiled"):
        return ["not forced"]
    found = host_kernels.int8_kernels()
    return [found] if isinstance(found, str) else []


def verdict(what: str, *arrays: Array) -> str:
    """What ``explain`` says of a call with these arrays."""
    if reasons := reasons_against(*arrays):
        return f"{what}\n  compiled: declines ({'; '.join(reasons)})\n  array code: runs"
    instruction = host_kernels.int8_kernels().UNIT.instruction.removeprefix("llvm.x86.")
    with_what = instruction or "integers of 32 bits"
    return f"{what}\n  compiled: runs ({with_what})\n  array code: declines (another comes first)"


def _compiled(*arrays: Array) -> Any:
    """The kernels for these arrays, or None. Raises RuntimeError where what is forced declines."""
    reasons, forced = reasons_against(*arrays), KERNELS.get() or "auto"
    if forced not in ("auto", "compiled", "reference"):
        raise RuntimeError(f"use_kernels({forced!r}): it cannot run this call in int8: it has no products of 8 bits")
    if reasons and forced == "compiled":
        raise RuntimeError(f"use_kernels('compiled'): it cannot run this call in int8: {'; '.join(reasons)}")
    return None if reasons else host_kernels.int8_kernels()


def linear(codes: Codes, weight: Array, scale: Array, bias: Array | None, x: Array) -> Array:
    """y (R, N) = x W^T + b for x (R, K), weight (N, K) of codes, scale (N,), and maybe a bias (N,)."""
    host = _compiled(x, weight)
    if host is None:
        y = int8_reference.product(x, weight, scale)
        return y if bias is None else y + bias

    def make() -> Any:
        packed = host.pack(weight, scale)
        wide = np.zeros(len(packed.scales), np.float32)
        wide[: len(weight)] = 0.0 if bias is None else bias
        return packed, wide

    return host.linear(*codes.get((weight, scale, scale if bias is None else bias), make), x, len(weight))


def arrays_of(call: SequenceCall) -> tuple[Array, ...]:
    """All that a call has, x first."""
    return (call.x, *call.weights.values(), *call.state)


def forward(codes: Codes, call: SequenceCall) -> Result:
    """Run a layer in one direction, whose weights weight_ih and weight_hh are codes, with scale_ih and scale_hh."""
    host, number, w = _compiled(*arrays_of(call)), number_of(call.cell), call.weights
    if host is None:
        return int8_reference.forward(call)
    layer = codes.get(tuple(w.values()), lambda: host.pack_layer(number, w))
    control = call.control.reversed() if call.reverse else call.control
    sequences = host.forward(number, layer, call.x, call.state, kernels.flags_of(control), call.reverse)
    final = tuple([s[0 if call.reverse else -1].copy() for s in sequences])
    return Result(tuple(map(call.control.shown, sequences)), final)


def open_stack(steps: list[cpu.Step], weights: list[Array], batch: int | None) -> Any:
    """As :func:`xprnn.engine.cpu.open_stack`, of parts of which some have weights of 8 bits."""
    if missing := cpu.without_kernel(steps):
        return missing
    if any(type(w) is not np.ndarray or w.dtype not in (np.int8, np.float32) for w in weights):
        return "not all weights are NumPy arrays of int8 and float32"
    host = host_kernels.int8_kernels()
    return host if isinstance(host, str) else host.Int8Stack(cpu.parts_of(host_kernels.kernels(), steps), batch)
