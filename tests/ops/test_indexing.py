"""Indexing a Tensor with arrays, slices and Tensors is that of NumPy, with the gradients of PyTorch."""

import math

import numpy as np
import pytest
from helpers import assert_close, host, leaf
from hypothesis import given
from hypothesis import strategies as st

from xprnn import Tensor, ops
from xprnn.backend import get_backend
from xprnn.testing import check_gradients, check_second_gradients

CUBE = np.arange(24.0).reshape(2, 3, 4)


KEYS = {
    "rows": [[1, 0, 1]],
    "negative rows": [np.array([-1, 0, -2])],
    "a table of rows": [np.array([[0, 1], [1, 1]])],
    "none": [np.zeros(0, int)],
    "an empty list": [[]],
    "elements beside each other": [np.array([1, 0, 1]), range(3)],
    "broadcast": [np.array([[0], [1]]), np.array([2, 0])],
    "three axes": [[0, 1], [1, 1], [2, 3]],
    "a later axis": [slice(None), np.array([2, 2, 0])],
    "two later axes": [slice(None), [0, 2], [1, 3]],
    "the last axis": [..., np.array([3, 3, 1])],
    "axes apart": [[1, 0], slice(None), [3, 3]],
    "axes apart by dots": [[1, 0], ..., [3, 3]],
    "axes apart by dots that stand for nothing": [slice(None), [1, 0], ..., [3, 3]],
    "an integer beside": [1, [0, 2, 2]],
    "an integer apart": [0, slice(None), np.array([[3, 1]])],
    "a slice": [slice(None, None, -1), [0, 0], slice(1, 3)],
    "a new axis": [None, [1, 1], None],
    "a new axis between": [[1, 1], None, [0, 2]],
    "narrow": [np.array([1, 1], "int8"), np.array([0, 200 % 3], "uint8")],
    "a mask": [CUBE > 5.0],
    "a mask of rows": [np.array([False, True])],
    "a mask of two axes": [CUBE[:, :, 0] > 4.0, slice(1, 3)],
    "a mask later": [slice(None), [True, False, True]],
    "a mask that picks nothing": [CUBE > 99.0],
    "a mask and numbers": [np.array([True, True]), [0, 2]],
    "without axes": [np.asarray(1), [0, 2]],
}


def placed(key, home):
    return tuple(home.asarray(part) if isinstance(part, np.ndarray) else part for part in key)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_indexing_with_arrays_is_that_of_numpy(key, home):
    x, place = home.asarray(CUBE), placed(key, home)
    assert_close(Tensor(x)[place], np.asarray(CUBE[tuple(key)]), 0.0)
    check_gradients(lambda x: x[place], [x], rtol=1e-7)
    check_second_gradients(lambda x: x[place] * x[place], [x], rtol=1e-6)


# PyTorch has no negative steps, and takes integers first and passes over dots, not as NumPy does.
UNKNOWN_TO_TORCH = ("a slice", "an integer apart", "axes apart by dots that stand for nothing")


def in_torch(part):
    torch = pytest.importorskip("torch")
    if isinstance(part, (list, range)):
        part = np.asarray(part) if len(part) else np.zeros(0, int)
    if not isinstance(part, np.ndarray):
        return part
    return torch.tensor(part if part.dtype == bool else part.astype("int64"))


@pytest.mark.parametrize("key", [key for name, key in KEYS.items() if name not in UNKNOWN_TO_TORCH])
def test_indexing_with_arrays_has_the_gradients_of_torch(key):
    torch = pytest.importorskip("torch")
    x, there = Tensor(CUBE, requires_grad=True), torch.tensor(CUBE, requires_grad=True)
    y = there[tuple(map(in_torch, key))]
    weights = np.arange(1.0, 1.0 + y.numel()).reshape(y.shape)
    (y * torch.tensor(weights)).sum().backward()
    (x[tuple(key)] * weights).sum().backward()
    assert_close(x.grad, there.grad.numpy(), 0.0)


def test_the_last_outputs_of_sequences(home):
    """The classic: the output at the last step of each sequence, and twice of one of them."""
    y = leaf(home, np.arange(24.0).reshape(4, 3, 2))
    lengths = home.asarray(np.array([4, 1, 2]))
    last = y[lengths - 1, range(3)]
    assert_close(last, host(y)[[3, 0, 1], [0, 1, 2]])
    both = y[lengths - 1, range(3)] + y[home.asarray(np.array([3, 3, 3])), [0, 0, 0]]
    ops.sum(both).backward()
    expected = np.zeros((4, 3, 2))
    expected[[3, 0, 1], [0, 1, 2]] += 1.0
    expected[3, 0] += 3.0
    assert_close(y.grad, expected)


def test_an_index_may_be_a_tensor(home):
    x = leaf(home, CUBE)
    index = home.asarray(np.array([1, 1]))
    assert_close(x[Tensor(index)], CUBE[[1, 1]], 0.0)
    assert_close(x[0, Tensor(index)], CUBE[0, [1, 1]], 0.0)
    assert_close(x[x > 3.0], CUBE[CUBE > 3.0], 0.0)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ([[0, 2]], "index 2 is out of range for axis 0 of length 2"),
        ([np.array([0, -3])], "index -3 is out of range for axis 0 of length 2"),
        ([[0], [3]], "index 3 is out of range for axis 1 of length 3"),  # which is an element of the next row
        ([[0], 1, 4], "index 4 is out of range for axis 2 of length 4"),
        ([[0], -4], "index -4 is out of range for axis 1 of length 3"),
        ([[0], 0, 0, 0], r"too many indices: 4 for a Tensor of shape \(2, 3, 4\)"),
        ([..., [0], ...], "more than once"),
        ([[0, 1], [0, 1, 2]], r"index arrays have shapes \(2,\), \(3,\), which do not broadcast"),
        ([np.array([True, False, True])], r"a mask of shape \(3,\) picks from axes of lengths \(2,\)"),
    ],
)
def test_indices_out_of_range(key, message, home):
    with pytest.raises(IndexError, match=message):
        leaf(home, CUBE)[placed(key, home)]


@pytest.mark.parametrize("single", [True, np.True_, np.array(False)])
def test_a_single_boolean_is_refused(single):
    x = Tensor(np.ones((2, 3)))
    for key in (single, (single, 0), (slice(None), single)):
        with pytest.raises(TypeError, match="not with a single boolean: None adds an axis"):
            x[key]


def test_an_index_of_another_library_is_refused():
    index = get_backend("array_api_strict").arange(2)
    with pytest.raises(TypeError, match="an indexed Tensor is a numpy ndarray .* its index is a array_api_strict"):
        Tensor(CUBE)[index]


@given(st.data())
def test_indexing_of_any_kind(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)))
    x = np.arange(float(math.prod(shape))).reshape(shape)
    sizes = data.draw(st.sampled_from([(), (1,), (2,), (2, 1), (0,)]))
    parts = []
    extras = data.draw(st.lists(st.sampled_from([None, ...]), max_size=2, unique=True))
    for length in shape if ... in extras else shape[: data.draw(st.integers(1, len(shape)))]:
        kinds = ["slice", *["array", "int"] * bool(length)]
        kind = data.draw(st.sampled_from(kinds))
        if kind == "slice":
            parts.append(slice(None, None, data.draw(st.sampled_from([1, -1, 2]))))
        elif kind == "int":
            parts.append(data.draw(st.integers(-length, length - 1)))
        else:
            numbers = st.integers(-length, length - 1)
            count = math.prod(sizes)
            drawn = data.draw(st.lists(numbers, min_size=count, max_size=count))
            parts.append(np.array(drawn, int).reshape(sizes))
    for extra in extras:
        parts.insert(data.draw(st.integers(0, len(parts))), extra)
    key, leaf = tuple(parts), Tensor(x, requires_grad=True)
    y = leaf[key]
    assert_close(y, np.asarray(x[key]), 0.0)
    weights = np.arange(1.0, 1.0 + y.size).reshape(y.shape)
    y.backward(weights)
    expected = np.zeros(shape)
    np.add.at(expected, key, weights)
    assert_close(leaf.grad, expected)
