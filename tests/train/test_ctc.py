"""Connectionist temporal classification against all paths written out, by hand, and by finite differences."""

import itertools
import math

import array_api_strict
import numpy as np
import pytest
from helpers import host, leaf
from host_copies import counted

from xprnn import Tensor, grad, nn, no_grad, ops
from xprnn.backend import get_backend
from xprnn.train import SGD, ctc_loss, evaluate, fit
from xprnn.train.weighted import Mean

DEVICE = get_backend("array_api_strict", array_api_strict.Device("device1"))


def spelled(path, blank):
    return [c for c, _ in itertools.groupby(path) if c != blank]


def all_paths(log_probs, target, blank=0):
    """-log p and its gradient, by the definition: every path that spells the target."""
    steps, classes = log_probs.shape
    total, counts = 0.0, np.zeros((steps, classes))
    for path in itertools.product(range(classes), repeat=steps):
        if spelled(path, blank) == list(target):
            p = math.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
            total += p
            for t, c in enumerate(path):
                counts[t, c] += p
    return (-math.log(total), -counts / total) if total else (math.inf, np.full((steps, classes), np.nan))


CASES = [  # frames, target
    (4, [1]),
    (4, [1, 2]),
    (4, [2, 2]),
    (3, [1, 1]),
    (2, [1, 1]),  # too short: the blank between has no frame
    (1, [2]),
    (4, []),
    (0, []),
    (0, [1]),
    (4, [1, 2, 1]),
    (3, [1, 1, 1]),
]


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("form", ["padded", "one after the other"])
def test_all_paths(home, rng, blank, form):
    x = rng.normal(size=(4, len(CASES), 3))
    rename = {0: {1: 1, 2: 2}, 2: {1: 0, 2: 1}}[blank]
    targets = [[rename[c] for c in target] for _, target in CASES]
    ends = [len(target) for target in targets]
    x[:, :, :] = x - np.log(np.exp(x).sum(axis=2, keepdims=True))
    expected = [all_paths(x[:n, b], targets[b], blank) for b, (n, _) in enumerate(CASES)]
    dirty = x.copy()
    for b, (n, _) in enumerate(CASES):
        dirty[n:, b] = np.nan
    if form == "padded":
        labels = np.array([target + [77] * (4 - len(target)) for target in targets])
    else:
        labels = np.array([c for target in targets for c in target])
    log_probs = leaf(home, dirty)
    lengths = [n for n, _ in CASES]
    losses = ctc_loss(log_probs, home.asarray(labels), lengths, home.asarray(np.array(ends)), blank, "none")
    np.testing.assert_allclose(host(losses), [value for value, _ in expected], rtol=1e-12)
    cotangent = rng.normal(size=len(CASES))
    losses.backward(home.asarray(cotangent))
    for b, (n, _) in enumerate(CASES):
        np.testing.assert_allclose(host(log_probs.grad)[:n, b], cotangent[b] * expected[b][1], rtol=1e-11, atol=1e-14)
        assert not host(log_probs.grad)[n:, b].any()
    log_probs.grad = None
    zeroed = ctc_loss(log_probs, home.asarray(labels), lengths, home.asarray(np.array(ends)), blank, "none", True)
    zeroed.backward(home.asarray(cotangent))
    for b, (value, _) in enumerate(expected):
        assert math.isfinite(host(zeroed)[b])
        assert host(zeroed)[b] == (0.0 if value == math.inf else pytest.approx(value))
        assert math.isfinite(host(log_probs.grad)[:, b].sum())


def test_by_hand():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    # "1": 1 1, blank 1, 1 blank
    loss = ctc_loss(np.log(p), np.array([1]), 2, 1, reduction="sum")
    assert loss.item() == pytest.approx(-math.log(0.3 * 0.6 + 0.5 * 0.6 + 0.3 * 0.1))
    both = np.log(np.stack([p, p], axis=1))
    targets, ends = np.array([[1, 2], [0, 0]]), [2, 0]
    each = [-math.log(0.3 * 0.3), -math.log(0.5 * 0.1)]
    assert ctc_loss(both, targets, [2, 2], ends, reduction="none").data.tolist() == pytest.approx(each)
    assert ctc_loss(both, targets, [2, 2], ends, reduction="sum").item() == pytest.approx(sum(each))
    mean = ctc_loss(both, targets, [2, 2], ends)
    assert mean.item() == pytest.approx((each[0] / 2 + each[1]) / 2)
    assert isinstance(mean, Mean)
    assert mean.weight == 2.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_sequences_neither_under_nor_overflow(home, rng, dtype):
    steps, x = 400, 9 * rng.normal(size=(400, 2, 5))
    logits, wide = leaf(home, x, dtype), leaf(home, x)
    targets, ends = home.asarray(rng.integers(1, 5, (2, 60))), [60, 17]
    found = [ctc_loss(ops.log_softmax(t), targets, [steps, steps - 3], ends, reduction="sum") for t in (logits, wide)]
    for loss in found:
        loss.backward()
    assert found[0].dtype == logits.dtype
    assert found[0].item() == pytest.approx(found[1].item(), rel=1e-6)
    np.testing.assert_allclose(host(logits.grad), host(wide.grad), atol=1e-4)
    # the softmax minus the expected number of labels: each frame's sum is 0, as is that of a log-softmax
    np.testing.assert_allclose(host(wide.grad).sum(axis=2), 0.0, atol=1e-9)


def test_classes_that_are_ruled_out():
    """Log-probabilities of -inf are numbers like others."""
    p = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.0, 0.8]])
    with np.errstate(divide="ignore"):
        x = Tensor(np.log(p)[:, None], requires_grad=True)
    loss = ctc_loss(x, np.array([[1, 2]]), [3], [2])
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(0.8) / 2)
    np.testing.assert_allclose(x.grad.data[:, 0], np.array([[0, -1, 0], [-0.5, -0.5, 0], [0, 0, -1]]) / 2, atol=1e-15)
    assert ctc_loss(x, np.array([[2, 1]]), [3], [2], reduction="sum").item() == math.inf


def test_nan_stays_nan():
    x = np.zeros((3, 2, 3))
    x[1, 0, 1] = np.nan
    losses = ctc_loss(x, np.array([[1], [1]]), [3, 3], [1, 1], reduction="none").data
    assert math.isnan(losses[0])
    assert math.isfinite(losses[1])


def test_finite_differences_of_first_and_second_order(rng):
    targets, lengths, ends = np.array([[1, 1, 2], [3, 0, 0], [2, 1, 0]]), [6, 4, 2], [3, 1, 2]
    x = Tensor(rng.normal(size=(6, 3, 4)), requires_grad=True)
    u, v = rng.normal(size=x.shape), rng.normal(size=x.shape)

    def loss(values):
        return ctc_loss(values, targets, lengths, ends)

    (first,) = grad(loss(x), x)
    (again,) = grad(loss(x), x, create_graph=True)
    np.testing.assert_allclose(again.data, first.data, rtol=1e-12, atol=1e-15)
    (second,) = grad(ops.sum(again * u), x)
    h = 1e-6
    ahead, behind = (Tensor(x.data + sign * h * v, requires_grad=True) for sign in (1, -1))
    assert (loss(ahead).item() - loss(behind).item()) / (2 * h) == pytest.approx((first.data * v).sum(), rel=1e-7)
    slope = (grad(loss(ahead), ahead)[0].data - grad(loss(behind), behind)[0].data) / (2 * h)
    assert (slope * u).sum() == pytest.approx((second.data * v).sum(), rel=1e-7)


def test_second_order_beside_an_impossible_target():
    x = Tensor(np.random.default_rng(0).normal(size=(2, 2, 3)), requires_grad=True)
    loss = ctc_loss(x, np.array([[1, 1], [1, 2]]), [2, 2], [2, 2], reduction="sum", zero_infinity=True)
    (first,) = grad(loss, x, create_graph=True)
    (second,) = grad(ops.sum(ops.square(first)), x)
    assert np.isfinite(second.data).all()
    assert not first.data[:, 0].any()


def test_nothing_at_all():
    for shape, targets, lengths, ends in [
        ((0, 2, 3), np.zeros((2, 0), dtype=int), [0, 0], [0, 0]),
        ((0, 2, 3), np.zeros(0, dtype=int), [0, 0], [0, 0]),
        ((3, 0, 3), np.zeros((0, 2), dtype=int), [], []),
        ((0, 0, 1), np.zeros((0, 0), dtype=int), [], []),
    ]:
        x = Tensor(np.zeros(shape), requires_grad=True)
        loss = ctc_loss(x, targets, lengths, ends)
        loss.backward()
        assert loss.item() == 0.0
        assert x.grad.shape == shape
    with no_grad():
        assert ctc_loss(np.zeros((2, 3)), np.zeros(0, dtype=int), 2, 0, reduction="none").item() == 0.0


def test_inputs_stay_as_they_are(rng):
    arrays = [
        rng.normal(size=(5, 2, 3)),
        np.array([[1, 2], [2, 9]], dtype=np.int32),
        np.array([5, 4]),
        np.array([2, 1]),
    ]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    ctc_loss(Tensor(arrays[0], requires_grad=True), *arrays[1:]).backward()
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("kind", ["uint8", "int32"])
def test_any_integers(kind):
    x, targets = np.log(np.full((2, 1, 2), 0.5)), np.array([[1]], dtype=kind)
    assert ctc_loss(x, targets, np.array([2], kind), np.array([1], kind)).item() == pytest.approx(-math.log(0.75))


def test_training_on_a_device_waits_once(rng):
    found = []
    for home in (get_backend("numpy"), DEVICE):
        model = nn.Linear(3, 4, dtype="float64", rng=0)
        model.to(home)
        draws = np.random.default_rng(0)
        arrays = [
            (draws.normal(size=(6, n, 3)), draws.integers(1, 4, (n, 2)), np.full(n, 6), np.full(n, 2)) for n in (2, 4)
        ]
        batches = [tuple(home.asarray(array) for array in batch) for batch in arrays]
        loss = lambda m, b: ctc_loss(ops.log_softmax(m(b[0])), *b[1:])
        with counted(home) as log:
            history = fit(model, batches, loss, SGD(model.parameters(), 0.1), epochs=2, progress=False)
        found.append((history["loss"], evaluate(model, batches, loss)))
    assert log == ["to_device"] * 2
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-11)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-11)


def test_errors():
    x, t = np.zeros((3, 2, 4)), np.array([[1, 2], [3, 1]])
    for call, error, message in [
        (lambda: ctc_loss(x.astype(int), t, [3, 3], [2, 2]), TypeError, "log_probs has dtype int64; expected float32"),
        (lambda: ctc_loss(x[0, 0], t, [3, 3], [2, 2]), ValueError, r"log_probs has shape \(4,\); expected \(T, B, C\)"),
        (lambda: ctc_loss(x, t * 1.0, [3, 3], [2, 2]), TypeError, "targets has dtype float64; expected integers"),
        (
            lambda: ctc_loss(x, t[:1], [3, 3], [2, 2]),
            ValueError,
            r"targets has shape \(1, 2\); expected \(2, S\) or the",
        ),
        (lambda: ctc_loss(x, t, [3], [2, 2]), ValueError, r"input_lengths has shape \(1,\); expected \(B,\) = \(2,\)"),
        (lambda: ctc_loss(x, t, [3, 3], [2, 2, 2]), ValueError, r"target_lengths has shape \(3,\)"),
        (lambda: ctc_loss(x, t, [3.0, 3.0], [2, 2]), TypeError, "input_lengths has dtype float64; expected integers"),
        (lambda: ctc_loss(x, t, [4, 3], [2, 2]), ValueError, "input_lengths contains 4; expected values from 0 to 3"),
        (
            lambda: ctc_loss(x, t, [3, 3], [-1, 2]),
            ValueError,
            "target_lengths contains -1; expected values from 0 to 2",
        ),
        (
            lambda: ctc_loss(x, t + 1, [3, 3], [2, 2]),
            ValueError,
            "targets contains 4; expected class numbers from 0 to 3",
        ),
        (
            lambda: ctc_loss(x, t - 1, [3, 3], [2, 2]),
            ValueError,
            "targets contains the blank, 0; expected other classes",
        ),
        (
            lambda: ctc_loss(x, t, [3, 3], [2, 2], blank=4),
            ValueError,
            "blank is 4; expected a class number from 0 to 3",
        ),
        (
            lambda: ctc_loss(x, t, [3, 3], [2, 2], blank=-1),
            ValueError,
            "blank is -1; expected an integer of at least 0",
        ),
        (lambda: ctc_loss(x, t, [3, 3], [2, 2], reduction="max"), ValueError, "reduction is 'max'; expected 'mean'"),
        (
            lambda: ctc_loss(x, t[0], [3, 3], [2, 1]),
            ValueError,
            "targets has 2 labels; expected 3, the sum of target_len",
        ),
        (lambda: ctc_loss(x, t[0], [3, 3], [-1, 3]), ValueError, "target_lengths contains -1; expected at least 0"),
    ]:
        with pytest.raises(error, match=f"ctc_loss: {message}"):
            call()


@pytest.mark.parametrize("which", ["log_probs", "target_lengths"])
def test_what_the_way_back_reads_again_must_not_be_written_to(rng, which):
    x, lengths = Tensor(rng.normal(size=(4, 2, 3)), requires_grad=True), np.array([2, 1])
    loss = ctc_loss(x, np.array([[1, 2], [2, 1]]), [4, 4], lengths)
    written = x.data if which == "log_probs" else lengths
    written[...] = 1
    with pytest.raises(RuntimeError, match=f"{which} of ctc_loss .* was written to after the forward pass"):
        loss.backward()
    assert x.grad is None
