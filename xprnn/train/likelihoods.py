"""Losses of whole distributions: how surprising targets are to a mean and a scale, and the loss of one quantile.

Means, masks, weights and reductions as in :mod:`xprnn.train.losses`.
"""

from __future__ import annotations

import math
from typing import Any

from xprnn import ops
from xprnn.arguments import floating_input, real_number
from xprnn.tensor import Tensor
from xprnn.train.losses import elementwise


def gaussian_nll(
    mean: Any, target: Any, scale: Any, mask: Any = None, *, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-log of the density of N(mean, scale^2): e^2 / 2 + log scale + log(2 pi) / 2, e = (target - mean) / scale.

    mean, target, scale of one shape and dtype, scale above 0. Otherwise as :func:`mse`, but the mean is over the number
    of elements.
    """
    scale = _scale("gaussian_nll", mean, scale)

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
    scale = _scale("student_t_nll", mean, scale)
    constant = math.lgamma(0.5 * n) - math.lgamma(0.5 * (n + 1.0)) + 0.5 * math.log(n * math.pi)

    def loss(mean: Tensor, target: Tensor) -> Tensor:
        far = ops.log(1.0 + ops.square((target - mean) / scale) * (1.0 / n))
        return (0.5 * (n + 1.0)) * far + ops.log(scale) + constant

    return elementwise("student_t_nll", "mean", mean, target, mask, loss, reduction, weight)


def pinball(
    prediction: Any, target: Any, quantile: float, mask: Any = None, *, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """max(q e, (q - 1) e), e = target - prediction: its least mean is at the ``quantile`` q (Koenker and Bassett 1978).

    Otherwise as :func:`mse`, but the mean is over the number of elements. Raises ValueError for q outside 0 to 1.
    """
    q = real_number("pinball", "quantile", quantile, "a number between 0 and 1", math.ulp(0.0), 1.0 - 2**-53)

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        error = target - prediction
        return ops.maximum(q * error, (q - 1.0) * error)

    return elementwise("pinball", "prediction", prediction, target, mask, loss, reduction, weight)


def _scale(owner: str, mean: Any, scale: Any) -> Tensor:
    scale = floating_input(owner, "scale", scale)
    shape = tuple(ops.as_tensor(mean).shape)
    if scale.shape != shape:
        raise ValueError(f"{owner}: scale has shape {scale.shape}; expected {shape}, as mean: nothing is broadcast")
    return scale
