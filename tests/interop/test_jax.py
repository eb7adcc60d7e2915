"""Weights of Flax and Equinox, by their formulas written out here, and by themselves where they are installed."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import host

from xprnn import nn
from xprnn.interop.jax import from_equinox, from_flax


def dense(rng, inputs, outputs, bias):
    found = {"kernel": rng.uniform(-0.8, 0.8, (inputs, outputs))}
    return found | {"bias": rng.uniform(-0.8, 0.8, outputs)} if bias else found


def applied(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_of_linen(p, x):
    c = h = np.zeros((x.shape[1], 4))
    for now in x:
        i, f, g, o = (applied(p[f"i{gate}"], now) + applied(p[f"h{gate}"], h) for gate in "ifgo")
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        yield h


def gru_of_linen(p, x):
    h = np.zeros((x.shape[1], 4))
    for now in x:
        r, z = (sigmoid(applied(p[f"i{gate}"], now) + applied(p[f"h{gate}"], h)) for gate in "rz")
        n = np.tanh(applied(p["in"], now) + r * applied(p["hn"], h))
        h = (1 - z) * n + z * h
        yield h


def test_flax(rng):
    x = rng.standard_normal((6, 2, 3))
    first = {f"i{g}": dense(rng, 3, 4, False) for g in "ifgo"} | {f"h{g}": dense(rng, 4, 4, True) for g in "ifgo"}
    second = {f"i{g}": dense(rng, 4, 4, False) for g in "ifgo"} | {f"h{g}": dense(rng, 4, 4, True) for g in "ifgo"}
    layer = from_flax({"params": first}, {"params": {"cell": second}})
    expected = list(lstm_of_linen(second, np.array(list(lstm_of_linen(first, x)))))
    np.testing.assert_allclose(host(layer(x)[0]), expected, atol=1e-14)
    assert (type(layer), layer.num_layers, layer.dtype) == (nn.LSTM, 2, "float64")

    gru = {f"i{g}": dense(rng, 3, 4, True) for g in "rzn"} | {f"h{g}": dense(rng, 4, 4, g == "n") for g in "rzn"}
    np.testing.assert_allclose(host(from_flax(gru)(x)[0]), list(gru_of_linen(gru, x)), atol=1e-14)


def test_equinox(rng):
    x = rng.standard_normal((6, 1, 3))
    cell = SimpleNamespace(
        weight_ih=rng.uniform(-1, 1, (12, 3)), weight_hh=rng.uniform(-1, 1, (12, 4)),
        bias=rng.uniform(-1, 1, 12), bias_n=rng.uniform(-1, 1, 4),
    )  # fmt: skip
    h = np.zeros(4)
    for now, y in zip(x[:, 0], host(from_equinox(cell)(x)[0])[:, 0], strict=True):
        inputs, hidden = np.split(cell.weight_ih @ now + cell.bias, 3), np.split(cell.weight_hh @ h, 3)
        r, z = (sigmoid(a + b) for a, b in zip(inputs[:2], hidden[:2], strict=True))
        n = np.tanh(inputs[2] + r * (hidden[2] + cell.bias_n))
        h = n + z * (h - n)
        np.testing.assert_allclose(y, h, atol=1e-14)
    without = SimpleNamespace(weight_ih=cell.weight_ih, weight_hh=cell.weight_hh, bias=None, bias_n=None)
    assert not host(from_equinox(without).bias_hh_l0).any()


def test_the_widest_dtype_of_all_arrays_is_kept():
    cell = {"i": {"kernel": np.ones((2, 4), "float32")}, "h": {"kernel": np.full((4, 4), 0.1), "bias": np.ones(4)}}
    np.testing.assert_array_equal(host(from_flax(cell).weight_hh_l0), np.full((4, 4), 0.1))


SIMPLE = {"i": {"kernel": np.ones((2, 4))}, "h": {"kernel": np.ones((4, 4))}}


def equinox_gru(**changes):
    given = {"weight_ih": np.ones((9, 2)), "weight_hh": np.ones((9, 3)), "bias": np.ones(9), "bias_n": np.ones(3)}
    return SimpleNamespace(**given | changes)


@pytest.mark.parametrize(
    ("read", "cells", "message"),
    [
        (from_flax, [], "jax.from_flax: no cells were given"),
        (from_flax, [{"hf": {}, "hn": {}}], "has not the parameters of LSTMCell, GRUCell or SimpleCell"),  # MGUCell
        (from_flax, [3], "has not the parameters of LSTMCell"),
        (from_flax, [{"dense_i": {"kernel": np.ones((2, 4))}, "dense_h": {}}], r"a cell has no dense_h\.kernel"),
        (
            from_flax,
            [{"dense_i": {"kernel": np.ones((3, 8))}, "dense_h": {"kernel": np.ones((2, 8))}}] * 2,
            r"cell 1 has weights of shapes \(8, 3\) and \(8, 2\); expected a stack of cells of one kind",
        ),
        (
            from_flax,
            [{"dense_i": {"kernel": np.ones((3, 10))}, "dense_h": {"kernel": np.ones((2, 10))}}],
            r"cell 0 has weights of shapes \(10, 3\) and \(10, 2\)",
        ),
        (from_flax, [SIMPLE | {"i": {"kernel": np.ones(4)}}], r"i\.kernel has shape \(4,\); expected two axes"),
        (from_flax, [SIMPLE | {"h": {"kernel": np.float64(1)}}], r"h\.kernel has shape \(\); expected two axes"),
        (from_flax, [{"i": {"kernel": np.ones((2, 0))}, "h": {"kernel": np.ones((0, 0))}}], "neither of them empty"),
        (from_flax, [SIMPLE | {"norm": {"scale": np.ones(4)}}], "a cell has norm too, which no LSTMCell"),
        (from_flax, [SIMPLE | {"peephole": np.ones(4)}], "a cell has peephole too"),
        (from_equinox, [equinox_gru(weight_hh=np.ones(9))], r"weight_hh has shape \(9,\); expected two axes"),
        (from_equinox, [equinox_gru(bias_n=np.ones(4))], r"bias_n has shape \(4,\); expected \(3,\)"),
        (from_equinox, [SimpleNamespace()], "a SimpleNamespace has no weight_ih; expected LSTMCell or GRUCell"),
    ],
)
def test_other_cells(read, cells, message):
    with pytest.raises(ValueError, match=message):
        read(*cells)


def random(jax, tree):
    leaves, form = jax.tree.flatten(tree)
    return jax.tree.unflatten(form, [jax.random.normal(jax.random.key(k), a.shape) for k, a in enumerate(leaves)])


@pytest.mark.slow
def test_flax_itself():
    linen, jax = pytest.importorskip("flax.linen"), pytest.importorskip("jax")
    from flax import nnx

    x = jax.random.normal(jax.random.key(99), (2, 2, 3))
    for kind in (linen.LSTMCell, linen.GRUCell):
        rnn = linen.RNN(kind(features=4), time_major=True)
        params = random(jax, rnn.init(jax.random.key(0), x))
        found = from_flax(params)(np.from_dlpack(x))[0]
        np.testing.assert_allclose(host(found), rnn.apply(params, x), atol=2e-6)
    for kind in (nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.SimpleCell):
        cell = kind(3, 4, rngs=nnx.Rngs(0))
        nnx.update(cell, random(jax, nnx.state(cell, nnx.Param)))
        carry, found = cell.initialize_carry((2, 3), rngs=nnx.Rngs(0)), from_flax(cell)(np.from_dlpack(x))[0]
        for now, y in zip(x, host(found), strict=True):
            carry, expected = cell(carry, now)
            np.testing.assert_allclose(y, expected, atol=2e-6)


@pytest.mark.slow
def test_equinox_itself():
    equinox, jax = pytest.importorskip("equinox"), pytest.importorskip("jax")
    x = jax.random.normal(jax.random.key(99), (3, 3))
    for kind, start in ((equinox.nn.GRUCell, np.zeros(4)), (equinox.nn.LSTMCell, (np.zeros(4), np.zeros(4)))):
        cell, state = kind(3, 4, key=jax.random.key(0)), start
        for now, y in zip(x, host(from_equinox(cell)(np.from_dlpack(x))[0]), strict=True):
            state = cell(now, state)
            expected = state[0] if isinstance(state, tuple) else state
            np.testing.assert_allclose(y, expected, atol=2e-6)
