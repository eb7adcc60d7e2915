"""The compiled scores of additive attention against their composition, forward and every gradient."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xprnn
from xprnn import Tensor, nn
from xprnn.nn.attention import additive as module
from xprnn.nn.attention.additive import additive_scores
from xprnn.tape import grad

pytest.importorskip("numba")

sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.sampled_from([1, 7, 16, 17, 64, 70]))


@pytest.fixture(autouse=True)
def _at_any_size(monkeypatch):
    monkeypatch.setattr(module, "LEAST_WORK", 0)


def tensors(size, dtype="float64", seed=0):
    draws, (batch, length, keys, units) = np.random.default_rng(seed), size
    shapes = (batch, length, units), (batch, keys, units), (units,)
    return [Tensor(draws.standard_normal(shape).astype(dtype), requires_grad=True) for shape in shapes]


def everything(path, inputs, order=1):
    """Scores and, in draws of cotangents, the gradients of the first order or of the second."""
    with xprnn.use_kernels(path):
        scores = additive_scores(*inputs)
        g = Tensor(np.random.default_rng(1).standard_normal(scores.shape).astype(scores.dtype))
        if order == 1:
            return scores.node.name, [scores, *grad(scores, inputs, [g])]
        first = grad(scores, inputs, [g], create_graph=True)
        return scores.node.name, grad([(d * d).sum() for d in first], inputs)


@given(size=sizes, order=st.sampled_from([1, 2]))
def test_compiled_is_composed(size, order):
    inputs = tensors(size)
    (name, found), (other, expected) = (everything(path, inputs, order) for path in ("compiled", "reference"))
    assert (name, other) == ("additive_scores", "squeeze")
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-12)


def test_float32_on_several_threads():
    size = (16, 12, 11, 128)
    found = everything("compiled", tensors(size, "float32"))[1]
    exact = everything("reference", [Tensor(t.data.astype("float64"), requires_grad=True) for t in tensors(size)])[1]
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == "float32"
        np.testing.assert_allclose(a.data, b.data, rtol=0, atol=2e-6 * np.abs(b.data).max())


def test_inputs_of_any_layout_stay_as_they_are():
    inputs = tensors((3, 4, 5, 6))
    strange = [Tensor(np.asfortranarray(t.data[..., ::-1])[..., ::-1], requires_grad=True) for t in inputs]
    for tensor in strange:
        tensor.data.flags.writeable = False
    for a, b in zip(everything("compiled", strange)[1], everything("compiled", inputs)[1], strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    for a, b in zip(strange, inputs, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_so_where_it_belongs(bad):
    inputs = tensors((2, 3, 4, 20))
    query = inputs[0].data.copy()
    query[1, 2, 7] = bad
    inputs[0] = Tensor(query, requires_grad=True)
    (_, found), (_, expected) = (everything(path, inputs) for path in ("compiled", "reference"))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-12)


def test_a_tensor_may_stand_in_two_places():
    """Queries that are their own keys: a gradient that is differentiated counts both places, each once."""
    draws = np.random.default_rng(0)
    x, v = (Tensor(draws.standard_normal(shape), requires_grad=True) for shape in ((2, 3, 5), (5,)))
    (_, first), (_, second) = (everything("compiled", (x, x, v), order) for order in (1, 2))
    (_, expected), (_, curved) = (everything("reference", (x, x, v), order) for order in (1, 2))
    with xprnn.use_kernels("compiled"):
        scores = additive_scores(x, x, v)
        g = Tensor(np.random.default_rng(1).standard_normal(scores.shape))
        again = grad(scores, (x, v), [g], create_graph=True)
    for found, right in ((first, expected), (second, curved), (again, [expected[1], expected[3]])):
        for a, b in zip(found, right, strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", ["compiled", "reference"])
@pytest.mark.parametrize(
    ("keys", "units"),
    [((2, 4, 5), 6), ((2, 4, 9), 6), ((2, 4, 1), 6), ((1, 4, 6), 6), ((2, 4, 6), 7), ((2, 4, 6, 1), 6), ((2, 4), 6)],
)
def test_memory_of_other_shapes_is_not_read(path, keys, units):
    shapes = (2, 3, 6), keys, (units,)
    expected = f"query has shape (2, 3, 6), keys {keys} and v ({units},); expected (B, L, D), (B, S, D) and (D,)"
    with xprnn.use_kernels(path), pytest.raises(ValueError, match=re.escape(expected)):
        additive_scores(*(Tensor(np.zeros(shape)) for shape in shapes))


@pytest.mark.parametrize("g", [np.zeros((2, 3, 1)), np.zeros((2, 3, 4, 1)), np.zeros((2, 3, 4), "float32")])
def test_a_cotangent_of_another_shape_or_type_is_not_read(g):
    scores = additive_scores(*tensors((2, 3, 4, 6)))
    with pytest.raises(ValueError, match="additive_scores: the cotangent has shape"):
        scores.node.pullback([Tensor(g)], [scores])


def test_the_memory_of_another_layer():
    one, other = (nn.AdditiveAttention(8, 8, size, rng=0) for size in (32, 16))
    memory = other.prepare(np.zeros((5, 2, 8), "float32"))
    with pytest.raises(ValueError, match=r"AdditiveAttention: .*, keys \(2, 5, 16\) and v \(32,\)"):
        one(np.zeros((3, 2, 8), "float32"), memory)


def test_long_sums_keep_their_digits():
    inputs = [Tensor(np.full(shape, 0.3, "float32"), requires_grad=True) for shape in ((1, 700, 4), (1, 900, 4), (4,))]
    with xprnn.use_kernels("compiled"):
        found = grad(additive_scores(*inputs).sum(), inputs)
    slope = 0.3 * (1 - np.tanh(0.6) ** 2)
    for gradient, expected in zip(found, (900 * slope, 700 * slope, 700 * 900 * np.tanh(0.6)), strict=True):
        np.testing.assert_allclose(gradient.data, expected, rtol=5e-5)


def test_small_scores_import_no_kernels(monkeypatch):
    monkeypatch.setattr(module, "LEAST_WORK", 2**15)
    assert additive_scores(*tensors((2, 3, 4, 5))).node.name == "squeeze"
