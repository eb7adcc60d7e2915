"""The kernel of reservoirs beside the reference, and what it leaves to that."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import explain, nn, no_grad, use_kernels

CONTROL = {
    "plain": {},
    "all": {
        "lengths": [17, 0, 9, 20],
        "mask": np.arange(80).reshape(20, 4) % 5 > 0,
        "reset": np.arange(80).reshape(20, 4) % 7 == 3,
    },
}


@pytest.mark.parametrize("control", CONTROL.values(), ids=CONTROL.keys())
@pytest.mark.parametrize("reverse", [False, True])
def test_it_is_the_reference(control, reverse):
    layer = nn.EchoState(2, 30, leak=0.3, connectivity=0.15, reverse=reverse, dtype="float64", rng=0)
    draws = np.random.default_rng(0)
    x, state = draws.standard_normal((20, 4, 2)), draws.standard_normal((1, 4, 30))
    results = []
    for name in ("reservoir", "reference"):
        with use_kernels(name), no_grad():
            y, final = layer(x, state, **control)
        results.append((y.data, final.data))
    assert_close(*results, 1e-13)


def test_who_runs():
    layer, x = nn.EchoState(2, 30, connectivity=0.15, dtype="float64", rng=0), np.ones((20, 4, 2))
    assert "  reservoir: runs" in explain(layer, x)
    assert "fewer than 16 steps" in explain(layer, x[:3])
    assert "more than 5% of weight_hh are not zero, for a batch of 1" in explain(layer, x[:, :1])
    with no_grad():
        assert "  reservoir: declines (CfC (default) is no reservoir)" in explain(nn.CfC(2, 3, dtype="float64"), x)


def test_a_single_sequence():
    layer, x = (
        nn.EchoState(2, 60, connectivity=0.04, dtype="float64", rng=0),
        np.random.default_rng(0).standard_normal((20, 1, 2)),
    )
    with use_kernels("reservoir"), no_grad():
        found = layer(x)[0].data
    with use_kernels("reference"):
        assert_close(found, layer(x)[0].data, 1e-13)
