"""CTRNN and AntisymmetricRNN layers: networks in continuous time, whose weights are made of others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import above_zero, at_least_zero, one_of, real_number, size, true_or_false
from xprnn.backend import backend_of, dtype_name
from xprnn.cells import CTRNN as CTRNNSpec
from xprnn.cells import Antisymmetric, GatedAntisymmetric
from xprnn.nn.recurrent.stacked import RecurrentLayer, begin_with
from xprnn.randomness import Rng
from xprnn.tensor import Tensor


class CTRNN(RecurrentLayer):
    """Network of leaky units in continuous time, as neuroscience trains them (Yang and Wang 2020, arXiv 2006.01001).

    h' = (1 - a) h + a f(W_ih x + b_ih + W h + b_hh + noise), with a = dt / tau, f = relu or tanh, and W as follows.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is one part, h. There are kernels for
    the host, and none for CUDA.

    Parameters
    ----------
    tau, dt
        The time constant of the units, and the length of a step, at most tau.
    dale
        Dale's law (Song, Yang, Wang 2016, doi 10.1371/journal.pcbi.1004792): each unit excites or inhibits all others
        that it reaches. A share from 0 to 1 of units that excite, the first ones, or H numbers of which the signs
        count. W = abs(weight_hh) sign, by columns. Weights of units that inhibit start larger, by as much as makes up
        for their number.
    connections
        Which units reach which: booleans (H, H), True at (i, j) if j reaches i; or a share from 0 to 1, drawn for each
        layer and direction. Elsewhere weight_hh is 0 and stays so; the mask is saved with the weights in this way.
    noise
        Standard deviation s of each unit's own noise while training, sqrt(2 / a) s times a normal number for each step.

    Raises ValueError for values out of range, and for ``dale`` or ``connections`` of other shapes.
    """

    _fixed = RecurrentLayer._fixed | {"signs", "sparse", "alpha"}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "relu",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        tau: float = 100.0,
        dt: float = 20.0,
        dale: float | Any | None = None,
        connections: float | Any | None = None,
        noise: float = 0.0,
        reverse: bool = False,
        zero_masked: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        tau = above_zero("CTRNN", "tau", tau)
        dt = real_number("CTRNN", "dt", dt, f"a number above 0 and up to tau = {tau}", math.ulp(0.0), tau)
        cell = CTRNNSpec(dt / tau, one_of("CTRNN", "nonlinearity", nonlinearity, ("tanh", "relu")))
        hidden_size = size("CTRNN", "hidden_size", hidden_size)
        self.alpha = cell.rate
        self.signs, self.sparse = _signs(dale, hidden_size), connections is not None
        self.noise = at_least_zero("CTRNN", "noise", noise)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, zoneout=zoneout, recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip
        for weights in self.weights():
            w = np.array(weights["weight_hh"].data)
            if self.signs is not None:
                w = w * _balance(np.array(self.signs))
            if connections is not None:
                w = w * _mask(connections, hidden_size, self.rng)
            begin_with(weights, weight_hh=w)

    def effective_weights(self, weights: dict[str, Any]) -> dict[str, Any]:
        w = weights["weight_hh"]
        if self.signs is not None:
            w = ops.abs(w) * backend_of(w.data).asarray(np.array(self.signs, dtype_name(w.data)))
        elif self.sparse:
            w = ops.where(w == 0.0, ops.zeros_like(w), w)
        return weights | {"weight_hh": w}

    def _with_noise(self, weights: dict[str, Any], x: Tensor) -> tuple[dict[str, Any], Tensor]:
        if not (self.training and self.noise):
            return weights, x
        home, steps, size = backend_of(x.data), x.shape[:2], self.hidden_size
        scale = self.noise * math.sqrt(2.0 / self.alpha)
        own = scale * self.rng.standard_normal((*steps, size))
        # More inputs, so that all implementations have it: each goes to one unit as it is.
        wide = ops.concat([weights["weight_ih"], home.asarray(np.eye(size, dtype=self.dtype))], axis=1)
        return weights | {"weight_ih": wide}, ops.concat([x, home.asarray(own.astype(self.dtype))], axis=-1)


def _signs(dale: Any, size: int) -> tuple[float, ...] | None:
    """1 for units that excite, -1 for those that inhibit."""
    if dale is None:
        return None
    if isinstance(dale, (int, float, np.integer, np.floating)):
        exciting = round(size * real_number("CTRNN", "dale", dale, "a share from 0 to 1, or H numbers", high=1.0))
        return (1.0,) * exciting + (-1.0,) * (size - exciting)
    signs = np.sign(np.asarray(dale, dtype="float64"))
    if signs.shape != (size,) or not np.abs(signs).all():
        raise ValueError(f"CTRNN: dale is {dale!r}; expected a share from 0 to 1, or {size} numbers that are not 0")
    return tuple(signs.tolist())


def _balance(signs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Factors of columns by which both kinds have equal sums, where there are both."""
    excite, inhibit = (signs > 0).sum(), (signs < 0).sum()
    return np.where(signs < 0, excite / max(inhibit, 1), 1.0) if excite else np.ones_like(signs)


def _mask(connections: Any, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    if isinstance(connections, (int, float, np.integer, np.floating)) and not isinstance(connections, bool):
        expected = "a share from 0 to 1, or booleans (H, H)"
        return rng.random((size, size)) < real_number("CTRNN", "connections", connections, expected, high=1.0)
    mask = np.asarray(connections)
    if mask.shape != (size, size) or mask.dtype != bool:
        raise ValueError(
            f"CTRNN: connections has shape {mask.shape} and dtype {mask.dtype}; expected a share from 0 to 1, or "
            f"booleans {(size, size)}"
        )
    return mask


class AntisymmetricRNN(RecurrentLayer):
    """Antisymmetric network (Chang et al. 2019, arXiv 1902.09689): signals neither fade nor grow, whatever is learned.

    h' = h + epsilon tanh(W_ih x + b_ih + A h + b_hh), with A = weight_hh - weight_hh^T - gamma I, whose eigenvalues
    have the real part -gamma. With ``gated=True`` h' = h + epsilon z n, with z = sigmoid and n = tanh of
    pre-activations of two blocks, z and n of weight_ih (2H, I), and the same A h + b_hh for both.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is one part, h. There are kernels for
    the host; on CuPy the reference runs.

    Parameters
    ----------
    epsilon
        The step of Euler's method, above 0.
    gamma
        Diffusion, at least 0: it makes up for what the method lets grow.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        epsilon: float = 0.1,
        gamma: float = 0.1,
        gated: bool = False,
        reverse: bool = False,
        zero_masked: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        epsilon = above_zero("AntisymmetricRNN", "epsilon", epsilon)
        gated = true_or_false("AntisymmetricRNN", "gated", gated)
        cell = GatedAntisymmetric(epsilon) if gated else Antisymmetric(epsilon)
        self.gamma = at_least_zero("AntisymmetricRNN", "gamma", gamma)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, zoneout=zoneout, recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip

    def effective_weights(self, weights: dict[str, Any]) -> dict[str, Any]:
        w = weights["weight_hh"]
        eye = backend_of(w.data).asarray(self.gamma * np.eye(self.hidden_size, dtype=dtype_name(w.data)))
        return weights | {"weight_hh": w - w.T - eye}
