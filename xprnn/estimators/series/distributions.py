"""Distributions of a step around what a member forecasts: how they are learned, and how futures are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import Array, Backend, backend_of, dtype_name, namespace
from xprnn.estimators.series.frame import Scale
from xprnn.tensor import Tensor
from xprnn.train import gaussian_nll, mse, negative_binomial_nll, pinball, student_t_nll

Host = np.ndarray[Any, Any]
FREEDOM = 5.0  # of Student's t: its kurtosis is 9
ROUNDED = 0.1  # how near 0, in means and deviations of its series, a mean of counts bends away from a straight line
MOST = 1e15  # of a mean that a count is drawn of
LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_FROM_LOWEST = np.triu(np.ones((len(LEVELS) - 1, len(LEVELS))), 1)
LADDER = _FROM_LOWEST - _FROM_LOWEST[:, [LEVELS.index(0.5)]]
"""Distances between neighbouring quantiles (Q - 1,) to what each (Q,) is beside the median, as a product."""


@dataclass(frozen=True)
class Zero:
    """Where 0 lies on the scale of each series, and how many of the series' own units one of the scale is: (N, 1, F).

    Means of counts have to stay above the one, and their chances are told in the other.
    """

    at: Any
    unit: Any

    @classmethod
    def of(cls, scale: Scale) -> Zero:
        """Those of all series, on the scale of a member."""
        unit = np.where(scale.std == 0.0, 1.0, scale.std)
        return cls((-scale.mean / unit)[:, None], unit[:, None])

    def on(self, home: Backend, dtype: str) -> Zero:
        """The same on a device, as far as its numbers go."""
        most = float(np.finfo(dtype).max)
        at, unit = (np.clip(part, -most, most).astype(dtype) for part in (self.at, self.unit))
        return Zero(home.asarray(at), home.asarray(unit))

    def of_rows(self, which: Array) -> Zero:
        """Of the series (M,) of a batch: (M, 1, F)."""
        xp = namespace(which)
        return Zero(xp.take(self.at, which, axis=0), xp.take(self.unit, which, axis=0))


class Errors:
    """Means alone, which learn the squared error; futures have the errors that were made on steps held out.

    What all distributions have is here: means, scales and steps are (M, K, F), on the scale of the member; scales of
    several numbers (M, K, F, S).
    """

    spread = 0
    """How many numbers networks say beside the mean of each step: a scale, or the distances between quantiles."""
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

    def beside(self, said: Host, steps: Host) -> Host:
        """What (K, F) is added to what the autoregression says of steps, when training begins."""
        return np.zeros(said.shape[1:])

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

    spread = 1

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

    spread = 1
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


class Quantiles(Errors):
    """Quantiles of LEVELS, all learned together by the pinball loss; the middle one, the median, is what is forecast.

    The scales are the distances w[1], ..., w[Q-1] > 0 between neighbours, and those beside the median m are
    m + w[c+1] + ... + w[j] and m - w[j+1] - ... - w[c]: none can cross another (as Gasthaus et al. 2019 have it).
    """

    spread = len(LEVELS) - 1

    def loss(
        self, mean: Tensor, target: Array, scale: Tensor | None, mask: Array | None, zero: Zero, reduction: str
    ) -> Tensor:
        xp = namespace(target)
        assert scale is not None
        ladder = backend_of(target).asarray(LADDER, dtype=dtype_name(target))
        said = ops.expand_dims(mean, -1) + ops.matmul(scale, ladder)
        wanted = xp.broadcast_to(xp.expand_dims(target, axis=-1), said.shape)
        found = pinball(said, wanted, LEVELS, mask, reduction=reduction)
        return ops.mean(found, axis=-1) if reduction == "none" else found

    def beside(self, said: Host, steps: Host) -> Host:
        return np.median(steps - said, axis=0)

    def first(self, said: Host, steps: Host, zero: Zero) -> Host:
        return np.moveaxis(np.diff(np.quantile(steps - said, LEVELS, axis=0), axis=0), 0, -1)

    def drawn(self, draws: np.random.Generator, mean: Host, scale: Host | None, zero: Zero, errors: Host) -> Host:
        assert scale is not None
        return quantile_at(np.asarray(draws.random(mean.shape)), mean[..., None] + scale @ LADDER)


def quantile_at(chances: Host, quantiles: Host) -> Host:
    """The quantiles of ``chances`` (...) between 0 and 1, of those of LEVELS (..., Q).

    Between these they lie on straight lines; beyond the outermost ones on tails which fall off exponentially, and go
    through the two outermost ones.
    """
    levels = np.asarray(LEVELS)
    u = np.clip(chances, 2.0**-53, 1.0 - 2.0**-53)
    k = np.clip(np.searchsorted(levels, u) - 1, 0, len(levels) - 2)
    low, high = levels[k], levels[k + 1]
    share = (u - low) / (high - low)
    share = np.where(u < levels[0], np.log(u / low) / np.log(high / low), share)
    share = np.where(u > levels[-1], np.log((1.0 - u) / (1.0 - low)) / np.log((1.0 - high) / (1.0 - low)), share)
    below, above = (np.take_along_axis(quantiles, at[..., None], axis=-1)[..., 0] for at in (k, k + 1))
    return below + share * (above - below)


def _normal(draws: np.random.Generator, shape: Any) -> Host:
    return draws.standard_normal(shape)


def _student(draws: np.random.Generator, shape: Any) -> Host:
    return draws.standard_t(FREEDOM, shape)


DISTRIBUTIONS: dict[str, Errors] = {
    "errors": Errors(),
    "gaussian": Scaled(gaussian_nll, _normal, 1.0),
    "student": Scaled(
        partial(student_t_nll, freedom=FREEDOM),
        _student,
        float(np.sqrt(FREEDOM / (FREEDOM - 2.0))),
    ),
    "negative_binomial": Counts(),
    "quantiles": Quantiles(),
}
