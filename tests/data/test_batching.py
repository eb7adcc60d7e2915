"""Batches: every element once, in an order that a seed decides."""

import numpy as np
import pytest

from xprnn import Tensor
from xprnn.backend import to_numpy
from xprnn.data import Batches


def numbers(batches):
    return [to_numpy(x).tolist() for x, *_ in batches]


def test_in_order_with_views(home):
    x = home.asarray(np.arange(5))
    batches = Batches(x, home.asarray(np.arange(10).reshape(5, 2)), batch_size=2)
    assert len(batches) == 3
    assert numbers(batches) == numbers(batches) == [[0, 1], [2, 3], [4]]
    for number, pairs in batches:
        np.testing.assert_array_equal(to_numpy(pairs)[:, 0], 2 * to_numpy(number))
        assert type(pairs) is type(x)
        assert pairs.device == x.device
    host = np.arange(4)
    assert np.shares_memory(next(iter(Batches(host, batch_size=2)))[0], host)


def test_shuffled(home):
    x = home.asarray(np.arange(7))
    batches = Batches(x, home.asarray(np.arange(14).reshape(7, 2)), batch_size=3, shuffle=True, rng=0)
    epochs = [numbers(batches) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert all(sorted(np.concatenate(epoch)) == list(range(7)) for epoch in epochs)
    assert epochs[0] == numbers(Batches(np.arange(7), batch_size=3, shuffle=True, rng=0))
    for number, pairs in batches:
        np.testing.assert_array_equal(to_numpy(pairs)[:, 0], 2 * to_numpy(number))
        assert pairs.device == x.device


@pytest.mark.parametrize("shuffle", [False, True])
def test_along_another_axis_and_drop_last(home, shuffle):
    x = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    batches = Batches(home.asarray(x), batch_size=2, axis=1, drop_last=True, shuffle=shuffle, rng=1)
    found = [to_numpy(part) for (part,) in batches]
    assert [part.shape for part in found] == [(2, 2, 3)] * len(batches) == [(2, 2, 3)] * 2
    order = np.random.default_rng(1).permutation(5) if shuffle else np.arange(5)
    np.testing.assert_array_equal(np.concatenate(found, axis=1), x[:, order[:4]])


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64"])
def test_state_continues(kind):
    def batches(seed):
        generator = np.random.Generator(getattr(np.random, kind)(seed))
        return Batches(np.arange(20), batch_size=20, shuffle=True, rng=generator)

    first, second = batches(0), batches(1)
    numbers(first)
    second.load_state_dict(first.state_dict())
    assert numbers(first) == numbers(second)
    with pytest.raises(ValueError, match="Batches: the state does not fit a PCG64DXSM generator"):
        Batches(np.arange(2), batch_size=1, rng=np.random.Generator(np.random.PCG64DXSM())).load_state_dict(
            first.state_dict()
        )
    with pytest.raises(ValueError, match=r"Batches: the state has \[\]; expected"):
        first.load_state_dict({})


def test_errors():
    x = np.zeros((4, 2))
    for make, error, message in [
        (lambda: Batches(batch_size=1), ValueError, "Batches: no arrays"),
        (lambda: Batches(x, batch_size=0), ValueError, "Batches: batch_size is 0; expected an integer of at least 1"),
        (lambda: Batches(x, batch_size=1.5), ValueError, "Batches: batch_size is 1.5"),
        (lambda: Batches(x, batch_size=1, axis=-1), ValueError, "Batches: axis is -1"),
        (lambda: Batches([1], batch_size=1), TypeError, "Batches: argument 0 is a list"),
        (lambda: Batches(x, Tensor(x), batch_size=1), TypeError, "Batches: argument 1 is a Tensor; pass its .data"),
        (lambda: Batches(x, batch_size=1, axis=2), ValueError, r"argument 0 has shape \(4, 2\); it has no axis 2"),
        (lambda: Batches(x, x[:3], batch_size=1), ValueError, r"lengths \[4, 3\] along axis 0; expected equal"),
        (lambda: Batches(x[:0], batch_size=1), ValueError, "Batches: the arrays are empty along axis 0"),
        (lambda: Batches(x, batch_size=5, drop_last=True), ValueError, "drop_last leaves nothing"),
    ]:
        with pytest.raises(error, match=message):
            make()


@pytest.mark.parametrize("shuffle", [False, True])
def test_each_array_along_its_own_axis(home, shuffle):
    x, labels = np.arange(2 * 5 * 3).reshape(2, 5, 3), np.arange(5)
    batches = Batches(
        home.asarray(x), home.asarray(labels), home.asarray(x.T), batch_size=2, axis=(1, 0, 1), shuffle=shuffle, rng=1
    )
    found = [[to_numpy(part) for part in batch] for batch in batches]
    assert [[part.shape for part in batch] for batch in found] == [
        *[[(2, 2, 3), (2,), (3, 2, 2)]] * 2,
        [(2, 1, 3), (1,), (3, 1, 2)],
    ]
    for part, label, turned in found:
        np.testing.assert_array_equal(part, x[:, label])
        np.testing.assert_array_equal(turned, part.T)
    assert sorted(np.concatenate([label for _, label, _ in found])) == list(range(5))
    assert (batches.axis, batches.axes) == (1, (1, 0, 1))


def test_training_weighs_sequences_beside_labels():
    from xprnn import nn
    from xprnn.train import evaluate

    x, labels = np.zeros((7, 3, 2)), np.array([0.0, 0.0, 3.0])
    batches = Batches(x, labels, batch_size=2, axis=(1, 0))
    assert evaluate(nn.Module(), batches, lambda model, batch: float(batch[1].mean())) == pytest.approx(1.0)


def test_errors_of_axes():
    x, y = np.zeros((2, 4)), np.zeros(4)
    for axis, message in [
        ((1,), "Batches: axis has 1 numbers; expected one, or 2 for the arrays"),
        ((1, 1), r"argument 1 has shape \(4,\); it has no axis 1"),
        ((0, 0), r"lengths \[2, 4\] along axis 0; expected equal"),
        ((1, -1), "Batches: axis is -1"),
        ((1, 0.5), "Batches: axis is 0.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            Batches(x, y, batch_size=1, axis=axis)
    with pytest.raises(ValueError, match=r"lengths \[4, 3\] along axes \(1, 0\)"):
        Batches(x, y[:3], batch_size=1, axis=[1, 0])
    with pytest.raises(ValueError, match=r"the arrays are empty along axes \(1, 0\)"):
        Batches(x[:, :0], y[:0], batch_size=1, axis=[1, 0])
