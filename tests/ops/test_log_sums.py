"""Logarithms of sums of powers: numbers far from 0 cost no digits, and what is not finite comes out as in PyTorch."""

import numpy as np
import pytest

from xprnn import Tensor, grad, ops
from xprnn.nn import masked_softmax
from xprnn.train import cross_entropy, ctc_loss

OFFSET = 10000.0
ROWS = np.random.default_rng(0).integers(-4096, 4096, (6, 5)) * 2.0**-10  # float32 holds them beside the offset
LABELS = np.array([0, 1, 2, 3, 4, 0])
SHIFTED = {  # what an offset common to all classes does not change
    "softmax": ops.softmax,
    "log_softmax": ops.log_softmax,
    "masked_softmax": masked_softmax,
    "cross_entropy": lambda x: cross_entropy(x, LABELS, reduction="none"),
    "cross_entropy smoothed": lambda x: cross_entropy(x, LABELS, label_smoothing=0.3),
    "logsumexp": lambda x: ops.logsumexp(x, -1),
    "logaddexp": lambda x: ops.logaddexp(x[:, 0], x[:, 1]),
    "ctc_loss": lambda x: ctc_loss(ops.reshape(x, (6, 1, 5)), np.array([[1, 2, 2]]), [6], [3]),
}


@pytest.mark.parametrize("offset", [OFFSET, -OFFSET])
@pytest.mark.parametrize("name", SHIFTED)
def test_an_offset_costs_no_digits(name, offset):
    """Against float64 without it, forward and the gradients of both orders."""
    found = []
    for dtype, by in ((np.float32, offset), (np.float64, 0.0)):
        x = Tensor((ROWS + by).astype(dtype), requires_grad=True)
        y = SHIFTED[name](x)
        cotangent = np.linspace(-1.0, 2.0, y.size).reshape(y.shape).astype(dtype)
        (first,) = grad([y], [x], [cotangent], retain_graph=True)
        (recorded,) = grad([y], [x], [cotangent], create_graph=True)
        (second,) = grad(ops.sum(recorded * Tensor(ROWS.astype(dtype))), [x])
        found.append([y.data, first.data, recorded.data, second.data])
    if name in ("logsumexp", "logaddexp", "ctc_loss"):  # which the offset is part of
        times = 6 / 3 * -1 if name == "ctc_loss" else 1
        np.testing.assert_allclose(found[0].pop(0), found[1].pop(0) + times * offset, rtol=1e-7)
    for ours, exact in zip(*found, strict=True):
        np.testing.assert_allclose(ours, exact, rtol=2e-6, atol=3e-7)


EDGES = [
    *([-np.inf, -np.inf], [np.inf, 0.0], [np.inf, np.inf], [np.inf, -np.inf], [-np.inf, 1.0]),
    *([np.nan, 0.0], [np.nan, np.inf], [-np.inf, np.nan], [200.0, -200.0], [3e38, -3e38]),
]


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow):RuntimeWarning")
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "logaddexp", "cross_entropy"])
def test_what_is_not_finite_is_as_in_torch(name):
    torch = pytest.importorskip("torch")
    theirs = {
        "softmax": lambda t: torch.softmax(t, -1)[..., 0],
        "log_softmax": lambda t: torch.log_softmax(t, -1)[..., 0],
        "logsumexp": lambda t: torch.logsumexp(t, -1),
        "logaddexp": lambda t: torch.logaddexp(t[..., 0], t[..., 1]),
        "cross_entropy": lambda t: torch.nn.functional.cross_entropy(t, torch.ones(10, dtype=int), reduction="none"),
    }[name]
    ours = {
        "softmax": lambda x: ops.softmax(x)[..., 0],
        "log_softmax": lambda x: ops.log_softmax(x)[..., 0],
        "cross_entropy": lambda x: cross_entropy(x, np.ones(10, dtype=int), reduction="none"),
    }.get(name, SHIFTED[name])
    x, t = Tensor(np.array(EDGES), requires_grad=True), torch.tensor(EDGES, dtype=torch.float64, requires_grad=True)
    y, z = ours(x), theirs(t)
    np.testing.assert_allclose(y.data, z.detach(), rtol=1e-14)
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(x.grad.data, t.grad, rtol=1e-12, atol=1e-300)
