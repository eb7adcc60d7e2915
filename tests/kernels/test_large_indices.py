"""Kernels number elements with 64 bits: beyond 2^31 of them, where memory is mapped but hardly any of it is touched."""

from types import SimpleNamespace

import numpy as np
import pytest
from mapped_memory import mapped

pytest.importorskip("numba")

from xprnn.kernels.cpu import around, elementwise, loops, scan, scan_shares, sequence
from xprnn.kernels.cpu.compiling import kernel
from xprnn.kernels.cpu.intrinsics import address, offset
from xprnn.kernels.cpu.product import padded
from xprnn.kernels.kinds import GRU, KINDS, LSTM, TANH, Flags

FAR = 2**31 + 5


@kernel
def write(array, index, value):
    address(array, index)[0] = value
    offset(address(array, 0), index + 1)[0] = value + 1


@pytest.fixture(scope="module")
def large():
    """More than 2^31 float32."""
    return mapped((FAR + 2**20,))


def test_addresses(large):
    write(large, FAR, 3.0)
    assert large[FAR : FAR + 3].tolist() == [3.0, 4.0, 0.0]
    assert large[FAR - 2**31 : FAR - 2**31 + 2].tolist() == [0.0, 0.0]
    write(large, FAR, 0.0)


def test_rows_of_a_product(large):
    inputs = 2**16
    row = FAR // inputs
    a, w = large[: (row + 2) * inputs].reshape(row + 2, 1, inputs), np.zeros((padded(1, 4), inputs), "float32")
    a[row, 0, :2] = 2.0, 3.0
    w.reshape(-1)[0] = 1.0  # the first column's first weight, whatever the width of a vector
    columns = w.shape[0]
    c = np.zeros((row + 2, columns), "float32")
    loops.rows_times(a, w, c, row, row + 1)
    assert c[row, 0] == 2.0
    assert not c[:row].any()
    a[row, 0, :2] = 0.0


def test_elements(large):
    x = large[: FAR + 8]
    x[FAR] = 0.5
    elementwise._erf(x, x, FAR, FAR + 1)
    np.testing.assert_allclose(x[FAR], 0.5204999, rtol=1e-6)
    x[FAR] = 0.0


class Walked(Exception):
    """The loop back is done; what follows it adds up all steps and sequences, and would touch all memory."""


class LastTwo:
    """Instead of threads: one share, the last two sequences of a batch; and then, if so told, no more."""

    def __init__(self, ends):
        self.ends = ends

    def share(self, work, batch, operations):
        work(batch - 2, batch)
        if self.ends:
            raise Walked

    def shares(self, batch, operations):
        return 1

    def desk_for(self, parts):
        return None


@pytest.fixture
def walked(monkeypatch):
    """What the loops of sequence.py left of two sequences, of a batch of any size whose arrays are only mapped."""
    kept = {}

    def scratch(name, shape, dtype):
        kept[name] = mapped(shape)
        return kept[name]

    monkeypatch.setattr(sequence, "np", SimpleNamespace(**vars(np) | {"empty": lambda shape, dtype: mapped(shape)}))
    monkeypatch.setattr(
        sequence,
        "room",
        lambda n, shape, dtype, slots, make=None: (mapped(shape), mapped((slots, *shape[1:]) if n > 1 else (0, 0, 0))),
    )
    monkeypatch.setattr(sequence, "scratch", scratch)
    monkeypatch.setattr(sequence, "lined", lambda shape, dtype: mapped(shape))
    monkeypatch.setattr(sequence.columns, "parts", lambda *_: 1)

    def walk(desk, kind, code, weights, diagonals, columns, x, states, control, reverse, keep, parts):
        steps, batch, _ = x.shape
        span = batch - 2, batch, reverse, steps, keep
        around.walk(kind, code, *weights, diagonals, columns, x, states, control, span)

    monkeypatch.setattr(around, "shared_walk", walk)

    def run(kind, w, ends, batch, keep):
        arrays = [mapped((*end.shape[:-2], batch, end.shape[-1])) for end in ends]
        for array, end in zip(arrays, ends, strict=True):
            array[..., -2:, :] = end
        x, parts, free = arrays[0], len(KINDS[kind].parts), Flags(None, None)
        state, dstate = tuple(arrays[1 : 1 + parts]), tuple(arrays[3 : 3 + parts])
        monkeypatch.setattr(sequence, "threads", LastTwo(ends=False))
        found, saved = sequence.forward(kind, w, x, state, free, False, keep)
        if keep:
            monkeypatch.setattr(sequence, "threads", LastTwo(ends=True))
            with pytest.raises(Walked):
                sequence.backward(kind, w, x, saved, free, False, (None,) * parts, dstate, True)
            z = () if KINDS[kind].by_state else (saved[0].z,)  # of whose steps larger calls keep nothing else
            found = (*found, *z, *kept.values(), *dstate)
        return max(array.size for array in found), [array[..., -2:, :].copy() for array in found]

    return run


@pytest.mark.parametrize("kind", [TANH, LSTM, GRU])
def test_sequences(walked, kind, monkeypatch):
    """Forward, where states have so many elements, and both ways, where kept blocks have."""
    steps, size, draws, about = 2, 8, np.random.default_rng(0), KINDS[kind]
    rows = about.gates * size
    shapes = {"weight_ih": (rows, 1), "weight_hh": (rows, size), "bias_ih": (rows,), "bias_hh": (rows,)}
    w = {name: draws.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    ends = [draws.standard_normal(shape).astype("float32") for shape in [(steps, 2, 1), *[(2, size)] * 4]]
    for keep, width, own_bytes in ((False, size, 0), (False, size, 1 << 20), (True, about.kept * size, 1 << 20)):
        monkeypatch.setattr(around, "OWN_BYTES", own_bytes)  # weights are packed for all threads, or by each
        most, far = walked(kind, w, ends, FAR // (steps * width) + 2, keep)
        assert most > 2**31
        for one, other in zip(far, walked(kind, w, ends, 2, keep)[1], strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.any()


def test_scans(monkeypatch):
    columns = 16  # of which a share has whole multiples
    rows, draws = FAR // (2 * columns) + 2, np.random.default_rng(0)
    b, start, a = mapped((2, rows, columns)), mapped((rows, columns)), draws.random((1, 1, columns), "float32")
    b[:, -2:], start[-2:] = draws.random((2, 2, columns)), draws.random((2, columns))
    scan.scan(False, a, b[:, -2:].copy(), start[-2:].copy(), Flags(None, None))  # compiled while np is NumPy
    monkeypatch.setattr(scan, "np", SimpleNamespace(**vars(np) | {"empty_like": lambda like: mapped(like.shape)}))
    monkeypatch.setattr(scan_shares, "threads", LastTwo(ends=False))
    c = scan.scan(False, a, b, start, Flags(None, None))
    assert c.size > 2**31
    first = a[0] * start[-2:] + b[0, -2:]
    np.testing.assert_allclose(c[:, -2:], np.stack([first, a[0] * first + b[1, -2:]]), rtol=1e-6)
