"""Cells whose functions are chosen, on rows of pre-activations, forward and back: the functions of gates.py for these.

What a step keeps of a gate is its value and its slope there: which function made them is asked at this one place, and
the way back is a matter of products. Blocks by kind, as in gates.py, with s for a slope:

    GENERAL_RNN    z, s of it             GENERAL_GRU           r z n, the product with h for n, s of r z n
    GENERAL_LSTM   i f g o, s of them     GENERAL_RESET_BEFORE  r z n, s of n z r, and r h, whose product is added to n
    COUPLED_LSTM   i g o, s of them

``functions`` are what was chosen, one :class:`Function` after another; ``stride`` is ``size`` here, and ``sums`` of
no use.
"""

from __future__ import annotations

import numba

from .. import scalar_cells
from ..kinds import (
    COUPLED_LSTM,
    FIELDS,
    GENERAL_GRU,
    GENERAL_LSTM,
    GENERAL_RESET_BEFORE,
    KINDS,
    OF_HARD_SIGMOID,
    OF_RELU,
    OF_SIGMOID,
)
from ..scalar_cells import ONE, ZERO
from .activations import sigmoid, tanh
from .candidates import row, scale
from .compiling import PLAIN, kernel, plain_kernel, shared_kernel
from .intrinsics import offset
from .rows import add_product, clear, copy

_inlined = numba.njit(inline="always", **PLAIN)
_cells = scalar_cells.build(_inlined, tanh, sigmoid)
relu = _cells.relu
LSTMS = GENERAL_LSTM, COUPLED_LSTM  # by a name, as in gates.py
GATES, PARTS = tuple(kind.gates for kind in KINDS), tuple(len(kind.parts) for kind in KINDS)


@_inlined
def _cut(z, clip):
    z = clip if z > clip else z  # written so that NaN passes
    return -clip if z < -clip else z


@plain_kernel  # with fused multiply-adds a hard sigmoid would have its corners elsewhere than in array code
def activate(z, slope, size, function):
    """z becomes f(z), and slope f'(z), which is 0 where z was cut; of a corner it is that of the lower value."""
    number, alpha, beta, clip = function[0], function[1], function[2], function[3]
    if number == OF_SIGMOID:
        for j in range(size):
            y = sigmoid(_cut(z[j], clip))
            slope[j] = ZERO if abs(z[j]) > clip else y * (ONE - y)
            z[j] = y
    elif number == OF_HARD_SIGMOID:
        for j in range(size):
            y = alpha * _cut(z[j], clip) + beta
            y = ONE if y > ONE else y
            y = ZERO if y < ZERO else y
            s = ZERO if abs(z[j]) > clip else alpha
            s = ZERO if y <= ZERO else s
            slope[j] = ZERO if y >= ONE else s
            z[j] = y
    elif number == OF_RELU:
        for j in range(size):
            y = relu(_cut(z[j], clip))
            s = ONE if y > ZERO else y  # 0, or NaN
            slope[j] = ZERO if abs(z[j]) > clip else s
            z[j] = y
    else:
        for j in range(size):
            y = tanh(_cut(z[j], clip))
            slope[j] = ZERO if abs(z[j]) > clip else ONE - y * y
            z[j] = y


@kernel
def _product(target, a, b, c, size):
    """target = a b c; loops of few arrays are what LLVM vectorises."""
    for j in range(size):
        target[j] = a[j] * b[j] * c[j]


@shared_kernel
def step(kind, z, columns, old, new, functions, stride, size, held, advance, rows, drop=None):
    for b in range(rows):
        at, z0 = b * stride, offset(z, b * columns)
        if held and advance[b] == 0:
            for part in range(PARTS[kind]):
                copy(offset(new[part], at), offset(old[part], at), size)
            continue
        h_old, h, mask = offset(old[0], at), offset(new[0], at), row(drop, at)
        if kind in LSTMS:
            _lstm(GATES[kind], z0, mask, offset(old[1], at), offset(new[1], at), h, functions, size)
        elif kind == GENERAL_GRU:
            r, n, m = z0, offset(z0, 2 * size), offset(z0, 3 * size)
            activate(r, offset(z0, 4 * size), size, functions)
            add_product(n, r, m, size)
            _update(offset(z0, size), offset(z0, 5 * size), n, offset(z0, 6 * size), mask, h_old, h, functions, size)
        elif kind == GENERAL_RESET_BEFORE:
            n, s_n = offset(z0, 2 * size), offset(z0, 3 * size)
            _update(offset(z0, size), offset(z0, 4 * size), n, s_n, mask, h_old, h, functions, size)
        else:
            activate(z0, offset(z0, size), size, functions)
            copy(h, z0, size)


@kernel
def _lstm(count, z, mask, c_old, c, h, functions, size):
    i, f, g, o = z, offset(z, size), offset(z, (count - 2) * size), offset(z, (count - 1) * size)
    for gate in range(count - 1):
        here = offset(z, gate * size)
        activate(here, offset(here, count * size), size, offset(functions, gate * FIELDS))
    _mask(g, offset(g, count * size), mask, size)
    if count == 4:
        for j in range(size):
            c[j] = f[j] * c_old[j] + i[j] * g[j]
    else:
        for j in range(size):
            c[j] = (ONE - i[j]) * c_old[j] + i[j] * g[j]
    slope = offset(o, count * size)
    copy(h, c, size)
    activate(h, slope, size, offset(functions, count * FIELDS))  # whose slope the way back finds again
    activate(o, slope, size, offset(functions, (count - 1) * FIELDS))
    for j in range(size):
        h[j] *= o[j]


@kernel
def _mask(candidate, slope, mask, size):
    """A candidate becomes what goes into the state, if it is dropped, and its slope with it."""
    if mask is not None:
        scale(candidate, mask, size)
        scale(slope, mask, size)


@kernel
def _update(u, s_u, n, s_n, mask, h_old, h, functions, size):
    activate(u, s_u, size, offset(functions, FIELDS))
    activate(n, s_n, size, offset(functions, 2 * FIELDS))
    _mask(n, s_n, mask, size)
    for j in range(size):
        h[j] = (ONE - u[j]) * n[j] + u[j] * h_old[j]  # finite shares of what a relu may leave infinite


@shared_kernel
def reset(z, products, columns, h_old, functions, size, held, advance, rows):
    for b in range(rows):
        r, product = offset(z, b * columns), offset(products, b * columns)
        clear(product, size)  # of rows that are held too, which the product for the weights' gradient sees
        if not held or advance[b] != 0:
            activate(r, offset(r, 5 * size), size, functions)
            add_product(product, r, offset(h_old, b * size), size)


@shared_kernel
def step_back(
    kind, z, columns, old, new, functions, dh, dh_columns, dstate, dzx, dzh, width, sums, group, size, held, advance,
    rows, drop=None,
):  # fmt: skip
    for b in range(rows):
        at, dx, dx_h = b * size, offset(dzx, b * width), offset(dzh, b * width)
        if held and advance[b] == 0:
            clear(dx, width)
            if kind == GENERAL_GRU:
                clear(dx_h, width)
            continue
        back, z0, h_old = offset(dh, b * dh_columns), offset(z, b * columns), offset(old[0], at)
        u, n, du, dn = offset(z0, size), offset(z0, 2 * size), offset(dx, size), offset(dx, 2 * size)
        if kind in LSTMS:
            c_old, c, dc = offset(old[1], at), offset(new[1], at), offset(dstate[1], at)
            _lstm_back(GATES[kind], z0, c_old, c, back, dc, dx, functions, size)
        elif kind == GENERAL_GRU:
            _update_back(u, offset(z0, 5 * size), n, offset(z0, 6 * size), h_old, back, du, dn, size)
            _product(dx, dn, offset(z0, 3 * size), offset(z0, 4 * size), size)
            copy(dx_h, dx, 2 * size)
            clear(offset(dx_h, 2 * size), size)
            add_product(offset(dx_h, 2 * size), dn, z0, size)
        elif kind == GENERAL_RESET_BEFORE:
            _update_back(u, offset(z0, 4 * size), n, offset(z0, 3 * size), h_old, back, du, dn, size)
        else:
            clear(dx, size)
            add_product(dx, back, offset(z0, size), size)
            clear(back, size)


@kernel
def _lstm_back(count, z, c_old, c, dh, dc, dz, functions, size):
    i, f, g, o = z, offset(z, size), offset(z, (count - 2) * size), offset(z, (count - 1) * size)
    di, df, dg, do = dz, offset(dz, size), offset(dz, (count - 2) * size), offset(dz, (count - 1) * size)
    s_i, s_f = offset(i, count * size), offset(f, count * size)
    s_g, s_o = offset(g, count * size), offset(o, count * size)
    y, slope = di, offset(di, size)  # of c', in places that are free until their turn comes
    copy(y, c, size)
    activate(y, slope, size, offset(functions, count * FIELDS))
    _product(do, dh, y, s_o, size)
    for j in range(size):
        dc[j] += dh[j] * o[j] * slope[j]
        dh[j] = 0
    if count == 4:
        _product(di, dc, g, s_i, size)
        _product(dg, dc, i, s_g, size)
        _product(df, dc, c_old, s_f, size)
        for j in range(size):
            dc[j] *= f[j]
    else:
        for j in range(size):
            di[j] = dc[j] * (g[j] - c_old[j]) * s_i[j]
        _product(dg, dc, i, s_g, size)
        for j in range(size):
            dc[j] *= ONE - i[j]


@kernel
def _update_back(u, s_u, n, s_n, h_old, dh, du, dn, size):
    for j in range(size):
        du[j] = dh[j] * (h_old[j] - n[j]) * s_u[j]
    for j in range(size):
        dn[j] = dh[j] * (ONE - u[j]) * s_n[j]
    for j in range(size):
        dh[j] *= u[j]


@shared_kernel
def reset_back(z, columns, h_old, drh, dh, dh_columns, dzx, width, size, held, advance, rows):
    for b in range(rows):
        if held and advance[b] == 0:
            continue  # step_back has cleared dzx
        r, d = offset(z, b * columns), offset(drh, b * dh_columns)
        _product(offset(dzx, b * width), d, offset(h_old, b * size), offset(r, 5 * size), size)
        add_product(offset(dh, b * dh_columns), d, r, size)
