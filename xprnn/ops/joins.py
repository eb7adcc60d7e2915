"""Several Tensors joined into one, and one taken apart into several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xprnn import counts
from xprnn.backend import namespace
from xprnn.flags import several
from xprnn.ops.operands import Operand, as_tensor, lifted, zeros_like
from xprnn.ops.shapes import one_axis, unbroadcast
from xprnn.tape import record, record_joint
from xprnn.tensor import Cotangents, Tensor


def concat(arrays: Sequence[Operand], axis: int = 0) -> Tensor:
    """Joined along an existing axis."""
    parts = [as_tensor(x) for x in several("concat", "arrays", arrays)]
    xp = namespace(**{f"concat's operand {k}": x.data for k, x in enumerate(parts)})
    for k, x in enumerate(parts):
        if x.ndim == 0:
            raise ValueError(f"concat: operand {k} has no axes; expected at least one (stack joins along a new axis)")
    axis = one_axis(axis, parts[0].ndim)
    data = xp.concat([x.data for x in parts], axis=axis)
    keys: list[Any] = []
    start = 0
    for x in parts:
        keys.append((*[slice(None)] * axis, slice(start, start + x.shape[axis]), ...))
        start += x.shape[axis]
    return record("concat", data, parts, _picks(keys, parts))


def stack(arrays: Sequence[Operand], axis: int = 0) -> Tensor:
    """Joined along a new axis."""
    parts = [as_tensor(x) for x in several("stack", "arrays", arrays)]
    xp = namespace(**{f"stack's operand {k}": x.data for k, x in enumerate(parts)})
    axis = one_axis(axis, parts[0].ndim + 1)
    keys = [(*[slice(None)] * axis, k, ...) for k in range(len(parts))]
    return record("stack", xp.stack([x.data for x in parts], axis=axis), parts, _picks(keys, parts))


@lifted
def unstack(x: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, all recorded as one operation: their cotangents are stacked once."""
    axis = one_axis(axis, x.ndim)

    def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        given = next(g for g in cotangents if g is not None)
        return [stack([zeros_like(given) if g is None else g for g in cotangents], axis)]

    return record_joint("unstack", namespace(x.data).unstack(x.data, axis=axis), (x,), pullback)


@lifted
def split(x: Tensor, sections: int, axis: int = 0) -> tuple[Tensor, ...]:
    """``sections`` parts of equal length along an axis, such as a cell's gates, all recorded as one operation.

    As NumPy's ``split`` and PyTorch's ``chunk``. Raises ValueError where the axis has no whole multiple of sections.
    """
    axis, sections = one_axis(axis, x.ndim), counts.size("split", "sections", sections)
    length, rest = divmod(x.shape[axis], sections)
    if rest:
        raise ValueError(f"split: axis {axis} has length {x.shape[axis]}; expected a multiple of sections, {sections}")

    def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        given = next(g for g in cotangents if g is not None)
        return [concat([zeros_like(given) if g is None else g for g in cotangents], axis)]

    keys = [(*[slice(None)] * axis, slice(k * length, (k + 1) * length), ...) for k in range(sections)]
    return record_joint("split", [x.data[key] for key in keys], (x,), pullback)


def _picks(keys: Sequence[Any], parts: Sequence[Tensor]) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """Rules that give each part the piece of the cotangent at its key, in the part's dtype."""
    return [lambda g, y, key=key, x=x: unbroadcast(g[key], x) for key, x in zip(keys, parts, strict=True)]  # type: ignore[misc]
