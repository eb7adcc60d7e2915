"""Regularisation of recurrent layers while they train: zoneout, dropout between steps, and dropped weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.arguments import probability, share
from xprnn.backend import Array, backend_of, dtype_name
from xprnn.cells import Cell
from xprnn.cells.cell import CANDIDATE
from xprnn.engine.noise import Noise


@dataclass(frozen=True)
class Regularisation:
    """Rates from 0 to 1: of zoneout for each part of the state, and of the three kinds of dropout."""

    zoneout: tuple[float, ...]
    recurrent: float
    candidate: float
    weight: float

    @staticmethod
    def of(
        owner: str,
        cells: tuple[Cell, ...],
        hidden_size: int,
        zoneout: float | tuple[float, ...],
        recurrent: float,
        candidate: float,
        weight: float,
    ) -> Regularisation | None:
        """The arguments of a layer, checked; None where all rates are 0.

        Raises ValueError for what is no rate, and for masks that the cell of a direction does not use.
        """
        parts = cells[0].state_names
        rates = zoneout if isinstance(zoneout, (tuple, list)) else (zoneout,) * len(parts)
        if len(rates) != len(parts):
            raise ValueError(f"{owner}: zoneout has {len(rates)} rates; expected one, or {len(parts)}: {parts}")
        checked = tuple(probability(owner, "zoneout", rate) for rate in rates)
        recurrent = share(owner, "recurrent_dropout", recurrent)
        candidate, weight = share(owner, "candidate_dropout", candidate), share(owner, "weight_dropout", weight)
        for name, rate, mask in (
            ("recurrent_dropout", recurrent, "mask_h"),
            ("candidate_dropout", candidate, CANDIDATE),
        ):
            if rate and (without := [cell.name for cell in cells if mask not in cell.masks]):
                raise ValueError(f"{owner}: {name} is {rate}, but the cell {without[0]} has no {mask}")
        if weight and "weight_hh" not in cells[0].weight_shapes(1, hidden_size):
            raise ValueError(f"{owner}: weight_dropout is {weight}, but the cell {cells[0].name} has no weight_hh")
        if not any((*checked, recurrent, candidate, weight)):
            return None
        return Regularisation(checked, recurrent, candidate, weight)

    def noise(
        self, rng: np.random.Generator, x: Array, sizes: tuple[int, ...], hidden_size: int, training: bool
    ) -> Noise | None:
        """The masks of a call with x (T, B, I). Outside training there is zoneout alone, as its expected value."""
        steps, batch, _ = x.shape
        if not training:
            return Noise(self.zoneout) if any(self.zoneout) else None

        def drawn(rate: float, *shape: int) -> Array:
            """Zeros with the probability ``rate``, and ones."""
            ones = rng.random(shape, dtype="float32") >= rate
            return backend_of(x).asarray(ones.astype(dtype_name(x)))

        zoneout: tuple[Array | float, ...] = ()
        if any(self.zoneout):
            zoneout = tuple(
                1.0 - drawn(rate, steps, batch, size) for rate, size in zip(self.zoneout, sizes, strict=True)
            )
        h = drawn(self.recurrent, batch, sizes[0]) / (1.0 - self.recurrent) if self.recurrent else None
        candidate = None
        if self.candidate:
            candidate = drawn(self.candidate, steps, batch, hidden_size) / (1.0 - self.candidate)
        return None if not zoneout and h is None and candidate is None else Noise(zoneout, h, candidate)

    def connected(self, rng: np.random.Generator, weights: dict[str, Any], training: bool) -> dict[str, Any]:
        """The weights of a call. While training some of weight_hh are zero, and the others larger to make up for it."""
        if not (training and self.weight):
            return weights
        w = weights["weight_hh"]
        kept = (rng.random(w.shape, dtype="float32") >= self.weight) / (1.0 - self.weight)
        return {**weights, "weight_hh": w * backend_of(w.data).asarray(kept.astype(dtype_name(w.data)))}
