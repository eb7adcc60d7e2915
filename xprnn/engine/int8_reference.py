"""Products with weights of 8 bits, and recurrent layers of them, in array code: the specification of both.

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

from xprnn.backend import Array, namespace
from xprnn.cells import State, Weights
from xprnn.cells.cell import rows_times, split
from xprnn.engine import reference
from xprnn.engine.call import Result, SequenceCall
from xprnn.engine.cell_kinds import number_of
from xprnn.kernels import kinds
from xprnn.kernels.scalar_cells import END32, P32, Q32, SIGMOID_END32, SIGMOID_P32, SIGMOID_Q32

# Of tanh, and of the sigmoid less 1/2, as x P(x^2) / Q(x^2): P, Q without its highest coefficient, which is 1, and the
# x beyond which this ratio stays.
TANH, SIGMOID = (P32, Q32, END32), (SIGMOID_P32, SIGMOID_Q32, SIGMOID_END32)
LARGEST, LEAST = 127.0, 1e-30
MOST_INPUTS = 2**31 // (127 * 128)
"""Numbers of a row whose sum integers of 32 bits hold, whatever they are."""
EXACT_IN_FLOAT32 = 2**24 // (127 * 128)


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


def forward(call: SequenceCall) -> Result:
    """Run a layer in one direction, as :func:`xprnn.engine.int8.forward`."""
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
