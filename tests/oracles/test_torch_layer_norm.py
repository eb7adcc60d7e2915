"""Layer-norm LSTM and GRU against Ba's equations in PyTorch, whose tape finds the gradients, in float64."""

import numpy as np
import pytest
from helpers import assert_close

import xprnn
from xprnn import nn
from xprnn.tape import grad
from xprnn.tensor import Tensor

torch = pytest.importorskip("torch")
norm = torch.nn.functional.layer_norm

T, B, I, H = 4, 3, 5, 6  # noqa: E741


def normed(product, w, name, groups):
    parts = torch.split(product, [count * H for count in groups], dim=-1)
    return torch.cat([norm(p, p.shape[-1:]) for p in parts], -1) * w[f"gain_{name}_l0"] + w[f"bias_{name}_l0"]


def lstm(w, x, h, c):
    z = normed(x @ w["weight_ih_l0"].T, w, "ih", [4]) + normed(h @ w["weight_hh_l0"].T, w, "hh", [4])
    i, f, g, o = z.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * (norm(c, (H,)) * w["gain_c_l0"] + w["bias_c_l0"]).tanh(), c


def gru(w, x, h):
    xr, xz, xn = normed(x @ w["weight_ih_l0"].T, w, "ih", [2, 1]).chunk(3, -1)
    hr, hz, hn = normed(h @ w["weight_hh_l0"].T, w, "hh", [2, 1]).chunk(3, -1)
    z = (xz + hz).sigmoid()
    return ((1 - z) * (xn + (xr + hr).sigmoid() * hn).tanh() + z * h,)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize(("layer", "step", "parts"), [(nn.LSTM, lstm, 2), (nn.GRU, gru, 1)])
def test_outputs_and_gradients(layer, step, parts, kernels, rng):
    ours = layer(I, H, layer_norm=True, dtype="float64", rng=0)
    for _, parameter in ours.named_parameters():
        parameter.data = rng.standard_normal(parameter.shape)
    x, *state = rng.standard_normal((T, B, I)), *(rng.standard_normal((1, B, H)) for _ in range(parts))
    mine = [Tensor(a, requires_grad=True) for a in (x, *state)]
    with xprnn.use_kernels(kernels):
        y, _ = ours(mine[0], mine[1] if parts == 1 else tuple(mine[1:]))
        found = grad(y.sum() + (y * y).sum(), [*mine, *ours.parameters()])

    leaves = [torch.tensor(a, requires_grad=True) for a in (x, *state)]
    w = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in ours.named_parameters()}
    now, outputs = tuple(s[0] for s in leaves[1:]), []
    for t in range(T):
        now = step(w, leaves[0][t], *now)
        outputs.append(now[0])
    theirs = torch.stack(outputs)
    assert_close(y.numpy(), theirs.detach().numpy(), 1e-13)
    expected = torch.autograd.grad(theirs.sum() + (theirs * theirs).sum(), [*leaves, *w.values()])
    assert_close([g.numpy() for g in found], [g.numpy() for g in expected], 1e-12)
    assert all(np.abs(g.numpy()).max() > 1e-6 for g in found)
