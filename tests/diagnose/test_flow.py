"""Gradient flow against closed forms and brute-force finite differences, and that looking changes nothing."""

import math

import numpy as np
import pytest
from helpers import CELLS, assert_close, each_cell, host

import xprnn
from xprnn import Tensor, nn, ops
from xprnn.diagnose import gradient_flow

T, B, I, H = 4, 2, 2, 3  # noqa: E741


class Chain:
    """h' = w h + x, the linear chain of the slides."""

    state_sizes = (1,)

    def __init__(self, w):
        self.w = w

    def step(self, x, state):
        return (self.w * state[0] + x,)


class Sigmoid(Chain):
    """h' = sigmoid(w h + x), deck 2's demonstration."""

    def step(self, x, state):
        return (ops.sigmoid(self.w * state[0] + x),)


class OwnLSTM(nn.Module):
    """A user's LSTM out of primitives."""

    def __init__(self, layer):
        self.layer, self.state_sizes = layer, (layer.hidden_size,) * 2

    def step(self, x, state):
        h, c = state
        w = self.layer.weights()[0]
        z = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
        i, f, g, o = (z[:, k * h.shape[1] : (k + 1) * h.shape[1]] for k in range(4))
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c


def last_sum(layer, x):
    return ops.sum(layer(x)[0][-1])


def everything(layer, x):
    """A loss that depends on the output of every step."""
    return ops.sum(ops.sin(layer(x)[0]))


# --- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("w", [0.9, 1.0, 1.1, -1.1])
def test_linear_chain_is_w_to_the_t(w, home):
    flow = gradient_flow(nn.Recurrent(Chain(w)), home.asarray(np.ones((201, 1, 1))))
    expected = np.abs(w) ** np.arange(200, -1, -1.0)[:, None]
    for found in (flow.gradient_norms, flow.state_gradient_norms, flow.product_norms):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(flow.jacobian_norms, np.abs(w), rtol=1e-15)
    assert flow.layers == ("Chain",)


@pytest.mark.parametrize("w", [0.9, 1.0, 1.1])
def test_the_same_chain_as_a_relu_layer(w):
    layer = nn.RNN(1, 1, nonlinearity="relu", bias=False, dtype="float64")
    layer.weight_hh_l0.data, layer.weight_ih_l0.data = np.array([[w]]), np.ones((1, 1))
    flow = gradient_flow(layer, np.ones((101, 1, 1)))
    expected = w ** np.arange(100, -1, -1.0)[:, None]
    np.testing.assert_allclose(flow.gradient_norms, expected, rtol=1e-12)
    np.testing.assert_allclose(flow.product_norms, expected, rtol=1e-12)


@pytest.mark.parametrize("w", [0.1, 1.0, 10.0])
def test_the_slides_sigmoid_chain_is_the_product_of_w_h_1_minus_h(w, rng):
    layer, x = nn.Recurrent(Sigmoid(w)), rng.standard_normal((21, 1, 1))
    h = host(layer(x, return_all_states=True)[2][0]).ravel()
    slopes = w * h * (1.0 - h)
    expected = np.append(np.cumprod(slopes[:0:-1])[::-1], 1.0)[:, None]
    flow = gradient_flow(layer, x)
    np.testing.assert_allclose(flow.gradient_norms, expected, rtol=1e-12)
    np.testing.assert_allclose(flow.jacobian_norms[:, 0], slopes, rtol=1e-12)


def test_a_gradient_far_below_the_square_root_of_the_smallest_number():
    flow = gradient_flow(nn.Recurrent(Chain(0.01)), np.ones((151, 1, 1)), jacobians=0)
    np.testing.assert_allclose(flow.gradient_norms[0], 1e-300, rtol=1e-12)


# --- brute force ----------------------------------------------------------------------------------------------------


def rerun(layers, x, place=None, shift=None):
    """The output (T, B, H) of single-direction layers one on top of the other, stepped by hand.

    Each is (layer, reverse) or a list of two of them, whose outputs go side by side. ``shift[part]`` is added to the
    state that the layer at ``place = (number, which of the two, t)`` has after step t.
    """
    for number, both in enumerate(layers):
        outputs = []
        for which, (layer, reverse) in enumerate(both):
            state, steps = None, [None] * len(x)
            for t in reversed(range(len(x))) if reverse else range(len(x)):
                _, state = layer(x[t : t + 1], state)
                state = state if isinstance(state, tuple) else (state,)
                if place == (number, which, t):
                    state = tuple(Tensor(part.data + s) for part, s in zip(state, shift, strict=True))
                steps[t] = state[0].data[0] if state[0].ndim == 3 else state[0].data
            outputs.append(np.stack(steps))
        x = np.concatenate(outputs, axis=-1)
    return x


def differences(layers, x, place, sizes, value, eps=1e-6):
    """d value(output) / d(state at place), for each part, by central differences."""
    found = [np.zeros((B, size)) for size in sizes]
    with xprnn.no_grad():
        for part, into in enumerate(found):
            for index in np.ndindex(*into.shape):
                ends = []
                for sign in (eps, -eps):
                    shift = [np.zeros((B, size)) for size in sizes]
                    shift[part][index] = sign
                    ends.append(value(rerun(layers, x, place, shift)))
                into[index] = (ends[0] - ends[1]) / (2 * eps)
    return found


def check_gradients(flow, layers, x, sizes, value):
    columns = [(number, which) for number, both in enumerate(layers) for which in range(len(both))]
    assert flow.gradient_norms.shape == (len(x), len(columns))
    for column, place in enumerate(columns):
        for t in range(len(x)):
            parts = differences(layers, x, (*place, t), sizes, value)
            whole = math.sqrt(sum(np.sum(part**2) for part in parts))
            np.testing.assert_allclose(flow.gradient_norms[t, column], np.linalg.norm(parts[0]), rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(flow.state_gradient_norms[t, column], whole, rtol=1e-6, atol=1e-9)


def sines(output):
    return np.sin(output).sum()


def single(cell, inputs, weights):
    """A layer of one direction with given weights."""
    layer = nn.RecurrentLayer(cell, inputs, H, dtype="float64")
    layer.load_state_dict({f"{name}_l0": w.data for name, w in weights.items()})
    return layer


@each_cell
def test_gradients_of_each_cell(cell, rng):
    layer, x = nn.RecurrentLayer(cell, I, H, dtype="float64", rng=0), rng.standard_normal((T, B, I))
    flow = gradient_flow(layer, x, everything)
    check_gradients(flow, [[(layer, False)]], x, cell.state_sizes(H), sines)


@each_cell
def test_gradients_of_a_bidirectional_stack(cell, rng):
    stack = nn.RecurrentLayer(cell, I, H, 2, bidirectional=True, dtype="float64", rng=0)
    width = 2 * cell.state_sizes(H)[0]
    parts = [single(cell, I if k < 2 else width, weights) for k, weights in enumerate(stack.weights())]
    layers = [[(parts[0], False), (parts[1], True)], [(parts[2], False), (parts[3], True)]]
    x = rng.standard_normal((3, B, I))
    flow = gradient_flow(stack, x, everything)
    assert flow.layers == ("l0", "l0_reverse", "l1", "l1_reverse")
    check_gradients(flow, layers, x, cell.state_sizes(H), sines)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_an_own_cell(reverse, rng):
    own, x = OwnLSTM(nn.LSTM(I, H, dtype="float64", rng=0)), rng.standard_normal((T, B, I))
    flow = gradient_flow(nn.Recurrent(own, reverse=reverse), x, everything)
    check_gradients(flow, [[(nn.Recurrent(own), reverse)]], x, own.state_sizes, sines)


def brute_jacobian(layer, x, state, sizes, eps=1e-6):
    """d(final state)/d(state) of one sequence, over all steps of x."""

    def end(flat):
        parts = tuple(p[None, None] for p in np.split(flat, np.cumsum(sizes)[:-1]))
        final = layer(x, parts if len(parts) > 1 else parts[0])[1]
        return np.concatenate([host(p).ravel() for p in (final if isinstance(final, tuple) else (final,))])

    flat = np.concatenate(state)
    with xprnn.no_grad():
        rows = [(end(flat + eps * e) - end(flat - eps * e)) / (2 * eps) for e in np.eye(len(flat))]
    return np.stack(rows, axis=1)


@each_cell
def test_jacobians_and_their_products(cell, rng):
    layer, x = nn.RecurrentLayer(cell, I, H, dtype="float64", rng=0), rng.standard_normal((T, B, I))
    sizes = cell.state_sizes(H)
    states = [host(part)[:, 0] for part in layer(x, return_all_states=True)[2]]
    before = [[np.zeros((B, size)) for size in sizes], *[[s[t] for s in states] for t in range(T)]]
    steps, products = np.zeros((2, B, T))
    for b in range(B):
        for t in range(T):
            old, new = ([part[b] for part in before[k]] for k in (t, t + 1))
            steps[b, t] = np.linalg.norm(brute_jacobian(layer, x[t : t + 1, b : b + 1], old, sizes), 2)
            rest = x[t + 1 :, b : b + 1]
            products[b, t] = np.linalg.norm(brute_jacobian(layer, rest, new, sizes), 2) if len(rest) else 1.0
    for count, wanted in ((1, slice(1)), (2, slice(None)), (5, slice(None))):
        flow = gradient_flow(layer, x, jacobians=count)
        np.testing.assert_allclose(flow.jacobian_norms[:, 0], steps[wanted].max(axis=0), rtol=1e-6)
        np.testing.assert_allclose(flow.product_norms[:, 0], products[wanted].max(axis=0), rtol=1e-6)


def test_own_cell_and_layer_agree(rng, home):
    layer = nn.LSTM(I, H, dtype="float64", rng=0).to(home)
    own, x = nn.Recurrent(OwnLSTM(layer)), home.asarray(rng.standard_normal((T, B, I)))
    for lengths in (None, [2, 4]):
        found, expected = (
            gradient_flow(part, x, lambda m, x, n=lengths: ops.sum(ops.sin(m(x, lengths=n)[0])), jacobians=B)
            for part in (own, layer)
        )
        for name in ("gradient_norms", "state_gradient_norms", "jacobian_norms", "product_norms"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)


def test_the_gradient_is_bounded_by_the_product_of_jacobians(rng):
    x = rng.standard_normal((30, 1, I))
    for layer in (nn.RNN(I, H, rng=0, dtype="float64"), nn.GRU(I, H, rng=0, dtype="float64")):
        flow = gradient_flow(layer, x)
        assert (flow.state_gradient_norms <= flow.product_norms * math.sqrt(H) * (1 + 1e-12)).all()
        later = np.append(flow.jacobian_norms[1:, 0], 1.0)
        assert (flow.product_norms[:, 0] <= np.cumprod(later[::-1])[::-1] * (1 + 1e-12)).all()


# --- which steps count ----------------------------------------------------------------------------------------------


def test_held_steps_and_resets():
    layer, x = nn.Recurrent(Chain(0.5)), np.ones((4, 2, 1))
    mask, reset = np.ones((4, 2), dtype=bool), np.zeros((4, 2), dtype=bool)
    mask[2, 0], reset[2, 1] = False, True
    flow = gradient_flow(layer, x, lambda m, x: ops.sum(m(x, mask=mask, reset=reset)[0][-1]), jacobians=2)
    # Sequence 0 takes no step at 2, so from 1 to 3 there is one step; sequence 1 forgets at 2 what was before.
    np.testing.assert_allclose(flow.gradient_norms[:, 0], [0.25, 0.5, 0.5, math.sqrt(2)], rtol=1e-15)
    np.testing.assert_allclose(flow.jacobian_norms[:, 0], [0.5, 0.5, 1.0, 0.5], rtol=1e-15)
    np.testing.assert_allclose(flow.product_norms[:, 0], [0.25, 0.5, 0.5, 1.0], rtol=1e-15)
    alone = gradient_flow(layer, x[:, 1:], lambda m, x: ops.sum(m(x, reset=reset[:, 1:])[0][-1]))
    np.testing.assert_allclose(alone.product_norms[:, 0], [0.0, 0.0, 0.5, 1.0], rtol=1e-15)


def test_reversed_resets():
    layer, x = nn.Recurrent(Chain(0.5), reverse=True), np.ones((4, 1, 1))
    reset = np.array([[False], [False], [True], [False]])  # walking back, the state is zero before step 1
    flow = gradient_flow(layer, x, lambda m, x: ops.sum(m(x, reset=reset)[0][0]))
    np.testing.assert_allclose(flow.gradient_norms[:, 0], [1.0, 0.5, 0.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(flow.jacobian_norms[:, 0], [0.5, 0.0, 0.5, 0.5], rtol=1e-15)


def test_padding_may_hold_anything(rng):
    layer, x = nn.LSTM(I, H, dtype="float64", rng=0), rng.standard_normal((T, B, I))
    loss = lambda m, x: ops.sum(m(x, lengths=[2, 4])[1][0])
    clean = gradient_flow(layer, x, loss, jacobians=B)
    x[2:, 0] = math.nan
    for name in ("gradient_norms", "jacobian_norms", "product_norms"):
        assert_close(getattr(gradient_flow(layer, x, loss, jacobians=B), name), getattr(clean, name), 0.0)


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
