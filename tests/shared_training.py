"""A model, its data and a way to train it, alone or among ranks."""

import numpy as np
import pytest
from helpers import host

from xprnn import nn
from xprnn.backend import get_backend
from xprnn.data import Batches, Buckets
from xprnn.train import Adam, EarlyStopping, ReduceOnPlateau, fit, mse

HOST = get_backend("numpy")
N, T = 13, 6  # parts of 4 rows, and a last batch of one


class Model(nn.Module):
    """An LSTM whose last state is read out, of sequences with lengths."""

    def __init__(self, dtype, dropout=0.0):
        self.recurrent, self.dropout = nn.LSTM(2, 5, dtype=dtype, rng=0), nn.Dropout(dropout, rng=1)
        self.out, self.unused = nn.Linear(5, 2, dtype=dtype, rng=2), nn.Linear(2, 2, dtype=dtype, rng=3)

    def forward(self, x, lengths=None):
        return self.out(self.dropout(self.recurrent(x, lengths=lengths)[0]))


def arrays(home, dtype):
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(T, N, 2)), draws.normal(size=(T, N, 2))
    mask = draws.random((T, N)) < 0.5
    mask[:, ::3] = False  # parts weigh differently, and some nothing
    return home.asarray(x.astype(dtype)), home.asarray(y.astype(dtype)), home.asarray(mask)


def masked(model, batch):
    x, y, mask = batch
    return mse(model(x), y, mask)


def by_length(model, batch):
    x, lengths, y = batch
    return mse(model(x, lengths)[-1], y)


def batches(home, dtype):
    return Batches(*arrays(home, dtype), batch_size=4, axis=1, shuffle=True, rng=5)


def buckets(home, dtype):
    draws = np.random.default_rng(1)
    sequences = [home.asarray(draws.normal(size=(n, 2)).astype(dtype)) for n in draws.integers(1, T, N)]
    return Buckets(sequences, home.asarray(draws.normal(size=(N, 2)).astype(dtype)), batch_size=4, shuffle=True, rng=5)


def trained(communicator=None, *, home=HOST, dtype="float64", source=batches, loss=masked, dropout=0.0, **options):
    """The model, optimizer and history after some epochs."""
    model = Model(dtype, dropout)
    model.to(home)
    optimizer = Adam(model.parameters(), lr=0.02)
    options = {
        "epochs": 3,
        "validation": source(home, dtype),
        "clip_norm": 0.2,
        "schedule": ReduceOnPlateau(optimizer, patience=1),
        "callbacks": [EarlyStopping(2)],
        "metrics": {"error": loss, "output": lambda m, b: m(b[0]).mean()},
        "progress": False,
        **options,
    }
    history = fit(model, source(home, dtype), loss, optimizer, communicator=communicator, **options)
    return model, optimizer, history


def bits(model):
    from xprnn.backend import to_numpy

    return b"".join(to_numpy(parameter.data).tobytes() for parameter in model.parameters())


def compare(found, expected, rtol):
    for name, parameter in expected[0].named_parameters():
        np.testing.assert_allclose(
            host(dict(found[0].named_parameters())[name]), host(parameter), rtol=rtol, atol=rtol, err_msg=name
        )
    assert found[1].counts == expected[1].counts
    for a, b in zip(found[2].epochs, expected[2].epochs, strict=True):
        assert {**a, "seconds": 0} == pytest.approx({**b, "seconds": 0}, rel=10 * rtol)
