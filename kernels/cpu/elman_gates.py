"""Elman's network and IndRNN on rows of pre-activations, forward and back; as in gates.py."""

from __future__ import annotations

import numba

from .. import scalar_cells
from .activations import sigmoid, tanh
from .compiling import OPTIONS, kernel

_cells = scalar_cells.build(numba.njit(inline="always", **OPTIONS), tanh, sigmoid)
tanh_back, relu, relu_back = _cells.tanh_back, _cells.relu, _cells.relu_back


@kernel
def tanh_step(z, h, size):
    for j in range(size):
        h[j] = tanh(z[j])


@kernel
def relu_step(z, h, size):
    for j in range(size):
        h[j] = relu(z[j])


@kernel
def independent_tanh(z, u, h_old, h, size):
    for j in range(size):
        h[j] = tanh(z[j] + u[j] * h_old[j])


@kernel
def independent_relu(z, u, h_old, h, size):
    for j in range(size):
        h[j] = relu(z[j] + u[j] * h_old[j])


@kernel
def tanh_step_back(h, dh, dz, size):
    for j in range(size):
        dz[j] = tanh_back(h[j], dh[j])
        dh[j] = 0


@kernel
def relu_step_back(h, dh, dz, size):
    for j in range(size):
        dz[j] = relu_back(h[j], dh[j])
        dh[j] = 0
