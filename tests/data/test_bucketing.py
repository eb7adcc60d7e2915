"""Buckets: every sequence once, beside its own label, with little padding."""

import itertools

import numpy as np
import pytest
from helpers import host

from xprnn import Tensor, nn, train
from xprnn.data import Batches, Buckets, lengths_to_mask, unpad

N = 103


@pytest.fixture
def sequences(rng):
    """Sequence k holds the number k, as often as its length says; some are empty."""
    return [np.full(n, k) for k, n in enumerate(rng.integers(0, 60, N))]


def rows(batches):
    return [host(labels).tolist() for *_, labels in batches]


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sequence_once_beside_its_label(home, sequences, shuffle, batch_first):
    labels = home.asarray(np.arange(N))
    given = [home.asarray(s) for s in sequences]
    batches = Buckets(given, labels, batch_size=8, shuffle=shuffle, value=-1, batch_first=batch_first, rng=0)
    assert len(batches) == len(list(batches)) == 13
    for padded, lengths, numbers in batches:
        assert padded.device == lengths.device == numbers.device == labels.device
        assert padded.shape[batches.axis] == len(host(lengths)) == len(host(numbers))
        assert padded.shape[1 - batches.axis] == max(host(lengths))
        for k, n, row in zip(
            host(numbers), host(lengths), unpad(host(padded), host(lengths), batch_first), strict=True
        ):
            assert n == len(sequences[k])
            np.testing.assert_array_equal(row, sequences[k])
        real = lengths_to_mask(host(lengths), batch_first=batch_first)
        assert (host(padded)[~real] == -1).all()
    assert sorted(flat(rows(batches))) == list(range(N))


def test_the_order_is_that_of_the_seed(sequences):
    def epochs(seed):
        batches = Buckets(sequences, np.arange(N), batch_size=8, shuffle=True, pool=3, rng=seed)
        return [rows(batches) for _ in range(3)]

    first = epochs(0)
    assert first == epochs(0)
    assert first != epochs(1)
    assert first[0] != first[1] != first[2]
    sets = [{frozenset(batch) for batch in epoch} for epoch in first]
    assert not sets[0] & sets[1]  # other batches, not only their order
    longest = [padded.shape[0] for padded, _ in Buckets(sequences, batch_size=8, shuffle=True, rng=0)]
    assert longest != sorted(longest, reverse=True)


def test_without_shuffling_the_longest_come_first(sequences):
    batches = Buckets(sequences, np.arange(N), batch_size=8)
    assert rows(batches) == rows(batches)
    order = flat(rows(batches))
    assert order == sorted(range(N), key=lambda k: (-len(sequences[k]), k))


def test_the_share_of_padding(sequences):
    shares = {}
    for pool in (1, 4, 100):
        batches = Buckets(sequences, batch_size=8, shuffle=True, pool=pool, rng=0)
        assert np.isnan(batches.padding)
        total = [(padded.size, lengths.sum()) for padded, lengths in batches]
        size, real = np.sum(total, axis=0)
        assert batches.padding == pytest.approx(1 - real / size)
        shares[pool] = batches.padding
    assert 0 < shares[100] < 0.1 < shares[4] < shares[1]
    assert shares[1] > 0.4
    nothing = Buckets([[], []], batch_size=2)
    assert [padded.shape for padded, _ in nothing] == [(0, 2)]
    assert nothing.padding == 0.0


def test_two_lists_each_with_lengths_and_value(rng):
    sources = [np.ones((n, 2)) for n in (3, 3, 1, 3)]
    targets = [[1] * n for n in (1, 4, 2, 2)]
    batches = Buckets(sources, targets, np.arange(4), batch_size=2, value=(np.nan, -100))
    found = [
        (x.shape, n.tolist(), np.isnan(x).any(), y.T.tolist(), m.tolist(), k.tolist()) for x, n, y, m, k in batches
    ]
    assert found == [
        ((3, 2, 2), [3, 3], False, [[1] * 4, [1, 1, -100, -100]], [4, 2], [1, 3]),
        ((3, 2, 2), [3, 1], True, [[1, -100], [1, 1]], [1, 2], [0, 2]),
    ]


def test_drop_last_leaves_out_any_not_the_shortest(sequences):
    batches = Buckets(sequences, np.arange(N), batch_size=8, shuffle=True, drop_last=True, rng=0)
    assert len(batches) == 12
    left_out = [set(range(N)) - set(flat(rows(batches))) for _ in range(5)]
    assert {len(left) for left in left_out} == {7}
    assert np.mean([len(sequences[k]) for left in left_out for k in left]) > 15


def test_training_continues_where_it_was(tmp_path, rng):
    """Epochs, weights of batches and checkpoints of ``fit`` are those of any other batches."""
    given = [rng.standard_normal((n, 2)) for n in rng.integers(1, 9, 20)]
    sums = np.array([s.sum() for s in given])

    def run(epochs, **options):
        model, batches = nn.GRU(2, 1, dtype="float64", rng=0), Buckets(given, sums, batch_size=6, shuffle=True, rng=1)

        def loss(model, batch):
            x, lengths, target = batch
            return train.mse(model(x, lengths=lengths)[1][0, :, 0], target)

        history = train.fit(
            model, batches, loss, train.Adam(model.parameters()), epochs=epochs, progress=False, **options
        )
        return history.epochs[-1]["loss"]

    whole = run(4)
    run(2, callbacks=[train.Checkpoint(tmp_path / "run")])
    assert run(4, resume=tmp_path / "run") == whole
    assert isinstance(Buckets(given, batch_size=3), Batches)


BAD = {
    "nothing": (lambda: Buckets(batch_size=1), ValueError, "Buckets: there is no list of sequences among 0"),
    "arrays": (lambda: Buckets(np.ones(3), batch_size=1), ValueError, "no list of sequences among 1 arguments"),
    "empty": (lambda: Buckets([], batch_size=1), ValueError, "Buckets: argument 0: sequences is empty"),
    "numbers": (lambda: Buckets([[1]], [2], batch_size=1), TypeError, "argument 1: sequence 0 is a int"),
    "tensor": (
        lambda: Buckets([[1]], Tensor([2.0]), batch_size=1),
        TypeError,
        "argument 1 is a Tensor; pass its .data",
    ),
    "no array": (lambda: Buckets([[1]], "a", batch_size=1), TypeError, "Buckets: argument 1 is a str"),
    "no rows": (lambda: Buckets([[1]], np.ones((0, 2)), batch_size=1), ValueError, r"has shape \(0, 2\); expected \(N"),
    "sizes": (lambda: Buckets([[1]], np.ones(2), batch_size=1), ValueError, r"have lengths \[1, 2\]; expected equal"),
    "batch size": (lambda: Buckets([[1]], batch_size=0), ValueError, "Buckets: batch_size is 0"),
    "pool": (lambda: Buckets([[1]], batch_size=1, pool=0), ValueError, "Buckets: pool is 0"),
    "drop": (lambda: Buckets([[1]], batch_size=2, drop_last=True), ValueError, "drop_last leaves nothing"),
    "values": (lambda: Buckets([[1]], batch_size=1, value=[0, 1]), ValueError, "value has 2 numbers; expected one, or"),
    "value": (lambda: Buckets([[1]], batch_size=1, value=0.5), ValueError, "value is 0.5, which int64 cannot hold"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
