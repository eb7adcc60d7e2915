"""CfC and LTC against ``ncps``, whose time spans need a batch of one. GRU-D has no package."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import Tensor, nn

torch = pytest.importorskip("torch")

T, I, H, U = 5, 3, 4, 6  # noqa: E741


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def compare(layer, cell, named):
    """Every step's output, and the gradients of x, the spans and each parameter, with weights from ours.

    ``named(w)`` gives theirs, by their names, from tensors by our names.
    """
    weights = {n.removesuffix("_l0"): torch.tensor(p.data, requires_grad=True) for n, p in layer.named_parameters()}
    x, spans, h = draw(T, 1, I), abs(draw(T, 1, seed=1)) + 0.1, draw(1, H, seed=2)
    tx, tt, th = (torch.tensor(a, requires_grad=True) for a in (x, spans, h))
    theirs, before = [], th
    for t in range(T):
        _, before = torch.func.functional_call(cell, named(weights), (tx[t], before, tt[t]))
        theirs.append(before)
    ox, ot, oh = (Tensor(a, requires_grad=True) for a in (x, spans, h[None]))
    found, _ = layer(ox, oh, timespans=ot)
    assert_close(found.data, torch.stack(theirs).detach().numpy(), 1e-7)
    cotangent = draw(T, 1, H, seed=9)
    found.backward(cotangent)
    torch.stack(theirs).backward(torch.tensor(cotangent))
    assert_close(ox.grad, tx.grad.numpy(), 1e-6)
    assert_close(ot.grad, tt.grad.numpy(), 1e-6)
    assert_close(oh.grad.data[0], th.grad.numpy(), 1e-6)
    for name, parameter in layer.named_parameters():
        if parameter.requires_grad:
            assert_close(parameter.grad, weights[name.removesuffix("_l0")].grad.numpy(), 1e-6)


@pytest.mark.parametrize("mode", ["default", "no_gate", "pure"])
@pytest.mark.parametrize("units", [U, 0])
def test_cfc(mode, units):
    package = pytest.importorskip("ncps.torch.cfc_cell")
    cell = package.CfCCell(I, H, mode, backbone_units=units, backbone_layers=min(units, 1)).double()
    layer = nn.CfC(I, H, mode=mode, backbone_units=units, dtype="float64", rng=0)
    heads = ["ff1"] if mode == "pure" else ["ff1", "ff2", "time_a", "time_b"]
    if mode == "pure":
        layer.rate_l0.data = draw(H, seed=5)

    def named(w):
        both, bias, own = torch.cat([w["weight_ih"], w["weight_hh"]], dim=1), w["bias_ih"], {}
        if units:
            own = {"backbone.0.weight": both, "backbone.0.bias": bias}
            both, bias = w["weight_uh"], w["bias_uh"]
        for name, weight, b in zip(heads, both.split(H), bias.split(H), strict=True):
            own |= {f"{name}.weight": weight, f"{name}.bias": b}
        return own | ({"w_tau": w["rate"][None], "A": w["amplitude"][None]} if mode == "pure" else {})

    compare(layer, cell, named)


def test_ltc_with_a_wiring():
    ncps = pytest.importorskip("ncps")
    package = pytest.importorskip("ncps.torch.ltc_cell")
    wiring = ncps.wirings.AutoNCP(H, 1, 0.3, seed=3)
    wiring.build(I)
    cell = package.LTCCell(wiring, I, input_mapping="affine", implicit_param_constraints=True).double()
    cell._output_mapping = None
    ours = (wiring.sensory_adjacency_matrix.T, wiring.adjacency_matrix.T)
    layer = nn.LTC(I, H, wiring=ours, dtype="float64", rng=0)
    for name in ("gain_x_l0", "bias_x_l0"):
        getattr(layer, name).data = draw(I, seed=4)

    def named(w):
        own = {"gleak": w["leak"], "vleak": w["leak_potential"], "cm": w["capacity"]}
        for end, lead in (("ih", "sensory_"), ("hh", "")):
            pairs = (
                ("weight", "w"),
                ("mu", "mu"),
                ("sigma", "sigma"),
                ("reversal", "erev"),
                ("wiring", "sparsity_mask"),
            )
            own |= {f"{lead}{theirs}": w[f"{name}_{end}"].T for name, theirs in pairs}
        return own | {"input_w": w["gain_x"], "input_b": w["bias_x"]}

    cell._params = _Looked(cell)  # it reads a dict of its own, which a functional call would miss
    compare(layer, cell, named)


class _Looked(dict):
    def __init__(self, module):
        self.module = module

    def __getitem__(self, name):
        return getattr(self.module, name)
