"""Masks of a call: of h in its products, of zoneout, of candidates (candidates.py), and h that fades before a step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arguments import filled, room
from .compiling import kernel
from .intrinsics import offset
from .product import Array, plain
from .rows import add_product


class Noise(NamedTuple):
    """The masks, and for each kind whether there is one: compiled code cannot be given None.

    Attributes
    ----------
    mask
        (B, H), by which h is multiplied in products.
    zones, raw
        How much of each part's old state zoneout keeps, (T, B, H), or (1, B, H) where it is the same at all steps; and
        the states that the cell computed before that, after every step, or of one where they are not kept. Parts as in
        States.
    drop
        (T, B, H), by which candidates are multiplied.
    fade, dfade
        (T, B, H), by which h is multiplied before each step, of a cell whose state is h alone; and its cotangents,
        which the way back fills in.
    """

    masked: bool
    mask: Array
    zoned: bool
    zones: tuple[Array, ...]
    raw: tuple[Array, ...]
    dropped: bool
    drop: Array
    faded: bool
    fade: Array
    dfade: Array


def noise_of(
    mask: Any,
    zoneout: tuple[Any, ...],
    drop: Array | None,
    fade: Array | None,
    shape: tuple[int, ...],
    keep: bool,
    dtype: Any,
) -> Noise | None:
    """Masks as compiled code takes them: ``zoneout`` may be empty, or of arrays and numbers. None where all are."""
    if mask is None and not zoneout and drop is None and fade is None:
        return None
    steps, batch, size = shape
    flat = np.empty((0, 0), dtype) if mask is None else plain(mask.astype(dtype, copy=False))
    none = np.empty((0, 0, 0), dtype)
    zones = filled([np.full((1, batch, size), z, dtype) if isinstance(z, float) else z for z in zoneout], 3, dtype)
    kept = steps if keep else 1
    raw = room(len(zoneout), (kept, batch, size), dtype, kept) if zoneout else (none, none)
    dropped, faded = drop is not None, fade is not None
    dfade = np.empty(shape, dtype) if faded and keep else none
    drop, fade = (none if a is None else plain(a.astype(dtype, copy=False)) for a in (drop, fade))
    return Noise(mask is not None, flat, bool(zoneout), zones, raw, dropped, drop, faded, fade, dfade)


@kernel
def masked(source, mask, target, rows, size):
    """target = source mask, for rows of ``size`` numbers."""
    for k in range(rows * size):
        target[k] = source[k] * mask[k]


@kernel
def fade_back(source, fade, d, d_columns, dfade, rows, size):
    """The cotangent of source fade, rows of which are ``d_columns`` apart, to that of source; dfade is fade's."""
    for b in range(rows):
        at = b * size
        h, by, here, other = offset(source, at), offset(fade, at), offset(d, b * d_columns), offset(dfade, at)
        for j in range(size):
            other[j] = here[j] * h[j]
            here[j] = here[j] * by[j]


@kernel
def zone(share, old, raw, new, held, advance, rows, size):
    """new = share old + (1 - share) raw; the old state where it is held."""
    for b in range(rows):
        at = b * size
        z, before, computed, after = offset(share, at), offset(old, at), offset(raw, at), offset(new, at)
        if held and advance[b] == 0:
            for j in range(size):
                after[j] = before[j]
        else:
            for j in range(size):
                after[j] = before[j] * z[j] + computed[j] * (1 - z[j])


@kernel
def zone_back(share, d, d_columns, kept, held, advance, rows, size):
    """The cotangent of a state, rows of which are ``d_columns`` apart, to that of the computed one; ``kept`` is the
    old one's.
    """
    for b in range(rows):
        z, here, rest = offset(share, b * size), offset(d, b * d_columns), offset(kept, b * size)
        if held and advance[b] == 0:
            for j in range(size):
                rest[j] = 0
        else:
            for j in range(size):
                rest[j] = here[j] * z[j]
                here[j] = here[j] * (1 - z[j])


@kernel
def add_masked(target, target_columns, source, source_columns, mask, rows, size):
    """target += source mask, by rows."""
    for b in range(rows):
        to, given, by = offset(target, b * target_columns), offset(source, b * source_columns), offset(mask, b * size)
        add_product(to, given, by, size)
