"""Layers that are told how much time their steps take: CfC and LTC."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import floating_input, input_tensor, one_of, real_number
from xprnn.backend import Array, namespace, shared_namespace, to_numpy
from xprnn.cells.cell import Cell
from xprnn.cells.cfc import MODES
from xprnn.cells.cfc import CfC as CfCSpec
from xprnn.cells.ltc import LTC as LTCSpec
from xprnn.engine.control import Control
from xprnn.nn.form import Form
from xprnn.nn.recurrent.sequence_layer import Parts, SequenceLayer
from xprnn.nn.recurrent.stacked import RecurrentLayer, begin_with
from xprnn.postponed import require
from xprnn.randomness import Rng
from xprnn.tensor import Tensor


class Timed(RecurrentLayer):
    """One layer of a cell that is told how much time each step takes."""

    extra_inputs = 1
    times = "timespans"
    """What the last column of x is called."""

    _fixed = RecurrentLayer._fixed | {"extra_inputs"}

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bias: bool,
        batch_first: bool,
        bidirectional: bool,
        **options: Any,
    ) -> None:
        self.extra_inputs = self.extra_inputs  # of the object, since only its own attributes are fixed
        super().__init__(cell, input_size, hidden_size, 1, bias, batch_first, 0.0, bidirectional, **options)

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        timespans: Any = 1.0,
        lengths: Any = None,
        mask: Any = None,
        reset: Any = None,
        return_all_states: bool = False,
    ) -> tuple[Any, ...]:
        """Run over a batch of sequences, or over one, as :meth:`SequenceLayer.forward`.

        ``timespans`` is how much time each step takes: a number, or an array or Tensor of x's axes but the last, (T, B)
        or with ``batch_first`` (B, T). Those of held steps and past a sequence's end are not looked at. In both
        directions a step takes its own span. A stream's x has the span as its last column. Raises ValueError for spans
        below 0, which of arrays on a GPU is waited for as :meth:`SequenceLayer.forward` waits for lengths.
        """
        x = self._input(x)
        joined = ops.concat([x, self._column(timespans, x, lengths=lengths, mask=mask)], axis=-1)
        return SequenceLayer.forward(
            self, joined, state, lengths=lengths, mask=mask, reset=reset, return_all_states=return_all_states
        )

    def _input(self, x: Any) -> Tensor:
        """x, whose form is that of a call."""
        owner = type(self).__name__
        x = floating_input(owner, "x", x, self.dtype)
        Form.of(owner, "x", x, self.input_size, self.batch_first)
        return x

    def _walk(self, x: Tensor, state: Parts | None, control: Control, every: bool) -> tuple[Tensor, Parts, Parts]:
        if type(x.data) is np.ndarray:  # what was given on a device, forward has looked at
            self._check_times(x.data[..., -1:], control)
        return super()._walk(x, state, control, every)

    def _check_times(self, column: Array, control: Control) -> None:
        """Raises ValueError for times (T, B, 1) below 0 at steps that count. NaN gives NaN, as x's does."""
        if not column.size:
            return
        xp, owner, name = namespace(column), type(self).__name__, self.times
        wrong = control.moving(column < 0)
        least = xp.min(xp.where(wrong, column, xp.zeros_like(column)))
        require(
            least < 0, lambda: ValueError(f"{owner}: {name} contains {float(to_numpy(least))}; expected at least 0")
        )

    def _column(self, times: Any, x: Tensor, **control: Any) -> Tensor:
        """Times, a number or one a step, as a column beside x."""
        owner, name, shape = type(self).__name__, self.times, x.shape[:-1]
        if isinstance(times, (int, float, np.integer, np.floating)) and not isinstance(times, bool):
            return ops.ones_like(x[..., :1]) * real_number(owner, name, times, "a time of at least 0")
        times = input_tensor(owner, name, times, self.dtype)
        shared_namespace(owner, ("x", name), x.data, times.data)
        if times.shape != shape:
            raise ValueError(f"{owner}: {name} has shape {times.shape}; expected a number, or {shape} as x has steps")
        column = ops.expand_dims(times, -1)
        if type(times.data) is not np.ndarray:
            form = Form.of(owner, "x", x, None, self.batch_first)
            steps = form.inward(column)
            self._check_times(steps.data, form.control(owner, "x", x, steps, **control))
        return column


class CfC(Timed):
    """Closed-form continuous-time network (Hasani et al. 2022, Nature Machine Intelligence 4, 992).

    h' = (1 - s) f + s g, with s = sigmoid(a t + b), f = tanh(z_f), g = tanh(z_g), after ``timespans`` t; z_f, z_g, a, b
    are V y + c, and y = 1.7159 tanh(0.666 (W_ih x + b_ih + W_hh h)).

    Shapes, calling and the other arguments: :class:`RecurrentLayer`, of one layer, and :meth:`forward`. The state is
    one part, h. Fully connected, as ``ncps`` has it for a number of units; there ``timespans`` fail with a batch.
    Array code steps: there is no kernel.

    ================================  ============================================================
    weight_ih, weight_hh, bias_ih     (U, I), (U, H), (U)
    weight_uh, bias_uh                (4H, U), (4H): V and c, blocks f, g, a, b
    ================================  ============================================================

    Parameters
    ----------
    mode
        "no_gate": h' = f + s g. "pure": h' = A - A exp(-t (|w| + |z_f|)) z_f with parameters amplitude A and rate w
        (H,), and weight_uh (H, U). w starts from zero as in ``ncps``, and there |w| has no slope: give it another start
        for it to learn.
    backbone_units
        U. With 0 there is no backbone: z_f, z_g, a, b are W_ih x + b_ih + W_hh h, of 4H rows.

    Raises ValueError for another ``mode`` and for time spans of another shape, TypeError for another dtype.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        *,
        mode: str = "default",
        backbone_units: int = 128,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = CfCSpec(one_of("CfC", "mode", mode, MODES), backbone_units)
        super().__init__(
            cell, input_size, hidden_size, bias, batch_first, bidirectional, reverse=reverse, zero_masked=zero_masked,
            dtype=dtype, rng=rng,
        )  # fmt: skip
        for weights in self.weights():
            begin_with(weights, **{name: self._xavier(w.shape) for name, w in weights.items() if w.ndim == 2})

    def _xavier(self, shape: tuple[int, ...]) -> np.ndarray:
        bound = np.sqrt(6.0 / sum(shape))
        return self.rng.uniform(-bound, bound, shape)


class LTC(Timed):
    """Liquid time-constant network (Hasani et al. 2021, arXiv 2006.04439): units with synapses, as a neuron's membrane.

    c dv/dt = g (e - v) + sum_j w_j sigmoid(sigma_j (v_j - mu_j)) (r_j - v), over all synapses from inputs and units,
    for ``timespans`` t, in ``unfolds`` steps of the fused solver. The state, and the output, is v.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`, of one layer, and :meth:`Timed.forward`. Array
    code steps, and the tape goes back: there is no kernel. A unit has a synapse from each source, so a step is
    H (H + I) functions, ``unfolds`` times.

    ========================================  ===============================================================
    weight_ih, mu_ih, sigma_ih, reversal_ih   (H, I): w (by softplus), mu, sigma and r of what comes from x
    weight_hh, mu_hh, sigma_hh, reversal_hh   (H, H): likewise from the units
    capacity, leak, leak_potential            (H,): c and g (by softplus), e
    gain_x, bias_x                            (I,): what x goes in by
    wiring_ih, wiring_hh                      (H, I), (H, H) of ones and zeros, which are not trained
    ========================================  ===============================================================

    Parameters
    ----------
    unfolds
        Steps of the solver.
    wiring
        Two arrays (H, I) and (H, H): 0 for no synapse, and the sign of what it starts to do, 1 or -1, as
        :func:`ncp_wiring` makes them. Default: all of them, with random signs.

    Raises ValueError for a ``wiring`` and time spans of other shapes.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        *,
        unfolds: int = 6,
        wiring: tuple[Any, Any] | None = None,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        super().__init__(
            LTCSpec(unfolds), input_size, hidden_size, bias, batch_first, bidirectional,
            reverse=reverse, zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip
        sizes = {"ih": (self.hidden_size, self.input_size), "hh": (self.hidden_size, self.hidden_size)}
        signs = {end: self.rng.choice([-1.0, 1.0], size) for end, size in sizes.items()}
        if wiring is not None:
            if not isinstance(wiring, (tuple, list)) or [np.shape(part) for part in wiring] != [*sizes.values()]:
                raise ValueError(f"LTC: wiring is no pair of arrays of shapes {', '.join(map(str, sizes.values()))}")
            signs = {end: np.sign(np.asarray(part, float)) for end, part in zip(sizes, wiring, strict=True)}

        def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
            what, _, end = name.rpartition("_")
            if what in ("reversal", "wiring"):
                return np.abs(signs[end]) if what == "wiring" else signs[end]
            return self.rng.uniform(*RANGES.get(name) or RANGES[what], shape)

        for weights in self.weights():
            begin_with(weights, **{name: draw(name, weight.shape) for name, weight in weights.items()})
            weights["wiring_ih"].requires_grad = weights["wiring_hh"].requires_grad = False


RANGES = {
    "weight": (0.001, 1.0),
    "mu": (0.3, 0.8),
    "sigma": (3.0, 8.0),
    "capacity": (0.4, 0.6),
    "leak": (0.001, 1.0),
    "leak_potential": (-0.2, 0.2),
    "gain_x": (1.0, 1.0),
    "bias_x": (0.0, 0.0),
}
"""Where parameters of an LTC start, as in ``ncps``."""
