"""TCN against ``pytorch-tcn``, and a convolution against PyTorch's with weight normalisation."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import Tensor, nn

torch = pytest.importorskip("torch")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_a_convolution():
    ours = nn.CausalConv(3, 4, 3, 2, dtype="float64", rng=0)
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(3, 4, 3, dilation=2).double(), dim=0)
    weights = dict(ours.named_parameters())
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    theirs.load_state_dict({names.get(n, n): torch.tensor(p.data) for n, p in weights.items()})
    x, cotangent = draw(7, 2, 3), draw(7, 2, 4, seed=1)
    tx, ox = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    expected = theirs(torch.nn.functional.pad(tx.permute(1, 2, 0), (4, 0))).permute(2, 0, 1)
    found = ours(ox)
    assert_close(found.data, expected.detach().numpy(), 1e-12)
    expected.backward(torch.tensor(cotangent))
    found.backward(cotangent)
    assert_close(ox.grad, tx.grad.numpy(), 1e-12)
    grads = dict(theirs.named_parameters())
    for name, parameter in weights.items():
        assert_close(parameter.grad, grads[names.get(name, name)].grad.numpy(), 1e-12)


def test_the_network():
    package = pytest.importorskip("pytorch_tcn")
    ours = nn.TCN(3, [4, 5], 3, dtype="float64", rng=0)
    theirs = package.TCN(3, [4, 5], 3, dropout=0.0, use_norm="weight_norm", input_shape="NLC").double()
    named = dict(theirs.named_parameters())
    with torch.no_grad():
        for k, conv in enumerate(ours.convolutions):
            end = f"network.{k // 2}.conv{k % 2 + 1}."
            for name, parameter in conv.named_parameters():
                key = next(key for key in named if key.startswith(end) and key.endswith(PLACES[name]))
                named[key].copy_(torch.tensor(parameter.data))
        for k, cut in enumerate(ours.shortcuts):
            for name, parameter in cut.named_parameters():
                target = named[f"network.{k}.downsample.{name}"]
                target.copy_(torch.tensor(parameter.data).reshape(target.shape))
    x = draw(2, 9, 3)
    expected = theirs(torch.tensor(x)).detach().numpy()
    assert_close(ours(x.swapaxes(0, 1))[0].data.swapaxes(0, 1), expected, 1e-12)


PLACES = {"weight_g": "original0", "weight_v": "original1", "bias": "bias"}
