"""Recurrent sequences on a device, a product and a pointwise kernel for each step.

The interface is that of cpu/sequence.py, with CuPy arrays instead of NumPy's (or NumPy's, in the simulator): arrays of
one type, of any layout, on the current device; a kind of cell is a number; weights are those of one layer in one
direction, by PyTorch's names. Nothing here waits for the device.
"""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

from ..kinds import KINDS, RELU, Flags, Kind, State, Weights
from . import launch, product
from .gradients import after_steps, diagonal_gradients, weight_gradients
from .launch import place_of

Array = Any
DTYPES = ("float32", "float64")


class Cache(NamedTuple):
    """What the way back needs: activations (T, B, N); all states (T + 1, B, H), the initial one too; bytes (T, B)."""

    z: Array
    states: State
    flags: Array
    options: int


def reasons_against(kind: int, steps: int, batch: int, size: int, dtype: str, precision: str) -> list[str]:
    """What keeps this path from running a call on CuPy's current device, or in the simulator."""
    if reasons := product.rows_against(steps, batch):
        return reasons
    if launch.simulated():
        return [] if importlib.util.find_spec("numba") else ["Numba is not installed"]
    try:
        number = launch.facts().number
    except Exception as error:  # a broken driver raises what it likes
        return [f"CuPy cannot use the device ({type(error).__name__}: {error})"]
    reason = _reason_on(number, KINDS[kind].step, dtype, "float32" if dtype == "float64" else precision)
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
    state: State,
    flags: Flags,
    reverse: bool,
    keep: bool,
    precision: str = "float32",
) -> tuple[State, Cache | None]:
    """Each part of the state after every step (T, B, H), and the cache if it is to be kept."""
    from . import pointwise as do

    about, place = KINDS[kind], place_of(x, precision, backward=False)
    xp, multiply = place.xp, place.product
    x, w = xp.ascontiguousarray(x), {name: xp.ascontiguousarray(a) for name, a in w.items()}
    steps, batch, inputs = x.shape
    size, dtype, columns = state[0].shape[1], x.dtype, w["weight_ih"].shape[0]

    states = tuple(xp.empty((steps + 1, batch, size), dtype) for _ in state)
    for part, initial in zip(states, state, strict=True):
        part[steps if reverse else 0] = initial
    z = xp.empty((steps, batch, about.kept * size if keep else columns), dtype)
    multiply(x.reshape(-1, inputs), w["weight_ih"], z.reshape(-1, z.shape[2])[:, :columns], transpose_b=True)
    zh, bias, codes = xp.empty((batch, columns), dtype), _bias(xp, about, w, size, dtype), _codes(xp, flags)
    options = do.REVERSE * reverse | do.RELU * (kind == RELU) | do.PEEPHOLES * bool(about.diagonals)
    options |= do.KEEP * keep | do.FLAGGED * any(f is not None for f in flags)
    arrays = _in_order(
        f"{about.step}_forward",
        {"z": z, "zh": zh, "bias": bias, "p": _diagonals(xp, about, w, dtype), "flags": codes}
        | {f"{name}s": part for name, part in zip(about.parts, states, strict=True)},
    )
    for t in reversed(range(steps)) if reverse else range(steps):
        multiply(states[0][t + 1 if reverse else t], w["weight_hh"], zh, transpose_b=True)
        place.launch(f"{about.step}_forward", size, batch, arrays, t, batch, size, options)
    after = after_steps(steps, reverse)
    return tuple(part[after] for part in states), Cache(z, states, codes, options) if keep else None


def backward(
    kind: int,
    w: Weights,
    x: Array,
    cache: Cache,
    flags: Flags,
    reverse: bool,
    dsequences: State,
    dstate: State,
    need_dx: bool,
    precision: str = "float32",
) -> tuple[Array | None, State, Weights]:
    """dx, the cotangents of the initial state, and the gradients of the weights.

    ``dsequences`` are those of every state, None where zero; ``dstate`` those of the final one, which is overwritten.
    """
    from . import pointwise as do

    about, place = KINDS[kind], place_of(x, precision, backward=True)
    xp, multiply = place.xp, place.product
    x, w = xp.ascontiguousarray(x), {name: xp.ascontiguousarray(a) for name, a in w.items()}
    steps, batch, _ = x.shape
    size, dtype, columns = dstate[0].shape[1], x.dtype, w["weight_ih"].shape[0]
    dh, *dothers = (xp.ascontiguousarray(d) for d in dstate)

    dzx = xp.empty((steps, batch, columns), dtype)
    dzh = xp.empty_like(dzx) if about.apart else dzx
    given, dresults = cache.options, {}
    for part, (name, d) in enumerate(zip(about.parts, dsequences, strict=True)):
        given |= (do.GIVEN << part) * (d is not None)
        dresults[f"d{name}s"] = xp.empty(1, dtype) if d is None else xp.ascontiguousarray(d)
    arrays = _in_order(
        f"{about.step}_backward",
        {"z": cache.z, "dz": dzx, "dzx": dzx, "dzh": dzh, "p": _diagonals(xp, about, w, dtype), "flags": cache.flags}
        | {f"{name}s": part for name, part in zip(about.parts, cache.states, strict=True)}
        | {f"d{name}": d for name, d in zip(about.parts, (dh, *dothers), strict=True)}
        | dresults,
    )
    for k, t in enumerate(range(steps) if reverse else reversed(range(steps))):
        options = given | do.LATER * (k > 0)
        place.launch(f"{about.step}_backward", size, batch, arrays, t, batch, size, options)
        multiply(dzh[t], w["weight_hh"], dh, add=True)

    if flags.restart is not None:  # as in the loop, where the launch of the step before does it
        dh = xp.where(flags.restart[-1 if reverse else 0, :, None], dtype.type(0), dh)
    dx, gradients = weight_gradients(place, w, x, cache.states[0], dzx, dzh, flags, reverse, need_dx)
    if "bias_ih" in w:
        gradients["bias_ih"] = xp.sum(dzx, axis=(0, 1))
        gradients["bias_hh"] = gradients["bias_ih"].copy() if dzh is dzx else xp.sum(dzh, axis=(0, 1))
    if about.diagonals:
        gradients[about.diagonals_in] = diagonal_gradients(xp, about, cache.states, dzx, flags, reverse)
    return dx, (dh, *dothers), gradients


def _in_order(kernel: str, arrays: dict[str, Array]) -> tuple[Array, ...]:
    """What a kernel takes, by the names of its parameters."""
    return tuple(arrays[name] for name in launch.array_parameters(kernel))


def _diagonals(xp: Any, about: Kind, w: Weights, dtype: Any) -> Array:
    """Elementwise weights; some array where there are none."""
    return w[about.diagonals_in] if about.diagonals else xp.empty(1, dtype)


def _bias(xp: Any, about: Kind, w: Weights, size: int, dtype: Any) -> Array:
    """What pre-activations start from. A GRU's r and z take the sum of both biases, n and its product one each."""
    if "bias_ih" not in w:
        return xp.zeros(about.kept * size, dtype)
    b_ih, b_hh = w["bias_ih"], w["bias_hh"]
    if not about.apart:
        return b_ih + b_hh
    both = about.products[0] * size
    return xp.concatenate([b_ih[:both] + b_hh[:both], b_ih[both:], b_hh[both:]])


def _codes(xp: Any, flags: Flags) -> Array:
    """Both flags of each step and sequence in a byte (T, B): HELD and FRESH; one byte where there are none."""
    from . import pointwise as do

    codes = xp.zeros(1, "uint8")
    if flags.advance is not None:
        codes = xp.logical_not(flags.advance).astype("uint8") * do.HELD
    if flags.restart is not None:
        codes = codes | flags.restart.astype("uint8") * do.FRESH
    return xp.ascontiguousarray(codes)
