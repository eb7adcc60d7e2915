"""Small calls in one compiled function, with weights where they lie, have the bits of all others."""

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels import kinds
from xprnn.kernels.cpu import around, at_once, equations, sequence, small
from xprnn.kernels.cpu.arguments import EMPTY

from xprnn import nn, no_grad


def outputs_and_gradients(layer, x):
    layer.zero_grad()
    output, state = layer(x)
    output.backward(np.cos(np.arange(output.size, dtype=x.dtype)).reshape(output.shape))
    with no_grad():
        again, last = layer(x)
    parts = (*state, *last) if isinstance(state, tuple) else (state, last)
    return [output.data, again.data, *(part.data for part in parts), *(p.grad.data for p in layer.parameters())]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU", "CTRNN", "layer-norm LSTM", "layer-norm GRU"])
@pytest.mark.parametrize(
    ("steps", "batch", "inputs", "hidden"), [(1, 1, 19, 16), (2, 2, 1, 5), (1, 3, 16, 33), (2, 4, 5, 20), (1, 9, 5, 24)]
)
def test_one_call_has_the_bits_of_several(monkeypatch, cell, reverse, steps, batch, inputs, hidden):
    normalised = {"layer_norm": True} if cell.startswith("layer-norm") else {}
    layer = getattr(nn, cell.split()[-1])(inputs, hidden, reverse=reverse, rng=0, **normalised)
    x = np.random.default_rng(1).standard_normal((steps, batch, inputs)).astype("float32")
    found = outputs_and_gradients(layer, x)
    monkeypatch.setattr(small, "plan_of", lambda *call: None)
    monkeypatch.setattr(around, "serves", lambda *about: False)
    monkeypatch.setattr(at_once, "serves", lambda *about: False)
    monkeypatch.setattr(at_once, "multiplies_once", lambda *sizes: False)
    for one, other in zip(found, outputs_and_gradients(layer, x), strict=True):
        assert one.tobytes() == other.tobytes()


def plan():
    """Where the equations of an LSTM lie, and how long a row of z is for 5 units."""
    return equations.ahead(kinds.LSTM, 4)[0], sequence.scratch_columns(kinds.KINDS[kinds.LSTM], 5, 5, 4)


@pytest.mark.parametrize(
    ("hidden", "options"), [(18, {}), (24, {}), (24, {"proj_size": 8}), (24, {"peephole": "full"})]
)
def test_a_row_has_the_same_bits_in_any_batch(hidden, options):
    layer, x = (
        nn.LSTM(35, hidden, rng=0, **options),
        np.random.default_rng(0).standard_normal((1, 9, 35)).astype("float32"),
    )
    whole = layer(x)[0].data
    for few in (1, 2, 3, 4):
        assert layer(x[:, 2 : 2 + few])[0].data.tobytes() == whole[:, 2 : 2 + few].tobytes()


@pytest.mark.parametrize(
    ("which", "shape"),
    [
        ("w_ih", (20, 4)), ("w_ih", (16, 3)), ("w_hh", (20, 4)), ("w_hh", (20, 6)), ("b_ih", (16,)), ("b_hh", (0,)),
        ("x", (2, 4)), ("h", (2, 4)), ("c", (1, 5)),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_reach_no_loop(which, shape):
    shapes = {"w_ih": (20, 3), "w_hh": (20, 5), "b_ih": (20,), "b_hh": (20,), "x": (2, 3), "h": (2, 5), "c": (2, 5)}

    code, columns = plan()

    def fit(**wrong):
        *weights, x, h, c = (np.zeros(s, "float32") for s in (shapes | wrong).values())
        after, z = (np.zeros((1, 2, 5), "float32"),) * 2, np.zeros((1, 2, columns), "float32")
        return at_once.walk(kinds.LSTM, code, *weights, EMPTY[x.dtype][2], x[None], (h, c), after, z, False)

    assert fit()
    assert not fit(**{which: shape})


def test_products_of_no_rows_write_nothing():
    """The engine asks for none, but kernels that are called by themselves may be."""
    code, columns = plan()
    w_ih, w_hh, x, z = (np.ones(shape, "float32") for shape in ((20, 3), (20, 5), (1, 4, 3), (1, 4, columns)))
    _, none, flat, _ = EMPTY[x.dtype]
    initial, after = ((np.zeros(shape, "float32"),) * 2 for shape in ((4, 5), (0, 4, 5)))
    assert at_once.walk(kinds.LSTM, code, w_ih, w_hh, none, none, flat, x[:0], initial, after, z[:0], False)
    np.testing.assert_array_equal(z, 1.0)
