"""How a step's candidate, g of an LSTM and n of a GRU, is mixed into the state, and the way back of it; as in gates.py.

Where candidates are dropped, ``mask`` is what they are multiplied by before, else None, of which compiled code has no
trace. What a step keeps is the candidate as it was, whose slope the way back needs.
"""

from __future__ import annotations

import numba
from numba import types
from numba.extending import overload

from .. import scalar_cells
from .activations import sigmoid, tanh
from .compiling import OPTIONS, kernel
from .intrinsics import offset

_cells = scalar_cells.build(numba.njit(inline="always", **OPTIONS), tanh, sigmoid)
gru_update, gru_update_back = _cells.gru_update, _cells.gru_update_back
mgu_update, mgu_update_back = _cells.mgu_update, _cells.mgu_update_back


def row(masks, at):
    """Where a row of masks lies, or None; compiled code only."""
    raise NotImplementedError


@overload(row)
def _row(masks, at):
    if isinstance(masks, types.CPointer):
        return lambda masks, at: offset(masks, at)
    return lambda masks, at: None


@kernel
def scale(target, mask, size):
    """target[:size] *= mask[:size]."""
    for j in range(size):
        target[j] *= mask[j]


@kernel
def remix(i, f, g, mask, c_old, c, size):
    """An LSTM's c anew, from gates that were computed without a mask. On the way back those of i and g are scaled."""
    for j in range(size):
        c[j] = f[j] * c_old[j] + i[j] * (g[j] * mask[j])


@kernel
def update(z, n, mask, h_old, h, size):
    """A GRU's z and h."""
    if mask is None:
        for j in range(size):
            z[j], h[j] = gru_update(z[j], n[j], h_old[j])
    else:
        for j in range(size):
            z[j], h[j] = gru_update(z[j], n[j] * mask[j], h_old[j])


@kernel
def update_back(z, n, mask, h_old, dh, dz, dn, size):
    if mask is None:
        for j in range(size):
            dz[j], dn[j], dh[j] = gru_update_back(z[j], n[j], h_old[j], dh[j])
    else:
        for j in range(size):
            dz[j], _, _ = gru_update_back(z[j], n[j] * mask[j], h_old[j], dh[j])
        for j in range(size):
            _, dn[j], dh[j] = gru_update_back(z[j], n[j], h_old[j], dh[j])
        scale(dn, mask, size)


@kernel
def share(f, n, mask, h_old, h, size):
    """An MGU's n and h."""
    for j in range(size):
        n[j] = tanh(n[j])
        h[j] = mgu_update(f[j], n[j] if mask is None else n[j] * mask[j], h_old[j])


@kernel
def share_back(f, n, mask, h_old, dh, df, dn, size):
    """But for what comes to f through the product, which is yet to come."""
    if mask is None:
        for j in range(size):
            df[j], dn[j], dh[j] = mgu_update_back(f[j], n[j], h_old[j], dh[j])
    else:
        for j in range(size):
            df[j], _, _ = mgu_update_back(f[j], n[j] * mask[j], h_old[j], dh[j])
        for j in range(size):
            _, dn[j], dh[j] = mgu_update_back(f[j], n[j], h_old[j], dh[j])
        scale(dn, mask, size)
