"""Recurrent layers: what they give, their options, and arguments left as they are."""

import numpy as np
import pytest
from helpers import assert_close, host

import xprnn
from xprnn import Tensor, nn, ops
from xprnn.tape import grad
from xprnn.testing import check_gradients

T, B, I, H = 5, 3, 4, 2  # noqa: E741


LAYERS = {
    "rnn": lambda **o: nn.RNN(I, H, **o),
    "rnn relu": lambda **o: nn.RNN(I, H, nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTM(I, H, **o),
    "lstm peephole": lambda **o: nn.LSTM(I, H, peephole="diagonal", **o),
    "lstm full peephole": lambda **o: nn.LSTM(I, H, peephole="full", **o),
    "lstm projected": lambda **o: nn.LSTM(I, H, proj_size=1, **o),
    "lstm projected peephole": lambda **o: nn.LSTM(I, H, proj_size=1, peephole="diagonal", **o),
    "gru": lambda **o: nn.GRU(I, H, **o),
    "gru reset before": lambda **o: nn.GRU(I, H, reset_after=False, **o),
}


each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())


def draw(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


# --- what a layer gives ---------------------------------------------------------------------------------------------


@each_layer
@pytest.mark.parametrize("bidirectional", [False, True])
def test_shapes(make, bidirectional):
    layer = make(num_layers=2, bidirectional=bidirectional)
    D, out = 1 + bidirectional, layer.state_sizes[0]
    output, state, everything = layer(draw(T, B, I), return_all_states=True)
    assert output.shape == (T, B, D * out)
    assert [part.shape for part in parts(state)] == [(2 * D, B, size) for size in layer.state_sizes]
    assert [part.shape for part in everything] == [(T, 2 * D, B, size) for size in layer.state_sizes]


@each_layer
def test_the_same_on_every_backend(make, home):
    layer = make(num_layers=2, bidirectional=True, dtype="float64", rng=0)
    x, control = draw(T, B, I, dtype="float64"), {"lengths": [5, 0, 3], "reset": draw(T, B) > 1, "mask": draw(T, B) < 1}
    output, state = layer(x, **control)
    moved = make(num_layers=2, bidirectional=True, dtype="float64", rng=0).to(home)
    there, state_there = moved(home.asarray(x), **control)
    assert type(there.data) is type(home.zeros((1,), "float64"))
    assert_close(parts(state_there), parts(state), 1e-13)
    assert_close(there, output, 1e-13)
    for result in (output, there):
        ops.sin(result).sum().backward()
    for found, expected in zip(moved.parameters(), layer.parameters(), strict=True):
        assert_close(found.grad, expected.grad, 1e-13)


@each_layer
def test_first_and_second_gradients(make):
    layer = make(num_layers=2, bidirectional=True, dtype="float64", rng=0)
    x, lengths = draw(3, 2, I, dtype="float64"), [3, 1]
    check_gradients(lambda x: layer(x, lengths=lengths), [x], layer.parameters())

    def slope(x):
        with xprnn.grad_mode.set_grad_enabled(True):
            x = x if x.requires_grad else Tensor(x.data, requires_grad=True)
            return grad(ops.sin(layer(x, lengths=lengths)[0]).sum(), [x], create_graph=True)

    check_gradients(slope, [x], layer.parameters())


def test_a_weight_that_stands_in_two_places_has_one_gradient():
    layer = nn.GRU(3, 3, dtype="float64", rng=0)
    layer.weight_hh_l0 = layer.weight_ih_l0
    output = layer(draw(4, 2, 3, dtype="float64"))[0]
    found = grad(ops.sin(output).sum(), [layer.weight_ih_l0], create_graph=True, retain_graph=True)
    assert_close(found, grad(ops.sin(output).sum(), [layer.weight_ih_l0]), 1e-13)


@each_layer
def test_all_states_agree_with_output_and_final_state(make):
    layer = make(dtype="float64", rng=0)
    output, state, everything = layer(draw(T, B, I, dtype="float64"), return_all_states=True)
    assert_close(everything[0][:, 0, ...], output, 0.0)
    for part, last in zip(everything, parts(state), strict=True):
        assert_close(part[-1], last, 0.0)


@each_layer
def test_outputs_past_the_end_are_zero_and_the_state_is_the_last_valid_one(make):
    layer = make(dtype="float64", rng=0)
    x = draw(T, B, I, dtype="float64")
    output, state = layer(x, lengths=[5, 0, 2])
    assert not host(output)[:, 1].any()
    assert not host(output)[2:, 2].any()
    _, short = layer(x[:2, 2:])
    for part, expected in zip(parts(state), parts(short), strict=True):
        assert not host(part)[:, 1].any()
        assert_close(part[:, 2:], expected, 1e-15)


@pytest.mark.parametrize("control", ["mask", "reset"])
@pytest.mark.parametrize("kind", [np.asarray, lambda flags: flags.tolist()], ids=["array", "list"])
@pytest.mark.parametrize("steps", [B, T])
def test_batch_first_is_for_flags_too(control, kind, steps):
    x, flags = draw(B, steps, I), draw(B, steps, seed=1) > 0
    first, second = (nn.GRU(I, H, batch_first=batch_first, rng=0) for batch_first in (True, False))
    expected, _ = second(x.swapaxes(0, 1), **{control: flags.T})
    assert_close(first(x, **{control: kind(flags)})[0], host(expected).swapaxes(0, 1), 0.0)


@pytest.mark.parametrize("layer", [nn.LSTM(I, H, batch_first=True), nn.GRU(I, H, num_layers=2, bidirectional=True)])
def test_unbatched(layer):
    x = draw(T, I)
    output, state, everything = layer(x, return_all_states=True)
    batched = layer(x[None] if layer.batch_first else x[:, None], return_all_states=True)
    assert_close(output, host(batched[0]).reshape(output.shape), 0.0)
    assert_close(parts(state), [host(part)[:, 0] for part in parts(batched[1])], 0.0)
    assert_close(everything, [host(part)[:, :, 0] for part in batched[2]], 0.0)
    assert_close(layer(x, state)[1], layer(x, tuple(parts(state)) if len(parts(state)) > 1 else state)[1], 0.0)


def test_tensors_and_arrays_are_taken_alike():
    layer, x = nn.LSTM(I, H, rng=0), draw(T, B, I)
    state = (draw(1, B, H), draw(1, B, H, seed=1))
    assert_close(layer(Tensor(x), tuple(map(Tensor, state)))[0], layer(x, list(state))[0], 0.0)


def test_no_gradient_for_x_unless_it_is_asked_for():
    layer, x = nn.LSTM(I, H, rng=0), Tensor(draw(T, B, I))
    layer(x)[0].sum().backward()
    assert x.grad is None
    assert all(parameter.grad is not None for parameter in layer.parameters())


# --- options --------------------------------------------------------------------------------------------------------


def test_initial_weights_are_uniform_within_one_over_the_root_of_h():
    layer = nn.LSTM(3, 64, rng=0)
    for parameter in layer.parameters():
        assert parameter.dtype == np.float32
        assert 0.9 / 8 < np.abs(host(parameter)).max() <= 1 / 8


@pytest.mark.parametrize("rng", [7, np.int64(7)])
def test_same_seed_same_bits_on_any_backend(rng):
    expected = nn.GRU(I, H, 2, rng=7).state_dict()
    with xprnn.use_backend("array_api_strict"):
        layer = nn.GRU(I, H, 2, rng=rng)
    assert type(layer.weight_ih_l0.data).__module__.startswith("array_api_strict")
    for name, value in layer.state_dict().items():
        assert_close(value, expected[name], 0.0)


def test_one_generator_is_shared_and_moves_on():
    draws = np.random.default_rng(0)
    first, second = nn.RNN(I, H, rng=draws), nn.RNN(I, H, rng=draws)
    assert not np.array_equal(host(first.weight_ih_l0), host(second.weight_ih_l0))


@pytest.mark.parametrize("peephole", [None, "diagonal", "full"])
def test_forget_bias(peephole):
    layer = nn.LSTM(I, H, 2, bidirectional=True, forget_bias=1.5, peephole=peephole, rng=0)
    for name, parameter in layer.named_parameters():
        if name.startswith("bias"):
            forget = host(parameter)[H : 2 * H]
            assert (forget == (1.5 if name.startswith("bias_ih") else 0.0)).all()
    cell = nn.LSTMCell(I, H, forget_bias=2.0)
    assert (host(cell.bias_ih)[H : 2 * H] == 2.0).all()


def test_dropout_between_layers_while_training_only():
    x = draw(50, 4, I)
    layer, same = (nn.LSTM(I, 8, num_layers=2, dropout=0.5, rng=0) for _ in range(2))
    plain = nn.LSTM(I, 8, num_layers=2, rng=0)
    first = layer(x)[0]
    assert_close(same(x)[0], first, 0.0)  # same seed, same bits
    assert not np.array_equal(host(layer(x)[0]), host(first))  # and then others
    assert_close(layer.eval()(x)[0], plain(x)[0], 0.0)
    assert not np.array_equal(host(layer.train()(x)[0]), host(plain(x)[0]))


def test_dropout_of_everything_leaves_the_second_layer_without_input():
    layer, alone = nn.RNN(I, H, num_layers=2, dropout=1.0, rng=0), nn.RNN(I, H, rng=0)
    for seed in (0, 9):
        x = draw(T, B, I, seed=seed)
        output, _, (states,) = layer(x, return_all_states=True)
        assert_close(states[:, 0, ...], alone(x)[0], 0.0)
        assert_close(output, layer(np.zeros_like(x))[0], 0.0)


def test_repr():
    assert repr(nn.LSTM(4, 2, num_layers=2, bidirectional=True)).startswith("LSTM(4, 2, num_layers=2, bidirectional")


# --- arguments left alone -------------------------------------------------------------------------------------------


@each_layer
def test_inputs_may_be_read_only_strided_and_stay_as_they_are(make):
    layer = make(dtype="float64", rng=0)
    wide = draw(2 * T, B, 2 * I, dtype="float64")
    x = wide[::-2, :, ::2]
    before, wide.flags.writeable, x.flags.writeable = wide.copy(), False, False
    tensor = Tensor(x, requires_grad=True)
    output, _ = layer(tensor, lengths=[5, 0, 2])
    output.sum().backward()
    assert_close(wide, before, 0.0)
    assert_close(output, layer(np.ascontiguousarray(x), lengths=[5, 0, 2])[0], 1e-14)


def test_an_indrnn_starts_with_memories_that_do_not_grow():
    layer = nn.IndRNN(I, 500, 2, bidirectional=True, rng=0)
    drawn = [weights["weight_hh"].data for weights in layer.weights()]
    for u in drawn:
        assert u.shape == (500,)
        assert u.dtype == np.float32
        assert 0.0 <= u.min() < 0.05 < 0.95 < u.max() < 1.0
    assert not np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[3], nn.IndRNN(I, 500, 2, bidirectional=True, rng=0).weights()[3]["weight_hh"].data)
