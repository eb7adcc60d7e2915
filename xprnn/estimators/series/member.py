"""One member of a forecaster: a plan, how series are scaled by it, and the network that says their next steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import Array, backend_of, namespace
from xprnn.estimators.series.distributions import DISTRIBUTIONS, Errors, Zero
from xprnn.estimators.series.frame import Frame, Scale, Series
from xprnn.estimators.series.linear import Moments
from xprnn.estimators.series.network import ForecastNetwork, Sizes
from xprnn.estimators.series.plans import Plan
from xprnn.grad_mode import no_grad
from xprnn.tensor import Tensor

Host = np.ndarray[Any, Any]
Draw = Callable[[Host, "Host | None", Zero], Host]
"""Of means and scales (M, K, F), and where 0 is: steps."""
ROWS_AT_ONCE = 2048  # forecasts made in one batch; bounds memory, changes no result


@dataclass(frozen=True)
class Common:
    """What all members of a fit share: periods, covariates' means and deviations, what series are, whether some of
    their values were missing.
    """

    periods: tuple[float, ...]
    covariates: tuple[Host, Host]
    static: Host
    gaps: bool

    def frame(self, plan: Plan, series: Sequence[Series], scale: Scale) -> Frame:
        """The rows of series as a plan has them."""
        periods = plan.periods(self.periods)
        return Frame(plan.transform, scale, tuple(series), periods, self.covariates, self.static, self.gaps)

    def extras(self, plan: Plan, columns: int) -> int:
        """How many numbers tell of a step beside its values."""
        return 2 * len(plan.periods(self.periods)) + len(self.covariates[0]) + (columns if self.gaps else 0)


def sizes_of(plan: Plan, common: Common, columns: int, series: int, options: Mapping[str, Any]) -> Sizes:
    """Those of a plan's network."""
    names = ("cell", "hidden", "layers", "horizon")
    sizes = {name: options[name] for name in names} | {"spread": DISTRIBUTIONS[options["distribution"]].spread}
    return Sizes(columns=columns, extras=common.extras(plan, columns), lags=max(plan.lags, 1), series=series, **sizes)


@dataclass(frozen=True)
class Member:
    """A plan fitted to series: how they are scaled, and the network that says their next steps."""

    plan: Plan
    scale: Scale
    network: ForecastNetwork
    window: int
    common: Common = field(repr=False)
    distribution: Errors
    moments: Moments = field(repr=False)
    """What the autoregression was solved from."""

    def forecast(
        self, series: Sequence[Series], which: Host, origins: Host, horizon: int, draw: Draw | None = None
    ) -> Host:
        """Values (M, K, F) after origins (M,) of series, whose numbers ``which`` (M,) says.

        ``draw`` makes steps that might be of the scaled ones that are said, before they become the input of the next.
        """
        frame = self.common.frame(self.plan, series, self.scale)
        scaled = self.scaled(frame, which, origins, horizon, draw)
        return frame.inverse(scaled, frame.starts[which] + origins)

    def scaled(self, frame: Frame, which: Host, origins: Host, horizon: int, draw: Draw | None = None) -> Host:
        """Likewise the scaled differences."""
        parts = [
            self._ahead(frame, which[rows], origins[rows], horizon, draw)
            for rows in np.array_split(np.arange(len(origins)), max(1, -(-len(origins) // ROWS_AT_ONCE)))
        ]
        return np.concatenate(parts)

    def _ahead(self, frame: Frame, which: Host, origins: Host, horizon: int, draw: Draw | None) -> Host:
        network, sizes = self.network, self.network.sizes
        home, dtype = backend_of(network.head.weight.data), network.head.dtype
        at = frame.starts[which] + origins
        rows = np.concatenate([frame.scaled, frame.extras], axis=1)
        x = home.asarray(rows[at - self.steps + np.arange(self.steps)[:, None]].astype(dtype))
        lags = Tensor(home.asarray(frame.scaled[at - sizes.lags + np.arange(sizes.lags)[:, None]].astype(dtype)))
        named = home.asarray(which)
        zero = Zero.of(self.scale).of_rows(which)
        there = zero.on(home, dtype)

        def step(said: Tensor, scale: Tensor | None) -> Tensor:
            mean = self.distribution.mean(said, there)
            if draw is None:
                return mean
            drawn = draw(mean.numpy(), None if scale is None else scale.numpy(), zero)
            return Tensor(home.asarray(drawn.astype(dtype)))

        with no_grad():
            said, scale, state = network(x, lags, named)
            output = step(said, scale)
            steps = [output]
            for k in range(1, horizon - sizes.horizon + 1):
                extras = np.empty((len(origins), sizes.extras))
                for n in np.unique(which):
                    mine = which == n
                    extras[mine] = frame.extras_of(n, origins[mine] + k, origins[mine])
                lags = ops.concat([lags[1:], ops.expand_dims(output[:, 0], 0)], axis=0)
                seen = ops.concat([output[:, 0], home.asarray(extras.astype(dtype))], axis=1)
                said, scale, state = network(ops.expand_dims(seen, 0), lags, named, state)
                output = step(said, scale)
                steps.append(output)
            return ops.concat(steps, axis=1).numpy()[:, :horizon].astype(np.float64)

    @property
    def steps(self) -> int:
        """The steps of differences that a window of values gives."""
        return self.window - self.plan.transform.lead


def turned(steps: Array) -> Array:
    """(K, M, F) to (M, K, F) and back."""
    return namespace(steps).permute_dims(steps, (1, 0, 2))
