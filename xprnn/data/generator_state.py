"""The state of a generator that draws batches, so that a resumed run draws what an unbroken one would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xprnn.arguments import checked_state
from xprnn.randomness import restore


class GeneratorState:
    """The state of ``rng``, for a checkpoint. ``owner`` is the name that errors give."""

    rng: np.random.Generator
    owner: str

    def state_dict(self) -> dict[str, Any]:
        """The state of the generator, between two epochs."""
        return {"generator": self.rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave. Raises ValueError, and changes nothing, for what does not fit."""
        checked_state(self.owner, state, {"generator"})
        try:
            restore(self.rng, state["generator"])
        except ValueError as error:
            raise ValueError(f"{self.owner}: {error}") from error
