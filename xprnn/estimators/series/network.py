"""The networks of the Forecaster: an autoregression, and a recurrent layer that says how it errs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import Array
from xprnn.estimators.cells import Shapes, layer_of, recurrent_shapes
from xprnn.estimators.series.frame import FAR
from xprnn.nn import Embedding, Linear, Module
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor

Host = np.ndarray[Any, Any]
IDENTITY = 8
"""Numbers that stand for a series among several."""
WIDEST = 6.0
"""The logarithm of the largest scale, of which the smallest is one over."""


@dataclass(frozen=True)
class Sizes:
    """What a network is built of."""

    cell: str
    columns: int
    extras: int
    hidden: int
    layers: int
    horizon: int
    lags: int
    series: int = 1
    spread: int = 0

    @property
    def inputs(self) -> int:
        """Numbers that the recurrent layer sees at each step."""
        return self.columns + self.extras + (IDENTITY if self.series > 1 else 0)


class Autoregression(Linear):
    """A Linear that is solved for, few numbers by which the forecast stands: its weights never have 8 bits."""


class ForecastNetwork(Module):
    """z[t+1], ..., z[t+K] = A [z[t-p+1], ..., z[t], e[t]] + a + W h[t] + b, with h of a recurrent layer over [z, e, i].

    z (T, B, F) scaled columns, e (T, B, E) what is known of each step beside them; i a vector for each of several
    series; output (B, K, F). A and a are the autoregression (the highway of LSTNet, Lai et al. 2018, arXiv 1703.07015),
    which is not trained but solved for; W and b begin with zeros, so that the network learns what it leaves over.

    With ``spread`` it says a scale of each number too, exp(6 tanh(S h[t] + s)), which begins as the same for all; or
    that many of them, (B, K, F, spread).
    """

    def __init__(self, sizes: Sizes, dtype: str, rng: Rng) -> None:
        draws, self.sizes = generator(rng), sizes
        self.columns, self.horizon = sizes.columns, sizes.horizon
        said = sizes.horizon * sizes.columns
        self._beside, self._same = np.zeros(said), np.zeros(said * sizes.spread)
        self.recurrent = layer_of(sizes.cell)(sizes.inputs, sizes.hidden, sizes.layers, dtype=dtype, rng=draws)
        self.head = Linear(sizes.hidden, said, dtype=dtype, rng=draws)
        self.linear = Autoregression(sizes.lags * sizes.columns + sizes.extras, said, dtype=dtype, rng=draws)
        self.identity = Embedding(sizes.series, IDENTITY, dtype=dtype, rng=draws) if sizes.series > 1 else None
        self.spread = Linear(sizes.hidden, said * sizes.spread, dtype=dtype, rng=draws) if sizes.spread else None
        self.forget()

    @staticmethod
    def shapes(sizes: Sizes) -> Shapes:
        """The parameters of such a network, without building it."""
        yield from recurrent_shapes("recurrent.", sizes.cell, sizes.inputs, sizes.hidden, sizes.layers)
        said = sizes.horizon * sizes.columns
        yield from (("head.weight", (said, sizes.hidden)), ("head.bias", (said,)))
        yield from (("linear.weight", (said, sizes.lags * sizes.columns + sizes.extras)), ("linear.bias", (said,)))
        if sizes.series > 1:
            yield "identity.weight", (sizes.series, IDENTITY)
        if sizes.spread:
            scales = said * sizes.spread
            yield from (("spread.weight", (scales, sizes.hidden)), ("spread.bias", (scales,)))

    @property
    def listened(self) -> bool:
        """Whether what the recurrent layer says counts."""
        said = (self.head, *(() if self.spread is None else (self.spread,)))
        return any(bool(np.any(layer.weight.numpy())) for layer in said)

    def forget(self, columns: Host | None = None) -> None:
        """Leave the autoregression alone, for some columns (F,) or all: W and S are zero, b and s the same for all."""
        for layer, same in ((self.head, self._beside), (self.spread, self._same)):
            if layer is None:
                continue
            assert layer.bias is not None
            weight, bias = np.zeros(layer.weight.shape), same
            if columns is not None:
                mine = np.broadcast_to(columns, (self.horizon, self.columns)).reshape(-1)
                mine = np.repeat(mine, len(same) // len(mine))
                weight = np.where(mine[:, None], weight, layer.weight.numpy())
                bias = np.where(mine, bias, layer.bias.numpy())
            layer.load_state_dict({"weight": weight, "bias": bias})

    def solved(self, weight: Host, bias: Host) -> None:
        """Take an autoregression (K F, p F + E) and (K F,). Raises FloatingPointError where it is too large."""
        most = np.abs(weight).max(initial=0.0)
        if not max(FAR * most, np.abs(bias).max(initial=0.0)) <= np.finfo(np.float32).max:
            raise FloatingPointError(
                f"Forecaster: the autoregression diverges, with weights up to {most:.3g}: the series has steps that "
                "are far from the others: leave them out, or fit on all of it"
            )
        self.linear.load_state_dict({"weight": weight, "bias": bias})

    def ignored(self, beside: Host, scale: Host, columns: Host | None = None) -> None:
        """Leave the autoregression alone, to which (K, F) is added, and which errs with this scale (K, F, spread).

        Where some ``columns`` (F,) are named, it is these.
        """
        self._beside = beside.reshape(-1)
        self._same = np.arctanh(np.clip(np.log(np.maximum(scale, 1e-30)) / WIDEST, -0.99, 0.99)).reshape(-1)
        self.forget(columns)

    def trained(self) -> list[Any]:
        """The parameters that training changes."""
        parts = (self.recurrent, self.head, self.identity, self.spread)
        return [parameter for part in parts if part is not None for parameter in part.parameters()]

    def forward(
        self, x: Any, lags: Any, identities: Array | None = None, state: Any = None
    ) -> tuple[Tensor, Tensor | None, Any]:
        """Forecasts after the last step of x (T, B, F + E), their scales, and the state to go on from.

        lags (p, B, F): the last steps of z, which may reach back beyond x.
        """
        x = ops.as_tensor(x)
        steps, batch = x.shape[:2]
        seen = x
        if self.identity is not None:
            named = ops.broadcast_to(ops.expand_dims(self.identity(identities), 0), (steps, batch, IDENTITY))
            seen = ops.concat([x, named], axis=2)
        output, state = self.recurrent(seen, state)
        recent = ops.reshape(ops.permute_dims(ops.as_tensor(lags), (1, 0, 2)), (batch, self.sizes.lags * self.columns))
        known = ops.concat([recent, x[-1, :, self.columns :]], axis=1) if self.sizes.extras else recent
        said = self.linear(known).detach() + self.head(output[-1])
        shape = (batch, self.horizon, self.columns)
        if self.spread is None:
            return ops.reshape(said, shape), None, state
        scale = ops.exp(WIDEST * ops.tanh(self.spread(output[-1])))
        scales = shape if self.sizes.spread == 1 else (*shape, self.sizes.spread)
        return ops.reshape(said, shape), ops.reshape(scale, scales), state


class Members(Module):
    """Networks whose forecasts are combined; each is called by itself."""

    def __init__(self, networks: Sequence[ForecastNetwork]) -> None:
        self.members = list(networks)

    @property
    def columns(self) -> int:
        """F."""
        return self.members[0].columns

    @staticmethod
    def shapes(sizes: Sequence[Sizes]) -> Shapes:
        """The parameters of all of them."""
        for k, each in enumerate(sizes):
            yield from ((f"members.{k}.{name}", shape) for name, shape in ForecastNetwork.shapes(each))
