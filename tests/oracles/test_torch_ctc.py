"""Connectionist temporal classification against PyTorch's, whose gradient is that behind a log-softmax."""

import numpy as np
import pytest

from xprnn import Tensor, ops
from xprnn.train import ctc_loss

torch = pytest.importorskip("torch")


def both(x, targets, lengths, ends, dtype="float64", **options):
    x = np.asarray(x, dtype)
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    found = ctc_loss(ops.log_softmax(ours), targets, lengths, ends, **options)
    log_probs = torch.log_softmax(theirs, -1)
    expected = torch.nn.functional.ctc_loss(
        log_probs, torch.tensor(targets), torch.tensor(lengths), torch.tensor(ends), **options
    )
    ops.sum(found).backward()
    expected.sum().backward()
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if dtype == "float64" else {"rtol": 2e-4, "atol": 2e-5}
    np.testing.assert_allclose(found.data, expected.detach().numpy(), **tolerance)
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), **tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("joined", [False, True])
def test_lengths_repeats_and_targets_that_do_not_fit(rng, joined, reduction, zero_infinity, dtype):
    targets = rng.integers(1, 4, (8, 4))
    targets[1], targets[6, :2] = 2, 1
    lengths, ends = np.array([7, 7, 4, 0, 2, 7, 6, 0]), np.array([2, 3, 0, 1, 4, 4, 2, 0])
    given = np.concatenate([row[:n] for row, n in zip(targets, ends, strict=True)]) if joined else targets
    options = {"reduction": reduction, "zero_infinity": zero_infinity}
    both(3 * rng.normal(size=(7, 8, 4)), given, lengths, ends, dtype, **options)


@pytest.mark.parametrize("seed", range(6))
def test_drawn_shapes(seed):
    rng = np.random.default_rng(seed)
    steps, rows, classes, most = (int(n) for n in rng.integers((1, 1, 2, 1), (40, 9, 7, 12)))
    blank = int(rng.integers(0, classes))
    targets = rng.integers(0, classes - 1, (rows, most))
    targets = targets + (targets >= blank)
    lengths, ends = rng.integers(0, steps + 1, rows), rng.integers(0, most + 1, rows)
    both(5 * rng.normal(size=(steps, rows, classes)), targets, lengths, ends, blank=blank, zero_infinity=True)


def test_one_sequence(rng):
    both(rng.normal(size=(5, 4)), np.array([1, 1, 3]), 5, 3, reduction="mean")
    both(rng.normal(size=(5, 4)), np.array([1, 1, 3]), 5, 3, reduction="none")


def test_long(rng):
    both(10 * rng.normal(size=(600, 2, 30)), rng.integers(1, 30, (2, 150)), np.array([600, 580]), np.array([150, 149]))
