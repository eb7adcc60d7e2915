"""Probabilities that are as often right as they say: one temperature for all logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
COLDEST, HOTTEST = 0.05, 20.0
STEPS = 60  # of the golden section, each of which leaves 0.62 of the interval


def softmax(logits: Host) -> Host:
    """Probabilities (..., C) from logits."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: Host) -> Host:
    """Probabilities of independent labels."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def class_temperature(logits: Host, target: Host, weight: Host) -> float:
    """The temperature T of softmax(logits / T) with the least cross-entropy on classes (N,), weighted (N,).

    Guo et al. 2017, arXiv 1706.04599. Each target gives 1 / (N + 1) away to all classes alike, as Platt 1999 has it for
    two: without it a few sequences that are all right would make everything certain.
    """
    count, classes = logits.shape
    smoothing = 1.0 / (count + 1)
    wanted = np.full(logits.shape, smoothing / classes)
    wanted[np.arange(count), target] += 1.0 - smoothing

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        top = scaled.max(axis=1, keepdims=True)
        logs = scaled - top - np.log(np.exp(scaled - top).sum(axis=1, keepdims=True))
        return -float(np.sum(weight[:, None] * wanted * logs))

    return _lowest(loss)


def label_temperature(logits: Host, target: Host, weight: Host) -> float:
    """Likewise that of sigmoid(logits / T) for labels (N, L) of 0 and 1."""
    smoothing = 1.0 / (len(logits) + 1)
    wanted = (1.0 - smoothing) * target + smoothing / 2.0

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        return float(np.sum(weight[:, None] * (np.logaddexp(0.0, scaled) - wanted * scaled)))

    return _lowest(loss)


def restored_temperature(arrays: Mapping[str, Host]) -> float:
    """The temperature of a file. Raises ValueError where it has none."""
    if "temperature" not in arrays:
        raise ValueError("array temperature is missing")
    found = arrays["temperature"]
    if found.shape != (1,) or found.dtype != np.float64:
        raise ValueError(f"temperature has shape {found.shape} and dtype {found.dtype}; expected one float64")
    if not 0.0 < found[0] < math.inf:
        raise ValueError(f"temperature is {found[0]}; expected a number above 0")
    return float(found[0])


def _lowest(loss: Callable[[float], float]) -> float:
    """Where a function of a temperature is lowest, by golden section over its logarithm: it is convex in 1 / T."""
    low, high, golden = math.log(COLDEST), math.log(HOTTEST), (math.sqrt(5.0) - 1.0) / 2.0
    inner = [high - golden * (high - low), low + golden * (high - low)]
    values = [loss(math.exp(x)) for x in inner]
    for _ in range(STEPS):
        if values[0] <= values[1]:
            high, inner, values = inner[1], [0.0, inner[0]], [0.0, values[0]]
            inner[0] = high - golden * (high - low)
            values[0] = loss(math.exp(inner[0]))
        else:
            low, inner, values = inner[0], [inner[1], 0.0], [values[1], 0.0]
            inner[1] = low + golden * (high - low)
            values[1] = loss(math.exp(inner[1]))
    return math.exp((low + high) / 2.0)
