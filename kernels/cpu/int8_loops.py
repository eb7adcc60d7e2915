"""Recurrent layers whose products are of numbers of 8 bits, over whole sequences, for inference.

The state, gates and sums over time are float32, as in loops.py. No multiply-add is fused here, and tanh is the same
arithmetic, so that array code and C have the same bits. h is coded anew at every step, each row by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from .. import kinds, scalar_cells
from ..kinds import GRU, KINDS, LSTM, PARTS, TANH, Flags, State
from . import sequence, threads
from .activations import sigmoid_equation, tanh_equation
from .arguments import control_of, filled, plain_tuples
from .compiling import PLAIN, plain_kernel
from .int8_codes import CODE, GROUP, Array, Packed, code_rows, pack
from .int8_product import linear_rows, multiply
from .intrinsics import address, addresses, all_parts, offset, offsets, spread
from .product import plain
from .recurrence import BLOCK_BYTES, PLACE, SECOND, state_before
from .rows import copy

PRODUCT = 0.5  # how many operations of float32 take as long as a product and its sum
EQUATIONS = 64.0  # and as the equations of a gate, which beside such products are no trifle


@plain_kernel
def tanh(x):
    """The same without fused multiply-adds."""
    return tanh_equation(x)


@plain_kernel
def sigmoid(x):
    """Likewise."""
    return sigmoid_equation(x)


_cells = scalar_cells.build(numba.njit(inline="always", **PLAIN), tanh, sigmoid)
lstm_state, lstm_output, relu = _cells.lstm_state, _cells.lstm_output, _cells.relu
gru_candidate, gru_update = _cells.gru_candidate, _cells.gru_update


class Layer(NamedTuple):
    """Weights of one layer in one direction: of x, of h, and of the product with h that stays apart; and their bias."""

    input: Packed
    first: Packed
    second: Packed
    bias: Array


def pack_layer(kind: int, w: kinds.Weights) -> Layer:
    """The weights of a layer: weight_ih and weight_hh as codes, their scale_ih and scale_hh, and maybe biases."""
    about, w_hh, scales = KINDS[kind], w["weight_hh"], w["scale_hh"]
    size = w_hh.shape[1]
    both = about.products[0] * size
    bias = sequence.total_bias(about, w, size, np.dtype(np.float32))
    return Layer(
        pack(w["weight_ih"], w["scale_ih"]), pack(w_hh[:both], scales[:both]), pack(w_hh[both:], scales[both:]), bias
    )


def forward(kind: int, layer: Layer, x: Array, state: State, flags: Flags, reverse: bool) -> State:
    """Each part of the state after every step (T, B, H), for x (T, B, I), and states (B, H), float32."""
    x = plain(x)
    (steps, batch, inputs), size = x.shape, state[0].shape[1]
    results = [np.empty((steps, batch, size), x.dtype) for _ in state]
    states, control = (filled(state, 2, x.dtype), filled(results, 3, x.dtype)), tuple(control_of(flags))
    weights = *plain_tuples(*layer[:3]), layer.bias

    def work(b0: int, b1: int) -> None:
        block = min(max(BLOCK_BYTES // ((b1 - b0) * layer.bias.nbytes), 1), steps)
        walk(kind, x, weights, states, control, (b0, b1, reverse, block))

    threads.share(work, batch, steps * batch * KINDS[kind].gates * size * (PRODUCT * (inputs + size) + EQUATIONS))
    return tuple(results)


def linear(packed: Packed, bias: Array, x: Array, outputs: int) -> Array:
    """Y (R, N) = X W^T + b for X (R, K), with a bias as long as the packed weight's scales."""
    x = plain(x)
    y = np.empty((len(x), outputs), np.float32)
    threads.share(lambda first, last: linear_rows(x, *packed, bias, y, first, last), len(x), PRODUCT * x.size * outputs)
    return y


@plain_kernel
def step(kind, z, columns, old, new, stride, size, held, advance, rows):
    """One step of some rows, as gates.step has it."""
    for b in range(rows):
        at = b * stride
        h_old, h = offset(old[0], at), offset(new[0], at)
        c_old, c = offset(old[1], at), offset(new[1], at)  # of no use to a cell of one part
        if held and advance[b] == 0:
            copy(h, h_old, size)
            if PARTS[kind] == 2:
                copy(c, c_old, size)
            continue
        z0 = offset(z, b * columns)
        z1, z2, z3 = offset(z0, size), offset(z0, 2 * size), offset(z0, 3 * size)
        if kind == LSTM:
            _lstm(z0, z1, z2, z3, c_old, c, h, size)
        elif kind == GRU:
            _gru(z0, z1, z2, z3, h_old, h, size)
        elif kind == TANH:
            for j in range(size):
                h[j] = tanh(z0[j])
        else:
            for j in range(size):
                h[j] = relu(z0[j])


@plain_kernel
def _lstm(i, f, g, o, c_old, c, h, size):
    for j in range(size):
        i[j], f[j], g[j], c[j] = lstm_state(i[j], f[j], g[j], c_old[j])
    for j in range(size):  # two loops of few arrays each: with more, LLVM gives up vectorising
        o[j], h[j] = lstm_output(o[j], c[j])


@plain_kernel
def _gru(r, z, n, m, h_old, h, size):
    for j in range(size):
        r[j], n[j] = gru_candidate(r[j], n[j], m[j])
    for j in range(size):
        z[j], h[j] = gru_update(z[j], n[j], h_old[j])


@plain_kernel
def add_state_product(kind, h, stride, size, rows, codes, scales, first, second, z, columns):
    """z += what is made of h, in each block where it belongs; ``first`` and ``second`` are addresses of weights."""
    groups = (size + GROUP - 1) // GROUP
    code_rows(h, stride, size, rows, codes, groups * GROUP, scales)
    w, starts, w_scales, wide = first
    multiply(codes, scales, rows, groups, w, starts, w_scales, wide, z, columns)
    if SECOND[kind]:
        w, starts, w_scales, wide = second
        multiply(codes, scales, rows, groups, w, starts, w_scales, wide, offset(z, PLACE[kind] * size), columns)


@plain_kernel
def walk(kind, x, weights, states, control, span):
    """Run sequences b0 to b1 over time, some steps' products with x at once; tuples as in :func:`forward`."""
    b0, b1, reverse, block = span
    held, advance, restarts, restart = control
    first_states, states_after = states
    of_input, first, second, bias = weights
    steps, batch, inputs = x.shape
    size, columns, rows, apart = states_after[0].shape[2], bias.size, b1 - b0, batch * states_after[0].shape[2]
    groups, groups_h = (inputs + GROUP - 1) // GROUP, (size + GROUP - 1) // GROUP
    initial = all_parts(addresses(first_states, b0 * size), apart)
    after = all_parts(addresses(states_after, b0 * size), steps * apart)
    spare = np.empty(PARTS[kind] * rows * size if restarts else 0, x.dtype)
    codes_space = np.empty(max(block * rows * groups, rows * groups_h) * GROUP, CODE)
    scales_space, z_space = np.empty(block * rows, x.dtype), np.empty(block * rows * columns, x.dtype)
    w_first = address(first[0], 0), address(first[1], 0), address(first[2], 0), first[1].size
    w_second = address(second[0], 0), address(second[1], 0), address(second[2], 0), second[1].size
    for begin in range(0, steps, block):
        end = min(steps, begin + block)
        low = steps - end if reverse else begin
        # Named here, since Numba frees what no loop names.
        codes, scales, z = address(codes_space, 0), address(scales_space, 0), address(z_space, 0)
        for k in range(end - begin):
            code_rows(
                address(x, ((low + k) * batch + b0) * inputs), inputs, inputs, rows,
                offset(codes, k * rows * groups * GROUP), groups * GROUP, offset(scales, k * rows),
            )  # fmt: skip
        for row in range((end - begin) * rows):
            copy(offset(z, row * columns), address(bias, 0), columns)
        multiply(
            codes, scales, (end - begin) * rows, groups, address(of_input[0], 0), address(of_input[1], 0),
            address(of_input[2], 0), of_input[1].size, z, columns,
        )  # fmt: skip
        for k in range(begin, end):
            t = steps - 1 - k if reverse else k
            here, z_here = address(advance, t * batch + b0), offset(z, (t - low) * rows * columns)
            old = state_before(
                kind, k, t, reverse, initial, after, steps, apart, restarts, address(restart, t * batch + b0),
                spread(address(spare, 0), rows * size), rows, size,
            )  # fmt: skip
            add_state_product(kind, old[0], size, size, rows, codes, scales, w_first, w_second, z_here, columns)
            step(kind, z_here, columns, old, offsets(after, t * apart), size, size, held, here, rows)
