"""The random masks of one call, for zoneout and dropout: drawn before it, and the same on its way back."""

from __future__ import annotations

from dataclasses import dataclass

from xprnn.backend import Array
from xprnn.cells import State, Weights


@dataclass(frozen=True)
class Noise:
    """Masks of a call; None, or an empty tuple, for none.

    Attributes
    ----------
    zoneout
        For each part of the state, how much of the old one stays: (T, B, H) of ones and zeros, or one number.
    h
        (B, H), what h is multiplied by wherever it goes into a product.
    candidate
        (T, B, H), what the candidate is multiplied by.
    """

    zoneout: tuple[Array | float, ...] = ()
    h: Array | None = None
    candidate: Array | None = None

    def at_any_step(self) -> Weights:
        """The masks that a cell finds among its weights at every step."""
        return {} if self.h is None else {"mask_h": self.h}

    def at(self, t: int) -> Weights:
        """The masks that a cell finds among its weights at step t."""
        masks = self.at_any_step()
        return masks if self.candidate is None else masks | {"mask_candidate": self.candidate[t, ...]}

    def zoned(self, t: int, new: State, old: State) -> State:
        """The state after step t: shares of the old one and of the new one."""
        if not self.zoneout:
            return new
        # States on the left, as they may be Tensors: not every array library leaves a product with one to the Tensor.
        return tuple(o * z + n * (1.0 - z) for z, o, n in zip(self._shares(t), old, new, strict=True))

    def zoned_vjp(self, t: int, dstate: State) -> tuple[State, State | None]:
        """The cotangents of the new and of the old state; None where nothing comes to the old one."""
        if not self.zoneout:
            return dstate, None
        shares = self._shares(t)
        moved = tuple(d * (1.0 - z) for z, d in zip(shares, dstate, strict=True))
        return moved, tuple(d * z for z, d in zip(shares, dstate, strict=True))

    def _shares(self, t: int) -> tuple[Array | float, ...]:
        return tuple(z if isinstance(z, float) else z[t, ...] for z in self.zoneout)
