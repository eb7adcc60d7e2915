"""Parts of a state that nobody asks for after every step take turns in the memory of two, and have the same bits."""

import tracemalloc

import numpy as np
import pytest
from helpers import draw_call

pytest.importorskip("numba")

from xprnn.kernels.cpu import at_once, columns, threads

import xprnn
from xprnn import nn

LAYERS = {
    "lstm": lambda **o: nn.LSTM(3, 32, **o),
    "lstm with zoneout": lambda **o: nn.LSTM(3, 32, zoneout=(0.3, 0.2), **o),
    "peephole": lambda **o: nn.LSTM(3, 32, peephole="diagonal", **o),
    "full peephole": lambda **o: nn.LSTM(3, 32, peephole="full", **o),
    "projected": lambda **o: nn.LSTM(3, 32, proj_size=5, **o),
    "slstm": lambda **o: nn.SLSTM(3, 32, **o),
}


def both_ways(layer, x, state, control):
    """The output and the final state of a call that keeps all states, and of one that does not."""
    found = []
    with xprnn.no_grad(), xprnn.use_kernels("compiled"):
        for every in (True, False):
            output, final = layer.eval()(x, tuple(state), **control, return_all_states=every)[:2]
            found.append([output.data, *(part.data for part in final)])
    return found


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_the_bits_are_those_of_states_that_are_kept(monkeypatch, name, shared):
    layer, draws = LAYERS[name](num_layers=2, bidirectional=True, rng=0), np.random.default_rng(0)
    if shared:  # the columns of each step, among threads
        monkeypatch.setattr(columns, "STEP", 0.0)
        monkeypatch.setattr(columns, "CALL", 0.0)
        monkeypatch.setattr(columns, "MOST_THREADS", 3)
        monkeypatch.setattr(threads, "workers", lambda: 3)
    for steps in (1, 2, 3, 8):
        for batch in (1, 4):
            x, state = draw_call(layer, steps, batch, 3, 32, "float32", steps)
            flags = draws.random((2, steps, batch)) > 0.4
            lengths = draws.integers(0, steps + 1, batch)
            for control in ({}, {"mask": flags[0], "reset": flags[1]}, {"lengths": lengths}):
                for kept, other in zip(*both_ways(layer, x, state, control), strict=True):
                    np.testing.assert_array_equal(kept, other)


def test_inference_takes_little_more_than_its_output():
    layer, x = nn.LSTM(8, 64, rng=0), np.zeros((2000, 8, 8), "float32")

    def most(**options):
        with xprnn.no_grad():
            layer(x[:3], **options)
            tracemalloc.start()
            output = layer(x, **options)[0].data
            peak = tracemalloc.get_traced_memory()[1] / output.nbytes
            tracemalloc.stop()
        return peak

    assert most(return_all_states=True) > 2.0
    assert most() < 1.3


@pytest.mark.parametrize(("name", "arrays"), [("tanh", 1.3), ("relu", 1.3), ("lstm", 7.0)])
def test_a_way_back_by_the_states_alone_keeps_nothing_else(name, arrays):
    layer = LAYERS["lstm"](rng=0) if name == "lstm" else nn.RNN(3, 32, nonlinearity=name, rng=0)
    x = np.zeros((500, 16, 3), "float32")
    layer(x)
    tracemalloc.start()
    output = layer(x)[0].data
    taken = tracemalloc.get_traced_memory()[1] / output.nbytes
    tracemalloc.stop()
    assert arrays - 1.3 < taken < arrays


def test_what_was_not_kept_is_not_asked_for_by_threads_that_have_come_since(monkeypatch):
    layer, x = nn.RNN(3, 32, rng=0), np.random.default_rng(0).standard_normal((9, 4, 3)).astype("float32")
    monkeypatch.setattr(at_once, "serves", lambda *about: False)
    gradients = []
    for come in (1, 2):
        monkeypatch.setattr(columns, "parts", lambda *about: 1)
        output = layer(x)[0]
        monkeypatch.setattr(columns, "parts", lambda *about, come=come: come)
        layer.zero_grad()
        output.sum().backward()
        gradients.append(layer.weight_hh_l0.grad.data)
    np.testing.assert_array_equal(*gradients)
