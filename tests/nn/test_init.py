import math

import numpy as np
import pytest
from helpers import assert_close, host

import xprnn
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
