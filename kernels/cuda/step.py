"""Recurrent sequences on a device, a product and a pointwise kernel for each step.

The interface is that of cpu/sequence.py, with CuPy arrays instead of NumPy's (or NumPy's, in the simulator): arrays of
one type, of any layout, on the current device; a kind of cell is a number; weights are those of one layer in one
direction, by PyTorch's names. Nothing here waits for the device.
"""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

from ..kinds import GRU, LSTM, PEEPHOLE, RELU, TANH, Flags, Weights
from . import launch, product
from .gradients import after_steps, states_before, weight_gradients
from .launch import place_of

__all__ = ["GRU", "LSTM", "PEEPHOLE", "RELU", "TANH", "Flags", "backward", "forward", "reasons_against"]

Array = Any
BLOCKS = (1, 1, 4, 4, 3)  # of the products
NAMES = ("elman", "elman", "lstm", "lstm", "gru")  # of the kernels
DTYPES = ("float32", "float64")


class Cache(NamedTuple):
    """What the way back needs: activations (T, B, N); all states (T + 1, B, H), the initial one too; bytes (T, B)."""

    z: Array
    hs: Array
    cs: Array
    flags: Array
    options: int


def reasons_against(kind: int, steps: int, batch: int, size: int, dtype: str, precision: str) -> list[str]:
    """What keeps this path from running a call on CuPy's current device, or in the simulator."""
    if launch.simulated():
        return [] if importlib.util.find_spec("numba") else ["Numba is not installed"]
    try:
        number = launch.facts().number
    except Exception as error:  # a broken driver raises what it likes
        return [f"CuPy cannot use the device ({type(error).__name__}: {error})"]
    reason = _reason_on(number, NAMES[kind], dtype, "float32" if dtype == "float64" else precision)
    return [reason] if reason else []


@launch.looked_for_once
def _reason_on(number: int, name: str, dtype: str, precision: str) -> str:
    """Whether the device is new enough, and the kernels compile and load."""
    capability = launch.facts().capability
    needed = launch.OLDEST_BY_PRECISION[precision]
    if capability < needed:
        shown = ["{}.{}".format(*version) for version in (capability, needed)]
        return f"the device has compute capability {shown[0]}; precision {precision!r} needs {shown[1]}"
    if reason := product.reason_against(precision):
        return reason
    for way in ("forward", "backward"):
        _ = launch.loaded(f"{name}_{way}", dtype).num_regs  # loads it
    return ""


def forward(
    kind: int,
    w: Weights,
    x: Array,
    h0: Array,
    c0: Array | None,
    flags: Flags,
    reverse: bool,
    keep: bool,
    precision: str = "float32",
) -> tuple[Array, Array | None, Cache | None]:
    """Every h (T, B, H), every c for a cell that has one, and the cache if it is to be kept."""
    from . import pointwise as do

    place = place_of(x, precision, backward=False)
    xp, multiply = place.xp, place.product
    x, w = xp.ascontiguousarray(x), {name: xp.ascontiguousarray(a) for name, a in w.items()}
    steps, batch, inputs = x.shape
    size, dtype, columns = h0.shape[1], x.dtype, w["weight_ih"].shape[0]
    first = steps if reverse else 0

    hs = xp.empty((steps + 1, batch, size), dtype)
    hs[first] = h0
    cs = xp.empty(hs.shape if c0 is not None else (1,), dtype)
    if c0 is not None:
        cs[first] = c0
    wide = 4 * size if kind == GRU and keep else columns
    z = xp.empty((steps, batch, wide), dtype)
    multiply(x.reshape(-1, inputs), w["weight_ih"], z.reshape(-1, wide)[:, :columns], transpose_b=True)
    zh, bias, codes = xp.empty((batch, columns), dtype), _bias(xp, kind, w, size, dtype), _codes(xp, flags)
    p = w["weight_ch"] if kind == PEEPHOLE else xp.empty(1, dtype)
    options = do.REVERSE * reverse | do.RELU * (kind == RELU) | do.PEEPHOLES * (kind == PEEPHOLE)
    options |= do.KEEP * keep | do.FLAGGED * any(f is not None for f in flags)
    arrays: tuple[Array, ...] = (z, zh, bias, p, hs, cs, codes) if c0 is not None else (z, zh, bias, hs, codes)
    for t in reversed(range(steps)) if reverse else range(steps):
        multiply(hs[t + 1 if reverse else t], w["weight_hh"], zh, transpose_b=True)
        place.launch(f"{NAMES[kind]}_forward", size, batch, arrays, t, batch, size, options)
    states = after_steps(steps, reverse)
    cache = Cache(z, hs, cs, codes, options) if keep else None
    return hs[states], None if c0 is None else cs[states], cache


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
    precision: str = "float32",
) -> tuple[Array | None, Array, Array | None, Weights]:
    """dx, dh0, dc0 and the gradients of the weights. dh and dc, cotangents of the final state, are overwritten."""
    from . import pointwise as do

    place = place_of(x, precision, backward=True)
    xp, multiply = place.xp, place.product
    x, w = xp.ascontiguousarray(x), {name: xp.ascontiguousarray(a) for name, a in w.items()}
    steps, batch, _ = x.shape
    size, dtype, columns = dh.shape[1], x.dtype, w["weight_ih"].shape[0]
    dhs, dcs, dh, dc = (None if d is None else xp.ascontiguousarray(d) for d in (dhs, dcs, dh, dc))

    dzx = xp.empty((steps, batch, columns), dtype)
    dzh = xp.empty_like(dzx) if kind == GRU else dzx
    given = cache.options | do.GIVEN_H * (dhs is not None) | do.GIVEN_C * (dcs is not None)
    nothing = [xp.empty(1, dtype) for _ in range(3)]
    dhs, dcs = nothing[0] if dhs is None else dhs, nothing[1] if dcs is None else dcs
    arrays: tuple[Array, ...]
    if kind == GRU:
        arrays = (cache.z, cache.hs, dh, dzx, dzh, dhs, cache.flags)
    elif dc is not None:
        arrays = (cache.z, cache.cs, w.get("weight_ch", nothing[2]), dh, dc, dzx, dhs, dcs, cache.flags)
    else:
        arrays = (cache.hs, dh, dzx, dhs, cache.flags)
    for k, t in enumerate(range(steps) if reverse else reversed(range(steps))):
        options = given | do.LATER * (k > 0)
        place.launch(f"{NAMES[kind]}_backward", size, batch, arrays, t, batch, size, options)
        multiply(dzh[t], w["weight_hh"], dh, add=True)

    if flags.restart is not None:  # as in the loop, where the launch of the step before does it
        dh = xp.where(flags.restart[-1 if reverse else 0, :, None], dtype.type(0), dh)
    dx, gradients = weight_gradients(place, w, x, cache.hs, dzx, dzh, flags, reverse, need_dx)
    if "bias_ih" in w:
        gradients["bias_ih"] = xp.sum(dzx, axis=(0, 1))
        gradients["bias_hh"] = gradients["bias_ih"].copy() if dzh is dzx else xp.sum(dzh, axis=(0, 1))
    if kind == PEEPHOLE:
        c_before, c_after = states_before(xp, cache.cs, flags, reverse), cache.cs[after_steps(steps, reverse)]
        parts = ((0, c_before), (1, c_before), (3, c_after))
        gradients["weight_ch"] = xp.stack(
            [xp.sum(dzx[..., k * size : (k + 1) * size] * c, axis=(0, 1)) for k, c in parts]
        )
    return dx, dh, dc, gradients


def _bias(xp: Any, kind: int, w: Weights, size: int, dtype: Any) -> Array:
    """What pre-activations start from. A GRU's r and z take the sum of both biases, n and its product one each."""
    blocks = 4 if kind == GRU else BLOCKS[kind]
    if "bias_ih" not in w:
        return xp.zeros(blocks * size, dtype)
    b_ih, b_hh = w["bias_ih"], w["bias_hh"]
    if kind != GRU:
        return b_ih + b_hh
    return xp.concatenate([b_ih[: 2 * size] + b_hh[: 2 * size], b_ih[2 * size :], b_hh[2 * size :]])


def _codes(xp: Any, flags: Flags) -> Array:
    """Both flags of each step and sequence in a byte (T, B): HELD and FRESH; one byte where there are none."""
    from . import pointwise as do

    codes = xp.zeros(1, "uint8")
    if flags.advance is not None:
        codes = xp.logical_not(flags.advance).astype("uint8") * do.HELD
    if flags.restart is not None:
        codes = codes | flags.restart.astype("uint8") * do.FRESH
    return xp.ascontiguousarray(codes)
