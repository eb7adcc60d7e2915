"""What the laws are checked on: arguments for a layer, of any shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.arguments import sizes, true_or_false
from xprnn.backend import Backend, backend_of, dtype_name, get_backend
from xprnn.grad_mode import no_grad
from xprnn.testing.gradients import flatten

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Example:
    """Arguments for a layer, as host arrays: x (T, B, I), the parts of a state, lengths (B,), mask and reset (T, B)."""

    x: Host
    state: tuple[Host, ...]
    lengths: Host | None = None
    mask: Host | None = None
    reset: Host | None = None

    @staticmethod
    def draw(
        layer: Any, input_size: int, *, steps: int = 5, batch: int = 3, ragged: bool = False, rng: int = 0
    ) -> Example:
        """Normal random arguments that fit a layer; with ``ragged``, lengths from 0 to T, a mask and resets too."""
        draws = np.random.default_rng(rng)
        x = draws.standard_normal(sizes("Example.draw", steps=steps, batch=batch, input_size=input_size))
        with no_grad():
            _, state = layer(home_of(layer).asarray(x, dtype_of(layer)))
        parts = tuple(draws.standard_normal(part.shape) for part in flatten(state))
        if not true_or_false("Example.draw", "ragged", ragged):
            return Example(x, parts)
        lengths = draws.integers(0, steps + 1, batch)
        if batch > 1:  # both ends, always
            lengths[0], lengths[-1] = steps, 0
        return Example(x, parts, lengths, draws.random((steps, batch)) < 0.8, draws.random((steps, batch)) < 0.2)

    @property
    def plain(self) -> Example:
        """The same without lengths, mask and reset."""
        return Example(self.x, self.state)

    def sequences(self, part: Any) -> Example:
        """Some sequences of the batch."""
        flags = [None if f is None else f[:, part] for f in (self.mask, self.reset)]
        state = tuple(batch_part(s, part) for s in self.state)
        return Example(self.x[:, part], state, None if self.lengths is None else self.lengths[part], *flags)


def dtype_of(layer: Any) -> str:
    return next((dtype_name(p.data) for _, p in layer.named_parameters()), "float64")


def home_of(layer: Any) -> Backend:
    return next((backend_of(p.data) for _, p in layer.named_parameters()), get_backend("numpy"))


def batch_part(array: Host, part: Any) -> Host:
    """Of a state (L*D, B, H), an output (T, B, H) or a part (B, H): some sequences."""
    return array[..., part, :]
