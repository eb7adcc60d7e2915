"""Every law, for every cell, on NumPy and array_api_strict, in both dtypes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xprnn import nn, ops
from xprnn.backend import get_backend
from xprnn.cells import LinearCell
from xprnn.cells.cell import sigmoid
from xprnn.testing import LAWS, Example, check_laws
from xprnn.testing.laws import applies
from xprnn.testing.strategies import examples

LAYERS = {
    "rnn": lambda **o: nn.RNN(3, 4, **o),
    "rnn relu": lambda **o: nn.RNN(3, 4, nonlinearity="relu", **o),
    "indrnn": lambda **o: nn.IndRNN(3, 4, nonlinearity="tanh", **o),
    "indrnn relu without bias": lambda **o: nn.IndRNN(3, 4, bias=False, **o),
    "lstm": lambda **o: nn.LSTM(3, 4, **o),
    "lstm without bias": lambda **o: nn.LSTM(3, 4, bias=False, **o),
    "peephole": lambda **o: nn.LSTM(3, 4, peephole="diagonal", **o),
    "full peephole": lambda **o: nn.LSTM(3, 4, peephole="full", **o),
    "projected": lambda **o: nn.LSTM(3, 4, proj_size=2, **o),
    "projected peephole": lambda **o: nn.LSTM(3, 4, proj_size=2, peephole="diagonal", **o),
    "gru": lambda **o: nn.GRU(3, 4, **o),
    "gru reset before": lambda **o: nn.GRU(3, 4, reset_after=False, **o),
    "gru reset before without bias": lambda **o: nn.GRU(3, 4, reset_after=False, bias=False, **o),
    "mingru": lambda **o: nn.MinGRU(3, 4, **o),
    "qrnn of two": lambda **o: nn.QRNN(3, 4, window=2, **o),
    "echo state": lambda **o: nn.EchoState(3, 4, leak=0.4, connectivity=0.8, bias_scaling=0.5, **o),
    "bidirectional lru": lambda **o: nn.LRU(3, 4, state_size=2, bidirectional=True, **o),
    "clipped lstm of other activations, in reverse": lambda **o: nn.LSTM(
        3, 4, gate_activation="softsign", activation="silu", clip=2.0, peephole="diagonal", reverse=True, **o
    ),
    "gru of hard gates, zero where masked, with zoneout": lambda **o: nn.GRU(
        3, 4, gate_activation="hard_sigmoid", zero_masked=True, zoneout=0.3, **o
    ).eval(),
    "mgu": lambda **o: nn.MGU(3, 4, **o),
    "sparse ctrnn of Dale's law": lambda **o: nn.CTRNN(3, 4, dale=[1, -1, 1, 1], connections=0.7, **o),
    "gated antisymmetric": lambda **o: nn.AntisymmetricRNN(3, 4, gated=True, **o),
    "antisymmetric without bias": lambda **o: nn.AntisymmetricRNN(3, 4, bias=False, **o),
    "slstm of heads": lambda **o: nn.SLSTM(3, 4, num_heads=2, **o),
    "bidirectional slstm": lambda **o: nn.SLSTM(3, 4, forget="exp", bias=False, bidirectional=True, **o),
    "layer-norm lstm": lambda **o: nn.LSTM(3, 4, layer_norm=True, **o),
    "layer-norm gru without bias": lambda **o: nn.GRU(3, 4, layer_norm=True, bias=False, **o),
    "bidirectional lstm": lambda **o: nn.LSTM(3, 4, bidirectional=True, **o),
    "two bidirectional layers": lambda **o: nn.GRU(3, 4, 2, bidirectional=True, **o),
}


class Leaky(nn.Module):
    """A step such as a user writes: h' = h/2 + tanh(W x + U h)/2."""

    def __init__(self, dtype="float64", rng=0):
        self.state_sizes = (4,)
        self.inner = nn.Linear(3, 4, dtype=dtype, rng=rng)
        self.outer = nn.Linear(4, 4, dtype=dtype, rng=rng)

    def step(self, x, state):
        (h,) = state
        return (0.5 * h + 0.5 * ops.tanh(self.inner(x) + self.outer(h)),)


class Decay(LinearCell):
    """Coefficients such as a user writes, and nothing else: h' = f h + (1 - f) v, with f = sigmoid(zx_f)."""

    gate_names = ("f", "v")

    def coefficients(self, w, zx):
        f, v = sigmoid(zx[..., : zx.shape[-1] // 2]), zx[..., zx.shape[-1] // 2 :]
        return f, (1.0 - f) * v


LAYERS["a user's linear cell"] = lambda **o: nn.RecurrentLayer(Decay(), 3, 4, **o)
LAYERS["coupled lstm, tanh one way, softsign the other"] = lambda **o: nn.LSTM(
    3, 4, coupled=True, activation=("tanh", "softsign"), bidirectional=True, bias=False, **o
)
LAYERS["a user's step"] = lambda **o: nn.Recurrent(Leaky(**o))
LAYERS["a user's step in reverse"] = lambda **o: nn.Recurrent(Leaky(**o), reverse=True)


def build(name, dtype, backend):
    layer = LAYERS[name](dtype=dtype, rng=1)
    if backend == "array_api_strict":
        strict = pytest.importorskip("array_api_strict")
        # Not the default device: an array made without saying where would not fit.
        layer.to(get_backend("array_api_strict", strict.Device("device1")))
    return layer


@pytest.mark.parametrize("backend", ["numpy", "array_api_strict"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LAYERS)
def test_laws(name, dtype, backend):
    checked = check_laws(build(name, dtype, backend), 3)
    assert len(checked) >= 13


# A fifth of what the profile says, for each of many layers: 5, and 100 with the deep one.
@pytest.mark.parametrize("name", LAYERS)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=settings().max_examples // 5,
)
@given(data=st.data(), law=st.sampled_from(sorted(LAWS)))
def test_laws_on_drawn_examples(name, data, law):
    layer = build(name, "float64", "numpy")
    if applies(law, layer):
        LAWS[law](layer, data.draw(examples(layer, 3)))


def test_differences_may_meet_a_kink():
    """Weights that are 0 are moved to both sides of it, and Dale's law takes their size: found by deep.py."""
    x = [[[-0.7, -0.2, 1.7]], [[0.7, -1.6, -0.0]], [[-0.6, 0.1, -1.6]], [[0.2, 0.2, 1.6]], [[0.3, 0.5, -1.5]]]
    state = np.array([[[2.25272912, -1.91564556, 1.10180186, -0.32990407]]])
    layer = build("sparse ctrnn of Dale's law", "float64", "numpy")
    LAWS["gradients_pass_finite_differences"](layer, Example(np.array(x), (state,)))


def test_strict_and_numpy_agree():
    x = np.random.default_rng(0).standard_normal((6, 3, 3))
    layer = build("peephole", "float64", "numpy")
    here = layer(x, lengths=[6, 0, 2])[0].numpy()
    strict = build("peephole", "float64", "array_api_strict")
    there = strict(get_backend("array_api_strict", strict.weight_ih_l0.device).asarray(x), lengths=[6, 0, 2])[0].numpy()
    np.testing.assert_allclose(here, there, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("steps", "rng"), [(3, 6083), (6, 287)])
def test_a_first_step_whose_units_are_all_off_has_no_gradient(steps, rng):
    """Though a leaky unit shows what was there before: found by deep.py."""
    layer = build("sparse ctrnn of Dale's law", "float64", "numpy")
    LAWS["first_step_gets_a_gradient"](layer, Example.draw(layer, 3, steps=steps, batch=1, rng=rng))
