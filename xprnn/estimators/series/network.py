"""The network of the Forecaster: a recurrent layer that says how the next steps differ from the last one."""

from __future__ import annotations

from typing import Any

from xprnn import ops
from xprnn.backend import Rng, generator
from xprnn.estimators.cells import CELLS, Shapes, recurrent_shapes
from xprnn.nn import Linear, Module
from xprnn.tensor import Tensor


class ForecastNetwork(Module):
    """z[t+1], ..., z[t+K] = z[t] + W h[t] + b, with h from a recurrent layer over [z, seasonal features].

    x (T, B, F + S): F scaled columns and S features of the step that follows; output (B, K, F). It learns differences,
    so that with weights of zero it is persistence.
    """

    def __init__(
        self, cell: str, columns: int, features: int, hidden: int, layers: int, horizon: int, dtype: str, rng: Rng
    ) -> None:
        draws = generator(rng)
        self.columns, self.horizon = columns, horizon
        self.recurrent = CELLS[cell](columns + features, hidden, layers, dtype=dtype, rng=draws)
        self.head = Linear(hidden, horizon * columns, dtype=dtype, rng=draws)

    @staticmethod
    def shapes(cell: str, columns: int, features: int, hidden: int, layers: int, horizon: int) -> Shapes:
        """The parameters of such a network, without building it."""
        yield from recurrent_shapes("recurrent.", cell, columns + features, hidden, layers)
        yield from (("head.weight", (horizon * columns, hidden)), ("head.bias", (horizon * columns,)))

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Forecasts after the last step of x, and the state to go on from."""
        x = ops.as_tensor(x)
        output, state = self.recurrent(x, state)
        change = ops.reshape(self.head(output[-1]), (x.shape[1], self.horizon, self.columns))
        return change + ops.expand_dims(x[-1, :, : self.columns], 1), state
