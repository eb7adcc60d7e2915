import functools
import math

import numpy as np
import pytest
from helpers import assert_close, host

import xprnn
from xprnn import nn
from xprnn.nn import init

SHAPE = (300, 200)
DRAWS = {
    "uniform": (lambda **o: init.uniform(SHAPE, 0.5, **o), 0.5 / math.sqrt(3), 0.5),
    "normal": (lambda **o: init.normal(SHAPE, 0.2, **o), 0.2, None),
    "xavier_uniform": (
        lambda **o: init.xavier_uniform(SHAPE, 2.0, **o),
        2 * math.sqrt(2 / 500),
        2 * math.sqrt(6 / 500),
    ),
    "xavier_normal": (lambda **o: init.xavier_normal(SHAPE, **o), math.sqrt(2 / 500), None),
    "he_uniform": (lambda **o: init.he_uniform(SHAPE, **o), math.sqrt(2 / 200), math.sqrt(6 / 200)),
    "he_normal": (lambda **o: init.he_normal(SHAPE, **o), math.sqrt(2 / 200), None),
}


@pytest.mark.parametrize(("draw", "std", "bound"), DRAWS.values(), ids=DRAWS.keys())
def test_spread(draw, std, bound):
    values = draw(rng=0, dtype="float64")
    assert values.shape == SHAPE
    assert abs(values.mean()) < 0.02 * std
    assert abs(values.std() / std - 1) < 0.02
    if bound is not None:
        assert 0.99 * bound < np.abs(values).max() <= bound


@pytest.mark.parametrize(("shape", "blocks"), [((4, 4), 1), ((3, 5), 1), ((7, 3), 1), ((12, 4), 3), ((16, 4), 4)])
def test_orthogonal(shape, blocks):
    for block in np.split(init.orthogonal(shape, 2.0, rng=0, dtype="float64"), blocks):
        product = block @ block.T if block.shape[0] < block.shape[1] else block.T @ block
        assert_close(product, 4.0 * np.eye(min(block.shape)), 1e-14)


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_orthogonal_and_identity_with_as_many_blocks_as_asked_for(blocks):
    whole = init.orthogonal((12, 2), blocks=blocks, rng=0, dtype="float64")
    for block in np.split(whole, blocks):
        assert_close(block.T @ block, np.eye(2), 1e-14)
    np.testing.assert_array_equal(init.identity((12, 2), blocks=blocks), np.tile(np.eye(12 // blocks, 2), (blocks, 1)))


@pytest.mark.parametrize("draw", [init.orthogonal, init.identity])
@pytest.mark.parametrize("blocks", [0, 5, 1.0, True])
def test_rows_fall_into_equal_blocks(draw, blocks):
    with pytest.raises(
        ValueError, match=rf"init: blocks is {blocks}; expected (an integer of at least 1|a divisor of the 12 rows)"
    ):
        draw((12, 2), blocks=blocks)


def test_orthogonal_is_uniform_and_not_biased_to_one_side():
    diagonals = [np.diag(init.orthogonal((3, 3), rng=seed, dtype="float64")) for seed in range(200)]
    assert np.abs(np.mean(diagonals, axis=0)).max() < 0.15


@pytest.mark.parametrize("draw", [*(draw for draw, *_ in DRAWS.values()), lambda **o: init.orthogonal((6, 3), **o)])
def test_same_seed_same_bits_on_any_backend_and_dtype(draw):
    expected = draw(rng=3)
    assert expected.dtype == np.float32
    with xprnn.use_backend("array_api_strict"):
        assert_close(draw(rng=3), expected, 0.0)
    assert_close(draw(rng=3, dtype="float64").astype("float32"), expected, 0.0)


def test_constant():
    assert host(init.constant((2,), 1.5)).tolist() == [1.5, 1.5]


@pytest.mark.parametrize("shape", [(3,), (2, 0), (2, 3, 4)])
@pytest.mark.parametrize("draw", [init.xavier_normal, init.he_uniform, init.orthogonal])
def test_only_matrices_have_fans(draw, shape):
    with pytest.raises(ValueError, match=r"init: shape is .*; expected \(out, in\), both at least 1"):
        draw(shape)


def test_identity():
    np.testing.assert_array_equal(init.identity((6, 3), 0.5), 0.5 * np.tile(np.eye(3), (2, 1)))
    np.testing.assert_array_equal(init.identity((2, 3)), np.eye(2, 3))
    assert init.identity((2, 2), dtype="float64").dtype == np.float64


LAYERS = {
    "rnn": lambda: nn.RNN(5, 8, 2, bidirectional=True, dtype="float64", rng=0),
    "lstm": lambda: nn.LSTM(5, 8, 2, peephole="full", dtype="float64", rng=0),
    "projected": lambda: nn.LSTM(5, 8, proj_size=3, dtype="float64", rng=0),
    "gru": lambda: nn.GRU(5, 8, bidirectional=True, rng=0),
    "cell": lambda: nn.GRUCell(5, 8, dtype="float64", rng=0),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_redraw_gives_each_gate_its_own_matrix(make, home):
    layer, untouched = make().to(home), make()
    init.redraw(layer, weight_ih=init.xavier_uniform, weight_hh=init.orthogonal, rng=0)
    old = dict(untouched.named_parameters())
    assert any("weight_hh" in name for name in old)
    for name, parameter in layer.named_parameters():
        gates = np.split(host(parameter), layer.cell.gates) if name.startswith(("weight_ih", "weight_hh")) else []
        if name.startswith("weight_hh"):
            for gate in gates:
                small = gate.T @ gate if gate.shape[0] > gate.shape[1] else gate @ gate.T
                np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-6)
        elif name.startswith("weight_ih"):
            bound = math.sqrt(6 / sum(gates[0].shape))  # the fans of one gate, not of all side by side
            for gate in gates:
                assert 0.7 * bound < np.abs(gate).max() <= bound * (1 + 1e-6)
        else:
            assert_close(parameter, old[name].data, 0.0)


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_redraw_gives_a_gate_one_whole_orthogonal_matrix_where_it_is_a_stack_of_squares(gain):
    layer = nn.LSTM(3, 6, 2, proj_size=2, dtype="float64", rng=0)  # gates (6, 3), (6, 2), later (6, 2) twice
    draw = init.orthogonal if gain == 1.0 else functools.partial(init.orthogonal, gain=gain)
    init.redraw(layer, weight_ih=draw, weight_hh=draw, rng=0)
    for name in ("weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"):
        for gate in np.split(host(getattr(layer, name)), 4):
            np.testing.assert_allclose(np.linalg.svd(gate, compute_uv=False), gain, rtol=1e-14)


def test_redraw_leaves_blocks_that_are_asked_for():
    layer = nn.RNN(3, 6, dtype="float64", rng=0)
    init.redraw(layer, weight_ih=functools.partial(init.identity, blocks=2))
    np.testing.assert_array_equal(layer.weight_ih_l0.numpy(), np.tile(np.eye(3), (2, 1)))
    init.redraw(layer, weight_ih=init.identity)
    np.testing.assert_array_equal(layer.weight_ih_l0.numpy(), np.eye(6, 3))


def test_redraw_only_what_is_asked_for_and_with_options():
    layer = nn.RNN(2, 3, dtype="float64", rng=0)
    before = layer.state_dict()
    init.redraw(layer, weight_hh=functools.partial(init.normal, std=0.01), rng=1)
    after = layer.state_dict()
    assert [name for name in before if not np.array_equal(before[name], after[name])] == ["weight_hh_l0"]
    assert np.abs(after["weight_hh_l0"]).max() < 0.1
    init.redraw(layer, weight_hh=init.identity)
    np.testing.assert_array_equal(layer.weight_hh_l0.numpy(), np.eye(3))


def test_redraw_has_the_same_bits_for_the_same_seed():
    one, two = (nn.GRU(2, 3, rng=k) for k in range(2))
    for layer in (one, two):
        init.redraw(layer, weight_hh=init.he_normal, rng=5)
    assert_close(one.weight_hh_l0, two.weight_hh_l0.data, 0.0)


def test_redraw_refuses_and_then_changes_nothing():
    with pytest.raises(TypeError, match="redraw: layer is a Linear; expected a recurrent layer or cell"):
        init.redraw(nn.Linear(2, 2), weight_ih=init.xavier_uniform)
    with pytest.raises(ValueError, match="redraw: neither weight_ih nor weight_hh is given"):
        init.redraw(nn.RNN(2, 3))
    layer = nn.RNN(2, 3, 2, rng=0)
    before = layer.state_dict()
    for draw, name in ((init.constant, "constant"), (init.uniform, "uniform"), (0.5, "0.5"), (np.add, "add")):
        with pytest.raises(TypeError, match=rf"redraw: weight_hh is .*{name}.*; expected a function of \(shape, rng="):
            init.redraw(layer, weight_ih=init.xavier_uniform, weight_hh=draw)
    with pytest.raises(ValueError, match=r"redraw: weight_hh gave shape \(3,\) for weight_hh_l0; expected \(3, 3\)"):
        init.redraw(layer, weight_ih=init.xavier_uniform, weight_hh=lambda shape, **o: np.ones(3))
    for name, array in layer.state_dict().items():
        assert_close(array, before[name], 0.0)
