"""Methods of a Tensor are those of PyTorch."""

import numpy as np
import pytest
from helpers import assert_close, host, leaf

from xprnn import Tensor
from xprnn.tape import grad
from xprnn.testing import check_gradients, check_second_gradients

METHODS = {
    "sum": (lambda x: x.sum(), None),
    "sum of an axis": (lambda x: x.sum(1), None),
    "mean": (lambda x: x.mean(-1), None),
    "max": (lambda x: x.max(), None),
    "max of an axis": (lambda x: x.max(1), lambda x: x.amax(1)),
    "max of axes": (lambda x: x.max((0, 2), keepdims=True), lambda x: x.amax((0, 2), keepdim=True)),
    "min": (lambda x: x.min(), None),
    "min of an axis": (lambda x: x.min(axis=0), lambda x: x.amin(0)),
    "exp": (lambda x: x.exp(), None),
    "log": (lambda x: (x * x + 1.0).log(), None),
    "sqrt": (lambda x: (x * x + 1.0).sqrt(), None),
    "square": (lambda x: x.square(), None),
    "abs": (lambda x: x.abs(), None),
    "built-in abs": (abs, None),
    "sin": (lambda x: x.sin(), None),
    "cos": (lambda x: x.cos(), None),
    "tanh": (lambda x: x.tanh(), None),
    "sigmoid": (lambda x: x.sigmoid(), None),
    "relu": (lambda x: x.relu(), None),
    "clip": (lambda x: x.clip(-1.0, 2.0), None),
    "clip below": (lambda x: x.clip(0.0), None),
    "pow": (lambda x: x.pow(3), None),
    "softmax": (lambda x: x.softmax(1), None),
    "log_softmax": (lambda x: x.log_softmax(-1), None),
    "logsumexp": (lambda x: x.logsumexp(0), None),
    "reshape": (lambda x: x.reshape(3, -1), None),
    "reshape to a tuple": (lambda x: x.reshape((6, 4)), None),
    "permute": (lambda x: x.permute(2, 0, 1), None),
    "permute by a tuple": (lambda x: x.permute((1, -1, 0)), None),
    "transpose": (lambda x: x.transpose(0, -1), None),
    "flatten": (lambda x: x.flatten(), None),
    "flatten some": (lambda x: x.flatten(1), None),
    "flatten the first": (lambda x: x.flatten(0, 1), None),
    "squeeze": (lambda x: x[:1, :, :1].squeeze(), None),
    "squeeze an axis": (lambda x: x[:1].squeeze(0), None),
    "squeeze a longer axis": (lambda x: x[:1].squeeze((0, 1)).squeeze(0), None),
    "unsqueeze": (lambda x: x.unsqueeze(1).unsqueeze(-1), None),
    "the transpose": (lambda x: x[0].T, None),
}


TIES = np.array([0.0, 2.0, -1.0, 2.0, 0.0, 1.0, 2.0, -1.0, 0.5, 0.5, -1.0, 0.25] * 2).reshape(2, 3, 4)


@pytest.mark.parametrize(("ours", "theirs"), METHODS.values(), ids=METHODS.keys())
def test_methods_are_those_of_torch(ours, theirs):
    """Numbers, gradients and gradients of gradients, at ties, kinks and bounds too."""
    torch = pytest.importorskip("torch")
    x, there = Tensor(TIES, requires_grad=True), torch.tensor(TIES, requires_grad=True)
    y, z = ours(x), (theirs or ours)(there)
    weights = np.arange(1.0, 1.0 + z.numel()).reshape(z.shape)
    assert_close(y, z.detach().numpy(), 1e-14)
    (first,) = grad((y * y * weights).sum(), [x], create_graph=True)
    (expected,) = torch.autograd.grad((z * z * torch.tensor(weights)).sum(), [there], create_graph=True)
    assert_close(first, expected.detach().numpy(), 1e-13)
    (first * first).sum().backward()
    (expected * expected).sum().backward()
    assert_close(x.grad, there.grad.numpy(), 1e-12)


@pytest.mark.parametrize(("ours", "theirs"), METHODS.values(), ids=METHODS.keys())
def test_methods_on_every_backend(ours, theirs, home):
    rng = np.random.default_rng(3)
    x = home.asarray(rng.standard_normal((2, 3, 4)))
    assert_close(ours(Tensor(x)), host(ours(Tensor(host(x)))), 1e-14)
    check_gradients(ours, [x], rtol=1e-6)
    check_second_gradients(ours, [x], rtol=1e-5)


def test_methods_that_have_no_gradient(home):
    x = leaf(home, TIES, "float32")
    assert host(x.argmax(1)).tolist() == TIES.argmax(1).tolist()
    assert int(x.argmin()) == TIES.argmin()
    assert x.astype(home.xp.float64).dtype == home.xp.float64
    with pytest.raises(TypeError):
        x.transpose()
    assert Tensor(2.0).flatten().shape == (1,)
    assert Tensor(2.0).squeeze().shape == ()
    with pytest.raises(ValueError, match="axis 3 is out of range"):
        x.squeeze(3)
