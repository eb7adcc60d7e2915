"""Runs of fit on a device and on the host, to be compared."""

import math

import array_api_strict
import numpy as np
import pytest
from helpers import host

from xprnn import nn, ops
from xprnn.backend import get_backend
from xprnn.train import (
    SGD,
    Adam,
    AdamW,
    Callback,
    RMSprop,
    cross_entropy,
    fit,
)

DEVICE, OTHER = (get_backend("array_api_strict", array_api_strict.Device(name)) for name in ("device1", "device2"))


HOST = get_backend("numpy")


OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: Adam(p, lr=0.05, weight_decay=0.1),
    "adamw": lambda p: AdamW(p, lr=0.05),
    "rmsprop": lambda p: RMSprop(p, lr=0.05, momentum=0.9, weight_decay=0.1),
}


class Model(nn.Module):
    def __init__(self):
        self.table, self.out = nn.Embedding(7, 3, dtype="float64", rng=0), nn.Linear(4, 5, dtype="float64", rng=0)
        self.lstm = nn.LSTM(3, 4, dtype="float64", rng=0)


def loss(model, batch):
    tokens, lengths, classes, scale, slope = batch
    output, _ = model.lstm(model.table(tokens), lengths=lengths)
    steep = ops.sqrt(ops.sum(ops.square(model.out.bias * slope)))  # 0 has no slope
    return ops.mean(cross_entropy(model.out(output[0]), classes) * scale) + 0.0 * steep


def batch_of(home, k, bad=()):
    draws = np.random.default_rng(k)
    tokens, classes, lengths = draws.integers(0, 7, (3, 4)), draws.integers(0, 5, 4), draws.integers(1, 4, 4)
    scale, slope = np.ones(1), np.ones(1)
    if "token" in bad:
        tokens[1, 2] = 7
    if "length" in bad:
        lengths[0] = -1
    if "class" in bad:
        classes[3] = 5
    if "loss" in bad:
        scale[0] = math.nan
    if "gradient" in bad:
        slope[0] = 0.0
    return tuple(home.asarray(array) for array in (tokens, lengths, classes, scale, slope))


class Epochs:
    """Batches that are bad in certain epochs: {(epoch, batch): what is bad}, counted from 1."""

    def __init__(self, home, count, bad=None):
        self.home, self.count, self.bad, self.epoch, self.drawn = home, count, bad or {}, 0, 0

    def __len__(self):
        return self.count

    def __iter__(self):
        self.epoch += 1
        for k in range(1, self.count + 1):
            self.drawn += 1
            yield batch_of(self.home, 100 * self.epoch + k, self.bad.get((self.epoch, k), ()))


def start(home, optimizer="adam"):
    model = Model()
    model.to(home)
    return model, OPTIMIZERS[optimizer](model.parameters())


def run(home, batches, optimizer="adam", epochs=3, **options):
    """The model, the optimizer, and the history or the error."""
    model, optimizer = start(home, optimizer)
    try:
        with np.errstate(all="ignore"):
            return model, optimizer, fit(model, batches, loss, optimizer, epochs=epochs, progress=False, **options)
    except Exception as error:
        return model, optimizer, error


def assert_same(found, expected, rtol=0.0):
    """Parameters and the optimizer's state, to the last bit or to a tolerance."""
    for a, b in zip(found[0].parameters(), expected[0].parameters(), strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=rtol, atol=rtol)
    a, b = (side[1].state_dict() for side in (found, expected))
    assert a["settings"] == b["settings"]
    assert a["parameters"].keys() == b["parameters"].keys()
    for name, slots in a["parameters"].items():
        assert slots["step"] == b["parameters"][name]["step"]
        for key in slots.keys() - {"step"}:
            np.testing.assert_allclose(
                host(slots[key]), host(b["parameters"][name][key]), rtol=rtol, atol=rtol, err_msg=key
            )


CLIPS = {"": {}, "by norm": {"clip_norm": 0.5}, "by value": {"clip_value": 0.05}}


clips = pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS.keys())


kinds = pytest.mark.parametrize("kind", ["token", "length", "class", "loss", "gradient"])


class Watch(Callback):
    def __init__(self):
        self.seen = []

    def on_batch_end(self, run):
        self.seen.append((run.epoch, run.batch, run.loss, run.gradient_norm, run.clipped_norm))
