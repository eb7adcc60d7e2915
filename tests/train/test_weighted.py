"""The mean over batches is the mean over all that is in them, whatever a mask, classes or lengths leave of each."""

import copy
import math
import pickle

import array_api_strict
import numpy as np
import pytest
from helpers import host
from host_copies import counted

from xprnn import Parameter, Tensor, nn, no_grad, ops
from xprnn.backend import get_backend
from xprnn.data import Buckets, lengths_to_mask
from xprnn.train import (
    SGD,
    EarlyStopping,
    bce_with_logits,
    cross_entropy,
    evaluate,
    fit,
    huber,
    mae,
    mse,
    truncated_bptt,
)
from xprnn.train.weighted import Mean

DEVICE = get_backend("array_api_strict", array_api_strict.Device("device1"))
ELEMENTWISE = {"mse": mse, "mae": mae, "huber": huber, "bce": bce_with_logits}
quiet = {"progress": False}


def parts_of(home, rng, classes=False):
    """Batches (T, B, 3) of other sizes, with masks that leave other numbers of elements; one leaves none."""
    for k, (steps, rows) in enumerate(((2, 2), (5, 3), (1, 1), (4, 2))):
        mask = rng.random((steps, rows)) < (0.2, 0.9, 0.0, 0.5)[k]
        x = rng.normal(size=(steps, rows, 3))
        target = rng.integers(0, 3, (steps, rows)) if classes else rng.random((steps, rows, 3))
        yield tuple(home.asarray(array) for array in (x, target, mask))


@pytest.mark.parametrize("name", [*ELEMENTWISE, "cross_entropy", "cross_entropy weighted", "mse weighted"])
def test_evaluate_is_the_mean_over_all_elements(home, rng, name):
    kind, _, weighted = name.partition(" ")
    loss = {**ELEMENTWISE, "cross_entropy": cross_entropy}[kind]
    parts = list(parts_of(home, rng, kind == "cross_entropy"))
    options = {"weight": home.asarray(np.array([1.0, 5.0, 0.5]))} if weighted else {}
    rows = [host(part) for part in parts]
    x, target, mask = (np.concatenate([row[k].reshape(-1, *row[k].shape[2:]) for row in rows]) for k in range(3))
    whole = {"weight": np.array([1.0, 5.0, 0.5])} if weighted else {}
    expected = loss(x[mask], target[mask], **whole).item()
    found = evaluate(nn.Module(), parts, lambda model, b: loss(b[0], b[1], mask=b[2], **options))
    assert found == pytest.approx(expected, rel=1e-12)
    scaled = evaluate(nn.Module(), parts, lambda model, b: 1.0 - 2.0 * loss(b[0], b[1], mask=b[2], **options) / 4)
    assert scaled == pytest.approx(1 - expected / 2, rel=1e-12)


def test_batches_of_masked_tokens():
    draws = np.random.default_rng(0)
    sequences = [draws.integers(1, 5, n) for n in (1, 1, 1, 1, 40, 40, 40, 40)]
    model = nn.Sequential(nn.Embedding(5, 4, rng=0), nn.Linear(4, 5, rng=1))

    def loss(model, batch):
        x, lengths = batch
        return cross_entropy(model(x), x, mask=lengths_to_mask(lengths, x.shape[0]))

    flat = np.concatenate(sequences)
    expected = cross_entropy(model(flat), flat).item()
    batches = Buckets(sequences, batch_size=4)
    assert evaluate(model, batches, loss) == pytest.approx(expected, rel=1e-6)
    history = fit(model, batches, loss, SGD(model.parameters(), 0.0), epochs=1, validation=batches, **quiet)
    assert [history["loss"], history["validation_loss"]] == [pytest.approx([expected], rel=1e-6)] * 2


def test_ignored_classes_do_not_weigh():
    x, target = np.log([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]), np.array([0, -100, 1])
    loss = lambda model, rows: cross_entropy(x[rows], target[rows])
    expected = -(math.log(0.5) + math.log(0.1)) / 2
    assert evaluate(nn.Module(), [slice(0, 2), slice(2, 3)], loss) == pytest.approx(expected)


class Line(nn.Module):
    def __init__(self, w=0.0):
        self.w = Parameter(np.array([w]))


def test_a_loss_may_return_its_weight():
    values, weights = [1.0, 5.0, 100.0], [3, np.float32(1.0), np.zeros(1)]
    for given in (weights, [Tensor(np.asarray(weight)) for weight in weights]):
        pairs = list(zip(values, given, strict=True))
        loss = lambda model, pair: (Tensor(pair[0]) * model.w + 1.0 * pair[0], pair[1])
        assert evaluate(Line(), pairs, loss) == 2.0
        model = Line()
        history = fit(model, pairs, loss, SGD(model.parameters(), 0.0), epochs=1, **quiet)
        assert history["loss"] == [2.0]
        assert history["gradient_norm"] == [pytest.approx(106 / 3)]
    masked = np.array([True, False, False])
    loss = lambda model, batch: (mse(batch, batch + 1.0, masked), 7.0)  # the one given has the last word
    assert evaluate(nn.Module(), [np.ones(3)], loss) == 1.0


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        ((Tensor(1.0), -1), ValueError, "loss.* returned -1.0 as a weight; expected a finite number of at least 0"),
        ((Tensor(1.0), math.nan), ValueError, "returned nan as a weight"),
        ((Tensor(1.0), math.inf), ValueError, "returned inf as a weight"),
        ((Tensor(1.0), np.ones(2)), TypeError, r"returned an array of shape \(2,\) as the weight of its result"),
        ((Tensor(1.0), "1"), TypeError, "returned a str as the weight"),
        (
            (Tensor([1.0, 2.0]), 1),
            TypeError,
            r"returned a Tensor of shape \(2,\); expected a scalar Tensor, or one and",
        ),
        (("1", 1), TypeError, "returned a str; expected a scalar Tensor"),
        ((Tensor(1.0), 1, 1), TypeError, "returned a tuple; expected a scalar Tensor"),
    ],
)
def test_wrong_weights(result, error, message):
    with pytest.raises(error, match=message):
        evaluate(nn.Module(), [0], lambda model, batch: result)


def test_a_wrong_weight_on_a_device_is_said_late_but_said():
    weights = [DEVICE.asarray(np.array(w)) for w in (1.0, -1.0, 1.0)]
    with pytest.raises(ValueError, match="returned -1.0 as a weight"):
        evaluate(nn.Module(), weights, lambda model, w: (Tensor(w), w))


def test_nothing_that_weighs_has_no_mean():
    loss = lambda model, mask: mse(np.ones(2), np.zeros(2), mask)
    nothing, something = np.zeros(2, dtype=bool), np.ones(2, dtype=bool)
    assert math.isnan(evaluate(nn.Module(), [nothing], loss))
    assert evaluate(nn.Module(), [nothing, something, nothing], loss) == 1.0


def test_early_stopping_follows_the_elements():
    """Few elements get worse while many get better."""
    masks = [np.arange(10) < 1, np.arange(10) < 10]
    errors = iter([1.0, 3.0, 5.0, 2.5])  # of the batches of one element and of ten, in each epoch

    def loss(model, mask):
        return mse(model.w, np.ones(1)) if model.training else mse(np.full(10, next(errors)), np.zeros(10), mask)

    model, stopping = Line(), EarlyStopping(1)
    fit(model, [0], loss, SGD(model.parameters()), epochs=2, validation=masks, callbacks=[stopping], **quiet)
    assert stopping.best_epoch == 2
    assert stopping.best == pytest.approx((25 + 10 * 6.25) / 11)


def test_arithmetic_keeps_the_weight():
    x, mask = Tensor([1.0, 2.0, 9.0], requires_grad=True), np.array([True, True, False])
    mean, other = mse(x, np.zeros(3), mask), mse(x, np.zeros(3))
    assert (mean.weight, other.weight) == (2.0, 3.0)
    for same in (2 * mean, mean * 2, mean / 2, -mean, mean + 1, 1 + mean, mean - 1, 1 - mean, mean * Tensor(2.0)):
        assert isinstance(same, Mean)
        assert same.weight == 2.0
    for same in (mean + ops.sum(x), ops.sum(x) + mean, ops.sum(x) - mean, mean + mean, sum([mean, mean])):
        assert same.weight == 2.0
    for same in (mean.mean(), mean.sum(), mean.reshape((1,)), mean.reshape((1, 1)).mean(axis=0)):
        assert same.weight == 2.0
    for same in (mean.detach(), mean.astype("float64"), mean.unsqueeze(0), mean.reshape(1).squeeze(), mean.flatten()):
        assert same.weight == 2.0
    assert (mean + other).weight == 2.5
    for another in (mean * other, mean / other, mean * np.ones(2), mean + np.ones(2), mean**2, 1 / mean, ops.exp(mean)):
        assert type(another) is Tensor
    total = 3.0 * mean - other / 2 + ops.sum(x)
    total.backward()
    np.testing.assert_allclose(x.grad.data, 3 * x.data * mask - x.data / 3 + 1)
    assert not mean.detach().requires_grad


def test_gradients_of_gradients_go_through_a_mean():
    from xprnn import grad

    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    (first,) = grad(mse(ops.exp(x), np.zeros(3)), x, create_graph=True)
    (second,) = grad(ops.sum(first), x)
    np.testing.assert_allclose(second.data, 4 / 3 * np.exp(2 * x.data), rtol=1e-12)


def test_a_mean_is_copied_with_its_weight():
    with no_grad():
        mean = mse(np.ones(4), np.zeros(4))
    for twin in (copy.deepcopy(mean), pickle.loads(pickle.dumps(mean))):
        assert (twin.item(), twin.weight) == (1.0, 4.0)


def test_on_a_device_weights_come_with_the_losses(rng):
    found, copies = [], 0
    for home in (get_backend("numpy"), DEVICE):
        parts = list(parts_of(home, np.random.default_rng(1), classes=True))
        model = nn.Linear(3, 3, dtype="float64", rng=0)
        model.to(home)
        loss = lambda model, b: cross_entropy(model(b[0]), b[1], mask=b[2]) * 0.5
        optimizer = SGD(model.parameters(), 0.1)
        with counted(home) as log:
            history = fit(model, parts, loss, optimizer, epochs=2, validation=parts, **quiet)
        copies = len(log)
        found.append(history["loss"] + history["validation_loss"])
    assert copies == 2 * 2
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


def test_chunks_of_truncated_backpropagation_weigh_what_their_mask_selects(rng):
    layer, x = nn.RNN(2, 3, dtype="float64", rng=0), rng.normal(size=(7, 2, 2))
    target, lengths = rng.normal(size=(7, 2, 3)), np.array([7, 2])
    mask = lengths_to_mask(lengths, 7)

    def loss(model, chunk):
        part = slice(chunk.start, chunk.stop)
        return mse(chunk.output, target[part], mask[part])

    class Walk:
        def __iter__(self):
            return truncated_bptt(layer, x, k1=3, lengths=lengths)

    expected = mse(layer(x, lengths=lengths)[0], target, mask).item()
    assert evaluate(layer, Walk(), loss) == pytest.approx(expected, rel=1e-12)
    history = fit(layer, Walk(), loss, SGD(layer.parameters(), 0.0), epochs=1, **quiet)
    assert history["loss"] == [pytest.approx(expected, rel=1e-12)]


@pytest.mark.parametrize(
    "last", [lambda loss: loss.detach(), lambda loss: loss.astype("float32"), lambda loss: loss[None]]
)
def test_what_has_the_value_of_a_mean_has_its_weight_in_an_evaluation(last):
    masks = [np.arange(10) < 1, np.arange(10) < 10]
    errors = [np.full(10, 1.0), np.full(10, 3.0)]
    found = evaluate(
        Line(), [*zip(errors, masks, strict=True)], lambda model, batch: last(mse(batch[0], 0 * batch[0], batch[1]))
    )
    assert found == pytest.approx((1 + 10 * 9) / 11)
