"""Reductions, weights and smoothed labels against PyTorch's numbers."""

import numpy as np
import pytest

from xprnn import Tensor, ops
from xprnn.train import bce_with_logits, cross_entropy, huber, mae, mse

torch = pytest.importorskip("torch")
F = torch.nn.functional
reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
PAIRS = {
    "mse": (mse, F.mse_loss),
    "mae": (mae, F.l1_loss),
    "huber": (huber, F.huber_loss),
    "bce": (bce_with_logits, F.binary_cross_entropy_with_logits),
}


def assert_like(ours, theirs, x, y, seed=0):
    """Values, and gradients of a random combination of them."""
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-14)
    draw = np.random.default_rng(seed).normal(size=ours.shape)
    ops.sum(ours * draw).backward()
    (theirs * torch.tensor(draw)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy().reshape(x.shape), rtol=1e-11, atol=1e-14)


def takes_weight(theirs):
    import inspect

    return "weight" in inspect.signature(theirs).parameters


@reductions
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_elementwise(rng, name, weighted, reduction):
    ours, theirs = PAIRS[name]
    if weighted and not takes_weight(theirs):
        pytest.skip("this PyTorch has no weight there")
    values, target, weight = rng.normal(size=(5, 3, 4)) * 3, rng.random((5, 3, 4)), rng.random((5, 3, 4)) + 0.5
    x, y = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    mine, other = ({"weight": weight}, {"weight": torch.tensor(weight)}) if weighted else ({}, {})
    assert_like(
        ours(x, target, reduction=reduction, **mine),
        theirs(y, torch.tensor(target), reduction=reduction, **other),
        x,
        y,
    )


@reductions
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("ignore", [-100, 2])
def test_cross_entropy(rng, smoothing, weighted, ignore, reduction):
    values, labels, weight = rng.normal(size=(5, 3, 4)) * 3, rng.integers(0, 4, (5, 3)), rng.random(4) + 0.5
    labels[0, :2] = ignore
    x, y = Tensor(values, requires_grad=True), torch.tensor(values.reshape(-1, 4), requires_grad=True)
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore}
    ours = cross_entropy(x, labels, **options, weight=weight if weighted else None)
    theirs = F.cross_entropy(
        y, torch.tensor(labels.reshape(-1)), **options, weight=torch.tensor(weight) if weighted else None
    )
    assert_like(ours, theirs.reshape(ours.shape), x, y)
