"""One sequence without a way back: its bits are those of the loops that keep what a way back needs."""

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels import kinds
from xprnn.kernels.cpu import alone, sequence

SIZES = [(1, 1), (3, 17), (20, 8), (70, 33), (5, 100)]  # inputs and units: parts of vectors, whole ones, several tiles


def weights_of(kind, inputs, size, rng, bias=True):
    rows = kind.gates * size
    shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, size)} | (
        {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
    )
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def results(kind, w, x, state, reverse, keep):
    free = kinds.Flags(None, None)
    return sequence.forward(kind.number, w, x, tuple(part.copy() for part in state), free, reverse, keep)[0]


@pytest.fixture
def walked(monkeypatch):
    """How often the way is taken."""
    calls, walk = [], alone.walk
    monkeypatch.setattr(alone, "walk", lambda *arguments: calls.append(1) or walk(*arguments))
    return calls


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_bits_are_those_of_the_loops(monkeypatch, walked, name, dtype):
    kind, rng = kinds.KINDS[getattr(kinds, name)], np.random.default_rng(0)
    for number, (inputs, size) in enumerate(SIZES):
        w = {name: w.astype(dtype) for name, w in weights_of(kind, inputs, size, rng, bias=number != 1).items()}
        x = rng.standard_normal((9, 1, inputs)).astype(dtype)
        state = tuple(rng.standard_normal((1, size)).astype(dtype) for _ in kind.parts)
        for reverse in (False, True):
            expected = results(kind, w, x, state, reverse, keep=True)
            for block in (sequence.BLOCK_BYTES, 4 * kind.gates * size * x.itemsize):
                with monkeypatch.context() as less:
                    less.setattr(sequence, "BLOCK_BYTES", block)
                    found = results(kind, w, x, state, reverse, keep=False)
                for part, other in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(part, other)
    assert len(walked) == 4 * len(SIZES)


def test_all_else_goes_by_the_loops(walked):
    """Several sequences, and states that are held."""
    kind, rng = kinds.KINDS[kinds.GRU], np.random.default_rng(0)
    w = {name: w.astype("float32") for name, w in weights_of(kind, 2, 3, rng).items()}
    for batch, held in ((2, False), (1, True)):
        x, state = np.zeros((4, batch, 2), "float32"), (np.ones((batch, 3), "float32"),)
        flags = kinds.Flags(np.ones((4, batch), bool) if held else None, None)
        sequence.forward(kind.number, w, x, state, flags, False, False)
    assert not walked
