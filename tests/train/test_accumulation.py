"""Several batches for one step: the gradient, the moments and the norms of one large batch."""

import array_api_strict
import numpy as np
import pytest
from helpers import host
from host_copies import counted

from xprnn import Parameter, Tensor, nn
from xprnn.backend import get_backend
from xprnn.data import Batches
from xprnn.train import SGD, Adam, Callback, EarlyStopping, cross_entropy, fit, mse, truncated_bptt
from xprnn.train.accumulation import in_groups

DEVICE = get_backend("array_api_strict", array_api_strict.Device("device1"))
HOST = get_backend("numpy")
quiet = {"progress": False}


def parts_of(home, large):
    """Batches of other sizes and masks: the small ones, or what they are together in groups of three."""
    rng = np.random.default_rng(0)
    small = []
    for size in (4, 1, 7, 2, 5, 3, 3, 6):
        small.append((rng.normal(size=(size, 3)), rng.integers(0, 4, size), rng.random(size) < 0.6))
    small[4][2][:] = False  # one in which nothing counts
    groups = [small[k : k + 3] for k in range(0, len(small), 3)]
    parts = (
        [tuple(np.concatenate(arrays) for arrays in zip(*group, strict=True)) for group in groups] if large else small
    )
    return [tuple(home.asarray(array) for array in part) for part in parts]


def trained(home, large, **options):
    model = nn.Linear(3, 4, dtype="float64", rng=0)
    model.to(home)
    weight = home.asarray(np.array([1.0, 2.0, 0.5, 3.0]))
    loss = lambda m, b: cross_entropy(m(b[0]), b[1], mask=b[2], weight=weight)
    optimizer = Adam(model.parameters(), lr=0.1)
    options = {"epochs": 3, "accumulate": 1 if large else 3, **options, **quiet}
    history = fit(model, parts_of(home, large), loss, optimizer, **options)
    return [host(p) for p in model.parameters()], optimizer, history


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.1}, {"clip_value": 0.05}], ids=str)
@pytest.mark.parametrize("home", [HOST, DEVICE], ids=str)
def test_it_is_one_large_batch(home, clip):
    found, expected = trained(home, False, **clip), trained(HOST, True, **clip)
    for a, b in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    assert found[1].counts == expected[1].counts == [3 * 3] * 2
    for name in ("gradient_norm", "clipped_norm"):
        np.testing.assert_allclose(found[2][name], expected[2][name], rtol=1e-10)
    single = trained(HOST, False, epochs=1, accumulate=8)[2]
    assert single["loss"] == [pytest.approx(trained(HOST, True, epochs=1, accumulate=3)[2]["loss"][0])]


def test_by_hand():
    class Line(nn.Module):
        def __init__(self):
            self.w = Parameter(np.zeros(1))

    model, seen = Line(), []

    class Watch(Callback):
        def on_batch_end(self, run):
            seen.append((run.batch, run.loss, run.gradient_norm, model.w.item(), model.w.grad.item()))

    batches = [(np.full(1, 2.0), 3.0), (np.full(1, 1.0), 1.0), (np.full(1, 5.0), 2.0)]
    loss = lambda m, batch: (mse(m.w, batch[0]), batch[1])
    fit(model, batches, loss, SGD([model.w], 0.1), epochs=1, accumulate=2, callbacks=[Watch()], **quiet)
    # gradients -4 of weight 3 and -2 of weight 1: -3.5; then, alone at the end, 2 (0.35 - 5)
    assert [row[:2] for row in seen] == [(1, 4.0), (2, 1.0), (3, pytest.approx((0.35 - 5) ** 2))]
    assert [row[2] for row in seen] == [0.0, pytest.approx(3.5), pytest.approx(9.3)]
    assert [row[3] for row in seen] == [0.0, pytest.approx(0.35), pytest.approx(0.35 + 0.93)]
    assert [row[4] for row in seen] == [-12.0, pytest.approx(-3.5), pytest.approx(-9.3)]


def test_batches_that_weigh_nothing_give_no_gradient():
    model = nn.Linear(2, 1, dtype="float64", rng=0)
    before = [p.data for p in model.parameters()]
    x, nothing = np.ones((3, 2)), np.zeros(3, dtype=bool)
    fit(
        model,
        [x, x],
        lambda m, b: mse(m(b), np.ones((3, 1)), nothing),
        SGD(model.parameters()),
        epochs=1,
        accumulate=2,
        **quiet,
    )
    for p, data in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.data, data)


def test_a_device_is_asked_once_an_epoch():
    with counted(DEVICE) as log:
        trained(DEVICE, False, metrics={"error": lambda m, b: Tensor(b[0]).sum()})
    assert log == ["to_device"] * (3 + 2)  # at the end the two parameters, to look at them


@pytest.mark.parametrize("home", [HOST, DEVICE], ids=str)
def test_a_bad_batch_in_a_group_changes_nothing_since_the_step_before(home):
    model = nn.Linear(3, 4, dtype="float64", rng=0)
    model.to(home)
    parts = parts_of(home, False)
    parts[4] = (parts[4][0], home.asarray(np.full(5, 9)), home.asarray(np.ones(5, dtype=bool)))
    loss = lambda m, b: cross_entropy(m(b[0]), b[1], mask=b[2])
    optimizer = SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match="target contains 9"):
        fit(model, parts, loss, optimizer, epochs=1, accumulate=3, **quiet)
    other = nn.Linear(3, 4, dtype="float64", rng=0)
    other.to(home)
    fit(other, parts[:3], loss, SGD(other.parameters(), 0.1), epochs=1, accumulate=3, **quiet)
    assert optimizer.counts == [1, 1]
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(host(p), host(q))


def test_chunks_of_truncated_backpropagation():
    """Chunks are computed while they are drawn, with the parameters of that moment."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 2, 2)), rng.normal(size=(12, 2, 3))
    found = []
    for k1, accumulate in ((2, 3), (2, 1)):
        layer = nn.RNN(2, 3, dtype="float64", rng=0)

        class Walk:
            def __iter__(self, layer=layer, k1=k1):
                return truncated_bptt(layer, x, k1=k1)

        loss = lambda m, chunk: mse(chunk.output, y[chunk.start : chunk.stop])
        optimizer = SGD(layer.parameters(), 0.1)
        history = fit(layer, Walk(), loss, optimizer, epochs=2, accumulate=accumulate, **quiet)
        found.append((optimizer.counts[0], history["loss"][-1]))
    assert [count for count, _ in found] == [4, 12]
    assert found[0][1] != found[1][1]


def test_groups():
    assert list(in_groups("abcde", 2)) == [("a", False), ("b", True), ("c", False), ("d", True), ("e", True)]
    assert list(in_groups("ab", 1)) == [("a", True), ("b", True)]
    assert list(in_groups("", 3)) == []
    drawn = []
    for item, last in in_groups((drawn.append(k) or k for k in range(5)), 2):
        assert drawn[-1] == (item if last else item + 1)  # never ahead of a step


def test_errors():
    model = nn.Linear(1, 1, rng=0)
    for accumulate in (0, 1.5, True):
        with pytest.raises(ValueError, match="fit: accumulate is .*; expected an integer of at least 1"):
            fit(model, [0], mse, SGD(model.parameters()), epochs=1, accumulate=accumulate, **quiet)
    other = nn.Linear(1, 1, rng=0)
    loss = lambda m, b: mse(m(np.ones((1, 1), "float32")), np.ones((1, 1), "float32"))
    with pytest.raises(ValueError, match="gradient to none of the optimizer's parameters"):
        fit(model, [0, 0], loss, SGD(other.parameters()), epochs=1, accumulate=4, **quiet)


def test_resuming(tmp_path):
    from xprnn.train import Checkpoint

    x = np.random.default_rng(0).normal(size=(11, 2))

    def run(epochs, resume=None):
        model = nn.Linear(2, 1, dtype="float64", rng=0)
        fit(
            model,
            Batches(x, batch_size=2, shuffle=True, rng=1),
            lambda m, b: mse(m(b[0]), b[0][:, :1]),
            Adam(model.parameters(), 0.1),
            epochs=epochs,
            accumulate=4,
            callbacks=[Checkpoint(tmp_path / "c"), EarlyStopping(50)],
            resume=resume,
            **quiet,
        )
        return [p.data for p in model.parameters()]

    whole = run(4)
    run(2)
    for found, expected in zip(run(4, tmp_path / "c"), whole, strict=True):
        np.testing.assert_array_equal(found, expected)
