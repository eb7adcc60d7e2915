"""Gradients go to the other ranks while the walk back goes on, and nothing else changes by it."""

import array_api_strict
import numpy as np
import pytest
from shared_training import HOST, Model, batches, bits, compare, masked, trained

from xprnn import nn, ops
from xprnn.backend import get_backend
from xprnn.data import Batches
from xprnn.distributed import in_threads
from xprnn.train import SGD, Adam, fit, mse

DEVICE = get_backend("array_api_strict", array_api_strict.Device("device1"))


@pytest.fixture
def small(monkeypatch):
    """Buckets of few numbers, so that a small model has several."""
    monkeypatch.setattr("xprnn.train.sums.BUCKET", 30)


class Seen:
    """A communicator that notes what is there when a sum begins."""

    def __init__(self, ranks, look):
        self.rank, self.size, self.wire = ranks.rank, ranks.size, ranks.wire
        self.look, self.seen, self.ranks = look, [], ranks
        self.sum, self.broadcast, self.gather, self.abort = ranks.sum, ranks.broadcast, ranks.gather, ranks.abort

    def begin_sum(self, array):
        self.seen.append((array.size, self.look()))
        return self.ranks.begin_sum(array)


def test_sums_begin_before_the_walk_back_is_over(small):
    def run(ranks):
        model = nn.Sequential(*[nn.Linear(5, 5, dtype="float64", rng=k) for k in range(3)])
        first = model[0].weight
        seen = Seen(ranks, lambda: first.grad is None)
        x = np.random.default_rng(0).normal(size=(4, 5))
        source = Batches(x, x, batch_size=4)
        loss = lambda m, b: mse(m(b[0]), b[1])
        fit(model, source, loss, SGD(model.parameters(), 0.1), epochs=2, communicator=seen, progress=False)
        return seen.seen

    for seen in in_threads(run, 2):
        assert seen == [(30, False)] * 3 + [(30, True), (30, True), (30, False)]  # of the first step nothing is known


@pytest.mark.parametrize(
    ("home", "options"), [(HOST, {"accumulate": 2}), (DEVICE, {"epochs": 2})], ids=["host", "device"]
)
def test_many_buckets_are_one(small, home, options):
    expected = trained(home=home, **options)
    found = in_threads(lambda ranks: trained(ranks, home=home, **options), 3)
    assert len({bits(each[0]) for each in found}) == 1
    compare(found[0], expected, 1e-13)


class Heads(nn.Module):
    """Rows whose first number is positive go one way, the others another."""

    def __init__(self):
        self.common = nn.Linear(3, 4, dtype="float64", rng=0)
        self.one, self.other = (nn.Linear(4, 4, dtype="float64", rng=k) for k in (1, 2))

    def forward(self, x):
        parts = [(self.one, x[x[:, 0] > 0]), (self.other, x[x[:, 0] <= 0])]
        return ops.concat([head(self.common(rows)) for head, rows in parts if len(rows)], axis=0)


def test_ranks_may_walk_through_other_parameters(small):
    draws = np.random.default_rng(0)
    x = draws.normal(size=(12, 3))
    x[:, 0] = [1, 1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1]  # a batch of both, of the one, of the other

    def run(ranks=None):
        model = Heads()
        source = Batches(x, batch_size=4)
        loss = lambda m, b: (m(b[0]) * m(b[0])).mean()
        optimizer = Adam(model.parameters(), 0.01)
        fit(model, source, loss, optimizer, epochs=2, communicator=ranks, progress=False)
        return model, optimizer.counts

    expected, counts = run()
    assert counts == [6, 6, 4, 4, 4, 4]
    found = in_threads(run, 2)
    for model, steps in found:
        assert steps == counts
        for a, b in zip(model.parameters(), expected.parameters(), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
    assert bits(found[0][0]) == bits(found[1][0])


def test_what_was_begun_is_ended_where_one_fails(small):
    def run(ranks):
        model, count = Model("float64"), []

        def loss(model, batch):
            count.append(None)
            if ranks.rank == 1 and len(count) == 3:
                raise ZeroDivisionError("by zero")
            return masked(model, batch)

        before = []
        for _ in range(2):  # the same communicator may be used again
            try:
                fit(
                    model,
                    batches(HOST, "float64"),
                    loss,
                    Adam(model.parameters()),
                    epochs=1,
                    communicator=ranks,
                    progress=False,
                )
            except (ZeroDivisionError, RuntimeError) as error:
                before.append(str(error))
        return before, bits(model)

    (other, one), (own, two) = in_threads(run, 2)
    assert (own, other) == (["by zero"], ["fit: rank 1 raised ZeroDivisionError: by zero"])
    assert one == two
