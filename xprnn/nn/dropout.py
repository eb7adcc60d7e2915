"""Dropout: random zeros while training (Srivastava et al. 2014)."""

from __future__ import annotations

from typing import Any

from xprnn.arguments import floating_input, probability
from xprnn.backend import backend_of, dtype_name
from xprnn.nn.module import Module
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor


class Dropout(Module):
    """While training, y = x m / (1 - p), each m one with probability 1 - p, else zero; otherwise y = x.

    x floating, of any shape; TypeError for another dtype. Masks come from ``rng`` on the host, so that a seed gives
    the same bits on every backend.
    """

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        self.p, self.rng = probability("Dropout", "p", p), generator(rng)

    def forward(self, x: Any) -> Tensor:
        x = floating_input("Dropout", "x", x)
        if not self.training or self.p == 0.0:
            return x
        p = probability("Dropout", "p", self.p)  # which may have been assigned since
        kept = self.rng.random(x.shape, dtype="float32") >= p
        scale = 0.0 if p == 1.0 else 1.0 / (1.0 - p)
        return x * backend_of(x.data).asarray((kept * scale).astype(dtype_name(x.data)))

    def describe(self) -> str:
        return f"{self.p}"
