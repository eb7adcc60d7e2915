"""Scans over time against the loop, over cells, lengths, masks, resets and numbers of steps that cross every chunk."""

import tracemalloc

import numpy as np
import pytest
from helpers import LINEAR_CELLS, assert_close, each_linear_cell, host, sequence_call
from hypothesis import given, settings
from hypothesis import strategies as st

import xprnn
from xprnn import cells, host_kernels, nn
from xprnn.backend import backend_of, get_backend
from xprnn.cells.linear import LinearCell
from xprnn.engine import dispatch, reference, scan, scan_cpu
from xprnn.engine.control import Control
from xprnn.tape import grad
from xprnn.testing import check_laws

NUMPY = get_backend("numpy")
WAYS = {"scan": scan.WAY} | ({} if isinstance(host_kernels.kernels(), str) else {"compiled-scan": scan_cpu.WAY})
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def compared(call, way, skip=()):
    """Results and all gradients of a call by a scan, and by the reference, for the same random cotangents."""
    draws, home = np.random.default_rng(1), backend_of(call.x)
    found = []
    for run in (way, reference):
        result, saved = run.forward(call)
        outputs = (*result.sequences, *result.final)
        if not found:
            cotangents = [
                None if k in skip else home.asarray(draws.standard_normal(a.shape)) for k, a in enumerate(outputs)
            ]
        half = len(outputs) // 2
        back = run.backward(call, saved, tuple(cotangents[:half]), tuple(cotangents[half:]), True)
        found.append([*outputs, back.x, *back.state, *(back.weights[name] for name in call.weights)])
    return found


@each_way
@pytest.mark.parametrize("name", LINEAR_CELLS)
@settings(max_examples=settings().max_examples // 3)
@given(
    data=st.data(), steps=st.integers(1, 40), batch=st.integers(1, 4), reverse=st.booleans(), seed=st.integers(0, 99)
)
def test_scan_equals_the_loop(name, way, data, steps, batch, reverse, seed):
    draws = np.random.default_rng(seed)
    control = {
        "lengths": data.draw(st.none() | st.lists(st.integers(0, steps), min_size=batch, max_size=batch)),
        "mask": data.draw(st.none() | st.just(draws.random((steps, batch)) < 0.7)),
        "reset": data.draw(st.none() | st.just(draws.random((steps, batch)) < 0.3)),
    }
    inputs = data.draw(st.sampled_from([2, 3]))
    call = sequence_call(
        LINEAR_CELLS[name](), NUMPY, T=steps, B=batch, I=inputs, reverse=reverse, seed=seed,
        bias=data.draw(st.booleans()), **control,
    )  # fmt: skip
    found, expected = compared(call, way, data.draw(st.sampled_from([(), (0,), (0, 1), (2, 3)])))
    assert_close(found, expected, 1e-11)


@each_way
@pytest.mark.parametrize("cell", [cells.MinGRU(), cells.SRU(), cells.QRNN(), cells.S5(20)], ids=lambda cell: cell.name)
def test_many_rows_whose_products_are_compiled(way, cell):
    call = sequence_call(cell, NUMPY, T=70, B=3, I=40, H=40, seed=1)
    found, expected = compared(call, way)
    assert_close(found, expected, 1e-10)


@pytest.mark.parametrize("name", ["sru", "qrnn of two", "lru"])
def test_scan_in_array_code_anywhere(name, home):
    flags = np.random.default_rng(0).random((2, 7, 3)) < 0.7
    call = sequence_call(
        LINEAR_CELLS[name](), home, T=7, reverse=True, mask=flags[0], reset=~flags[1], lengths=[7, 0, 4]
    )
    found, expected = compared(call, scan.WAY)
    assert_close(found, expected, 1e-12)


@each_way
def test_the_stated_bound(way):
    """c of the loop in more precision, and 2 sqrt(T) + 4 roundings of every term that it sums."""
    draws, steps = np.random.default_rng(0), 3000
    a, b = draws.random((2, steps, 2, 8)).astype("float32")
    a = a**0.05  # most of it near 1
    found = way.scan(False, a, b, b[0], Control())
    exact, sums, c, total = [], [], b[0].astype("float64"), b[0].astype("float64")
    for factor, term in zip(a.astype("float64"), b, strict=True):
        c, total = factor * c + term, factor * total + abs(term)
        exact.append(c)
        sums.append(total)
    allowed = (2 * np.sqrt(steps) + 4) * np.finfo("float32").eps * np.stack(sums)
    assert (abs(found - np.stack(exact)) <= allowed).all()


@each_way
@pytest.mark.parametrize("cell", [cells.MinGRU(), cells.QRNN(2), cells.LRU(3)], ids=lambda cell: cell.name)
def test_what_was_before_a_restart_is_gone_be_it_nan(way, cell):
    reset = np.zeros((6, 2), bool)
    reset[3] = True
    call = sequence_call(cell, NUMPY, T=6, B=2, reset=reset)
    call.x[1] = np.nan
    result, saved = way.forward(call)
    assert np.isnan(result.sequences[0][1:3]).any()
    assert all(np.isfinite(part[3:]).all() for part in result.sequences)
    ones = tuple(np.concatenate([np.ones_like(part[:3]), 0.0 * part[3:]]) for part in result.sequences)
    none = tuple(None for _ in result.final)
    assert not way.backward(call, saved, ones, none, True).x[3:].any()
    ones = tuple(np.full_like(part, np.nan) for part in result.final)
    call.x[1] = 0.0
    _, saved = way.forward(call)
    assert not way.backward(call, saved, none, ones, True).x[:3].any()  # and nothing after it is felt before


@each_way
@each_linear_cell
def test_what_an_infinite_input_makes_infinite_is_so_in_the_loop(way, cell):
    call = sequence_call(cell, NUMPY, T=6, seed=3)
    call.x[2, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        found, expected = (host(run.forward(call)[0].sequences) for run in (way, reference))
    for f, e in zip(found, expected, strict=True):
        seen = np.isfinite(e)
        np.testing.assert_array_equal(
            np.isfinite(f), seen
        )  # complex infinities may be NaN in the one and not the other
        np.testing.assert_allclose(f[seen], e[seen], rtol=1e-11)


@each_way
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_calls_have_equal_bits_and_their_dtype(way, dtype):
    for name in ("minlstm", "qrnn", "s5"):
        call = sequence_call(LINEAR_CELLS[name](), NUMPY, T=9, dtype=dtype, mask=np.ones((9, 3), bool))
        runs = [way.forward(call)[0] for _ in range(2)]
        for first, second in zip(
            (*runs[0].sequences, *runs[0].final), (*runs[1].sequences, *runs[1].final), strict=True
        ):
            assert first.dtype == dtype
            np.testing.assert_array_equal(first, second)


@each_way
def test_memory_grows_as_the_steps_do(way):
    def peak(steps):
        a = np.full((steps, 1, 16), 0.5)
        tracemalloc.start()
        way.scan(False, a, a, a[0], Control())
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(64)
    assert peak(16384) < 5 * peak(4096)


def test_explain_says_what_ran(monkeypatch):
    layer, x = nn.MinGRU(3, 4), np.zeros((5, 2, 3), "float32")
    assert "  compiled-scan: runs\n" in xprnn.explain(layer, x)
    monkeypatch.setattr(host_kernels, "kernels", lambda: "Numba cannot be used")
    said = xprnn.explain(layer, x)
    assert "  compiled-scan: declines (Numba cannot be used)\n" in said
    assert "  scan: runs\n" in said
    assert "  scan: declines (there is no step or no sequence to run)" in xprnn.explain(layer, x[:0])
    assert "  scan: declines (GRU is not linear in its state)" in xprnn.explain(nn.GRU(3, 4), x)
    with xprnn.use_kernels("scan"), pytest.raises(dispatch.DeclinedError, match="GRU is not linear in its state"):
        nn.GRU(3, 4)(x)


class Traces(LinearCell):
    """A user's: traces that fade at a learned rate, whose output is squashed. No way back is written."""

    gate_names = ("b",)
    state_names = ("h", "c")

    def weight_shapes(self, input_size, hidden_size):
        return super().weight_shapes(input_size, hidden_size) | {"rate": (hidden_size,), "spare": (2,)}

    def coefficients(self, w, zx):
        return 0.5 + 0.4 * xprnn.ops.sin(w["rate"]) if isinstance(zx, xprnn.Tensor) else 0.5 + 0.4 * np.sin(
            w["rate"]
        ), zx

    def output(self, w, c, zx):
        return c / (1.0 + w["rate"] * w["rate"]) + zx * zx


def test_a_cell_of_ones_own_is_scanned_and_the_tape_finds_its_way_back():
    layer = nn.RecurrentLayer(Traces(), 3, 4, dtype="float64", rng=0)
    x = xprnn.Tensor(np.random.default_rng(0).standard_normal((20, 2, 3)), requires_grad=True)
    found = {}
    for name in ("auto", "reference"):
        with xprnn.use_kernels(name):
            output, (_, c) = layer(x, lengths=[20, 7])
            loss = (output * output).sum() + c.sum()
            found[name] = [output.data, *(None if g is None else g.data for g in grad(loss, [x, *layer.parameters()]))]
    composed = grad(layer(x, lengths=[20, 7])[0].sum(), [x], create_graph=True)[0]
    assert "compiled-scan: runs" in xprnn.explain(layer, x) or "  scan: runs" in xprnn.explain(layer, x)
    assert_close(found["auto"], found["reference"], 1e-12)
    assert_close(composed.data, grad(layer(x, lengths=[20, 7])[0].sum(), [x])[0].data, 1e-12)


class Slower(cells.MinGRU):
    """A cell whose way back is that of another, since it changes the coefficients alone."""

    def coefficients(self, w, zx):
        a, b = super().coefficients(w, zx)
        return 0.5 * a, b


def test_an_inherited_way_back_is_not_taken_for_that_of_other_coefficients():
    assert len(check_laws(nn.RecurrentLayer(Slower(), 3, 4, dtype="float64", rng=0), 3)) >= 14


@pytest.mark.parametrize("written", [True, False], ids=["written back", "taped"])
@pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 1, 4)])
def test_coefficients_for_all_steps_have_any_shape_that_broadcasts(shape, written):
    """Also where a step is taken alone, which has no axis for time; forward and back."""

    class Same(LinearCell):
        gate_names = ("v",)

        def coefficients(self, w, zx):
            xp = xprnn.namespace(zx)
            return xp.reshape(0.5 + 0.0 * w["bias_ih"], shape), zx

    class Written(Same):
        def coefficients_vjp(self, w, zx, da, db):
            assert tuple(da.shape) == shape
            return db, {}

    found = []
    for kernels in ("scan", "reference"):
        layer = nn.RecurrentLayer((Written if written else Same)(), 3, 4, dtype="float64", rng=0)
        x = xprnn.Tensor(np.random.default_rng(1).standard_normal((5, 2, 3)), requires_grad=True)
        with xprnn.use_kernels(kernels):
            y, h = layer(x)
            (y * y).sum().backward()
        found.append([y.data, h.data, x.grad.data, layer.weight_ih_l0.grad.data])
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
    stream, states = layer.stream(2), []
    for step in x.data:
        states.append(stream.step(step).copy())
    np.testing.assert_allclose(states, found[0][0], rtol=1e-12)
