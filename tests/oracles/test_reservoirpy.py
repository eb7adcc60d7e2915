"""Echo state networks against ``reservoirpy``, with its matrices."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import nn

pytest.importorskip("reservoirpy")


def test_states_and_ridge_readout():
    from reservoirpy.nodes import Reservoir, Ridge

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((80, 2)), rng.standard_normal((80, 3))
    net = nn.EchoStateNetwork(
        2, 20, 3, ridge=1e-4, washout=10, leak=0.3, spectral_radius=1.1, bias_scaling=0.5, dtype="float64", rng=0
    )
    w, sensory, bias = (getattr(net.reservoir, name).data for name in ("weight_hh_l0", "weight_ih_l0", "bias_ih_l0"))
    theirs = Reservoir(20, lr=0.3, W=w, Win=sensory, bias=bias)
    states = theirs.run(x)
    assert_close(net.reservoir(x)[0].data, np.asarray(states), 1e-12)
    readout = Ridge(ridge=1e-4)
    readout.fit(states, y, warmup=10)
    net.fit(x, y)
    assert_close(net.predict(x), np.asarray(readout.run(states)), 1e-8)
