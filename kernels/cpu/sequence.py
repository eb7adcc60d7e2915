"""Recurrent sequences on the host: packs weights, allocates, and runs the compiled loops.

Arrays are NumPy's, float32 or float64, all of one type, of any layout; a kind of cell is a number from gates.py.
Weights are those of one layer in one direction, by PyTorch's names: weight_ih (G*H, I), weight_hh (G*H, H), bias_ih and
bias_hh (G*H), and weight_ch (3, H) for peepholes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..calls import GRU, LSTM, PEEPHOLE, RESET_BEFORE, Flags, Weights
from . import columns, loops, threads
from .gates import BLOCKS
from .matmul import matmul
from .product import Array, add_rows, multiply_transposed, pack, padded, plain
from .scratch import scratch

NEVER = np.zeros((1, 0), np.uint8)
BLOCK_BYTES = 1 << 18  # of pre-activations computed ahead: they must still be in the cache when their step comes


class Cache(NamedTuple):
    """What the way back needs: activations, every state, and the initial one."""

    z: Array
    hs: Array
    cs: Array
    h0: Array
    c0: Array


def forward(
    kind: int,
    w: Weights,
    x: Array,
    h0: Array,
    c0: Array | None,
    flags: Flags,
    reverse: bool,
    keep: bool,
    bf16: bool = False,
) -> tuple[Array, Array | None, Cache | None]:
    """Every h (T, B, H), every c for a cell that has one, and the cache if it is to be kept.

    With ``bf16`` weights of float32 are rounded to bfloat16 where they are packed, and read as half as many bytes.
    """
    x, h0 = plain(x), plain(h0)
    steps, batch, inputs = x.shape
    size, dtype = h0.shape[1], x.dtype
    has_c = kind in (LSTM, PEEPHOLE)
    hs = np.empty((steps, batch, size), dtype)
    cs = np.empty((steps, batch, size) if has_c else (steps, 0, 0), dtype)
    c0 = np.empty((0, 0), dtype) if c0 is None else plain(c0)
    w_ih, bias, p = pack(w["weight_ih"].T, bf16), total_bias(kind, w, size, dtype), _peepholes(w, size, dtype)
    states, control = (h0, c0, hs, cs), _control(flags)
    parts = columns.parts(kind, batch, size, 2.0 * batch * size * len(w["weight_hh"]), dtype.itemsize)
    if parts > 1:
        z = columns.run(parts, kind, reverse, x, w_ih, w["weight_hh"], bias, p, states, keep, control, bf16)
        return hs, cs if has_c else None, Cache(z, hs, cs, h0, c0) if keep else None
    w_hh, w_hn = forward_products(kind, w["weight_hh"], bf16)
    z = np.empty((steps, batch, len(bias)) if keep else (0, 0, 0), dtype)

    def work(b0: int, b1: int) -> None:
        block = min(max(BLOCK_BYTES // ((b1 - b0) * bias.nbytes), 1), steps)
        scratch = z if keep else np.empty((block, b1 - b0, len(bias)), dtype)
        loops.forward(kind, reverse, x, w_ih, w_hh, w_hn, bias, p, *states, scratch, keep, block, *control, b0, b1)

    threads.share(work, batch, 2.0 * steps * batch * (inputs + size) * len(w["weight_hh"]))
    return hs, cs if has_c else None, Cache(z, hs, cs, h0, c0) if keep else None


def backward(
    kind: int,
    w: Weights,
    x: Array,
    cache: Cache,
    flags: Flags,
    reverse: bool,
    dhs: Array | None,
    dcs: Array | None,
    dh: Array,
    dc: Array | None,
    need_dx: bool,
) -> tuple[Array | None, Array, Array | None, Weights]:
    """dx, dh0, dc0 and the gradients of the weights. dh and dc, cotangents of the final state, are overwritten."""
    x = plain(x)
    steps, batch, _ = x.shape
    size, dtype = dh.shape[1], x.dtype
    dzx = scratch("dzx", (steps, batch, w["weight_ih"].shape[0]), dtype)
    dzh = scratch("dzh", dzx.shape, dtype) if kind == GRU else dzx
    none = np.empty((0, 0, 0), dtype)
    (w_hh, w_hn), p = _backward_products(kind, w["weight_hh"]), _peepholes(w, size, dtype)
    control = _control(flags)

    def work(b0: int, b1: int) -> None:
        loops.backward(
            kind, reverse, w_hh, w_hn, p, cache.h0, cache.c0, cache.hs, cache.cs, cache.z,
            none if dhs is None else plain(dhs), none if dcs is None else plain(dcs),
            dh, cache.c0 if dc is None else dc, dzx, dzh, dhs is not None, dcs is not None, *control, b0, b1,
        )  # fmt: skip

    threads.share(work, batch, 2.0 * steps * batch * size * dzx.shape[2])
    if flags.advance is not None:  # what was not looked at may be NaN, and zero times NaN is NaN
        x = np.where(flags.advance[..., None], x, dtype.type(0))
    gradients = {"weight_ih": _outer_sum([(dzx, x)])}
    if kind == RESET_BEFORE:
        h_before = _states_before(cache.h0, cache.hs, flags.restart, reverse)
        parts = (dzx[..., : 2 * size], h_before), (dzx[..., 2 * size :], cache.z[..., 3 * size : 4 * size])
        gradients["weight_hh"] = np.concatenate([_outer_sum([part]) for part in parts])
    elif flags.restart is None:
        # Each step started from the state after the step before, and the first from the initial one.
        ahead, behind, start = (dzh[:-1], cache.hs[1:], dzh[-1:]) if reverse else (dzh[1:], cache.hs[:-1], dzh[:1])
        gradients["weight_hh"] = _outer_sum([(ahead, behind), (start, cache.h0[None])])
    else:
        gradients["weight_hh"] = _outer_sum([(dzh, _states_before(cache.h0, cache.hs, flags.restart, reverse))])
    if "bias_ih" in w:
        gradients["bias_ih"] = _sum(dzx)
        gradients["bias_hh"] = _sum(dzh) if kind == GRU else gradients["bias_ih"].copy()
    if kind == PEEPHOLE:
        c_before = _states_before(cache.c0, cache.cs, flags.restart, reverse)
        di, df, do = (dzx[..., k * size : (k + 1) * size] for k in (0, 1, 3))
        products = (di, c_before), (df, c_before), (do, cache.cs)
        gradients["weight_ch"] = np.stack([np.einsum("tbh,tbh->h", dz, c) for dz, c in products])
    dx = matmul(dzx.reshape(-1, dzx.shape[2]), w["weight_ih"]).reshape(x.shape) if need_dx else None
    return dx, dh, dc, gradients


def _outer_sum(pairs: list[tuple[Array, Array]]) -> Array:
    """Sum over steps and sequences of dz^T x, (N, K), over pairs of dz (T, B, N) and x (T, B, K)."""
    n, k = pairs[0][0].shape[2], pairs[0][1].shape[2]
    total = np.zeros((n, padded(k, pairs[0][0].itemsize)), pairs[0][0].dtype)
    flat = [(plain(dz.reshape(-1, n)), plain(x.reshape(-1, k))) for dz, x in pairs]

    def work(first: int, last: int) -> None:
        for dz, x in flat:
            multiply_transposed(dz, x, total, first, last)

    threads.share(work, n, 2.0 * n * k * sum(len(dz) for dz, _ in flat))
    return np.ascontiguousarray(total[:, :k])


def _sum(dz: Array) -> Array:
    """Over steps and sequences."""
    rows, total = dz.reshape(-1, dz.shape[2]), np.zeros(dz.shape[2], dz.dtype)
    threads.share(lambda first, last: add_rows(rows, total, first, last), len(total), 4.0 * dz.size)
    return total


def forward_products(kind: int, w_hh: Array, bf16: bool = False) -> tuple[Array, Array]:
    """weight_hh packed for the way forward. A GRU's product for n is one of its own, and the second of the two."""
    if kind not in (GRU, RESET_BEFORE):
        packed = pack(w_hh.T, bf16)
        return packed, packed[:0]
    both = 2 * w_hh.shape[1]
    return pack(w_hh[:both].T, bf16), pack(w_hh[both:].T, bf16)


def _backward_products(kind: int, w_hh: Array) -> tuple[Array, Array]:
    """The same for the way back, where only the reset before the product keeps them apart."""
    both = 2 * w_hh.shape[1] if kind == RESET_BEFORE else len(w_hh)
    return pack(w_hh[:both]), pack(w_hh[both:])


def scratch_columns(kind: int, size: int, itemsize: int) -> int:
    """Columns of z: all gate blocks, and what the last panel of a product adds zeros to."""
    # A GRU's product for n begins at its own block, and may reach further than all others.
    last = {GRU: 3 * size, RESET_BEFORE: 2 * size}.get(kind, 0)
    return max(padded(BLOCKS[kind] * size, itemsize), last + padded(size, itemsize))


def total_bias(kind: int, w: Weights, size: int, dtype: Any) -> Array:
    """What rows of z start from. A GRU's r and z take the sum of both biases, n and its product one each."""
    bias = np.zeros(scratch_columns(kind, size, np.dtype(dtype).itemsize), dtype)
    if "bias_ih" in w:
        b_ih, b_hh = w["bias_ih"], w["bias_hh"]
        if kind == GRU:
            bias[: 2 * size] = b_ih[: 2 * size] + b_hh[: 2 * size]
            bias[2 * size : 3 * size], bias[3 * size : 4 * size] = b_ih[2 * size :], b_hh[2 * size :]
        else:
            np.add(b_ih, b_hh, out=bias[: len(b_ih)])
    return bias


def _peepholes(w: Weights, size: int, dtype: Any) -> Array:
    return plain(w["weight_ch"]) if "weight_ch" in w else np.empty((3, 0), dtype)


def _control(flags: Flags) -> tuple[bool, Array, bool, Array]:
    """Whether states are ever held, and where; whether sequences ever restart, and where."""
    advance, restart = (NEVER if f is None else plain(f).view(np.uint8) for f in flags)
    return flags.advance is not None, advance, flags.restart is not None, restart


def _states_before(first: Array, states: Array, restart: Array | None, reverse: bool) -> Array:
    """The state each step started from."""
    before = np.empty_like(states)
    if reverse:
        before[:-1], before[-1] = states[1:], first
    else:
        before[1:], before[0] = states[:-1], first
    if restart is not None:
        before[restart] = 0
    return before
