"""Losses of whole distributions: how surprising targets are to a mean and a scale, and the loss of quantiles.

Means, masks, weights and reductions as in :mod:`xprnn.train.losses`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xprnn import ops
from xprnn.arguments import floating_input, real_number
from xprnn.backend import backend_of, dtype_name
from xprnn.tensor import Tensor
from xprnn.train.reductions import elementwise, leading

LEAST_MEAN = 1e-30  # of counts; what is masked has the mean 0, whose logarithm nobody shall meet
SHIFT = 8
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def gaussian_nll(
    mean: Any, target: Any, scale: Any, mask: Any = None, *, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-log of the density of N(mean, scale^2): e^2 / 2 + log scale + log(2 pi) / 2, e = (target - mean) / scale.

    mean, target, scale of one shape and dtype, scale above 0. Otherwise as :func:`mse`, but the mean is over the number
    of elements.
    """
    scale = _scale("gaussian_nll", mean, scale, mask)

    def loss(mean: Tensor, target: Tensor) -> Tensor:
        return 0.5 * ops.square((target - mean) / scale) + ops.log(scale) + 0.5 * math.log(2.0 * math.pi)

    return elementwise("gaussian_nll", "mean", mean, target, mask, loss, reduction, weight)


def student_t_nll(
    mean: Any,
    target: Any,
    scale: Any,
    mask: Any = None,
    *,
    freedom: float = 5.0,
    weight: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-log of the density of Student's t with n degrees of ``freedom``, moved by the mean and scaled.

    (n + 1) / 2 log(1 + e^2 / n) + log scale + log of its constant, e = (target - mean) / scale: single values that are
    far off cost a logarithm and not a square. Otherwise as :func:`gaussian_nll`. Raises ValueError for a freedom that
    is not above 0.
    """
    n = real_number("student_t_nll", "freedom", freedom, "a number above 0", low=math.ulp(0.0), high=1e6)
    scale = _scale("student_t_nll", mean, scale, mask)
    constant = math.lgamma(0.5 * n) - math.lgamma(0.5 * (n + 1.0)) + 0.5 * math.log(n * math.pi)

    def loss(mean: Tensor, target: Tensor) -> Tensor:
        far = ops.log(1.0 + ops.square((target - mean) / scale) * (1.0 / n))
        return (0.5 * (n + 1.0)) * far + ops.log(scale) + constant

    return elementwise("student_t_nll", "mean", mean, target, mask, loss, reduction, weight)


def negative_binomial_nll(
    mean: Any, target: Any, dispersion: Any, mask: Any = None, *, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-log of the probability of a count y of this mean m and ``dispersion`` a, whose variance is m + a m^2.

    log y! - sum of log(1 + j a) over j < y - y log m + (y + 1 / a) log(1 + a m), which is Poisson's as a goes to 0.
    target 0, 1, 2, ...; mean and dispersion above 0. Otherwise as :func:`gaussian_nll`.
    """
    dispersion = _scale("negative_binomial_nll", mean, dispersion, mask, "dispersion")

    def loss(mean: Tensor, target: Tensor) -> Tensor:
        mean = ops.where(mean.data < 0, mean, ops.maximum(mean, LEAST_MEAN))  # below 0 it has no logarithm, and is NaN
        constant = _log_rising(ops.ones_like(target), target)
        said = (target + 1.0 / dispersion) * ops.log(1.0 + dispersion * mean) - target * ops.log(mean)
        return said + constant - _log_rising(dispersion, target)

    return elementwise("negative_binomial_nll", "mean", mean, target, mask, loss, reduction, weight)


def pinball(
    prediction: Any,
    target: Any,
    quantile: float | Sequence[float],
    mask: Any = None,
    *,
    weight: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(q e, (q - 1) e), e = target - prediction: its least mean is at the ``quantile`` q (Koenker and Bassett 1978).

    A list has a quantile for each number of the last axis. Otherwise as :func:`mse`, but the mean is over the number of
    elements. Raises ValueError for q outside 0 to 1, and for a list of another length than the last axis.
    """
    several = isinstance(quantile, (list, tuple))
    named = [(f"quantile[{k}]", q) for k, q in enumerate(quantile)] if several else [("quantile", quantile)]  # type: ignore[arg-type]
    levels = [real_number("pinball", *each, "a number between 0 and 1", math.ulp(0.0), 1.0 - 2**-53) for each in named]

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        if several and prediction.shape[-1:] != (len(levels),):
            expected = f"{len(levels)} numbers on its last axis, one a quantile"
            raise ValueError(f"pinball: prediction has shape {prediction.shape}; expected {expected}")
        q = backend_of(prediction.data).asarray(levels, dtype=dtype_name(prediction.data)) if several else levels[0]
        error = target - prediction
        return ops.maximum(error * q, error * (q - 1.0))

    return elementwise("pinball", "prediction", prediction, target, mask, loss, reduction, weight)


def _log_rising(a: Tensor, y: Tensor) -> Tensor:
    """The sum of log(1 + j a) over j < y, of any y from 0 on: log of Gamma(y + 1 / a) / Gamma(1 / a), and y log a.

    Factors that lie SHIFT apart are divided by each other, so that Stirling's series is taken where it is exact to
    1e-13; all in terms of a, as 1 / a is large where counts are nearly Poisson's.
    """
    begin, end = 1.0 + SHIFT * a, 1.0 + (SHIFT + y) * a  # of what the series is taken of, times a
    low, high = a / begin, a / end
    found = (1.0 / low - 0.5) * ops.log(end / begin) + y * ops.log(end) - y + _stirling(high) - _stirling(low)
    for j in range(0, SHIFT, 2):  # by twos, which no float32 is too small for
        more = (1.0 + (y + float(j)) * a) * (1.0 + (y + float(j + 1)) * a)
        found = found - ops.log(more / ((1.0 + float(j) * a) * (1.0 + float(j + 1) * a)))
    return found


def _stirling(inverse: Tensor) -> Tensor:
    """log Gamma(x) - (x - 1/2) log x + x - log(2 pi) / 2, for 1 / x below 1/8 (Abramowitz and Stegun, 6.1.41)."""
    found, square = inverse * STIRLING[-1], ops.square(inverse)
    for coefficient in STIRLING[-2::-1]:
        found = found * square + coefficient * inverse
    return found


def _scale(owner: str, mean: Any, scale: Any, mask: Any, name: str = "scale") -> Tensor:
    """What stands beside each mean, or 1 where a mask hides it."""
    mean, scale = floating_input(owner, "mean", mean), floating_input(owner, name, scale)
    if scale.shape != mean.shape:
        raise ValueError(
            f"{owner}: {name} has shape {scale.shape}; expected {mean.shape}, as mean: nothing is broadcast"
        )
    if (came := dtype_name(scale.data)) != (expected := dtype_name(mean.data)):
        raise TypeError(f"{owner}: {name} has dtype {came}; expected {expected}, as mean: cast it first")
    return scale if mask is None else ops.where(leading(owner, mask, mean.data, "mean"), scale, 1.0)
