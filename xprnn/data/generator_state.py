"""Batches that come from a generator say where it stands, so that a resumed run draws on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class GeneratorState:
    """The state of ``rng``, for a checkpoint. ``owner`` is the name that errors give."""

    rng: np.random.Generator
    owner: str

    def state_dict(self) -> dict[str, Any]:
        """The state of the generator, between two epochs."""
        return {"generator": self.rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave. Raises ValueError for the state of another kind of generator."""
        try:
            self.rng.bit_generator.state = state["generator"]
        except (KeyError, TypeError, ValueError) as error:
            kind = type(self.rng.bit_generator).__name__
            raise ValueError(f"{self.owner}: the state does not fit a {kind} generator: {error}") from error
