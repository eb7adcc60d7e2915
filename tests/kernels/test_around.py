"""What a small layer has in one compiled function gives the bits of what larger ones have in several."""

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels.cpu import around, at_once, columns, linear, small, threads

import xprnn
from xprnn import nn
from xprnn.tensor import Tensor


def outputs_and_gradients(layer, x):
    layer.zero_grad()
    given = Tensor(x, requires_grad=True)
    output, _ = layer(given)
    output.backward(np.sin(np.arange(output.size, dtype=x.dtype)).reshape(output.shape))
    return [output.data, given.grad.data, *(p.grad.data for p in layer.parameters())]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU", "CTRNN", "layer-norm LSTM", "layer-norm GRU"])
@pytest.mark.parametrize(("steps", "batch", "inputs", "hidden"), [(1, 1, 3, 5), (7, 4, 1, 33), (5, 9, 20, 100)])
def test_packing_and_gradients_of_one_call_have_the_bits_of_several(
    monkeypatch, cell, reverse, steps, batch, inputs, hidden
):
    normalised = {"layer_norm": True} if cell.startswith("layer-norm") else {}
    layer = getattr(nn, cell.split()[-1])(inputs, hidden, reverse=reverse, rng=0, **normalised)
    x = np.random.default_rng(1).standard_normal((steps, batch, inputs)).astype("float32")
    found = outputs_and_gradients(layer, x)
    monkeypatch.setattr(small, "plan_of", lambda *call: None)
    monkeypatch.setattr(around, "serves", lambda *about: False)
    monkeypatch.setattr(around, "OWN_BYTES", 0)
    monkeypatch.setattr(at_once, "serves", lambda *about: False)
    for one, other in zip(found, outputs_and_gradients(layer, x), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("cell", "steps", "batch", "inputs", "hidden"), [("GRU", 9, 7, 1, 70), ("LSTM", 2, 2, 90, 33)])
def test_gradients_have_the_same_bits_whatever_threads_share_them(
    monkeypatch, cell, reverse, steps, batch, inputs, hidden
):
    layer = getattr(nn, cell)(inputs, hidden, reverse=reverse, rng=0)
    x = np.random.default_rng(1).standard_normal((steps, batch, inputs)).astype("float32")
    found = outputs_and_gradients(layer, x)
    monkeypatch.setattr(small, "plan_of", lambda *call: None)
    monkeypatch.setattr(threads, "SERIAL_BELOW", 0.0)
    monkeypatch.setattr(threads, "workers", lambda: 3)
    shares, gradients = [], around.gradients
    monkeypatch.setattr(around, "gradients", lambda *given: shares.append(given[-1]) or gradients(*given))
    for one, other in zip(found, outputs_and_gradients(layer, x), strict=True):
        assert one.tobytes() == other.tobytes()
    assert sorted(shares) == [(0, 341), (341, 682), (682, 1024)]


def test_weights_that_each_thread_packs_give_the_bits_of_those_that_all_share(monkeypatch):
    monkeypatch.setattr(small, "plan_of", lambda *call: None)
    monkeypatch.setattr(threads, "SERIAL_BELOW", 0.0)
    monkeypatch.setattr(threads, "workers", lambda: 2)
    monkeypatch.setattr(at_once, "serves", lambda *about: False)
    monkeypatch.setattr(around, "serves", lambda *about: True)  # though there are two threads
    walks, walk = [], around.shared_walk
    monkeypatch.setattr(around, "shared_walk", lambda *given: walks.append(walk(*given)))
    layer, x = nn.LSTM(3, 5, rng=0), np.random.default_rng(1).standard_normal((4, 9, 3)).astype("float32")
    found = outputs_and_gradients(layer, x)
    assert len(walks) == 1
    monkeypatch.setattr(around, "OWN_BYTES", 0)
    for one, other in zip(found, outputs_and_gradients(layer, x), strict=True):
        assert one.tobytes() == other.tobytes()
    assert len(walks) == 1


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(20, 33, 1), (16, 4, 50), (7, 130, 16)])
def test_an_affine_map(monkeypatch, rows, inputs, outputs, biased):
    draws = np.random.default_rng(0)
    x, w, b = (draws.standard_normal(s).astype("float32") for s in ((rows, inputs), (outputs, inputs), outputs))
    found = linear.affine(x, w, b if biased else None)
    np.testing.assert_allclose(found, x @ w.T + (b if biased else 0.0), atol=1e-4)
    monkeypatch.setattr(threads, "SERIAL_BELOW", 0.0)
    monkeypatch.setattr(threads, "workers", lambda: 2)
    assert found.tobytes() == linear.affine(x, w, b if biased else None).tobytes()


@pytest.mark.parametrize(
    "asked", [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]
)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(20, 33, 1), (16, 4, 50), (40, 16, 16)])
def test_the_way_back_through_an_affine_map(monkeypatch, rows, inputs, outputs, asked):
    draws = np.random.default_rng(0)
    g, x, w = (draws.standard_normal(s).astype("float32") for s in ((rows, outputs), (rows, inputs), (outputs, inputs)))
    found = linear.linear_back(g, x, w, *asked)
    for one, expected, need in zip(found, (g @ w, g.T @ x, g.sum(0)), asked, strict=True):
        assert (one is not None) == need
        if need:
            np.testing.assert_allclose(one, expected, atol=1e-5)
    monkeypatch.setattr(threads, "SERIAL_BELOW", 0.0)
    monkeypatch.setattr(threads, "workers", lambda: 2)
    for one, other in zip(found, linear.linear_back(g, x, w, *asked), strict=True):
        assert (one is None and other is None) or one.tobytes() == other.tobytes()


def test_an_affine_map_of_arrays_that_do_not_lie_plainly():
    draws = np.random.default_rng(0)
    g, x, w, b = (draws.standard_normal(s).astype("float32") for s in ((20, 4), (20, 9), (4, 9), 4))
    expected = linear.affine(x, w, b), *linear.linear_back(g, x, w, True, True, True)
    wide = np.repeat(x, 2, axis=1)[:, ::2]
    for odd_x, odd_w in ((wide, w), (x, np.asfortranarray(w)), (np.asfortranarray(x), w)):
        found = linear.affine(odd_x, odd_w, b), *linear.linear_back(g, odd_x, odd_w, True, True, True)
        assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]
    assert linear.linear_back(g.T.copy().T, x, w, True, False, False)[0].tobytes() == expected[1].tobytes()


def test_calls_of_an_affine_map_take_no_array_of_another_size_or_type():
    ahead, back = linear._calls_of(np.dtype("float32"))
    x, w, b, y, g = (np.zeros(s, "float32") for s in ((20, 9), (4, 9), 4, (20, 4), (20, 4)))
    assert ahead(20, 9, 4, 4, x, w, b, y)
    assert back(20, 9, 4, True, True, True, g, x, w, x.copy(), w.copy(), b)
    for odd in (x[:19], x[:, :8], x.astype("float64"), x[::-1], x.reshape(1, 1, 20, 9)):
        assert not ahead(20, 9, 4, 4, odd, w, b, y)
        assert not back(20, 9, 4, True, True, True, g, odd, w, x.copy(), w.copy(), b)
    assert not ahead(20, 9, 4, 4, x, w[:3], b, y)
    assert not ahead(20, 9, 4, 4, x, w, b[:3], y)
    assert not ahead(20, 9, 4, 3, x, w, b[:3], y)
    assert not back(20, 9, 4, True, True, True, g[:, :3].copy(), x, w, x.copy(), w.copy(), b)
    assert not back(20, 9, 4, True, True, True, g, x, w[:3], x.copy(), w.copy(), b)


def test_the_way_back_from_one_output_is_the_product_to_the_bit():
    """Of 0 and -0 too: to begin with 0 and to add the product leaves no -0."""
    g, w = np.array([[1.5], [-0.0], [0.0], [np.nan], [np.inf], [-3.0]], "float32"), np.ones((1, 37), "float32")
    w[0, 5], w[0, 6], w[0, 7] = -1.0, 0.0, 1e-45
    found = linear.linear_back(g, np.ones((6, 37), "float32"), w, True, False, False)[0]
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found, g * w + np.float32(0.0))
    assert not np.signbit(found[found == 0.0]).any()


def test_explain_says_what_threads_share(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda: 2)
    monkeypatch.setattr(columns, "MOST_THREADS", 2)
    monkeypatch.setattr(columns._processors, "busy_until", 0.0)
    layer, short, many = nn.LSTM(4, 16, rng=0), np.zeros((32, 2, 4), "float32"), np.zeros((600, 20, 4), "float32")
    assert "compiled: runs\n" in xprnn.explain(layer, short)
    assert "compiled: runs, sequences on 2 threads\n" in xprnn.explain(layer, many)
    assert "compiled: runs, units of each step on 2 threads\n" in xprnn.explain(nn.LSTM(4, 256, rng=0), short)
