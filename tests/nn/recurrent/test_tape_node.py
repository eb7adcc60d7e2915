"""What goes back from a call on the kernels: no more than is asked for, in arrays that nobody else holds."""

import numpy as np
import pytest

from xprnn import Tensor, grad, nn, use_kernels
from xprnn.tape import Owned

LAYERS = {
    "rnn": (nn.RNN, {}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
    "gru reset before": (nn.GRU, {"reset_after": False}),
    "heads": (nn.SLSTM, {"num_heads": 2}),
    "layer-norm gru": (nn.GRU, {"layer_norm": True}),
    "noise": (nn.LSTM, {"recurrent_dropout": 0.5, "zoneout": 0.5}),
}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("kind", "options"), LAYERS.values(), ids=LAYERS.keys())
def test_what_goes_to_the_state_alone_is_left_out(kind, options, steps, rng):
    x = rng.standard_normal((steps, 2, 3)).astype("float32")
    found = []
    for asked in (True, False):
        layer = kind(3, 4, rng=0, **options)
        parts = [Tensor(np.full((1, 2, size), 0.25, "float32"), requires_grad=asked) for size in layer.state_sizes]
        output, _ = layer(x, parts[0] if len(parts) == 1 else tuple(parts))
        output.backward(np.cos(np.arange(output.size, dtype="float32")).reshape(output.shape))
        found.append([p.grad.data for p in layer.parameters()])
        assert all((part.grad is not None) == asked for part in parts)
        if asked:
            assert all(part.grad.data.any() for part in parts[:1])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_gradients_are_arrays_of_their_own(kernels, rng):
    layer, given = nn.LSTM(3, 4, rng=0), rng.standard_normal((1, 2, 3)).astype("float32")
    flow, x = rng.standard_normal((1, 2, 4)).astype("float32"), Tensor(given, requires_grad=True)
    parameters = [x, *layer.parameters()]
    with use_kernels(kernels):
        output, _ = layer(x)
        output.backward(flow, retain_graph=True)
        once = [p.grad.data.copy() for p in parameters]
        for k, p in enumerate(parameters):
            assert type(p.grad) is Tensor
            assert not any(np.shares_memory(p.grad.data, other.grad.data) for other in parameters[:k])
            p.grad.data[:] = np.nan
        again = grad(output, parameters, [flow], retain_graph=True)
        layer.zero_grad()
        x.grad = None
        output.backward(flow)
        output.detach()
    for g, p, expected in zip(again, parameters, once, strict=True):
        assert type(g) is Tensor
        np.testing.assert_array_equal(g.data, expected)
        np.testing.assert_array_equal(p.grad.data, expected)


def test_gradients_of_weights_that_were_computed_are_not_given_away(rng):
    """What adds hands the same cotangent to both: neither may keep it."""
    cell, x = nn.RNNCell(3, 4, rng=0), rng.standard_normal((2, 3)).astype("float32")
    one, other = (Tensor(rng.standard_normal((4, 4)).astype("float32"), requires_grad=True) for _ in range(2))
    cell.__dict__["weight_hh"] = one + other
    cell(x, np.ones((2, 4), "float32")).sum().backward()
    np.testing.assert_array_equal(one.grad.data, other.grad.data)
    assert not np.shares_memory(one.grad.data, other.grad.data)
    assert not isinstance(one.grad, Owned)


def test_a_weight_in_two_places_gets_both_gradients(rng):
    x, cell = rng.standard_normal((2, 4)).astype("float32"), nn.LSTMCell(4, 4, rng=0)
    cell.weight_hh = cell.weight_ih
    h = np.ones((2, 4), "float32")
    found = {}
    for kernels in ("auto", "reference"):
        cell.zero_grad()
        with use_kernels(kernels):
            cell(x, (h, h))[0].sum().backward()
        found[kernels] = cell.weight_ih.grad.data
    np.testing.assert_allclose(found["auto"], found["reference"], atol=1e-6)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("layer", ["LSTM", "SLSTM", "QRNN"])
def test_the_last_state_of_no_steps_is_memory_of_its_own(layer, given):
    layer = getattr(nn, layer)(3, 4, rng=0)
    start = np.ones((1, 2, 4), "float32")
    _, final = layer(np.zeros((0, 2, 3), "float32"), (start,) * len(layer.state_sizes) if given else None)
    for k, part in enumerate(final):
        part.data[...] = k + 2.0
    assert [part.data.max() for part in final] == [k + 2.0 for k in range(len(final))]
    assert start.max() == 1.0
