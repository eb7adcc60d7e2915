"""Padding: what goes in comes out again, and the mask says what is real."""

import array_api_strict
import numpy as np
import pytest
from helpers import assert_close, host

import xprnn
from xprnn import Tensor, nn, ops
from xprnn.data import lengths_to_mask, pad_sequences, unpad
from xprnn.train import cross_entropy, mse

LENGTHS = [3, 0, 5, 1]


def drawn(home, rng, *shape, dtype="float64"):
    return [home.asarray(rng.standard_normal((n, *shape)), dtype) for n in LENGTHS]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_there_and_back(home, rng, shape, batch_first):
    sequences = drawn(home, rng, *shape)
    before = [host(s).copy() for s in sequences]
    padded, lengths = pad_sequences(sequences, -1.5, length=6, batch_first=batch_first)
    assert padded.shape == ((4, 6, *shape) if batch_first else (6, 4, *shape))
    assert padded.device == lengths.device == sequences[0].device
    assert host(lengths).tolist() == LENGTHS
    assert host(lengths).dtype == np.int64
    found = np.moveaxis(host(padded), 0 if batch_first else 1, 0)
    for row, sequence in zip(found, before, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], sequence)
        assert (row[len(sequence) :] == -1.5).all()
    assert_close(unpad(padded, lengths, batch_first), before, 0.0)
    assert_close(sequences, before, 0.0)


def test_the_example_of_the_slides():
    padded, lengths = pad_sequences([[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    assert padded.T.tolist() == [[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 9]]
    assert lengths_to_mask(lengths).T.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]


def test_dtype(rng):
    for sequences, expected in [
        ([[1], [], [2, 3]], "int64"),
        ([[], np.ones((2, 3), "float32")], "float32"),
        ([[True], [False, True]], "bool"),
        ([[1], [0.5]], "float64"),
        ([np.ones(2, "int32"), np.ones(2, "float32")], "float64"),
        ([[], []], "float64"),
    ]:
        assert pad_sequences(sequences)[0].dtype == expected
    assert pad_sequences([[1, 2], [0.5]], dtype="float32")[0].dtype == np.float32
    assert np.isnan(pad_sequences([[1.0], [1.0, 2.0]], np.nan)[0][1, 0])
    assert pad_sequences([[1], [1, 2]], np.float32(7))[0][1, 0] == 7


def test_empty_sequences():
    padded, lengths = pad_sequences([[], np.ones((2, 3)), ()])
    assert padded.shape == (2, 3, 3)
    assert lengths.tolist() == [0, 2, 0]
    assert pad_sequences([[], []])[0].shape == (0, 2)
    assert pad_sequences([[]], length=2)[0].shape == (2, 1)
    assert pad_sequences([np.ones((0, 3))], batch_first=True)[0].shape == (1, 0, 3)


def test_lists_become_arrays_of_the_default_backend():
    with xprnn.use_backend("array_api_strict"):
        padded, lengths = pad_sequences([[1, 2], [], [3]])
        mask = lengths_to_mask([2, 0, 1])
    assert {type(a) for a in (padded, lengths, mask)} == {array_api_strict._array_object.Array}


def test_mask(home):
    lengths = home.asarray(np.array([2, 0, 3], "uint8"))
    mask = lengths_to_mask(lengths, 4)
    assert host(mask).tolist() == [[True, False, True], [True, False, True], [False, False, True], [False] * 3]
    assert mask.device == lengths.device
    assert host(lengths_to_mask(lengths, 4, batch_first=True)).tolist() == host(mask).T.tolist()
    assert lengths_to_mask([]).shape == (0, 0)
    assert lengths_to_mask([0, 0]).shape == (0, 2)


def test_gradients_flow_back_through_unpad():
    padded = Tensor(np.ones((3, 2, 1)), requires_grad=True)
    parts = unpad(padded, [3, 1])
    assert [part.shape for part in parts] == [(3, 1), (1, 1)]
    ops.sum(parts[1]).backward()
    assert host(padded.grad)[..., 0].tolist() == [[0, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_padded_batch_equals_its_sequences_one_at_a_time(home, rng, value):
    """Outputs, states, loss and gradients: the padding, whatever it holds, is not there."""
    layer, out = nn.GRU(2, 3, bidirectional=True, dtype="float64", rng=0), nn.Linear(6, 4, dtype="float64", rng=1)
    model = nn.Sequential(layer.to(home), out.to(home))
    sequences = drawn(home, rng, 2)
    targets = [home.asarray(rng.integers(0, 4, n)) for n in LENGTHS]
    x, lengths = pad_sequences(sequences, value)
    labels, _ = pad_sequences(targets, -1)
    output, _ = layer(x, lengths=lengths)
    assert_close(unpad(output, lengths), [layer(s[:, None, ...])[0][:, 0, ...] for s in sequences], 1e-14)

    loss = cross_entropy(out(output), labels, mask=lengths_to_mask(lengths))
    loss.backward()
    together = [host(p.grad) for p in model.parameters()]
    model.zero_grad()
    alone = [
        cross_entropy(out(layer(s[:, None, ...])[0][:, 0, ...]), t) * (float(s.shape[0]) / sum(LENGTHS))
        for s, t in zip(sequences, targets, strict=True)
    ]
    total = sum(alone[1:], alone[0])
    total.backward()
    assert loss.item() == pytest.approx(total.item(), rel=1e-14)
    assert_close(together, [host(p.grad) for p in model.parameters()], 1e-14)


def test_masked_loss_is_the_mean_over_real_steps(home, rng):
    x, lengths = pad_sequences(drawn(home, rng, 2), np.nan)
    y, _ = pad_sequences(drawn(home, rng, 2), np.nan)
    expected = np.concatenate([a - b for a, b in zip(unpad(host(x), LENGTHS), unpad(host(y), LENGTHS), strict=True)])
    assert mse(x, y, lengths_to_mask(lengths)).item() == pytest.approx((expected**2).mean(), rel=1e-14)


def strict(x):
    return array_api_strict.asarray(x)


BAD = {
    "nothing": (lambda: pad_sequences([]), ValueError, "pad_sequences: sequences is empty; expected at least one"),
    "string": (lambda: pad_sequences("abc"), TypeError, "sequences is a str; expected a list of arrays or of lists"),
    "number": (lambda: pad_sequences(3), TypeError, "sequences is a int; expected a list"),
    "tensor": (lambda: pad_sequences(Tensor([[1.0]])), TypeError, "sequences is a Tensor"),
    "numbers": (lambda: pad_sequences([1, 2]), TypeError, "sequence 0 is a int; expected an array or a list"),
    "tensor inside": (lambda: pad_sequences([[1], Tensor([1.0])]), TypeError, "sequence 1 is a Tensor; pass its .data"),
    "strings": (lambda: pad_sequences([[1], ["a"]]), TypeError, "sequence 1 is a list of str; expected numbers"),
    "ragged": (lambda: pad_sequences([[[1], [1, 2]]]), ValueError, "sequence 0 is a list of parts with different len"),
    "no axes": (lambda: pad_sequences([np.array(1)]), ValueError, "sequence 0 has no axes"),
    "complex": (lambda: pad_sequences([np.ones(1, complex)]), TypeError, "sequence 0 has dtype complex128"),
    "features": (
        lambda: pad_sequences([[], np.ones((2, 3)), np.ones((2, 4))]),
        ValueError,
        r"sequence 2 has shape \(2, 4\); expected \(T, 3\), as sequence 1: only the first axis may differ",
    ),
    "axes": (lambda: pad_sequences([np.ones(2), np.ones((2, 4))]), ValueError, r"sequence 1 .* expected \(T\), as seq"),
    "empty features": (lambda: pad_sequences([np.ones((0, 2)), np.ones((2, 4))]), ValueError, "sequence 1 has shape"),
    "too long": (
        lambda: pad_sequences([[1], [1, 2, 3]], length=2),
        ValueError,
        "sequence 1 has 3 steps; expected at most length = 2: cut it first",
    ),
    "length": (lambda: pad_sequences([[1]], length=-1), ValueError, "pad_sequences: length is -1"),
    "value": (lambda: pad_sequences([[1]], 0.5), ValueError, "value is 0.5, which int64 cannot hold"),
    "nan": (lambda: pad_sequences([[1]], np.nan), ValueError, "value is nan, which int64 cannot hold"),
    "narrow": (lambda: pad_sequences([[1]], -1, dtype="uint8"), ValueError, "value is -1, which uint8 cannot hold"),
    "overflow": (lambda: pad_sequences([[1]], 1e300, dtype="float32"), ValueError, "which float32 cannot hold"),
    "no number": (lambda: pad_sequences([[1.0]], None), TypeError, "value is None; expected a number"),
    "wrapped": (lambda: pad_sequences([[1], [300]], dtype="uint8"), ValueError, "sequence 1 holds numbers that uint8"),
    "cut off": (lambda: pad_sequences([[0.5]], dtype="int64"), ValueError, "holds numbers that int64 cannot hold"),
    "mask tensor": (lambda: lengths_to_mask(Tensor(np.array([1]))), TypeError, "lengths is a Tensor"),
    "dtype": (lambda: pad_sequences([[1]], dtype="float"), ValueError, "dtype is 'float'; expected one of bool, int8"),
    "libraries": (lambda: pad_sequences([strict([1]), np.ones(1)]), TypeError, "sequence 0 is .*sequence 1 is"),
    "no common dtype": (
        lambda: pad_sequences([strict([1]), strict([True])]),
        TypeError,
        "dtypes bool, int64, which have no common one: give dtype",
    ),
    "mask number": (lambda: lengths_to_mask(3), TypeError, "lengths_to_mask: lengths is a int; expected a list"),
    "mask floats": (lambda: lengths_to_mask([1.0]), TypeError, "lengths has dtype float64; expected integers"),
    "mask booleans": (lambda: lengths_to_mask([True]), TypeError, "lengths has dtype bool; expected integers"),
    "mask axes": (lambda: lengths_to_mask([[1]]), ValueError, r"lengths has shape \(1, 1\); expected \(B,\)"),
    "mask negative": (lambda: lengths_to_mask([2, -1]), ValueError, "lengths contains -1; expected at least 0"),
    "mask steps": (lambda: lengths_to_mask([4], 3), ValueError, "contains 4; expected values from 0 to steps = 3"),
    "unpad list": (lambda: unpad([[1]], [1]), ValueError, "unpad: padded has type list; expected an array with axes"),
    "unpad axes": (lambda: unpad(np.ones(3), [1]), ValueError, r"unpad: padded has shape \(3,\)"),
    "unpad lengths": (lambda: unpad(np.ones((3, 2)), [1]), ValueError, r"lengths has shape \(1,\); expected .* = \(2,"),
    "unpad long": (lambda: unpad(np.ones((3, 1)), [4]), ValueError, "contains 4; expected values from 0 to T = 3"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
