"""Linear autoregression with a penalty, in closed form, on which a recurrent network then has to improve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
PENALTIES = np.logspace(-4.0, 2.0, 13)


@dataclass(frozen=True)
class Moments:
    """The sums over rows that least squares needs, for each of F columns by itself; those of two parts add up.

    count (F,), x (F, D), y (F, K), xx (F, D, D), xy (F, D, K), yy (F, K).
    """

    count: Host
    x: Host
    y: Host
    xx: Host
    xy: Host
    yy: Host

    @classmethod
    def of(cls, x: Host, y: Host, known: Host) -> Moments:
        """Of inputs (F, M, D) and targets (F, M, K), over the rows that ``known`` (F, M) selects."""
        if not known.all():
            x, y = np.where(known[..., None], x, 0.0), np.where(known[..., None], y, 0.0)
        turned = x.swapaxes(1, 2)
        return cls(known.sum(axis=1), x.sum(1), y.sum(1), turned @ x, turned @ y, np.square(y).sum(1))

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @staticmethod
    def shapes(columns: int, inputs: int, ahead: int) -> list[tuple[int, ...]]:
        """Those of the parts, for F columns, D inputs of each and K steps ahead."""
        f, d, k = columns, inputs, ahead
        return [(f,), (f, d), (f, k), (f, d, d), (f, d, k), (f, k)]

    def solve(self) -> tuple[Host, Host]:
        """Weights (F, D, K) and biases (F, K) that minimise sum |y - x W - b|^2 + penalty |W|^2.

        The penalty of each column is the one of PENALTIES with the least generalised cross-validation (Golub, Heath
        and Wahba 1979), RSS / (1 - degrees of freedom / rows)^2, which needs no rows of its own.
        """
        count = np.maximum(self.count, 1.0)[:, None]
        mean_x, mean_y = self.x / count, self.y / count
        xx = self.xx - count[..., None] * mean_x[:, :, None] * mean_x[:, None, :]
        xy = self.xy - count[..., None] * mean_x[:, :, None] * mean_y[:, None, :]
        yy = np.maximum(self.yy - count * np.square(mean_y), 0.0)
        values, vectors = np.linalg.eigh(xx)
        values = np.maximum(values, 0.0)
        turned = vectors.swapaxes(1, 2) @ xy
        penalties = PENALTIES[:, None, None] * np.sqrt(count)
        shrunk = values / (values + penalties)  # (P, F, D)
        said = np.square(turned).sum(axis=-1) / (values + penalties) * (2.0 - shrunk)
        left = np.maximum(yy.sum(axis=-1) - said.sum(axis=-1), 0.0)
        free = 1.0 - (1.0 + shrunk.sum(axis=-1)) / count[:, 0]
        scores = np.where(free > 0.0, left / np.square(np.where(free > 0.0, free, 1.0)), np.inf)
        # Where there are fewer rows than unknowns whatever the penalty, the largest.
        best = np.where(np.isfinite(scores).any(axis=0), scores.argmin(axis=0), len(PENALTIES) - 1)
        penalty = penalties[best, np.arange(len(best)), 0][:, None]
        weights = vectors @ (turned / (values + penalty)[..., None])
        return weights, mean_y - (mean_x[:, :, None] * weights).sum(axis=1)


def lagged(z: Host, extras: Host, origins: Host, lags: int, joint: bool) -> Host:
    """What the autoregression of each column sees at origins (M,): its last steps, then the extras of the last one.

    z (N, F), extras (N, E) to (F, M, lags + E), the oldest step first; to (F, M, lags F + E) where columns are
    ``joint`` and see each other's steps too.
    """
    steps = z[origins[:, None] - lags + np.arange(lags)]  # (M, lags, F)
    count, columns = len(origins), z.shape[1]
    all_of = (count, lags * columns)  # of no origins too
    own = np.broadcast_to(steps.reshape(all_of), (columns, *all_of)) if joint else steps.T.swapaxes(1, 2)
    shared = np.broadcast_to(extras[origins - 1], (columns, count, extras.shape[1]))
    return np.concatenate([own, shared], axis=2)


def said(weights: Host, biases: Host, x: Host) -> Host:
    """(M, K, F) of inputs (F, M, D)."""
    return np.moveaxis(x @ weights + biases[:, None], 0, 2)


def flat(weights: Host, lags: int, joint: bool) -> Host:
    """Weights (F, D, K) as those of one affine map (K F, lags F + E) of all columns' steps and the extras."""
    columns, inputs, ahead = weights.shape
    if joint:
        return np.moveaxis(weights, 2, 0).reshape(ahead * columns, inputs)
    found = np.zeros((ahead, columns, lags, columns))
    each = np.arange(columns)
    found[:, each, :, each] = np.moveaxis(weights[:, :lags], 2, 1)
    extras = np.moveaxis(weights[:, lags:], 2, 0).reshape(ahead * columns, -1)
    return np.concatenate([found.reshape(ahead * columns, -1), extras], axis=1)
