"""Parts of batches: together they are the batch, whatever the source and the number of ranks."""

import numpy as np
import pytest

from xprnn.data import Batches, Buckets, Divided, Drawn

X, Y = np.arange(22.0).reshape(2, 11), np.arange(11)


def batches():
    return Batches(X, Y, batch_size=4, axis=(1, 0), shuffle=True, rng=0)


def buckets():
    sequences = [np.full((n, 1), n, "float32") for n in (3, 1, 4, 2, 2)]
    return Buckets(sequences, np.arange(5), batch_size=2, shuffle=True, rng=0)


def drawn():
    return Drawn(lambda rng: (rng.random((2, 5)), rng.random(5)), updates=2, axis=(1, 0), rng=0)


def listed():
    return Divided([(X, Y), (X[:, :1], Y[:1])], axis=(1, 0))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("source", [batches, buckets, drawn, listed])
def test_parts_are_the_batch(source, size):
    ranks = [source().portion(rank, size) for rank in range(size)]
    whole = source()
    assert {len(rank) for rank in ranks} == {len(whole)}
    assert {rank.axis for rank in ranks} == {whole.axis}
    for _ in range(2):  # an epoch, and another in another order
        for batch, *parts in zip(whole, *ranks, strict=True):
            for k, array in enumerate(batch):
                pieces = [part[k] for part in parts]
                assert {(type(piece), piece.dtype) for piece in pieces} == {(type(array), array.dtype)}
                axis = 1 if array.ndim > 1 else 0
                np.testing.assert_array_equal(np.concatenate(pieces, axis=axis), array)
                rows = [piece.shape[axis] for piece in pieces]
                assert max(rows) - min(rows) <= 1


def test_one_array_alone():
    (part,) = Divided([np.arange(5)]).portion(1, 2)
    assert part.tolist() == [2, 3, 4]
    assert [len(x) for x in Drawn(lambda rng: rng.random(4), updates=2, axis=0, rng=0).portion(0, 4)] == [1, 1]


@pytest.mark.parametrize(
    ("batch", "axis", "error", "words"),
    [
        ((X, "text"), 0, TypeError, "Divided: a batch has a str in it; expected arrays only"),
        ((X, Y), 1, ValueError, r"shapes \[\(2, 11\), \(11,\)\]; expected an array with each of the axes \[1, 1\]"),
        ((X, Y), 0, ValueError, r"a batch has lengths \[2, 11\] along axes \[0, 0\]; expected equal ones"),
        ((X, Y), (0,), ValueError, r"expected an array with each of the axes \[0\]"),
        ((X,), -1, ValueError, "Divided: axis is -1"),
    ],
)
def test_batches_that_cannot_be_cut(batch, axis, error, words):
    with pytest.raises(error, match=words):
        next(iter(Divided([batch], axis=axis).portion(0, 2)))
