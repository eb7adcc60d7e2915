"""mLSTM against the functions of ``xlstm``, whose D**-0.5 is of the keys, and whose 1e-6 in the divisor is left out."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import Tensor, nn

torch = pytest.importorskip("torch")
backends = pytest.importorskip("xlstm.blocks.mlstm.backends")

T, B, I, H, N = 9, 2, 3, 8, 2  # noqa: E741


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_outputs_and_gradients():
    layer = nn.MLSTM(I, H, heads=N, dtype="float64", rng=0)
    weight, bias = (torch.tensor(p.data, requires_grad=True) for p in layer.parameters())
    x = 2 * draw(T, B, I)
    tx, ox = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    q, k, v, o, i, f = (tx @ weight.T + bias).permute(1, 0, 2).split([H, H, H, H, N, N], dim=-1)
    q, k, v = (part.reshape(B, T, N, H // N).transpose(1, 2) for part in (q, k, v))
    i, f = (part.transpose(1, 2)[..., None] for part in (i, f))
    h = backends.parallel_stabilized_simple(q, k, v, i, f, eps=0.0)
    expected = (torch.sigmoid(o) * h.transpose(1, 2).reshape(B, T, H)).transpose(0, 1)
    found, _ = layer(ox)
    assert_close(found.data, expected.detach().numpy(), 1e-12)
    cotangent = draw(T, B, H, seed=1)
    expected.backward(torch.tensor(cotangent))
    found.backward(cotangent)
    assert_close(ox.grad, tx.grad.numpy(), 1e-11)
    for parameter, theirs in zip(layer.parameters(), (weight, bias), strict=True):
        assert_close(parameter.grad, theirs.grad.numpy(), 1e-11)


def test_a_step_and_its_state():
    layer = nn.MLSTM(I, H, heads=N, dtype="float64", rng=0)
    x, state = draw(1, B, I), [draw(1, B, size, seed=size) for size in layer.state_sizes]
    weight, bias = (torch.tensor(p.data) for p in layer.parameters())
    q, k, v, o, i, f = (torch.tensor(x[0]) @ weight.T + bias).split([H, H, H, H, N, N], dim=-1)
    q, k, v = (part.reshape(B, N, 1, H // N) for part in (q, k, v))
    i, f = (part.reshape(B, N, 1, 1) for part in (i, f))
    _, memory, n, m = (torch.tensor(part[0]) for part in state)
    given = memory.reshape(B, N, H // N, H // N), n.reshape(B, N, H // N, 1), m.reshape(B, N, 1, 1)
    h, after = backends.recurrent_step_stabilized_simple(*given, q, k, v, i, f, eps=0.0)
    found, (_, *ours) = layer(x, tuple(state))
    assert_close(found.data[0], (torch.sigmoid(o) * h.reshape(B, H)).numpy(), 1e-12)
    for part, theirs in zip(ours, after, strict=True):
        assert_close(part.data[0], theirs.reshape(B, -1).numpy(), 1e-12)
