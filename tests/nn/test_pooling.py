"""Poolings, against loops over each sequence's own steps."""

import numpy as np
import pytest

from xprnn import Tensor
from xprnn.backend import get_backend
from xprnn.nn import GRU, AttentionPooling, LastPooling, MaxPooling, MeanPooling
from xprnn.testing import check_gradients

T, B, F = 6, 4, 4
LENGTHS = [6, 1, 4, 0]
MASK = np.arange(T)[:, None] < np.array(LENGTHS)
POOLINGS = {
    "last": lambda: LastPooling(),
    "last of both directions": lambda: LastPooling(bidirectional=True),
    "mean": lambda: MeanPooling(),
    "max": lambda: MaxPooling(),
    "attention": lambda: AttentionPooling(F, 3, dtype="float64", rng=0),
}
each_pooling = pytest.mark.parametrize("pooling", [make() for make in POOLINGS.values()], ids=POOLINGS.keys())


def draw(seed=0):
    return np.random.default_rng(seed).standard_normal((T, B, F))


def by_hand(pooling, x):
    """One sequence (T, F) without padding."""
    if len(x) == 0:
        return np.zeros(F)
    if isinstance(pooling, LastPooling):
        return np.concatenate([x[-1, :2], x[0, 2:]]) if pooling.bidirectional else x[-1]
    if isinstance(pooling, AttentionPooling):
        p = {name: value.numpy() for name, value in pooling.named_parameters()}
        scores = np.tanh(x @ p["hidden.weight"].T + p["hidden.bias"]) @ p["score.weight"][0]
        weights = np.exp(scores) / np.exp(scores).sum()
        return weights @ x
    return x.mean(axis=0) if isinstance(pooling, MeanPooling) else x.max(axis=0)


@each_pooling
def test_each_sequence_as_if_alone(pooling):
    x = draw()
    expected = [by_hand(pooling, x[:n, k]) for k, n in enumerate(LENGTHS)]
    np.testing.assert_allclose(pooling(x, MASK).numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(pooling(x).numpy(), [by_hand(pooling, x[:, k]) for k in range(B)], atol=1e-14)


@each_pooling
def test_holes_in_the_mask(pooling):
    x, mask = draw(), np.random.default_rng(3).random((T, B)) < 0.5
    expected = [by_hand(pooling, x[mask[:, k], k]) for k in range(B)]
    np.testing.assert_allclose(pooling(x, mask).numpy(), expected, atol=1e-14)


@each_pooling
def test_gradients(pooling):
    check_gradients(lambda x: pooling(x, MASK), [draw()], pooling.parameters())


@each_pooling
def test_padding_reaches_nothing(pooling):
    x = draw()
    dirty = np.where(MASK[..., None], x, np.nan)
    leaf = Tensor(dirty, requires_grad=True)
    result = pooling(leaf, MASK)
    np.testing.assert_array_equal(result.numpy(), pooling(x, MASK).numpy())
    for parameter in pooling.parameters():
        parameter.grad = None
    result.sum().backward()
    assert np.isfinite(leaf.grad.numpy()).all()
    assert (leaf.grad.numpy()[~MASK] == 0).all()
    assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in pooling.parameters())


@each_pooling
def test_no_steps_at_all(pooling):
    np.testing.assert_array_equal(pooling(np.zeros((0, 2, F)), np.zeros((0, 2), bool)).numpy(), np.zeros((2, F)))
    assert pooling(np.zeros((3, 0, F))).shape == (0, F)


@each_pooling
def test_runs_on_array_api_strict(pooling):
    pytest.importorskip("array_api_strict")
    home, x = get_backend("array_api_strict"), draw()
    expected = pooling(x, MASK).numpy()
    pooling.to(home)
    try:
        leaf = Tensor(home.asarray(x), requires_grad=True)
        result = pooling(leaf, home.asarray(MASK))
        result.sum().backward()
    finally:
        pooling.to("numpy")
        pooling.zero_grad()
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-14)


def test_last_is_the_state_of_the_layer():
    gru = GRU(3, 2, bidirectional=True, dtype="float64", rng=0)
    x = np.random.default_rng(0).standard_normal((T, B, 3))
    output, state = gru(x, lengths=LENGTHS)
    np.testing.assert_allclose(
        LastPooling(bidirectional=True)(output, MASK).numpy(), np.concatenate(list(state.numpy()), axis=-1), atol=1e-15
    )


def test_attention_weights():
    pooling, x = AttentionPooling(F, dtype="float64", rng=0), draw()
    weights = pooling.weights(x, MASK).numpy()
    np.testing.assert_allclose(weights.sum(axis=0), [1, 1, 1, 0], atol=1e-15)
    assert (weights[~MASK] == 0).all()
    np.testing.assert_allclose(np.einsum("tb,tbf->bf", weights, x), pooling(x, MASK).numpy(), atol=1e-15)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: MeanPooling()(np.zeros((2, 3))),
            ValueError,
            r"x has shape \(2, 3\); expected \(T, B, F\)",
        ),
        (lambda: MaxPooling()([1.0]), TypeError, "MaxPooling: x is a list"),
        (
            lambda: MeanPooling()(np.ones((2, 2, 3), int)),
            TypeError,
            "MeanPooling: x has dtype int64; expected float32 or",
        ),
        (lambda: LastPooling()(draw(), MASK.astype(int)), TypeError, "mask has dtype int64; expected bool"),
        (lambda: LastPooling()(draw(), MASK.T), ValueError, r"mask has shape \(4, 6\); expected \(T, B\) = \(6, 4\)"),
        (lambda: LastPooling(True)(draw()[..., :3]), ValueError, "expected an even F"),
        (lambda: AttentionPooling(0), ValueError, "features is 0"),
        (lambda: AttentionPooling(3, dtype="float64")(draw()), ValueError, "Linear: x has shape"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
