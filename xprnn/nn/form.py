"""How a batch of sequences came, and the way from there to time-major and back: layers know no other form inside."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import partial
from operator import is_
from typing import Any

from xprnn import ops
from xprnn.engine.control import FREE, Control
from xprnn.tensor import Tensor

SWAPPED = (1, 0, 2)
_missing = partial(is_, None)


class Form(Enum):
    """The order of the axes of x and y, and of what stands beside them."""

    TIME_MAJOR = "(T, B, ...)"
    BATCH_FIRST = "(B, T, ...)"
    SINGLE = "(T, ...)"
    """Without a batch: inside, a batch of one."""

    @staticmethod
    def of(owner: str, name: str, x: Tensor, size: int | None, batch_first: bool) -> Form:
        """The form of x (T, B, size), (B, T, size) or (T, size); None for any size. Raises ValueError for others."""
        shape = x.data.shape
        if len(shape) == 3 and not batch_first and (size is None or shape[2] == size):  # the most common
            return Form.TIME_MAJOR
        if len(shape) not in (2, 3) or size not in (None, shape[-1]):
            axes, last = "B, T" if batch_first else "T, B", size or "I"
            expected = f"({axes}, {last}), or (T, {last}) without a batch"
            raise ValueError(f"{owner}: {name} has shape {shape}; expected {expected}")
        if len(shape) == 2:
            return Form.SINGLE
        return Form.BATCH_FIRST if batch_first else Form.TIME_MAJOR

    @property
    def time_axis(self) -> int:
        """Where x, as it came, has its steps."""
        return 1 if self is Form.BATCH_FIRST else 0

    def inward(self, x: Tensor) -> Tensor:
        """What came, as (T, B, ...)."""
        if self is Form.TIME_MAJOR:
            return x
        return ops.expand_dims(x, 1) if self is Form.SINGLE else ops.permute_dims(x, SWAPPED)

    def outward(self, y: Tensor) -> Tensor:
        """What goes out (T, B, ...), as x came."""
        if self is Form.TIME_MAJOR:
            return y
        return ops.squeeze(y, 1) if self is Form.SINGLE else ops.permute_dims(y, SWAPPED)

    def batched(self, parts: Sequence[Tensor], axis: int) -> tuple[Tensor, ...]:
        """What has a batch at this axis, in every form but the single one, with it."""
        return tuple(ops.expand_dims(part, axis) for part in parts) if self is Form.SINGLE else tuple(parts)

    def unbatched(self, parts: Sequence[Tensor], axis: int) -> tuple[Tensor, ...]:
        """The way back from :meth:`batched`."""
        return tuple(ops.squeeze(part, axis) for part in parts) if self is Form.SINGLE else tuple(parts)

    def control(self, owner: str, name: str, came: Any, x: Tensor, **given: Any) -> Control:
        """Lengths, mask and reset for x (T, B, ...), in this form, as :meth:`Control.build` combines them.

        Raises TypeError and ValueError as that does, and ValueError, with name and shape of what came, where there is
        no batch.
        """
        if all(map(_missing, given.values())):
            return FREE
        if self is Form.SINGLE:
            *others, last = given
            what = f"{', '.join(others)} and {last} need a batch"
            raise ValueError(f"{owner}: {what}; {name} has shape {tuple(came.shape)}")
        given = {key: ops.value(one) for key, one in given.items()}
        return Control.build(owner, x.data, **given, batch_first=self is Form.BATCH_FIRST)
