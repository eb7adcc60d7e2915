"""Gradient flow of whole models: what the loss is, what is left as it was, and wrong or odd input."""

import math

import numpy as np
import pytest
from helpers import CELLS, assert_close
from watched_cells import B, Chain, H, I, OwnLSTM, T

import xprnn
from xprnn import Tensor, nn, ops
from xprnn.diagnose import gradient_flow


def last_sum(layer, x):
    return ops.sum(layer(x)[0][-1])


# --- models ---------------------------------------------------------------------------------------------------------


class Tagger(nn.Module):
    def __init__(self, batch_first=False):
        self.embed = nn.Embedding(5, I, dtype="float64", rng=0)
        self.lstm = nn.LSTM(I, H, 2, dropout=0.5, batch_first=batch_first, dtype="float64", rng=1)
        self.gru = nn.GRU(H, H, batch_first=batch_first, dtype="float64", rng=2)
        self.head = nn.Linear(H, 1, dtype="float64", rng=3)

    def forward(self, tokens):
        return self.head(self.gru(self.lstm(self.embed(tokens))[0])[0])


def test_default_loss_is_the_last_step_in_any_layout(rng):
    tokens = rng.integers(0, 5, (T, B))
    expected = gradient_flow(Tagger(), tokens, lambda m, x: ops.sum(m(x)[-1]))
    assert expected.layers == ("lstm.l0", "lstm.l1", "gru.l0")
    assert_close(gradient_flow(Tagger(), tokens).gradient_norms, expected.gradient_norms, 0.0)
    assert_close(gradient_flow(Tagger(True), tokens.T).gradient_norms, expected.gradient_norms, 0.0)
    layer, x = nn.LSTM(I, H, dtype="float64", rng=0), rng.standard_normal((T, I))
    assert_close(
        gradient_flow(layer, x).gradient_norms, gradient_flow(layer, x[:, None], last_sum).gradient_norms, 1e-15
    )
    pooled = nn.Sequential(nn.LSTM(I, H, dtype="float64", rng=0), Last())
    assert_close(gradient_flow(pooled, x[:, None]).gradient_norms, gradient_flow(layer, x).gradient_norms, 1e-15)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_default_loss_of_a_classifier_is_all_of_it_whatever_its_shape(axis, rng):
    layer = nn.LSTM(I, T, batch_first=axis == 1, dtype="float64", rng=0)
    model = nn.Sequential(layer, Last(axis))
    for x in (rng.standard_normal((T, T, I)), rng.standard_normal((T, I)))[: 2 - axis]:  # as many classes as steps
        flow = gradient_flow(model, x, jacobians=0)
        expected = gradient_flow(model, x, lambda m, x: ops.sum(m(x)), jacobians=0)
        assert_close(flow.gradient_norms, expected.gradient_norms, 0.0)


class Last(nn.Module):
    def __init__(self, axis=0):
        self.axis = axis

    def forward(self, x):
        return x[:, -1] if self.axis else x[-1]


def test_layers_of_different_lengths_and_further_calls(rng):
    class Encode(nn.Module):
        def __init__(self):
            self.encoder, self.decoder = (nn.GRU(I, H, dtype="float64", rng=k) for k in range(2))

        def forward(self, x):
            _, state = self.encoder(x)
            with xprnn.no_grad():  # as one looks ahead for what to feed
                self.decoder(x, state)
            _, state = self.decoder(x[:2], state)
            return self.decoder(x[:1], state)[0]

    flow = gradient_flow(Encode(), rng.standard_normal((T, B, I)), lambda m, x: ops.sum(m(x)))
    assert flow.layers == ("encoder.l0", "decoder.l0", "decoder.l0 (call 2)")
    assert np.isnan(flow.gradient_norms).sum(axis=0).tolist() == [0, 2, 3]
    assert (flow.gradient_norms[:, 0] > 0).all()


def test_frozen_parameters_and_float32(rng):
    layer, x = nn.LSTM(I, H, rng=0), rng.standard_normal((T, B, I)).astype("float32")
    expected = gradient_flow(layer, x).gradient_norms
    for parameter in layer.parameters():
        parameter.requires_grad = False
    with xprnn.no_grad():
        assert_close(gradient_flow(layer, x).gradient_norms, expected, 0.0)
    wide = nn.LSTM(I, H, rng=0, dtype="float64")
    assert_close(gradient_flow(wide, x.astype("float64")).gradient_norms, expected, 1e-6)


def identities(part):
    return {name: id(value) for name, value in vars(part).items()}


def test_everything_is_left_as_it_was(rng):
    model, tokens = Tagger(), rng.integers(0, 5, (T, B))
    own = nn.Recurrent(OwnLSTM(nn.LSTM(I, H, dtype="float64", rng=0)))
    model.train().lstm.eval()
    own.train()
    ops.sum(model(tokens)).backward()
    for module, x in ((model, tokens), (own, rng.standard_normal((T, B, I)))):
        parameters = module.parameters()
        before = [(p, p.data, p.data.copy(), p.grad, p.version, p.requires_grad) for p in parameters]
        modes = [(part, part.training, identities(part)) for _, part in module.named_modules()]
        draws = [rng.bit_generator.state for rng in module.generators().values()]
        copy = x.copy()
        gradient_flow(module, x)
        with pytest.raises(ZeroDivisionError):
            gradient_flow(module, x, lambda m, x: len(m(x)) / 0)
        assert [id(p) for p in module.parameters()] == [id(p) for p in parameters]
        for parameter, data, values, gradient, version, wanted in before:
            assert parameter.data is data
            assert (parameter.data == values).all()
            assert parameter.grad is gradient
            assert (parameter.version, parameter.requires_grad) == (version, wanted)
        for part, mode, attributes in modes:
            assert part.training is mode
            assert identities(part) == attributes
        assert [rng.bit_generator.state for rng in module.generators().values()] == draws
        assert (x == copy).all()


def test_what_a_loss_draws_is_put_back(rng):
    layer = nn.LSTM(I, H, dtype="float64", rng=0)
    before = layer.rng.bit_generator.state
    gradient_flow(layer, rng.standard_normal((T, B, I)), lambda m, x: last_sum(m, x) * m.rng.random())
    assert layer.rng.bit_generator.state == before


def test_parameters_of_an_own_cell_are_there_for_the_loss(rng):
    own = nn.Recurrent(OwnLSTM(nn.LSTM(I, H, dtype="float64", rng=0)))

    def with_decay(model, x):
        assert len(model.parameters()) == 4
        return last_sum(model, x) + sum((ops.sum(p * p) for p in model.parameters()), Tensor(0.0))

    x = rng.standard_normal((T, B, I))
    assert_close(gradient_flow(own, x, with_decay).gradient_norms, gradient_flow(own, x).gradient_norms, 0.0)


def test_the_callers_graph_survives(rng):
    leaf = Tensor(rng.standard_normal((T, B, I)), requires_grad=True)
    x = leaf * 2.0
    gradient_flow(nn.GRU(I, H, dtype="float64", rng=0), x)
    assert leaf.grad is None
    ops.sum(x).backward()
    assert (leaf.grad.numpy() == 2.0).all()


# --- hostile input --------------------------------------------------------------------------------------------------


def test_few_steps_and_no_sequences():
    layer = nn.LSTM(I, H, dtype="float64", rng=0)
    one = gradient_flow(layer, np.ones((1, B, I)))
    assert one.gradient_norms.shape == one.jacobian_norms.shape == one.product_norms.shape == (1, 1)
    np.testing.assert_allclose(one.gradient_norms, math.sqrt(B * H), rtol=1e-15)
    assert one.product_norms == 1.0
    with pytest.raises(ValueError, match=r"gradient_flow: x has shape \(0, 2, 2\), without a step; give a loss"):
        gradient_flow(layer, np.ones((0, B, I)))
    none = gradient_flow(layer, np.ones((0, B, I)), lambda m, x: ops.sum(m(x)[1][0]))
    assert none.gradient_norms.shape == none.product_norms.shape == (0, 1)
    nobody = gradient_flow(layer, np.ones((T, 0, I)))
    assert (nobody.gradient_norms == 0.0).all()
    assert nobody.gradient_norms.shape == nobody.jacobian_norms.shape == (T, 1)


@pytest.mark.parametrize("cell", [make() for make in CELLS.values()], ids=CELLS.keys())
def test_nan_in_nan_out(cell):
    x = np.ones((T, B, I))
    x[1, 0] = math.nan
    flow = gradient_flow(nn.RecurrentLayer(cell, I, H, dtype="float64", rng=0), x, jacobians=B)
    assert np.isnan(flow.jacobian_norms[1:]).all()
    assert np.isnan(flow.product_norms[0])
    assert np.isnan(flow.gradient_norms[0])


def test_an_exploded_product_is_infinite():
    with np.errstate(over="ignore"):
        flow = gradient_flow(nn.Recurrent(Chain(1e200)), np.ones((4, 1, 1)))
    assert flow.product_norms[:, 0].tolist() == [math.inf, math.inf, 1e200, 1.0]
    assert flow.gradient_norms[:, 0].tolist() == [math.inf, math.inf, 1e200, 1.0]


X = np.ones((T, B, I))


LAYER = nn.LSTM(I, H, dtype="float64", rng=0)


BAD = {
    "no module": (lambda: gradient_flow(len, X), TypeError, "gradient_flow: model is a builtin_function_or_method; ex"),
    "no recurrent layer": (
        lambda: gradient_flow(nn.Linear(I, 1), X),
        ValueError,
        r"gradient_flow: Linear has no recurrent layer \(RNN, LSTM, GRU, Recurrent\)",
    ),
    "not called": (
        lambda: gradient_flow(Tagger(), X, lambda m, x: ops.sum(m.head.weight)),
        ValueError,
        "gradient_flow: 'lstm', 'gru' of Tagger was never called",
    ),
    "x": (lambda: gradient_flow(LAYER, X[..., :1]), ValueError, r"LSTM: x has shape \(4, 2, 1\); expected \(T, B, 2\)"),
    "list": (lambda: gradient_flow(LAYER, X.tolist()), TypeError, "LSTM: x is a list; expected an array"),
    "no scalar": (
        lambda: gradient_flow(LAYER, X, lambda m, x: m(x)[0]),
        TypeError,
        r"gradient_flow: loss\(model, x\) returned a Tensor of shape \(4, 2, 3\); expected a scalar Tensor",
    ),
    "no tensor": (
        lambda: gradient_flow(LAYER, X, lambda m, x: m(x)[0].numpy().sum()),
        TypeError,
        r"gradient_flow: loss\(model, x\) returned a float64; expected a scalar Tensor",
    ),
    "jacobians": (
        lambda: gradient_flow(LAYER, X, jacobians=True),
        ValueError,
        "gradient_flow: jacobians is True; expected an integer of at least 0",
    ),
    "step": (
        lambda: gradient_flow(nn.Recurrent(Wrong()), X),
        ValueError,
        "Recurrent: step returned Tensor; expected a tuple",
    ),
}


class Wrong(Chain):
    def __init__(self):
        pass

    def step(self, x, state):
        return state[0]


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_loss_that_does_not_look_at_a_layer_has_no_gradient_there(rng):
    model = Tagger()
    flow = gradient_flow(model, rng.integers(0, 5, (T, B)), lambda m, x: ops.sum(m(x)) * 0.0)
    assert (flow.gradient_norms == 0.0).all()
    flow = gradient_flow(model, rng.integers(0, 5, (T, B)), lambda m, x: ops.sum(m.lstm(m.embed(x))[0][0]), jacobians=0)
    assert (flow.gradient_norms[1:] == 0.0).all()
    assert flow.jacobian_norms is flow.product_norms is None


# --- the picture ----------------------------------------------------------------------------------------------------


def test_plot(tmp_path, rng):
    figure_module = pytest.importorskip("matplotlib.figure")
    flow = gradient_flow(nn.LSTM(I, H, 2, dtype="float64", rng=0), rng.standard_normal((T, B, I)))
    ax = flow.plot()
    assert ax.get_yscale() == "log"
    assert [line.get_label() for line in ax.get_lines()] == ["l0", "l1"]
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), flow.gradient_norms[:, 0])
    assert ax.get_title()
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    ax.figure.savefig(tmp_path / "flow.png")
    own = figure_module.Figure().subplots()
    assert gradient_flow(nn.Recurrent(Chain(0.0)), X[:, :1, :1]).plot(own) is own  # all but one norm are 0
    own.figure.savefig(tmp_path / "zeros.png")
