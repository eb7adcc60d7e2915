"""Gradient flow against closed forms and brute-force finite differences, and that looking changes nothing."""

import math

import numpy as np
import pytest
from helpers import assert_close, each_cell, host
from watched_cells import B, Chain, H, I, OwnLSTM, T

import xprnn
from xprnn import Tensor, cells, nn, ops
from xprnn.diagnose import gradient_flow


class Sigmoid(Chain):
    """h' = sigmoid(w h + x), deck 2's demonstration."""

    def step(self, x, state):
        return (ops.sigmoid(self.w * state[0] + x),)


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
    """d value(output) / d(state at place), for each part, by central differences: each is a part of one batch."""
    count, cuts = B * sum(sizes), np.cumsum([B * size for size in sizes])[:-1]
    both = eps * np.concatenate([np.eye(count), -np.eye(count)])
    shift = [part.reshape(-1, size) for part, size in zip(np.split(both, cuts, axis=1), sizes, strict=True)]
    with xprnn.no_grad():
        outputs = rerun(layers, np.tile(x, (1, 2 * count, 1)), place, shift)
    ends = np.array([value(output) for output in np.split(outputs, 2 * count, axis=1)])
    slopes = np.split((ends[:count] - ends[count:]) / (2 * eps), cuts)
    return [part.reshape(B, size) for part, size in zip(slopes, sizes, strict=True)]


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


class Traces(cells.LinearCell):
    """Coefficients alone, as a user gives them."""

    gate_names = ("b",)

    def coefficients(self, w, zx):
        return 0.0 * zx + 0.9, zx


@each_cell
def test_gradients_of_each_cell(cell, rng):
    layer, x = nn.RecurrentLayer(cell, I, H, dtype="float64", rng=0), rng.standard_normal((T, B, I))
    flow = gradient_flow(layer, x, everything)
    check_gradients(flow, [[(layer, False)]], x, cell.state_sizes(H), sines)


@pytest.mark.parametrize("cell", [cells.SRU(), cells.QRNN(2), cells.LRU(2), Traces()], ids=lambda cell: cell.name)
def test_gradients_of_linear_cells(cell, rng):
    test_gradients_of_each_cell(cell, rng)


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
    sizes, smooth = cell.state_sizes(H), int(isinstance(cell, cells.SLSTM))  # which jumps where nothing was seen yet
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
        for found, all_of_them in ((flow.jacobian_norms, steps), (flow.product_norms, products)):
            np.testing.assert_allclose(found[smooth:, 0], all_of_them[wanted].max(axis=0)[smooth:], rtol=1e-6)


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
