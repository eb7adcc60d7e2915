"""Products with weights of 8 bits, and recurrent layers of them: on the host's kernels, or in array code.

A row x of numbers becomes codes q = round(127 x / m) with m = max|x|, and its scale m / 127, at every step anew; rows
of weights were coded likewise, once. The sum over codes is exact,

    (W x)_n = scale_x scale_n sum_k q_k W_nk,

and all else is float32 without fused multiply-adds: the kernels and the array code here give the same bits. A row whose
m is below 1e-30 counts as zeros. One that is not finite gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn import host_kernels
from xprnn.backend import Array, namespace
from xprnn.cells import Cell, State, Weights
from xprnn.cells.cell import rows_times, split
from xprnn.engine import cpu, kernels, reference
from xprnn.engine.call import Result, SequenceCall
from xprnn.engine.cell_kinds import number_of
from xprnn.kernels import kinds
from xprnn.kernels.scalar_cells import END32, P32, Q32, SIGMOID_END32, SIGMOID_P32, SIGMOID_Q32
from xprnn.settings import KERNELS

# Of tanh, and of the sigmoid less 1/2, as x P(x^2) / Q(x^2): P, Q without its highest coefficient, which is 1, and the
# x beyond which this ratio stays.
TANH, SIGMOID = (P32, Q32, END32), (SIGMOID_P32, SIGMOID_Q32, SIGMOID_END32)
LARGEST, LEAST = 127.0, 1e-30
MOST_INPUTS = 2**31 // (127 * 128)
"""Numbers of a row whose sum integers of 32 bits hold, whatever they are."""
EXACT_IN_FLOAT32 = 2**24 // (127 * 128)


def serves(cell: Cell) -> bool:
    """Whether a cell can have weights of 8 bits."""
    return number_of(cell) in EQUATIONS


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
        y = product(x, weight, scale)
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
        return _array_code(call)
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


# --- array code -----------------------------------------------------------------------------------------------------


def product(x: Array, weight: Array, scale: Array) -> Array:
    """x W^T for x (..., K); sums of integers that no float rounds."""
    xp: Any = namespace(x)
    top = xp.max(xp.abs(x), axis=-1, keepdims=True)
    good = xp.logical_and(top > LEAST, top < np.inf)
    safe = xp.where(good, top, xp.ones_like(top))
    q = xp.round(xp.where(good, x, xp.zeros_like(x)) * (LARGEST / safe))
    off = xp.where(top <= LEAST, xp.zeros_like(top), xp.full_like(top, np.nan))
    wide = xp.float32 if x.shape[-1] <= EXACT_IN_FLOAT32 else xp.float64
    sums = rows_times(xp.astype(q, wide), xp.astype(weight, wide).T)
    return xp.astype(sums, xp.float32) * (xp.where(good, safe / LARGEST, off) * scale)


def _array_code(call: SequenceCall) -> Result:
    w, number = call.weights, number_of(call.cell)
    assert number is not None
    of_input, of_state = BIASES[number](w)
    zx = product(call.control.moving(call.x), w["weight_ih"], w["scale_ih"])
    zx = zx if of_input is None else zx + of_input

    def step(z: Array, state: State) -> tuple[State, tuple[Array, ...]]:
        return EQUATIONS[number](z, product(state[0], w["weight_hh"], w["scale_hh"]), of_state, state), ()

    return reference.scan(step, zx, call.state, call.control, call.reverse)[0]


def tanh(x: Array) -> Array:
    """As the kernels have it."""
    xp: Any = namespace(x)
    return xp.clip(_odd(x, *TANH), -1.0, 1.0)


def _sigmoid(z: Array) -> Array:
    xp: Any = namespace(z)
    return xp.clip(_odd(z, *SIGMOID) + 0.5, 0.0, 1.0)


def _odd(x: Array, p: tuple[Any, ...], q: tuple[Any, ...], end: Any) -> Array:
    """x P(x^2) / Q(x^2), where Q's highest coefficient is 1."""
    xp: Any = namespace(x)
    within = xp.clip(x, -float(end), float(end))
    s = within * within
    top, low = s * float(p[0]) + float(p[1]), s + float(q[0])
    for above, below in zip(p[2:], q[1:], strict=True):
        top, low = top * s + float(above), low * s + float(below)
    return x * (top / low)


def _lstm(z: Array, product: Array, own: Array | None, state: State) -> State:
    i, f, g, o = split(z + product, 4)
    c = _sigmoid(f) * state[1] + _sigmoid(i) * tanh(g)
    return _sigmoid(o) * tanh(c), c


def _gru(z: Array, product: Array, own: Array | None, state: State) -> State:
    (x_r, x_z, x_n), (h_r, h_z, m) = split(z, 3), split(product, 3)
    m = m if own is None else own + m
    n = tanh(x_n + _sigmoid(x_r + h_r) * m)
    return (n + _sigmoid(x_z + h_z) * (state[0] - n),)


def _tanh(z: Array, product: Array, own: Array | None, state: State) -> State:
    return (tanh(z + product),)


def _relu(z: Array, product: Array, own: Array | None, state: State) -> State:
    z = z + product
    return (namespace(z).where(z <= 0.0, namespace(z).zeros_like(z), z),)


def _sum_of_both(w: Weights) -> tuple[Array | None, Array | None]:
    return (w["bias_ih"] + w["bias_hh"], None) if "bias_ih" in w else (None, None)


def _gru_biases(w: Weights) -> tuple[Array | None, Array | None]:
    """Those that meet the product with x, r's and z's of both; and n's own of the product with h."""
    if "bias_ih" not in w:
        return None, None
    b_ih, b_hh = w["bias_ih"], w["bias_hh"]
    both = 2 * b_ih.shape[0] // 3
    return namespace(b_ih).concat([b_ih[:both] + b_hh[:both], b_ih[both:]]), b_hh[both:]


EQUATIONS: dict[int | None, Callable[..., State]] = {
    kinds.LSTM: _lstm,
    kinds.GRU: _gru,
    kinds.TANH: _tanh,
    kinds.RELU: _relu,
}
BIASES: dict[int, Callable[[Weights], tuple[Array | None, Array | None]]] = {
    kinds.LSTM: _sum_of_both,
    kinds.GRU: _gru_biases,
    kinds.TANH: _sum_of_both,
    kinds.RELU: _sum_of_both,
}
