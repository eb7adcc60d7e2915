"""Zoneout, and dropout between steps, against the papers' equations in PyTorch with the same masks, in float64."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import nn
from xprnn.engine.control import Control
from xprnn.engine.noise import Noise
from xprnn.nn.recurrent.tape_node import run
from xprnn.tape import grad
from xprnn.tensor import Tensor
from xprnn.testing import check_second_gradients

torch = pytest.importorskip("torch")

T, B, I, H = 4, 3, 5, 6  # noqa: E741


def lstm(w, x, state, noise, t):
    """Krueger et al. 2017: h' is made of the cell before zoneout. Gal: h in products. Semeniuta: on g."""
    h, c = state
    z = x @ w["weight_ih"].T + w["bias_ih"] + (h * noise["h"]) @ w["weight_hh"].T + w["bias_hh"]
    i, f, g, o = z.chunk(4, -1)
    c_new = f.sigmoid() * c + i.sigmoid() * (g.tanh() * noise["candidate"][t])
    return o.sigmoid() * c_new.tanh(), c_new


def gru(w, x, state, noise, t):
    (h,) = state
    xr, xz, xn = (x @ w["weight_ih"].T + w["bias_ih"]).chunk(3, -1)
    hr, hz, hn = ((h * noise["h"]) @ w["weight_hh"].T + w["bias_hh"]).chunk(3, -1)
    z = (xz + hz).sigmoid()
    return ((1 - z) * (xn + (xr + hr).sigmoid() * hn).tanh() * noise["candidate"][t] + z * h,)


@pytest.mark.parametrize(("layer", "step", "parts"), [(nn.LSTM, lstm, 2), (nn.GRU, gru, 1)])
def test_outputs_and_gradients(layer, step, parts, rng):
    ours = layer(I, H, dtype="float64", rng=0)
    zoneout = tuple((rng.random((T, B, H)) < 0.4).astype("float64") for _ in range(parts))
    masks = {"h": (rng.random((B, H)) < 0.7) / 0.7, "candidate": (rng.random((T, B, H)) < 0.7) / 0.7}
    noise, (weights,) = Noise(zoneout, **masks), ours.weights()
    x, *state = rng.standard_normal((T, B, I)), *(rng.standard_normal((B, H)) for _ in range(parts))

    def outputs(x, *state):
        return run(ours.cell, weights, x, state, Control(), noise=noise)[0][0]

    mine = [Tensor(a, requires_grad=True) for a in (x, *state)]
    y = outputs(*mine)
    found = grad((y * y).sum(), [*mine, *weights.values()])
    check_second_gradients(outputs, [x, *state])

    leaves = [torch.tensor(a, requires_grad=True) for a in (x, *state)]
    w = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in weights.items()}
    there = {name: torch.tensor(mask) for name, mask in masks.items()}
    now, seen = tuple(leaves[1:]), []
    for t in range(T):
        new = step(w, leaves[0][t], now, there, t)
        now = tuple(torch.where(torch.tensor(z[t] == 1), o, n) for z, o, n in zip(zoneout, now, new, strict=True))
        seen.append(now[0])
    theirs = torch.stack(seen)
    assert_close(y.numpy(), theirs.detach().numpy(), 1e-13)
    expected = torch.autograd.grad((theirs * theirs).sum(), [*leaves, *w.values()])
    assert_close([g.numpy() for g in found], [g.numpy() for g in expected], 1e-12)
    assert all(np.abs(g.numpy()).max() > 1e-6 for g in found)
