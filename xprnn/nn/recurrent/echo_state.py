"""Echo state networks: a reservoir that is drawn and never trained, and a readout that is solved for."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.arguments import at_least_zero, floating_input, real_number, size, whole_number
from xprnn.backend import Array, backend_of, namespace, shared_namespace
from xprnn.cells.echo_state import EchoState as EchoStateSpec
from xprnn.grad_mode import no_grad
from xprnn.nn.form import Form
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.recurrent.stacked import RecurrentLayer, begin_with
from xprnn.nn.recurrent.stream import Stream
from xprnn.randomness import Rng
from xprnn.tensor import Tensor


class EchoState(RecurrentLayer):
    """The reservoir of an echo state network (Jaeger 2001, GMD report 148), with leaky units.

    h' = (1 - a) h + a tanh(W_ih x + b + W_hh h), with a = ``leak``. Nothing in it is trained: its parameters want no
    gradients, though x gets one.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`, of one layer. weight_ih (H, I), weight_hh (H, H),
    bias_ih (H). The state is one part, h. On NumPy a kernel runs that passes over the zeros of weight_hh, where few
    are others (a twentieth; of four sequences or more a fifth) and no gradient is asked for; else array code steps, by
    products with all of it.

    Parameters
    ----------
    spectral_radius
        Of weight_hh: its entries are drawn from N(0, 1) and scaled so, which takes its eigenvalues: a second or so for
        1000 units. Below 1 the past fades, as a rule.
    leak
        a, above 0 and at most 1.
    input_scaling, bias_scaling
        weight_ih and bias_ih are drawn evenly from + and - these.
    connectivity, input_connectivity
        The share of entries in weight_hh and in weight_ih that are not zero.

    Raises ValueError for numbers out of these ranges, and where no connection at all was drawn.
    """

    cell: EchoStateSpec

    _fixed = RecurrentLayer._fixed | {
        *("spectral_radius", "input_scaling", "bias_scaling", "connectivity", "input_connectivity")
    }

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        batch_first: bool = False,
        bidirectional: bool = False,
        *,
        spectral_radius: float = 0.9,
        leak: float = 1.0,
        input_scaling: float = 1.0,
        bias_scaling: float = 0.0,
        connectivity: float = 0.1,
        input_connectivity: float = 1.0,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        owner = type(self).__name__

        def portion(name: str, number: float) -> float:
            return real_number(owner, name, number, "a number above 0 and at most 1", np.nextafter(0.0, 1.0), 1.0)

        leak = portion("leak", leak)
        self.spectral_radius = at_least_zero(owner, "spectral_radius", spectral_radius)
        self.input_scaling = at_least_zero(owner, "input_scaling", input_scaling)
        self.bias_scaling = at_least_zero(owner, "bias_scaling", bias_scaling)
        self.connectivity = portion("connectivity", connectivity)
        self.input_connectivity = portion("input_connectivity", input_connectivity)
        super().__init__(
            EchoStateSpec(leak), input_size, hidden_size, 1, True, batch_first, 0.0, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip
        for weights in self.weights():
            begin_with(weights, **self._drawn())
            for weight in weights.values():
                weight.requires_grad = False

    def _drawn(self) -> dict[str, np.ndarray]:
        draws, (h, i) = self.rng, (self.hidden_size, self.input_size)
        inner = draws.standard_normal((h, h)) * (draws.random((h, h)) < self.connectivity)
        radius = np.abs(np.linalg.eigvals(inner)).max()
        if radius == 0.0:
            raise ValueError(
                f"EchoState: with connectivity {self.connectivity} of {h} units none was drawn that leads back: "
                f"expected more units or more connections"
            )
        sensory = draws.uniform(-1.0, 1.0, (h, i)) * (draws.random((h, i)) < self.input_connectivity)
        bias = draws.uniform(-1.0, 1.0, h)
        return {
            "weight_hh": inner * (self.spectral_radius / radius),
            "weight_ih": sensory * self.input_scaling,
            "bias_ih": bias * self.bias_scaling,
        }


class EchoStateNetwork(Module):
    """A reservoir and a linear readout of its states, which ridge regression finds in closed form.

    y = W h + b, with (W, b) least in sum |y - target|^2 + ridge |W|^2 over all steps that count; b costs nothing.
    ``fit`` learns from a batch of sequences, or one; ``partial_fit`` from more, added up as sums of products in
    float64: any order and any cut gives the same readout, to rounding, and no state is kept but those sums.

    ======  ================================================================================
    x       (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) without a batch
    y       (T, B, O), axes as in x
    state   (D, B, H), that of the reservoir
    ======  ================================================================================

    Parameters
    ----------
    output_size
        O.
    ridge
        At least 0; with 0 more steps than units are needed.
    washout
        How many steps of each sequence do not count when it is learned from, because the reservoir still knows that it
        began from zero.
    reservoir
        Options of :class:`EchoState`, whose H is ``hidden_size``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        ridge: float = 1e-6,
        washout: int = 0,
        **reservoir: Any,
    ) -> None:
        self.reservoir = EchoState(input_size, hidden_size, **reservoir)
        self.ridge, self.washout = self._settings(ridge, washout)
        width, dtype = self.reservoir.directions * hidden_size, self.reservoir.dtype
        size("EchoStateNetwork", "output_size", output_size)
        self.readout = Linear(width, output_size, dtype=dtype, rng=0)
        self._sums: dict[str, Any] = {}
        for parameter in (self.readout.weight, self.readout.bias):
            assert parameter is not None
            parameter.data = parameter.data * 0.0

    @staticmethod
    def _settings(ridge: float, washout: int) -> tuple[float, int]:
        owner = "EchoStateNetwork"
        return at_least_zero(owner, "ridge", ridge), whole_number(owner, "washout", washout, 0)

    def forward(self, x: Any, state: Any = None, **control: Any) -> tuple[Tensor, Tensor]:
        """y, and the reservoir's state; ``lengths``, ``mask`` and ``reset`` as for every layer."""
        h, state = self.reservoir(x, state, **control)
        return self.readout(h), state

    def fit(self, x: Any, y: Any, state: Any = None, *, lengths: Any = None) -> EchoStateNetwork:
        """Learn the readout from these sequences alone. Returns the network."""
        before = self._sums
        self._sums = {}
        try:
            self.partial_fit(x, y, state, lengths=lengths)
        except BaseException:
            self._sums = before
            raise
        return self

    def partial_fit(self, x: Any, y: Any, state: Any = None, *, lengths: Any = None) -> Tensor:
        """Learn from these sequences too. Returns the reservoir's state at their ends.

        ``state`` is that after steps before these, where they go on: then there is no washout. Past a sequence's end
        neither x nor y is looked at.
        """
        owner, layer = "EchoStateNetwork", self.reservoir
        x, y = floating_input(owner, "x", x, layer.dtype), floating_input(owner, "y", y, layer.dtype)
        form = Form.of(owner, "x", x, layer.input_size, layer.batch_first)
        if y.shape != (*x.shape[:-1], self.readout.out_features):
            raise ValueError(f"{owner}: y has shape {y.shape}; expected {(*x.shape[:-1], self.readout.out_features)}")
        shared_namespace(owner, ("x", "y"), x.data, y.data)
        with no_grad():
            h, after = layer(x, state, lengths=lengths)
            inside = form.control(owner, "x", x, form.inward(x), lengths=lengths).inside
            sums = self._added(form.inward(h).data, form.inward(y).data, inside, self.washout if state is None else 0)
            weight, bias = self._solved(sums)
        self._sums = sums
        self.readout.weight.data, self.readout.bias.data = weight, bias  # type: ignore[union-attr]
        return after

    def _added(self, h: Array, y: Array, inside: Array | None, washout: int) -> dict[str, Any]:
        """The sums with those of more steps (T, B, ...)."""
        xp = namespace(h)
        h, y = (xp.astype(part[washout:, ...], xp.float64) for part in (h, y))
        counts = xp.ones_like(h[..., :1])
        if inside is not None:
            inside = inside[washout:, ...]
            h, y, counts = (xp.where(inside, part, xp.zeros_like(part)) for part in (h, y, counts))
        h, y, counts = (xp.reshape(part, (-1, part.shape[-1])) for part in (h, y, counts))
        found = {
            "hh": h.T @ h, "hy": h.T @ y, "h": xp.sum(h, axis=0), "y": xp.sum(y, axis=0), "n": float(xp.sum(counts))
        }  # fmt: skip
        return {name: self._sums[name] + new if self._sums else new for name, new in found.items()}

    def _solved(self, sums: dict[str, Any]) -> tuple[Array, Array]:
        """The weight (O, H) and the bias (O,)."""
        if sums["n"] == 0:
            raise ValueError(f"EchoStateNetwork: no step counts, of sequences that end within washout={self.washout}")
        for name, holder in (("y", "y"), ("h", "x, or the state,")):
            xp = namespace(sums[name])
            if not xp.all(xp.isfinite(sums[name])):
                raise ValueError(
                    f"EchoStateNetwork: {holder} holds NaN or infinity in a step that counts; nothing was learned of it"
                )
        xp, (h, y) = namespace(sums["h"]), (sums["h"] / sums["n"], sums["y"] / sums["n"])
        centred = sums["hh"] - sums["n"] * h[:, None] * h[None, :]
        size, home = h.shape[0], backend_of(h)
        both = centred + home.asarray(self.ridge * np.eye(size))
        weight = xp.linalg.solve(both, sums["hy"] - sums["n"] * h[:, None] * y[None, :]).T
        dtype = getattr(xp, self.readout.dtype)
        return xp.astype(weight, dtype), xp.astype(y - weight @ h, dtype)

    def predict(self, x: Any, state: Any = None, **control: Any) -> Array:
        """y as an array."""
        with no_grad():
            return self.forward(x, state, **control)[0].data

    def stream(self, batch: int | None = 1) -> Stream:
        """Open a :class:`Stream` of reservoir and readout."""
        return self.reservoir.stream(batch, self.readout)

    def describe(self) -> str:
        return f"ridge={self.ridge:g}, washout={self.washout}"
