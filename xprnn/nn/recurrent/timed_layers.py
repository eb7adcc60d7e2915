"""Layers that are told how much time their steps take, or what was missing: CfC, LTC and GRU-D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import floating_input, input_tensor, one_of, whole_number
from xprnn.backend import Array, Rng, backend_of, default_backend, dtype_name, shared_namespace
from xprnn.cells.cell import Cell
from xprnn.cells.cfc import MODES
from xprnn.cells.cfc import CfC as CfCSpec
from xprnn.cells.gru_d import GRUD as GRUDSpec
from xprnn.cells.ltc import LTC as LTCSpec
from xprnn.nn.form import Form
from xprnn.nn.recurrent.sequence_layer import SequenceLayer
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.tensor import Tensor


class Timed(RecurrentLayer):
    """One layer of a cell that is told how much time each step takes."""

    beside = 1

    _fixed = RecurrentLayer._fixed | {"beside"}

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
        directions a step takes its own span. A stream's x has the span as its last column.
        """
        x = self._input(x)
        joined = ops.concat([x, self._column("timespans", timespans, x)], axis=-1)
        return SequenceLayer.forward(
            self, joined, state, lengths=lengths, mask=mask, reset=reset, return_all_states=return_all_states
        )

    def _input(self, x: Any) -> Tensor:
        """x, whose form is that of a call."""
        owner = type(self).__name__
        x = floating_input(owner, "x", x, self.dtype)
        Form.of(owner, "x", x, self.input_size, self.batch_first)
        return x

    def _column(self, name: str, times: Any, x: Tensor) -> Tensor:
        """Times, a number or one a step, as a column beside x."""
        owner, shape = type(self).__name__, x.shape[:-1]
        if isinstance(times, (int, float, np.integer, np.floating)) and not isinstance(times, bool):
            return ops.ones_like(x[..., :1]) * float(times)
        times = input_tensor(owner, name, times, self.dtype)
        shared_namespace(owner, ("x", name), x.data, times.data)
        if times.shape != shape:
            raise ValueError(f"{owner}: {name} has shape {times.shape}; expected a number, or {shape} as x has steps")
        return ops.expand_dims(times, -1)

    def _give(self, values: Callable[[str, tuple[int, ...]], np.ndarray | None]) -> None:
        """Other initial weights than those there are, for each direction: by name and shape, or None to keep them."""
        for weights in self.weights():
            for name, weight in weights.items():
                if (array := values(name, weight.shape)) is not None:
                    weight.data = default_backend().asarray(array.astype(self.dtype))


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
        (H,), and weight_uh (H, U).
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
        cell = CfCSpec(one_of("CfC", "mode", mode, MODES), whole_number("CfC", "backbone_units", backbone_units, 0))
        super().__init__(
            cell, input_size, hidden_size, bias, batch_first, bidirectional, reverse=reverse, zero_masked=zero_masked,
            dtype=dtype, rng=rng,
        )  # fmt: skip
        self._give(self._xavier)

    def _xavier(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        if len(shape) != 2:
            return None
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
            LTCSpec(whole_number("LTC", "unfolds", unfolds)), input_size, hidden_size, bias, batch_first, bidirectional,
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

        self._give(draw)
        for weights in self.weights():
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


class GRUD(Timed):
    """GRU-D (Che et al. 2018, arXiv 1606.01865): a GRU for values that are missing, and told how long.

    x^ = m x + (1 - m) (mean + exp(-max(0, w d + b)) (last - mean)), where d is the time since the last value and m what
    was observed; h^ = exp(-max(0, W d + c)) h; then a GRU of x^ and m from h^, its reset gate before the product:
    r, z = sigmoid(z_r), sigmoid(z_z), n = tanh(W_in x^ + V_in m + b_in + W_hn (r h^)), h' = (1 - z) n + z h^.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`, of one layer, and :meth:`forward`. How it runs:
    :class:`CfC`. The state is a tuple (h, last, since): the last values less their means, and the time since they came,
    both (D, B, I), so that a series may be cut anywhere. From zero state a value that never came is its mean.

    =================================  ===============================================================
    weight_ih, weight_oh               (3H, I): of x^, and V of m; blocks r, z, n
    weight_hh, bias_ih                 (3H, H), (3H)
    decay_x, bias_decay_x              (I,): w and b
    decay_h, bias_decay_h              (H, I), (H,): W and c
    mean                               (I,): those of the argument, or zeros; not trained
    =================================  ===============================================================

    Raises ValueError for a ``mean``, ``observed`` or ``elapsed`` of another shape, TypeError for another dtype.
    """

    beside = 2  # at the least: what was observed of each input, and the time

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        *,
        mean: Any = None,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        inputs = whole_number("GRUD", "input_size", input_size)
        self.beside = inputs + 1
        means = np.zeros(inputs) if mean is None else np.asarray(mean)
        if means.dtype.kind not in "fiu" or means.shape != (inputs,):
            raise ValueError(
                f"GRUD: mean has shape {means.shape} and dtype {means.dtype}; expected ({inputs},) numbers"
            )
        super().__init__(
            GRUDSpec(inputs), inputs, hidden_size, bias, batch_first, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip
        self._give(lambda name, shape: means if name == "mean" else None)
        for weights in self.weights():
            weights["mean"].requires_grad = False

    def forward(  # type: ignore[override]
        self,
        x: Any,
        state: Any = None,
        *,
        observed: Any = None,
        elapsed: Any = 1.0,
        lengths: Any = None,
        mask: Any = None,
        reset: Any = None,
        return_all_states: bool = False,
    ) -> tuple[Any, ...]:
        """Run over a batch of sequences, or over one, as :meth:`SequenceLayer.forward`.

        Parameters
        ----------
        observed
            Booleans of x's shape, False where a value is missing, and x, which may be NaN there, is not looked at.
            ``~np.isnan(x)``, for example. Default: nothing is missing, and NaN gives NaN.
        elapsed
            The time since the step before: a number, or an array or Tensor (T, B), with ``batch_first`` (B, T). How
            long each value has been missing is counted from it. That of held steps is not looked at.
        x, state, lengths, mask, reset, return_all_states
            As for every layer. A stream's x has ``observed`` as ones and zeros behind x, and ``elapsed`` behind that.
        """
        owner, x = type(self).__name__, self._input(x)
        ones = ops.ones_like(x)
        if observed is not None:
            observed = ops.value(observed)
            if isinstance(observed, (np.ndarray, list, tuple)):  # of the host, as other flags
                observed = backend_of(x.data).asarray(np.asarray(observed))
            _check_flags(owner, "observed", observed, x)
            x, ones = ops.where(observed, x, ops.zeros_like(x)), ops.where(observed, ones, ops.zeros_like(x))
        joined = ops.concat([x, ones, self._column("elapsed", elapsed, x)], axis=-1)
        return SequenceLayer.forward(
            self, joined, state, lengths=lengths, mask=mask, reset=reset, return_all_states=return_all_states
        )


def _check_flags(owner: str, name: str, flags: Array, x: Tensor) -> None:
    if not hasattr(flags, "dtype"):
        raise TypeError(f"{owner}: {name} is a {type(flags).__name__}; expected an array of booleans")
    shared_namespace(owner, ("x", name), x.data, flags)
    if dtype_name(flags) != "bool":
        raise TypeError(f"{owner}: {name} has dtype {dtype_name(flags)}; expected bool")
    if tuple(flags.shape) != x.shape:
        raise ValueError(f"{owner}: {name} has shape {tuple(flags.shape)}; expected {x.shape}, as x has")
