"""What a step may be beside what a member says of it: how that is learned, and how futures are drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import Array, Backend, namespace
from xprnn.estimators.series.frame import Scale
from xprnn.tensor import Tensor
from xprnn.train import gaussian_nll, mse, negative_binomial_nll, student_t_nll

Host = np.ndarray[Any, Any]
FREEDOM = 5.0  # of Student's t: its kurtosis is 9
ROUNDED = 0.1  # how near 0, in means and deviations of its series, a mean of counts bends away from a straight line
MOST = 1e15  # of a mean that a count is drawn of


@dataclass(frozen=True)
class Zero:
    """Where 0 lies on the scale of each series, and how many of the series' own units one of the scale is: (N, 1, F).

    Means of counts have to stay above the one, and their chances are told in the other.
    """

    at: Any
    unit: Any

    @classmethod
    def of(cls, scale: Scale) -> Zero:
        """Of all series."""
        unit = np.where(scale.std == 0.0, 1.0, scale.std)
        return cls((-scale.mean / unit)[:, None], unit[:, None])

    def on(self, home: Backend, dtype: str) -> Zero:
        """The same on a device."""
        return Zero(home.asarray(self.at.astype(dtype)), home.asarray(self.unit.astype(dtype)))

    def of_rows(self, which: Array) -> Zero:
        """Of the series (M,) of a batch: (M, 1, F)."""
        xp = namespace(which)
        return Zero(xp.take(self.at, which, axis=0), xp.take(self.unit, which, axis=0))


class Errors:
    """Means alone, which learn the squared error; futures have the errors that were made on steps held out.

    What all distributions have is here: means, scales and steps are (M, K, F), on the scale of the member.
    """

    spread = False
    """Whether networks say a scale."""
    counts = False
    """Whether steps are numbers of things, 0, 1, 2, ..."""

    def mean(self, said: Tensor, zero: Zero) -> Tensor:
        """What is forecast, of what a network says."""
        return said

    def loss(
        self, mean: Tensor, target: Array, scale: Tensor | None, mask: Array | None, zero: Zero, reduction: str
    ) -> Tensor:
        """How surprising the steps are that came."""
        return mse(mean, target, mask, reduction=reduction)

    def first(self, said: Host, steps: Host, zero: Zero) -> Host:
        """The scale (K, F) that training begins with, of steps and of what the autoregression says of them."""
        return (steps - said).std(axis=0)

    def drawn(self, draws: np.random.Generator, mean: Host, scale: Host | None, zero: Zero, errors: Host) -> Host:
        """Steps that might be; ``errors`` (R, K, F) were made."""
        return mean + errors[draws.integers(len(errors), size=len(mean))]


class Scaled(Errors):
    """A scale beside the mean, of a distribution that is the same for all steps but for these.

    ``loss`` (mean, target, scale, mask), ``noise`` (generator, shape) of scale 1, whose deviation is ``deviation``.
    """

    spread = True

    def __init__(
        self, loss: Callable[..., Tensor], noise: Callable[[np.random.Generator, Any], Host], deviation: float
    ) -> None:
        self._loss, self._noise, self._deviation = loss, noise, deviation

    def loss(
        self, mean: Tensor, target: Array, scale: Tensor | None, mask: Array | None, zero: Zero, reduction: str
    ) -> Tensor:
        return self._loss(mean, target, scale, mask, reduction=reduction)

    def first(self, said: Host, steps: Host, zero: Zero) -> Host:
        return super().first(said, steps, zero) / self._deviation

    def drawn(self, draws: np.random.Generator, mean: Host, scale: Host | None, zero: Zero, errors: Host) -> Host:
        return mean + scale * self._noise(draws, mean.shape)


class Counts(Errors):
    """Negative binomial: counts of a mean m, above 0 whatever the network says, and of variance m + a m^2.

    The scale is the dispersion a. m = (s + sqrt(s^2 + d^2)) / 2, of what is said s and a small d: nearly s where that
    is above 0 (Barron 2021, arXiv 2112.11687).
    """

    spread = True
    counts = True

    def mean(self, said: Tensor, zero: Zero) -> Tensor:
        above, near = said - zero.at, ROUNDED * (1.0 - zero.at)
        return zero.at + 0.5 * (above + ops.sqrt(ops.square(above) + near * near))

    def loss(
        self, mean: Tensor, target: Array, scale: Tensor | None, mask: Array | None, zero: Zero, reduction: str
    ) -> Tensor:
        xp = namespace(target)
        counted = xp.round((target - zero.at) * zero.unit)  # whole, as they came
        return negative_binomial_nll((mean - zero.at) * zero.unit, counted, scale, mask, reduction=reduction)

    def first(self, said: Host, steps: Host, zero: Zero) -> Host:
        """By moments: the mean of (y - m)^2 is that of m + a m^2."""
        mean = np.maximum((said - zero.at) * zero.unit, 0.0)
        more = np.square((steps - said) * zero.unit) - mean
        return more.mean(axis=0) / np.maximum(np.square(mean).mean(axis=0), 1e-30)

    def drawn(self, draws: np.random.Generator, mean: Host, scale: Host | None, zero: Zero, errors: Host) -> Host:
        assert scale is not None
        mean, scale = np.clip((mean - zero.at) * zero.unit, 0.0, MOST), np.asarray(scale, dtype=np.float64)
        rate = draws.gamma(1.0 / scale, scale * mean)  # Poisson's, of means that are gamma distributed
        return zero.at + draws.poisson(np.minimum(rate, MOST)) / zero.unit


def _student(draws: np.random.Generator, shape: Any) -> Host:
    return draws.standard_t(FREEDOM, shape)


DISTRIBUTIONS: dict[str, Errors] = {
    "errors": Errors(),
    "gaussian": Scaled(gaussian_nll, np.random.Generator.standard_normal, 1.0),
    "student": Scaled(
        partial(student_t_nll, freedom=FREEDOM),
        _student,
        float(np.sqrt(FREEDOM / (FREEDOM - 2.0))),
    ),
    "negative_binomial": Counts(),
}
