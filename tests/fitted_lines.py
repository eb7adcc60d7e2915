"""A line to fit, and a small network with data."""

import numpy as np

from xprnn import nn
from xprnn.train import (
    mse,
)


class Model(nn.Module):
    def __init__(self, rng=0):
        rng = np.random.default_rng(rng)
        self.lstm = nn.LSTM(2, 4, num_layers=2, dropout=0.3, dtype="float64", rng=rng)
        self.out = nn.Linear(4, 1, dtype="float64", rng=rng)

    def forward(self, x):
        return self.out(self.lstm(x)[0][-1])


def regression(model, batch):
    x, y = batch
    return mse(model(x), y)


def data(seed=0, count=20):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(5, count, 2))
    return x, x.sum(axis=(0, 2)).reshape(1, -1, 1) / 5


class Line(nn.Module):
    """y = w x, whose training can be followed by hand."""

    def __init__(self, w=0.0):
        from xprnn import Parameter

        self.w = Parameter(np.array([w]))


def line_loss(model, batch):
    return mse(model.w * batch[0], batch[1])


def points(*pairs):
    return [tuple(np.array([number]) for number in pair) for pair in pairs]


quiet = {"progress": False}
