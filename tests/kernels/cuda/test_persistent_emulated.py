"""The persistent kernels, compiled for the CPU and run on cuda_emulator.h, against the reference engine."""

import ctypes
import dataclasses
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from emulator import COMPILER, shared_library
from xprnn.kernels import kinds
from xprnn.kernels.cuda import persistent, plan, product

from xprnn.cells import GRU, LSTM
from xprnn.engine import reference as engine
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control

SOURCES = Path(persistent.__file__).parent
CELLS = {"Lstm": (kinds.LSTM, LSTM()), "Gru": (kinds.GRU, GRU())}
# What rounding the operands of the products leaves of the results of a few steps, and of their gradients; float32 only
# adds in another order.
TOLERANCES = {"float32": (1e-6, 1e-6), "tf32": (2e-3, 2e-3), "bf16": (2e-2, 2e-2), "fp16": (2e-3, 2e-2)}
CANARY = 64  # elements before and behind every array that a kernel is given

pytestmark = pytest.mark.skipif(not COMPILER, reason="needs a C++ compiler on Linux")

MAIN = """
#define XPRNN_EMULATED
#include SOURCE
extern "C" int launch(void* const* arguments, unsigned blocks, unsigned groups, unsigned long shared, unsigned seed) {
    return emulator::launch<KERNEL>(KERNEL, arguments, {1, blocks, groups}, {THREADS},
                            XPRNN_CLUSTER ? XPRNN_CLUSTER : 1, shared, seed);
}
extern "C" void halve(const float* values, unsigned* halves, float* back, int count) {
    for (int i = 0; i < count; ++i) back[i] = emulator::half_to_float(halves[i] = round_fp16(values[i]));
}
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Compile a plan's kernel, once."""
    folder = tmp_path_factory.mktemp("emulated")

    @cache
    def compiled(file, name, options, sources):
        made = folder / f"{abs(hash((file, name, options, sources)))}.so"
        options = *options, f'-DSOURCE="{file}"', f"-DKERNEL={name}", f"-I{sources}"
        return shared_library(tmp_path_factory, MAIN, made, *options)

    return compiled


class Emulated:
    """Stands in for persistent.Device: arrays are NumPy's, all that is fresh is NaN, and edges are watched."""

    def __init__(self, build, seed=0, altered=None):
        self.build, self.seed, self.altered = build, seed, altered or {}
        self.facts = SimpleNamespace(number=0, multiprocessors=12, shared_memory=65536, largest_cluster=0)
        self.xp = SimpleNamespace(
            empty=poisoned,
            empty_like=lambda a: poisoned(a.shape, a.dtype),
            zeros=np.zeros,
            where=np.where,
            sum=np.sum,
            concatenate=np.concatenate,
            ascontiguousarray=np.ascontiguousarray,
        )
        self.product, self.plans = product.on_host, []

    def launch(self, shape, arguments):
        self.plans.append(shape)
        guarded = [Guarded(a) if isinstance(a, np.ndarray) else a for a in arguments]
        values = [
            ctypes.c_int(a) if isinstance(a, int) else ctypes.c_void_p(None if a is None else a.address)
            for a in guarded
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        library = self.build(shape.source, shape.name, shape.options, self.altered.get(shape.source, SOURCES))
        status = library.launch(pointers, shape.blocks, shape.groups, ctypes.c_ulong(shape.shared_bytes), self.seed)
        assert status == 0, {
            1: "no thread could go on",
            2: "written past the end of shared memory",
            3: "written into a block that had not begun, or was done",
        }[status]
        for a in guarded:
            if isinstance(a, Guarded):
                a.give_back()


class Guarded:
    """A copy of an array between two stretches of memory that must stay as they are."""

    def __init__(self, array):
        self.array, self.edge = array, CANARY * array.itemsize
        self.memory = np.full(array.nbytes + 2 * self.edge + 64, 0xA5, np.uint8)
        self.start = -self.memory.ctypes.data % 64 + self.edge  # aligned as on a device
        self.inside = self.memory[self.start : self.start + array.nbytes]
        self.inside[:] = array.reshape(-1).view(np.uint8)
        self.address = self.memory.ctypes.data + self.start

    def give_back(self):
        outside = np.concatenate([self.memory[: self.start], self.memory[self.start + self.array.nbytes :]])
        assert (outside == 0xA5).all(), "a kernel wrote outside an array"
        self.array.reshape(-1).view(np.uint8)[:] = self.inside


def poisoned(shape, dtype):
    """Memory as a device may give it out: NaN, whichever way it is read, but none that kernels know."""
    array = np.empty(shape, dtype)
    array.reshape(-1).view(np.uint16)[:] = 0x7FFF
    return array


def problem(cell, steps, batch, inputs, size, *, bias=True, reverse=False, seed=0, **control):
    """A call of the engine in float32, and cotangents for all it returns."""
    draws = np.random.default_rng(seed)
    draw = lambda *shape: draws.standard_normal(shape).astype("float32")
    shapes = CELLS[cell][1].weight_shapes(inputs, size)
    weights = {
        name: draw(*shape) / np.float32(np.sqrt(size)) for name, shape in shapes.items() if bias or "bias" not in name
    }
    x = draw(steps, batch, inputs)
    parts = len(CELLS[cell][1].state_names)
    state = tuple(draw(batch, size) for _ in range(parts))
    call = SequenceCall(CELLS[cell][1], weights, x, state, Control.build("test", x, **control), reverse, True)
    return call, tuple(draw(steps, batch, size) for _ in range(parts)), tuple(draw(batch, size) for _ in range(parts))


def reference(call, dsequences, dfinal):
    """All results in float64: states after every step, gradients of x, the initial state and the weights."""
    wide = lambda arrays: tuple(a.astype("float64") for a in arrays)
    call = SequenceCall(
        call.cell, {n: a.astype("float64") for n, a in call.weights.items()}, call.x.astype("float64"),
        wide(call.state), Control(call.control.advance, None, call.control.restart), call.reverse, True,
    )  # fmt: skip
    result, trace = engine.forward(call)
    gradients = engine.backward(call, trace, wide(dsequences), wide(dfinal))
    return [*result.sequences, gradients.x, *gradients.state, *gradients.weights.values()], list(gradients.weights)


def persistently(monkeypatch, place, cell, call, dsequences, dfinal, precision, names):
    """The same from the kernels."""
    monkeypatch.setattr(persistent, "_place", lambda precision, backward: place)
    monkeypatch.setattr(persistent, "_reason_against", lambda number, plan: "")  # of a device
    kind = CELLS[cell][0]
    control = call.control.reversed() if call.reverse else call.control
    flags = kinds.Flags(*(None if f is None else f[..., 0] for f in (control.advance, control.restart)))
    given = kind, call.weights, call.x
    states, cache = persistent.forward(*given, call.state, flags, call.reverse, True, precision)
    inference, _ = persistent.forward(*given, call.state, flags, call.reverse, False, precision)
    assert np.array_equal(inference[0], states[0], equal_nan=True)
    dstate = tuple(d.copy() for d in dfinal)
    dx, dstate, weights = persistent.backward(*given, cache, flags, call.reverse, dsequences, dstate, True, precision)
    return [*states, dx, *dstate, *(weights[name] for name in names)]


def small(cell, backward, precision, batch, size, groups=1):
    """A plan of two warps, with weights in both places; tails of every kind, and one kernel for many shapes."""
    number = plan.NUMBERS[precision][backward]
    rows = -(-batch // groups)
    return plan.Plan(
        backward, cell, number, units=8, inner=512 if backward else 128, warps=2, sides=1, held=1,
        tiles=2 if number == "Float32" else 1, cluster=0, polls=0, blocks=-(-size // 8), groups=groups, group_rows=rows,
    )  # fmt: skip


def clustered(cell, backward, precision, batch, size, groups=1, units=16):
    """Likewise in clusters, with four warps on two sides of two slices."""
    shape = small(cell, backward, precision, batch, size, groups)
    blocks = -(-size // units)
    return dataclasses.replace(shape, units=units, warps=4, sides=2, blocks=blocks, cluster=blocks)


def polled(cell, backward, precision, batch, size, groups=1):
    """The small plan, whose blocks look for each other's numbers."""
    return dataclasses.replace(
        small(cell, backward, precision, batch, size, groups), polls=1, inner=256 if backward else 128
    )


def compare(monkeypatch, place, cell, precision, given, groups=1, small=small):
    """Run a problem on the small plan, or on the planner's own where groups is 0; the results, found right."""
    call, dsequences, dfinal = given
    if groups:
        monkeypatch.setattr(
            persistent, "_plan",
            lambda place, kind, backward, precision, batch, size: small(cell, backward, precision, batch, size, groups),
        )  # fmt: skip
    expected, names = reference(call, dsequences, dfinal)
    found = persistently(monkeypatch, place, cell, call, dsequences, dfinal, precision, names)
    assert [f.shape for f in found] == [e.shape for e in expected]
    for i, (f, e) in enumerate(zip(found, expected, strict=True)):
        error = np.linalg.norm(f - e) / max(np.linalg.norm(e), 1e-30)
        assert error <= TOLERANCES[precision][i >= len(dsequences)]  # NaN is not
    return found


each_cell = pytest.mark.parametrize("cell", CELLS)
each_precision = pytest.mark.parametrize("precision", plan.NUMBERS)


@each_precision
@each_cell
@pytest.mark.parametrize(
    ("sizes", "groups", "options"),
    [
        ((5, 3, 4, 70), 1, {}),
        ((1, 1, 2, 5), 1, {"bias": False}),
        ((3, 37, 2, 24), 2, {"reverse": True}),
        ((2, 2, 3, 64), 2, {}),
    ],
    ids=["tails", "one of each", "two groups, several chunks, reverse", "a group for each sequence"],
)
def test_results_and_gradients(monkeypatch, build, cell, precision, sizes, groups, options):
    compare(monkeypatch, Emulated(build), cell, precision, problem(cell, *sizes, **options), groups)


@each_precision
@each_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_held_and_restarted_states(monkeypatch, build, cell, precision, reverse):
    control = {
        "lengths": [6, 0, 3, 5, 6, 6, 1],
        "mask": np.random.default_rng(1).random((6, 7)) > 0.3,
        "reset": np.random.default_rng(2).random((6, 7)) > 0.6,
    }
    call, *cotangents = problem(cell, 6, 7, 3, 35, reverse=reverse, **control)
    call.x[~call.control.advance[..., 0]] = np.nan  # what is not looked at may hold anything
    compare(monkeypatch, Emulated(build), cell, precision, (call, *cotangents), 1 + reverse)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@each_cell
def test_blocks_of_a_cluster(monkeypatch, build, cell, precision):
    control = {"lengths": [5, 0, 3], "reset": np.random.default_rng(2).random((5, 3)) > 0.7}
    place = Emulated(build)
    compare(monkeypatch, place, cell, precision, problem(cell, 5, 3, 4, 70, reverse=True, **control), 2, clustered)
    assert [(shape.cluster, shape.groups) for shape in place.plans] == [(5, 2)] * 3


def test_many_spans_are_fetched_ahead_through_memory(monkeypatch, build):
    """Of more than the compiler has registers for, HOISTED in product.cuh."""
    held = {False: 10, True: 20}
    many = lambda *given: dataclasses.replace(small(*given), inner=640, held=held[given[1]])
    for backward in held:
        shape = many("Lstm", backward, "tf32", 3, 22)
        assert 4 * shape.held * (shape.per_lane + 2 * shape.tiles) > 224
    compare(monkeypatch, Emulated(build), "Lstm", "tf32", problem("Lstm", 3, 3, 2, 22), 1, many)


def test_a_cluster_may_be_wide(monkeypatch, build):
    wide = lambda *given: clustered(*given, units=8)
    compare(monkeypatch, Emulated(build), "Gru", "float32", problem("Gru", 3, 2, 2, 70), 1, wide)


@each_cell
def test_a_cluster_may_be_one_block(monkeypatch, build, cell):
    one = lambda *given: clustered(*given, units=32)
    compare(monkeypatch, Emulated(build), cell, "bf16", problem(cell, 3, 18, 2, 30), 1, one)


@pytest.mark.parametrize(("cell", "precision"), [("Lstm", "float32"), ("Lstm", "bf16"), ("Gru", "bf16")])
def test_numbers_that_are_looked_for(monkeypatch, build, cell, precision):
    """Over more steps than there are slots."""
    steps, draws = plan.POLLED_SLOTS + 5, np.random.default_rng(2)
    control = {
        "lengths": [steps, 0, 3],
        "reset": draws.random((steps, 3)) > 0.7,
        "mask": draws.random((steps, 3)) > 0.1,
    }
    place = Emulated(build, seed=1)
    compare(monkeypatch, place, cell, precision, problem(cell, steps, 3, 2, 22, reverse=True, **control), 2, polled)
    assert [(shape.polls, shape.blocks, shape.groups) for shape in place.plans] == [(1, 3, 2)] * 3


def test_no_nan_looks_like_nothing(monkeypatch, build):
    """Each goes on as some NaN, and nobody waits for it for ever."""
    call, *_ = problem("Lstm", 3, 4, 2, 24)
    call.state[0].view(np.uint32)[1, :2] = [0xFFFFFFFF, 0x7FC00000]
    for precision in ("float32", "bf16"):
        hs = inference(monkeypatch, build, "Lstm", call, precision, polled)
        assert np.isnan(hs[:, 1]).all()
        assert np.isfinite(hs[:, [0, 2, 3]]).all()


@each_cell
def test_the_order_of_threads_changes_no_bit(monkeypatch, build, cell):
    given = problem(cell, 4, 5, 3, 40)
    first, *others = (compare(monkeypatch, Emulated(build, seed=seed), cell, "float32", given, 1) for seed in range(5))
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@each_cell
def test_nan_stays_in_its_sequence(monkeypatch, build, cell):
    call, dsequences, dfinal = problem(cell, 3, 4, 2, 12)
    call.x[1, 2] = np.nan
    monkeypatch.setattr(persistent, "_plan", lambda place, kind, *a: small(cell, *a))
    hs, *_ = persistently(monkeypatch, Emulated(build), cell, call, dsequences, dfinal, "bf16", [])
    assert np.isnan(hs[1:, 2]).all()
    assert np.isfinite(hs[:, [0, 1, 3]]).all()


def inference(monkeypatch, build, cell, call, precision, small=small, **options):
    """All h of a call without flags, from the small plan."""
    monkeypatch.setattr(persistent, "_place", lambda precision, backward: Emulated(build, **options))
    monkeypatch.setattr(persistent, "_plan", lambda place, kind, *a: small(cell, *a))
    none = kinds.Flags(None, None)
    return persistent.forward(CELLS[cell][0], call.weights, call.x, call.state, none, False, False, precision)[0][0]


@each_cell
def test_what_fp16_cannot_hold_is_nan_and_never_a_number(monkeypatch, build, cell):
    call, *_ = problem(cell, 3, 4, 2, 12)
    run = lambda: inference(monkeypatch, build, cell, call, "fp16")
    call.x[0, 0] = 1e9  # of inputs it can be any number
    assert np.isfinite(run()).all()
    call.state[0][1, 3] = 65519.0  # the last one below half a step above the largest
    assert np.isfinite(run()).all()
    for large in (65520.0, -1e9, np.inf, np.nan):
        call.state[0][1, 3] = large
        hs = run()
        assert np.isnan(hs[:, 1]).all()
        assert np.isfinite(hs[:, [0, 2, 3]]).all()
    call.state[0][1, 3] = 0.0
    call.weights["weight_hh"][5, 7] = 65520.0
    assert np.isnan(run()[1:]).all()


@pytest.mark.parametrize("scale", [1.0, 2.0**-18], ids=["normal", "subnormal"])
def test_fp16_is_float32_with_rounded_operands(monkeypatch, build, scale):
    """In one step: after it, h is rounded again."""
    call, *_ = problem("Lstm", 1, 4, 2, 40)
    call.weights["weight_hh"][:] *= np.float32(scale)
    call.state[0][:] /= np.float32(np.sqrt(scale))
    found = inference(monkeypatch, build, "Lstm", call, "fp16")
    exact = inference(monkeypatch, build, "Lstm", call, "float32")
    for operand in (call.weights["weight_hh"], call.state[0]):
        rounded = operand.astype("float16")
        assert (rounded != operand).mean() > 0.9
        operand[:] = rounded
    assert np.abs(found - exact).max() > 1e-5
    np.testing.assert_allclose(found, inference(monkeypatch, build, "Lstm", call, "float32"), rtol=0, atol=1e-6)


@each_cell
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_cotangents_may_be_smaller_than_float16_can_hold(monkeypatch, build, cell, precision):
    call, dsequences, dfinal = problem(cell, 4, 5, 3, 40)
    dsequences, dfinal = (tuple(d * np.float32(1e-12) for d in ds) for ds in (dsequences, dfinal))
    compare(monkeypatch, Emulated(build), cell, precision, (call, dsequences, dfinal))


def test_the_emulator_rounds_to_float16_as_numpy_does(build):
    draws = np.random.default_rng(0)
    values = draws.integers(0, 2**32, 100_000, dtype=np.uint32).view("float32")
    near = np.ldexp(draws.uniform(-2, 2, 100_000), draws.integers(-30, 18, 100_000)).astype("float32")
    halves = np.arange(2**16, dtype=np.uint16).view("float16").astype("float32")
    between = (halves[:31743] + halves[1:31744]) / 2  # ties
    values = np.concatenate([values, near, halves, between, -between, np.float32([65519.996, 65520.0])])
    found, back = np.empty(len(values), np.uint32), np.empty(len(values), "float32")
    shape = small("Lstm", False, "fp16", 1, 8)
    build(shape.source, shape.name, shape.options, SOURCES).halve(
        *(ctypes.c_void_p(a.ctypes.data) for a in (values, found, back)), len(values)
    )
    with np.errstate(over="ignore"):
        expected = values.astype("float16")
    kept = np.isfinite(expected)
    assert 0.5 < kept.mean() < 1
    np.testing.assert_array_equal(found[kept], expected.view(np.uint16)[kept])
    np.testing.assert_array_equal(back[kept], expected[kept])
    assert (found[~kept] == 0x7FFF).all()
    assert np.isnan(back[~kept]).all()


@pytest.mark.parametrize(
    ("cell", "precision", "sizes"),
    [("Lstm", "bf16", (3, 9, 3, 70)), ("Gru", "float32", (3, 5, 3, 44)), ("Gru", "fp16", (3, 9, 3, 70))],
)
def test_plans_of_the_planner(monkeypatch, build, cell, precision, sizes):
    place = Emulated(build)
    compare(monkeypatch, place, cell, precision, problem(cell, *sizes), groups=0)
    assert all(shape.blocks * shape.groups <= place.facts.multiprocessors for shape in place.plans)


def test_each_group_counts_in_a_line_of_its_own(monkeypatch, build):
    """Of 128 bytes. Groups share nothing, and would wait for each other's counters if those shared a line."""
    place, made = Emulated(build), []
    place.xp.zeros = lambda *a: made.append(np.zeros(*a)) or made[-1]
    compare(monkeypatch, place, "Lstm", "bf16", problem("Lstm", 3, 9, 2, 24), groups=3)
    for arrivals in made:
        assert list(np.flatnonzero(arrivals) * arrivals.itemsize) == [0, 128, 256]


@each_cell
def test_bias_gradients_do_not_read_all_cotangents_again(monkeypatch, build, cell):
    """What is summed outside the kernel has no axis of time."""
    place, summed = Emulated(build), []
    place.xp.sum = lambda a, axis: summed.append(a.shape) or np.sum(a, axis=axis)
    compare(monkeypatch, place, cell, "float32", problem(cell, 6, 7, 3, 35))
    assert summed == [(7, 4 * 35)]


def mutate(folder, file, before, after):
    """The sources in another folder, with one change."""
    sources = shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    text = (sources / file).read_text()
    assert before in text
    (sources / file).write_text(text.replace(before, after))
    return sources


MUTANTS = {
    "does not wait for the others": ("forward.cu", "barrier.cuh", "load_acquire(counter) < awaited", "false"),
    "does not wait, on the way back": ("backward.cu", "barrier.cuh", "load_acquire(counter) < awaited", "false"),
    "speaks for those who still write": (
        "forward.cu",
        "barrier.cuh",
        "arrive() {\n        __syncthreads();",
        "arrive() {",
    ),
    "lets the others run on": ("forward.cu", "barrier.cuh", "            }\n        }\n        __syncthreads();", "}}"),
    "counts and releases nothing": (
        "forward.cu",
        "barrier.cuh",
        "release_increment(counter)",
        "++*counter, ++emulator::progress",
    ),
    "reads a count and acquires nothing": (
        "forward.cu",
        "barrier.cuh",
        "load_acquire(counter) <",
        "(emulator::give_way(), *static_cast<const volatile int*>(counter)) <",
    ),
    "waits for one too many": ("forward.cu", "barrier.cuh", "awaited += blocks", "awaited += blocks + 1"),
    "has one slot for two steps": ("forward.cu", "exchange.cuh", "-block.batch * WORDS}", "0}"),
    "reads sums too early": ("forward.cu", "forward.cu", "rest, sums);\n            __syncthreads();", "rest, sums);"),
    "forgets a slice": ("forward.cu", "block.cuh", "< Resident::SLICES;", "< Resident::SLICES - 1;"),
    "leaves the padding": ("forward.cu", "forward.cu", "exchange.clear(", "if (false) exchange.clear("),
    "mixes up rows": ("forward.cu", "product.cuh", "8 * half + across", "8 * (1 - half) + across"),
    "writes behind the last unit": ("forward.cu", "block.cuh", "idle(unit >= size)", "idle(unit > size)"),
    "starts from garbage": ("backward.cu", "backward.cu", "exchange.give_number(row, g * size + unit, 0.0f)", "0"),
    "adds up biases of one row": ("backward.cu", "backward.cu", "summed[g * THREADS] +=", "summed[g * THREADS] ="),
    "forgets the last product": ("backward.cu", "backward.cu", "k >= -1", "k >= 0"),
    "adds up half of the lanes": ("forward.cu", "product.cuh", "mask = ALONG / 2", "mask = ALONG / 4"),
    "leaves the other weights": ("backward.cu", "product.cuh", "span < SPANS; ++span", "span < HELD; ++span"),
}


OF_POLLING = {
    "takes what is not there": ("exchange.cuh", "return found.x == ABSENT ||", "return"),
    "looks twice": ("product.cuh", "while (any_lane(", "if (any_lane("),
    "begins with what was there": ("exchange.cuh", "padding ? 0u : ABSENT", "padding ? 0u : slots[0]"),
    "begins before the others are ready": ("exchange.cuh", "        end(0);\n        wait_for_end(0);\n", ""),
    "leaves what was read": ("exchange.cuh", "give_word(slot(now + SLOTS / 2) + at, ABSENT);", ""),
    "frees what is read": ("exchange.cuh", "slot(now + SLOTS / 2)", "slot(now)"),
    "waits for no epoch": ("exchange.cuh", "wait_for_end((now + 1) / EPOCH - 1)", ""),
    "speaks for those who still read": ("exchange.cuh", "__syncthreads();\n        if (thr", "if (thr"),
    "gives half a word": ("exchange.cuh", "word |= from_neighbour(word) << 16;", ""),
}


OF_CLUSTERS = {
    "does not wait": ("exchange.cuh", "{ cluster_wait(); }", "{}"),
    "gives before others have begun": ("exchange.cuh", "cluster_arrive();   // before", "return;   // before"),
    "arrives twice": ("exchange.cuh", "{ cluster_wait(); }", "{ cluster_arrive(), cluster_wait(); }"),
    "gives to itself alone": ("exchange.cuh", "XPRNN_CLUSTER; ++to) Number", "1; ++to) Number"),
    "leaves the padding": ("exchange.cuh", "used, threadIdx.x, THREADS)", "INNER, threadIdx.x, THREADS)"),
    "has one slot for two steps": ("exchange.cuh", "-block.group_rows * STRIDE}", "0}"),
    "mixes up sides": ("product.cuh", "Weights::first_column() + 8 * n", "8 * n"),
}


@pytest.fixture(scope="module")
def unaltered(build):
    """What the sources as they are make of a mutant's problem, found right; once for all mutants."""

    @cache
    def run(case, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            return case(patch, build, *arguments, altered={})

    return run


def in_a_cluster(monkeypatch, build, altered):
    given = problem("Lstm", 4, 3, 3, 40)
    compare(monkeypatch, Emulated(build, altered=altered), "Lstm", "bf16", given, 1, clustered)


def by_polling(monkeypatch, build, altered):
    """The way forward is enough: what is wrong is in the exchange."""
    call, *_ = problem("Lstm", plan.POLLED_SLOTS + 5, 3, 2, 22)
    return inference(monkeypatch, build, "Lstm", call, "bf16", polled, seed=3, altered=altered)


def in_two_groups(monkeypatch, build, precision, altered):
    compare(monkeypatch, Emulated(build, altered=altered), "Lstm", precision, problem("Lstm", 4, 5, 3, 70), 2)


@pytest.mark.parametrize("mutant", OF_CLUSTERS)
def test_those_of_clusters_too(monkeypatch, build, unaltered, tmp_path, mutant):
    unaltered(in_a_cluster)
    sources = mutate(tmp_path / "cuda", *OF_CLUSTERS[mutant])
    with pytest.raises(AssertionError):
        in_a_cluster(monkeypatch, build, {"forward.cu": sources})


@pytest.mark.parametrize("mutant", OF_POLLING)
def test_those_of_polling_too(monkeypatch, build, unaltered, tmp_path, mutant):
    expected = unaltered(by_polling)
    sources = mutate(tmp_path / "cuda", *OF_POLLING[mutant])
    try:
        found = by_polling(monkeypatch, build, {"forward.cu": sources})
    except AssertionError:  # they wait for each other for ever
        return
    assert not np.array_equal(found, expected)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_these_tests_can_fail(monkeypatch, build, unaltered, tmp_path, mutant):
    kernel, *change = MUTANTS[mutant]
    precision = "float32" if "lanes" in mutant else "bf16"
    unaltered(in_two_groups, precision)
    sources = mutate(tmp_path / "cuda", *change)
    with pytest.raises(AssertionError):
        in_two_groups(monkeypatch, build, precision, {kernel: sources})
