"""Both GRUs on rows of pre-activations, forward and back; as in gates.py."""

from __future__ import annotations

import numba

from .. import scalar_cells
from .activations import sigmoid, tanh
from .candidates import update
from .compiling import OPTIONS, kernel

_cells = scalar_cells.build(numba.njit(inline="always", **OPTIONS), tanh, sigmoid)
gru_candidate, gru_candidate_back, gru_update = _cells.gru_candidate, _cells.gru_candidate_back, _cells.gru_update


@kernel
def gru(r, z, n, m, mask, h_old, h, size):
    """``m`` is the product with h, which r multiplies."""
    for j in range(size):
        r[j], n[j] = gru_candidate(r[j], n[j], m[j])
    update(z, n, mask, h_old, h, size)


@kernel
def reset_before(z, n, mask, h_old, h, size):
    """What is left to do where r has multiplied h before the product."""
    if mask is None:
        for j in range(size):
            n[j] = tanh(n[j])
            z[j], h[j] = gru_update(z[j], n[j], h_old[j])
    else:
        for j in range(size):
            n[j] = tanh(n[j])
        update(z, n, mask, h_old, h, size)


@kernel
def candidate_back(r, m, dn, dr, dm, size):
    """From the cotangent of n to those of r, before its sigmoid, and of the product that it multiplied."""
    for j in range(size):
        dr[j], dm[j] = gru_candidate_back(r[j], m[j], dn[j])
