"""sLSTM against the reference package of its authors' group, where that is installed."""

import numpy as np
import pytest
from helpers import assert_close

import xprnn
from xprnn import Tensor, nn

torch = pytest.importorskip("torch")
vanilla = pytest.importorskip("flashrnn.flashrnn.vanilla")

T, B, I, H = 9, 3, 4, 6  # noqa: E741


def theirs(x, w, heads):
    """Every state (T, B, H) from zero ones, of tensors by our names; R (heads, from, gates, to)."""
    own = H // heads
    wx = (x @ w["weight_ih"].T).reshape(T, B, 4, heads, own)
    r = w["weight_hh"].reshape(4, heads, own, own).permute(1, 3, 0, 2)
    b = (w["bias_ih"] + w["bias_hh"]).reshape(4, heads, own)
    zero = torch.zeros(1, B, 4, heads, own, dtype=x.dtype)
    step = vanilla.flashrnn_pointwise_function_registry["slstm"]
    states, _ = vanilla.flashrnn_forward(wx, zero, r, b, step)
    return states.reshape(T, B, 4, H).unbind(2)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("kernels", ["compiled", "reference"])
def test_states_and_gradients(heads, kernels):
    layer = nn.SLSTM(I, H, num_heads=heads, dtype="float64", rng=0)
    draws = np.random.default_rng(0)
    x = 3.0 * draws.standard_normal((T, B, I))
    parameters = {name.removesuffix("_l0"): p for name, p in layer.named_parameters()}
    weights = {name: torch.tensor(p.data, requires_grad=True) for name, p in parameters.items()}
    tx, ox = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    expected = theirs(tx, weights, heads)
    with xprnn.use_kernels(kernels):
        output, _, states = layer(ox, return_all_states=True)
        for part, other in zip(states, expected, strict=True):
            assert_close(part.data[:, 0], other.detach().numpy(), 1e-12)
        cotangent = draws.standard_normal(output.shape)
        output.backward(cotangent)
    expected[0].backward(torch.tensor(cotangent))
    assert_close(ox.grad, tx.grad.numpy(), 1e-11)
    for name, parameter in parameters.items():
        assert_close(parameter.grad, weights[name].grad.numpy(), 1e-11)
