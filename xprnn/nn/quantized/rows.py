"""Weights as numbers of 8 bits, and what layers of them have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from xprnn.backend import backend_of, copied, to_numpy
from xprnn.engine.int8_reference import LARGEST, LEAST, MOST_INPUTS
from xprnn.tape import is_recorded
from xprnn.tensor import Parameter, Tensor


class CodedWeight(Parameter):
    """Codes of a weight, which are no operands: without their scales they are wrong."""

    __slots__ = ()

    def _read(self) -> Any:
        raise TypeError(
            "a weight of 8 bits is codes, which mean nothing without their scales: call the layer that has it, or "
            "leave that layer in float32"
        )


class Twins:
    """What becomes of the weights of a model, each once: what is tied in the model is so in its copy."""

    def __init__(self) -> None:
        self._made: dict[Tensor, tuple[Parameter, ...]] = {}

    def coded(self, owner: str, name: str, weight: Tensor) -> tuple[Parameter, ...]:
        """Codes (N, K) int8 and scales (N,) float32 of a weight (N, K), beside it: each row's largest number is 127.

        Raises ValueError for numbers that are not finite, and rows that are too long for sums of 32 bits.
        """
        if weight not in self._made:
            self._made[weight] = _coded(owner, name, weight)
        return self._made[weight]

    def floats(self) -> dict[int, Parameter]:
        """Of what is no codes, by the id of what it is a copy of: as copies have it that hold the same."""
        return {id(weight): made[0] for weight, made in self._made.items() if len(made) == 1}

    def kept(self, bias: Tensor) -> Parameter:
        """A copy that no optimizer moves."""
        if bias not in self._made:
            self._made[bias] = (Parameter(copied(bias.data), requires_grad=False),)
        return self._made[bias][0]


def _coded(owner: str, name: str, weight: Tensor) -> tuple[Parameter, Parameter]:
    home, w = backend_of(weight.data), to_numpy(weight.data).astype(np.float32)
    if not np.isfinite(w).all():
        raise ValueError(f"{owner}: {name} holds numbers that are not finite")
    if w.shape[1] > MOST_INPUTS:
        raise ValueError(f"{owner}: {name} has {w.shape[1]} columns; expected at most {MOST_INPUTS}")
    top = np.abs(w).max(axis=1)
    good = top > LEAST
    safe = np.where(good, top, np.float32(1.0))
    codes = np.where(good[:, None], np.rint(w * (np.float32(LARGEST) / safe)[:, None]), 0.0).astype(np.int8)
    scales = np.where(good, safe / np.float32(LARGEST), np.float32(0.0))
    return CodedWeight(home.asarray(codes), False), Parameter(home.asarray(scales), False)


def refuse_gradients(owner: str, tensors: Iterable[Tensor]) -> None:
    """Raise RuntimeError where a gradient is asked for."""
    if is_recorded(tensors):
        raise RuntimeError(
            f"{owner}: a gradient is asked for, but weights of 8 bits only infer: train the model in float32 and "
            "quantize it again; to infer, call it under no_grad() or with an x that requires no gradient"
        )
