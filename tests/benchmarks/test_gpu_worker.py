"""What measures for benchmarks/gpu.py, on the host: checks, contenders and their times."""

import math
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from gpu_benchmark import FOLDER, Clock, gpu

__all__ = ["gpu"]


def test_paths_without_those_that_hung(gpu):
    import gpu_worker

    assert gpu_worker.paths({}) == ["cuda-persistent", "cuda-step", "reference"]
    assert gpu_worker.paths({"without": ["cuda-persistent"]}) == ["cuda-step", "reference"]


def test_what_libraries_print_is_no_answer(gpu):
    code = f"import os, sys; sys.path.append({str(FOLDER)!r}); import gpu_worker\n"
    code += "gpu_worker.answer = lambda row: {'written': os.write(1, b'noise')}; gpu_worker.main()"
    worker = gpu.Worker([sys.executable, "-c", code], clock=lambda: 0.0)
    assert worker.ask({"what": "check"}, 30.0) == {"written": 5}
    worker.stop()


def test_the_worker_checks_and_times(gpu, monkeypatch):
    import gpu_worker

    monkeypatch.setattr(gpu_worker, "REPEATS", 2)
    monkeypatch.setattr(gpu_worker, "poison", lambda *_: None)
    monkeypatch.setattr(gpu_worker, "paths", lambda row: ["compiled", "nonsense"])
    for control in (False, True):
        row = {"what": "check", "cell": "GRU", "precision": "float32", "shape": [4, 3, 2, 6], "control": control}
        paths = gpu_worker.check(row, backend="numpy")["paths"]
        assert paths["compiled"]["worst"] < 1e-5
        assert paths["compiled"]["moved"] == 0
        assert "nonsense" in paths["nonsense"]["error"]


def test_results_are_compared_bit_by_bit_and_by_norm(gpu):
    import gpu_measuring

    a = np.array([1.0, np.nan])
    assert gpu_measuring.same(a, a.copy())
    assert not gpu_measuring.same(a, np.array([1.0, 2.0]))
    assert not gpu_measuring.same(a, np.array([np.nextafter(1.0, 2.0), np.nan]))
    assert math.isnan(gpu_measuring.worst({"a": np.array([np.nan])}, {"a": np.ones(1)})["worst"])
    assert gpu_measuring.attempt(lambda: 1 / 0) == {"error": "ZeroDivisionError: division by zero", "fatal": False}


def test_samples_take_turns(gpu):
    import gpu_measuring

    class Toy:
        def __init__(self, cost):
            self.clock, self.cost, self.runs = self, cost, 0

        def repeat(self, times):
            self.runs = times

        def seconds(self, work):
            work()
            return self.runs * self.cost

    times = gpu_measuring.samples({"slow": Toy(0.5), "fast": Toy(1e-4)})
    assert np.allclose(times["slow"], 0.5)
    assert np.allclose(times["fast"], 1e-4)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_contenders_compute_the_same(gpu, cell):
    pytest.importorskip("torch")
    import gpu_contenders
    import gpu_worker

    arrays = gpu_contenders.problem(cell, 5, 3, 4, 7, seed=0)
    exact = gpu_contenders.Torch(cell, arrays, True, "float64", "cpu").repeat(1)
    ours = gpu_contenders.Ours(cell, arrays, True, "compiled", "float32", backend="numpy").repeat(2)
    theirs = gpu_contenders.Torch(cell, arrays, True, "bf16", "cpu").repeat(2)
    assert ours.keys() == theirs.keys() == exact.keys() == {"output", "x", *gpu_contenders.names(1)}
    assert gpu_worker.errors_on_device(ours, exact)["worst"] < 1e-5
    assert 1e-4 < gpu_worker.errors_on_device(theirs, exact)["worst"] < 0.1
    for training in (False, True):
        output = gpu_contenders.Ours(cell, arrays, training, "compiled", "float32", backend="numpy").repeat(1)["output"]
        assert np.array_equal(output, ours["output"])


@pytest.mark.parametrize("training", [False, True])
def test_pytorch_keeps_nothing_for_a_way_back_in_inference(gpu, training):
    """cuDNN writes its reserve in training mode, whatever autograd says, and would be slower for it."""
    pytest.importorskip("torch")
    import gpu_contenders

    contender = gpu_contenders.Torch(
        "LSTM", gpu_contenders.problem("LSTM", 2, 3, 4, 5, seed=0), training, "float32", "cpu"
    )
    modes, forward = [], contender._layer.forward
    contender._layer.forward = lambda x: modes.append((contender._layer.training, x.requires_grad)) or forward(x)
    output = contender.repeat(1)["output"]
    assert modes == [(training, training)]
    assert output.is_inference() is not training


def test_a_product_and_a_cell_a_step_are_the_layer(gpu):
    torch = pytest.importorskip("torch")
    import gpu_contenders
    import gpu_micro

    def cell(zx, zh, c, *biases):
        i, f, g, o = (zx + zh + sum(biases)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c, None

    arrays = gpu_contenders.problem("LSTM", 5, 3, 4, 4, seed=0)
    expected = gpu_contenders.Torch("LSTM", arrays, False, "float64", "cpu").repeat(1)["output"]
    assert (gpu_micro.stepwise(arrays, torch.float32, cell)() - expected).abs().max() < 1e-6


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_the_kernel_that_times_the_barrier_compiles(gpu, tmp_path):
    import gpu_micro
    from xprnn.kernels.cuda import source

    (tmp_path / "meet.cu").write_text("\n".join(source.expanded(gpu_micro.BARRIER, set())))
    command = ["nvcc", "-arch=sm_80", "-std=c++17", "-cubin", "-o", str(tmp_path / "meet.cubin")]
    subprocess.run([*command, str(tmp_path / "meet.cu")], check=True)


def test_the_barrier_is_timed_among_blocks_that_cupy_launches_or_refuses(gpu, monkeypatch):
    """Of a grid with one dimension it would launch fewer, and only warn."""
    import gpu_micro

    grids = []

    class Module:
        def __init__(self, code, options=(), enable_cooperative_groups=False):
            assert enable_cooperative_groups

        def get_function(self, name):
            def kernel(grid, block, arguments):
                grids.append(grid)
                arguments[0][0] = np.prod(grid) * arguments[1]

            return kernel

    device = SimpleNamespace(attributes={"MultiProcessorCount": 132})
    cupy = SimpleNamespace(RawModule=Module, zeros=np.zeros, cuda=SimpleNamespace(Device=lambda: device))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(gpu_micro, "CupyClock", HostClock)
    assert list(gpu_micro.barrier()) == [f"{blocks} blocks" for blocks in (2, 8, 16, 32, 64, 128, 132)]
    assert {grid[0] for grid in grids} == {1}
    assert {grid[1] for grid in grids} == {2, 8, 16, 32, 64, 128, 132}


class HostClock:
    """In place of events."""

    def seconds(self, work):
        work()
        return 1e-3

    def peak(self, work):
        work()
        return 7


def test_time_on_the_host_is_that_of_one_call(gpu, monkeypatch):
    import gpu_micro

    now = Clock()

    class Busy:
        clock = HostClock()

        def repeat(self, times):
            now.now += 2e-3 * times

    monkeypatch.setattr(gpu_micro, "time", SimpleNamespace(perf_counter=now))
    monkeypatch.setattr(gpu_micro, "HOST_CALLS", 5)
    assert gpu_micro.host_seconds(Busy()) == pytest.approx(2e-3)


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_cell_of_the_grid_is_measured(gpu, monkeypatch, mode):
    """With NumPy in place of CuPy, and PyTorch on the host."""
    pytest.importorskip("torch")
    import gpu_contenders
    import gpu_worker

    asked = []

    def ours(*arguments, backend="numpy"):
        asked.append(arguments[3:])
        return gpu_contenders.Ours(*arguments, backend="numpy")

    for name in ("CupyClock", "TorchClock"):
        monkeypatch.setattr(gpu_contenders, name, HostClock)
    monkeypatch.setitem(sys.modules, "cupy", np)
    monkeypatch.setattr(gpu_worker, "Torch", lambda *arguments: gpu_contenders.Torch(*arguments, device="cpu"))
    monkeypatch.setattr(gpu_worker, "Ours", ours)
    monkeypatch.setattr(gpu_worker, "paths", lambda row: ["compiled", "cuda-step", "reference"])
    monkeypatch.setattr(gpu_worker, "choice", lambda row, own=gpu_worker.choice: own(row, "numpy"))
    monkeypatch.setattr(gpu_worker, "poison", lambda: None)
    monkeypatch.setattr(gpu_worker, "release", lambda: None)
    row = {"what": "grid", "cell": "GRU", "mode": mode, "precision": "fp16", "B": 3, "H": 8, "T": 5}
    found = gpu_worker.answer(row)
    assert not found["fatal"]
    assert set(found["paths"]) == {"torch", "compiled", "cuda-step"}
    assert asked == [("auto", "fp16"), ("compiled", "fp16"), ("cuda-step", "fp16")]
    assert found["chosen"] == "compiled"
    assert "not a CuPy array" in found["paths"]["cuda-step"]["error"]
    for name, worst in (("torch", 1e-2), ("compiled", 1e-5)):
        path = found["paths"][name]
        assert path["worst"] < worst
        assert path["us_step"] > 0
        assert path["peak"] == 7
    assert found["paths"]["torch"]["worst"] > 1e-5


def test_nothing_is_run_to_see_what_dispatch_chooses(gpu, monkeypatch):
    import gpu_worker

    from xprnn import dispatch

    row = {"what": "grid", "cell": "LSTM", "mode": "training", "precision": "bf16", "B": 3, "H": 8, "T": 5}
    for impl in dispatch.IMPLEMENTATIONS:
        monkeypatch.setattr(type(impl), "forward", None, raising=False)
    assert gpu_worker.choice(row, "numpy") == "compiled"


def test_only_the_process_that_answers_says_what_it_tries(gpu):
    import io

    import gpu_measuring

    answers, stream = gpu_measuring.Answers(), io.StringIO()
    answers.say({"trying": "nowhere"})
    answers.go_to(stream)
    answers.say({"trying": "path"})
    assert stream.getvalue() == '{"trying": "path"}\n'


def test_the_tuner_needs_no_worker():
    """Imported by name, a script that runs as the main module would be there twice."""
    for name in ("gpu_tune", "gpu_micro", "gpu_measuring"):
        assert "gpu_worker" not in (FOLDER / f"{name}.py").read_text()
    assert "sys.modules" not in (FOLDER / "gpu_worker.py").read_text()
