"""Leaky units, h' = keep h + rate y, on rows of pre-activations, forward and back; as in gates.py."""

from __future__ import annotations

import numba

from .. import scalar_cells
from .activations import sigmoid, tanh
from .compiling import OPTIONS, kernel
from .elman_gates import relu_step, tanh_step

_cells = scalar_cells.build(numba.njit(inline="always", **OPTIONS), tanh, sigmoid)
tanh_back, relu_back, opened, opened_back = _cells.tanh_back, _cells.relu_back, _cells.opened, _cells.opened_back


@kernel
def leaky_tanh(z, keep, rate, h_old, h, size):
    tanh_step(z, z, size)
    _leak(z, keep, rate, h_old, h, size)


@kernel
def leaky_relu(z, keep, rate, h_old, h, size):
    relu_step(z, z, size)
    _leak(z, keep, rate, h_old, h, size)


@kernel
def _leak(y, keep, rate, h_old, h, size):
    for j in range(size):
        h[j] = keep[j] * h_old[j] + rate[j] * y[j]


@kernel
def gated_leaky(z, n, m, rate, h_old, h, size):
    """h' = h + rate z n, where the gate z sees the product ``m`` with h too."""
    for j in range(size):
        z[j], n[j] = opened(z[j], n[j], m[j])
    for j in range(size):
        h[j] = h_old[j] + rate[j] * z[j] * n[j]


@kernel
def leaky_tanh_back(y, keep, rate, dh, dz, size):
    for j in range(size):
        dz[j] = tanh_back(y[j], rate[j] * dh[j])
        dh[j] *= keep[j]


@kernel
def leaky_relu_back(y, keep, rate, dh, dz, size):
    for j in range(size):
        dz[j] = relu_back(y[j], rate[j] * dh[j])
        dh[j] *= keep[j]


@kernel
def gated_leaky_back(z, n, rate, dh, dz, dn, dm, size):
    for j in range(size):
        dm[j] = rate[j] * dh[j]
    for j in range(size):
        dz[j], dn[j] = opened_back(z[j], n[j], dm[j])
    for j in range(size):
        dm[j] = dz[j] + dn[j]
