"""Which shapes the persistent kernels take on a device, how they are laid out, and how they are launched."""

import importlib
import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xprnn.kernels import kinds
from xprnn.kernels.cuda import launch, persistent, plan, product

from xprnn.settings import PRECISIONS

H100 = launch.Facts(0, (9, 0), 132, 232448, True)
ONE_A_WORD = ("Float32", "Tf32")
SHAPES = list(itertools.product(plan.GATES, [False, True], plan.NUMBERS, [1, 5, 16, 100], [5, 64, 130, 512, 1024]))


@pytest.mark.parametrize(("cell", "backward", "precision", "batch", "size"), SHAPES)
def test_every_candidate_covers_the_layer_and_fits(cell, backward, precision, batch, size):
    device = H100.multiprocessors, H100.shared_memory, H100.largest_cluster
    found = list(plan.candidates(cell, backward, precision, batch, size, *device))
    assert found
    if size != 512:  # there it depends on the numbers
        assert {shape.cluster > 0 for shape in found} == ({False, True} if size < 512 else {False})
    if size > 5:
        assert any(shape.polls for shape in found) == (size % 2 == 0 or plan.NUMBERS[precision][backward] in ONE_A_WORD)
    for shape in found:
        needed = size * (plan.GATES[cell] if backward else 1)
        assert shape.blocks * shape.units >= size > (shape.blocks - 1) * shape.units
        assert shape.groups * shape.group_rows >= batch > (shape.groups - 1) * shape.group_rows
        assert shape.blocks * shape.groups <= H100.multiprocessors
        assert shape.inner >= needed
        assert 0 < shape.held <= shape.spans
        assert shape.shared_bytes <= H100.shared_memory
        assert shape.cluster in (0, shape.blocks)
        assert shape.cluster <= 8
        if shape.polls:
            assert shape.blocks > 1
            assert shape.cluster == 0
            assert shape.slots * batch * shape.row_bytes <= plan.MOST_POLLED
        weights = 16 * (shape.held * shape.per_lane + shape.rest) * shape.threads
        assert weights == shape.row_bytes * shape.columns  # none is left out, and none is there twice
        assert shape.threads * 4 * shape.held * shape.per_lane < plan.REGISTERS


def test_small_batches_use_the_whole_device_and_large_layers_both_kinds_of_memory():
    shape = plan.best("Lstm", False, "bf16", 64, 512, 132, 232448)
    assert shape.blocks * shape.groups > 100
    assert plan.best("Lstm", True, "float32", 16, 1024, 132, 232448).rest > 0
    assert plan.best("Lstm", False, "float32", 1, 4096, 132, 232448) is None


def test_small_layers_run_in_clusters_where_the_device_has_them(device):
    shape = plan.best("Lstm", False, "bf16", 16, 128, 132, 232448, H100.largest_cluster)
    assert shape.cluster == shape.blocks > 1
    assert plan.best("Lstm", False, "bf16", 16, 128, 132, 232448).cluster == 0
    assert H100._replace(capability=(8, 0)).largest_cluster == 0
    device.resident = 0
    (found,) = set(reasons(size=128))
    assert found == f"the device can hold 0 blocks of the persistent kernel at once, and {shape.blocks} must meet"


def test_clusters_of_more_blocks_are_for_devices_that_ran_one():
    wide = H100._replace(wide_clusters=True)
    assert wide.largest_cluster == launch.WIDE_CLUSTER
    device = wide.multiprocessors, wide.shared_memory
    found = [shape for shape in plan.candidates("Lstm", False, "bf16", 64, 256, *device, 16) if shape.cluster > 8]
    assert found
    assert max(shape.groups for shape in found) == wide.multiprocessors // plan.PART
    assert not any(shape.cluster > 8 for shape in plan.candidates("Lstm", False, "bf16", 64, 256, *device, 8))


@pytest.mark.parametrize("refused", ["", "attribute", "launch"])
def test_a_cluster_of_more_blocks_is_tried(monkeypatch, refused):
    """On a driver that knows none, and on a device that has no room for one, there are those of fewer."""
    kernel, given = Kernel(), []
    driver = SimpleNamespace(funcSetAttribute=lambda *a: 1 / 0 if refused == "attribute" else given.append(a))
    if refused == "launch":
        monkeypatch.setattr(Kernel, "__call__", lambda *a, **options: 1 / 0)
    cupy = SimpleNamespace(cuda=SimpleNamespace(driver=driver), RawKernel=lambda text, name: kernel)
    monkeypatch.setattr(importlib, "import_module", lambda name: cupy)
    assert launch._runs_wide_clusters(H100) is (not refused)
    assert kernel.max_dynamic_shared_size_bytes == H100.shared_memory
    if not refused:
        assert given == [(1234, 14, 1)]
        (((grid, _, _), options),) = kernel.calls
        assert (grid, options) == ((1, 16, 1), {"shared_mem": H100.shared_memory})


def test_a_block_may_be_alone_on_any_device_and_others_look_for_numbers_where_they_are_few():
    alone = plan.best("Lstm", False, "bf16", 16, 32, 108, 166912)
    assert (alone.cluster, alone.blocks) == (1, 1)
    assert plan.best("Lstm", False, "bf16", 16, 512, 108, 166912).polls
    odd = plan.best("Lstm", False, "bf16", 16, 511, 108, 166912)
    assert (odd.polls, odd.slots) == (0, 2)
    assert plan.best("Lstm", False, "float32", 16, 511, 108, 166912).polls
    many = [shape.polls for shape in plan.candidates("Lstm", True, "float32", 1024, 256, 132, 232448)]
    assert not any(many)
    assert many


@pytest.mark.parametrize("shared_memory", [101376, 166912, 232448])
def test_shared_memory_is_the_devices(shared_memory):
    """An RTX 5090's blocks have less of it than an H100's, and newer is not more."""
    for cell, backward, precision in itertools.product(plan.GATES, [False, True], plan.NUMBERS):
        shape = plan.best(cell, backward, precision, 16, 512, 170, shared_memory, 8)
        assert 0 < shape.shared_bytes <= shared_memory


def test_every_number_is_known_to_the_planner():
    numbers = {number for both in plan.NUMBERS.values() for number in both}
    for table in (plan.PER_WORD, plan.OTHER_REGISTERS, plan.WEIGHT_REGISTERS, plan.MULTIPLY_ADDS, plan.LIBRARY):
        assert set(table) == numbers
    for table in (plan.NUMBERS, product.COMPUTE, launch.OLDEST_BY_PRECISION):
        assert tuple(table) == PRECISIONS


def test_fp16_goes_back_as_bf16():
    forth, back = (plan.best("Lstm", backward, "fp16", 64, 512, 132, 232448) for backward in (False, True))
    assert (forth.number, back.number) == ("Fp16", "Bf16")
    assert back == plan.best("Lstm", True, "bf16", 64, 512, 132, 232448)
    assert "-DXPRNN_NUMBER=Fp16" in forth.options


class Kernel:
    def __init__(self):
        self.kernel, self.calls = SimpleNamespace(ptr=1234), []
        self.local_size_bytes = 0

    def __call__(self, *arguments, **options):
        self.calls.append((arguments, options))


@pytest.fixture
def device(monkeypatch):
    """An H100 on which everything works; tests take something away from it."""
    kernel = Kernel()
    state = SimpleNamespace(facts=H100, resident=1, kernel=kernel)
    driver = SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda pointer, threads, shared: state.resident)
    compiler = SimpleNamespace(CompileException=SyntaxError)
    cupy = SimpleNamespace(cuda=SimpleNamespace(driver=driver, compiler=compiler))
    imported = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name, *a: cupy if name == "cupy" else imported(name, *a))
    monkeypatch.setattr(launch, "facts", lambda: state.facts)
    monkeypatch.setattr(launch, "simulated", lambda: False)
    monkeypatch.setattr(product, "reason_against", lambda precision: "")
    monkeypatch.setattr(product, "OnDevice", lambda dtype, precision, backward: None)
    monkeypatch.setattr(persistent, "_kernel", lambda *a: state.kernel)
    persistent._reason_against.cache_clear()
    yield state
    persistent._reason_against.cache_clear()


def reasons(kind=kinds.LSTM, steps=10, batch=16, size=512, dtype="float32", precision="float32"):
    return persistent.reasons_against(kind, steps, batch, size, dtype, precision)


@pytest.mark.parametrize("precision", plan.NUMBERS)
@pytest.mark.parametrize("kind", [kinds.LSTM, kinds.GRU])
def test_what_the_kernels_are_for_has_no_reasons_against_it(device, kind, precision):
    for batch, size in itertools.product((1, 16, 64), (128, 256, 512, 1024)):
        assert reasons(kind, batch=batch, size=size, precision=precision) == []


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"kind": 0}, "there are persistent kernels for LSTM and GRU only"),
        ({"dtype": "float64"}, "persistent kernels are for float32, not float64"),
        ({"steps": 0}, "there is no step or no sequence to run"),
        ({"steps": 2**24}, "16777216 steps are more than the barrier can count"),
        ({"steps": 2**16, "batch": 2**15}, "65536 steps of 32768 sequences are more rows than the 2147483647 of a"),
        ({"size": 4096}, "the recurrent weights of 4096 units in float32, and states of 16 sequences, do not fit into"),
        ({"batch": 256, "size": 1024}, "forward and back, a step should take"),
    ],
    ids=["cell", "dtype", "no step", "too long", "too many rows", "too large", "slower"],
)
def test_reasons_in_the_call(device, call, reason):
    (found,) = reasons(**call)
    assert found.startswith(reason)


def test_reasons_in_the_device(device, monkeypatch):
    device.facts = H100._replace(capability=(7, 5))
    assert reasons() == []
    assert reasons(precision="bf16") == ["the device has compute capability 7.5; persistent kernels in bf16 need 8.0"]
    device.facts = H100._replace(cooperative=False)
    assert reasons() == ["the device cannot launch a grid whose blocks all run at once"]
    device.facts = H100._replace(multiprocessors=20)
    assert "do not fit" in reasons(size=1024)[0]
    monkeypatch.setattr(launch, "facts", lambda: 1 / 0)
    assert reasons() == ["CuPy cannot use the device (ZeroDivisionError: division by zero)"]
    monkeypatch.setattr(launch, "simulated", lambda: True)
    assert reasons() == ["Numba's simulator runs no CUDA C++"]


def test_a_grid_whose_blocks_could_not_all_run_is_declined(device):
    device.resident = 0
    (found,) = set(reasons(batch=1, size=1024))
    assert found == "the device can hold 0 blocks of the persistent kernel at once, and 128 must meet"


@pytest.mark.parametrize("room", [12, 0])
def test_a_plan_whose_kernel_spills_gives_way_to_one_with_fewer_weights_in_registers(device, monkeypatch, room):
    """And where each spills, however few there are, the path declines."""
    device.facts = H100._replace(multiprocessors=170, shared_memory=101376)
    tried = []

    def compiled(number, file, name, options):
        held = int(re.search(r"XPRNN_HELD=(\d+)", " ".join(options))[1])
        tried.append(held)
        return SimpleNamespace(kernel=SimpleNamespace(ptr=1234), local_size_bytes=8 * (held > room))

    monkeypatch.setattr(persistent, "_kernel", compiled)
    best = plan.best("Gru", True, "tf32", 4, 600, 170, 101376, 8)
    chosen, reason = persistent._chosen(device.facts, "Gru", True, "tf32", 4, 600)
    if room == 0:
        assert reasons(kinds.GRU, batch=4, size=600, precision="tf32") == [persistent.IN_MEMORY]
        assert len(tried) <= 2 * len(plan.SPARE)
        return
    assert reason == ""
    assert chosen.held <= room < best.held
    assert reasons(kinds.GRU, batch=4, size=600, precision="tf32") == []
    place = SimpleNamespace(facts=device.facts)
    assert persistent._plan(place, kinds.GRU, True, "tf32", 4, 600) == chosen


def test_a_kernel_that_does_not_compile_is_a_reason(device, monkeypatch):
    monkeypatch.setattr(persistent, "_kernel", lambda *a: 1 / 0)
    assert reasons() == ["the kernels cannot be compiled and loaded (ZeroDivisionError: division by zero)"]


@pytest.mark.parametrize(("error", "lasts"), [(MemoryError("out of memory"), False), (SyntaxError("text"), True)])
def test_only_what_cannot_pass_is_remembered(device, monkeypatch, error, lasts):
    def fails(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(persistent, "_kernel", fails)
        assert reasons() != []
    assert (reasons() != []) is lasts
    device.resident = 0
    assert (reasons() != []) is lasts  # that nothing is against it is remembered, too


def test_launch_passes_grid_memory_and_typed_arguments(device):
    shape, array = plan.best("Gru", False, "bf16", 64, 512, 132, 232448), np.zeros(3, "float32")
    persistent.Device("bf16", backward=False).launch(shape, [array, None, 7])
    (((grid, block, arguments), options),) = device.kernel.calls
    assert (grid, block) == ((1, shape.blocks, shape.groups), (shape.threads,))
    assert options == {"shared_mem": shape.shared_bytes}
    assert arguments[0] is array
    assert [type(a).__name__ for a in arguments[1:]] == ["uint64", "int32"]
    assert arguments[1:] == (0, 7)


# Compute capability, multiprocessors, shared memory that one block can get, largest cluster.
DEVICES = {
    "V100": ((7, 0), 80, 98304, 0),
    "T4": ((7, 5), 40, 65536, 0),
    "A100": ((8, 0), 108, 166912, 0),
    "RTX 4090": ((8, 9), 128, 101376, 0),
    "L4": ((8, 9), 58, 101376, 0),
    "H100": ((9, 0), 132, 232448, 16),
    "a seventh of an H100": ((9, 0), 16, 232448, 8),
    "B200": ((10, 0), 148, 232448, 16),
    "RTX 5090": ((12, 0), 170, 101376, 8),
}
MOST_THREADS, MOST_GROUPS = 1024, 65535  # of a block; of a grid along z
powers = lambda most: st.floats(0, most).map(lambda power: round(2**power))


@given(
    st.sampled_from(sorted(DEVICES)),
    st.sampled_from(list(plan.GATES)),
    st.booleans(),
    st.sampled_from(list(plan.NUMBERS)),
    powers(20),
    powers(13),
    st.sampled_from(plan.SPARE),
)
def test_no_plan_asks_for_more_than_a_device_has(name, cell, backward, precision, batch, size, spare):
    capability, multiprocessors, shared_memory, largest = DEVICES[name]
    facts = launch.Facts(0, capability, multiprocessors, shared_memory, True, largest == launch.WIDE_CLUSTER)
    assert facts.largest_cluster == largest
    found = plan.candidates(cell, backward, precision, batch, size, multiprocessors, shared_memory, largest, spare)
    for shape in found:
        weights = 4 * shape.held * shape.per_lane
        assert 0 < weights <= plan.WEIGHT_REGISTERS[shape.number]
        assert weights + plan.OTHER_REGISTERS[shape.number] < min(plan.MOST_PER_THREAD, plan.REGISTERS // shape.threads)
        assert shape.threads <= MOST_THREADS
        assert shape.shared_bytes <= shared_memory
        assert shape.cluster <= max(1, largest)
        assert shape.groups <= MOST_GROUPS
        # A block may need a multiprocessor alone. Those that meet must be there at once: all, or those of a cluster.
        assert shape.blocks * shape.groups <= multiprocessors
        assert shape.slots * batch * shape.row_bytes // 4 < 2**31 or shape.cluster  # words, counted in 32 bits
        assert shape.group_rows * shape.row_bytes // 4 < 2**31
