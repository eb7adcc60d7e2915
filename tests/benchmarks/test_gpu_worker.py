"""What measures for benchmarks/gpu.py, on the host: checks, contenders and their times."""

import math
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from gpu_benchmark import FOLDER, gpu

__all__ = ["gpu"]


def test_paths_without_those_that_hung(gpu):
    import gpu_worker

    assert gpu_worker.paths({}) == ["cuda-persistent", "cuda-step", "reference"]
    assert gpu_worker.paths({"without": ["cuda-persistent"]}) == ["cuda-step", "reference"]


def test_what_libraries_print_is_no_answer(gpu):
    code = f"import os, sys; sys.path.append({str(FOLDER)!r}); import gpu_worker\n"
    code += "gpu_worker.answer = lambda row: {'written': os.write(1, b'noise')}; gpu_worker.main()"
    worker = gpu.Worker([sys.executable, "-c", code])
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
    a = np.array([1.0, np.nan])
    assert gpu_worker.same(a, a.copy())
    assert not gpu_worker.same(a, np.array([1.0, 2.0]))
    assert not gpu_worker.same(a, np.array([np.nextafter(1.0, 2.0), np.nan]))
    assert math.isnan(gpu_worker.worst({"a": np.array([np.nan])}, {"a": np.ones(1)})["worst"])
    assert gpu_worker.attempt(lambda: 1 / 0) == {"error": "ZeroDivisionError: division by zero", "fatal": False}

    class Toy:
        def __init__(self, cost):
            self.clock, self.cost, self.runs = self, cost, 0

        def repeat(self, times):
            self.runs = times

        def seconds(self, work):
            work()
            return self.runs * self.cost

    times = gpu_worker.samples({"slow": Toy(0.5), "fast": Toy(1e-4)})
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


class HostClock:
    """In place of events."""

    def seconds(self, work):
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def peak(self, work):
        work()
        return 7


def test_time_on_the_host_is_that_of_one_call(gpu, monkeypatch):
    import gpu_micro

    class Sleeper:
        clock = HostClock()

        def repeat(self, times):
            time.sleep(2e-3 * times)

    monkeypatch.setattr(gpu_micro, "HOST_CALLS", 5)
    assert 2e-3 <= gpu_micro.host_seconds(Sleeper()) < 6e-3


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_cell_of_the_grid_is_measured(gpu, monkeypatch, mode):
    """With NumPy in place of CuPy, and PyTorch on the host."""
    pytest.importorskip("torch")
    import gpu_contenders
    import gpu_worker

    asked = []

    def ours(*arguments):
        asked.append(arguments[3:])
        return gpu_contenders.Ours(*arguments, backend="numpy")

    for name in ("CupyClock", "TorchClock"):
        monkeypatch.setattr(gpu_contenders, name, HostClock)
    monkeypatch.setitem(sys.modules, "cupy", np)
    monkeypatch.setattr(gpu_worker, "Torch", lambda *arguments: gpu_contenders.Torch(*arguments, device="cpu"))
    monkeypatch.setattr(gpu_worker, "Ours", ours)
    monkeypatch.setattr(gpu_worker, "paths", lambda row: ["compiled", "cuda-step", "reference"])
    monkeypatch.setattr(gpu_worker, "poison", lambda: None)
    monkeypatch.setattr(gpu_worker, "release", lambda: None)
    row = {"what": "grid", "cell": "GRU", "mode": mode, "precision": "fp16", "B": 3, "H": 8, "T": 5}
    found = gpu_worker.answer(row)
    assert not found["fatal"]
    assert set(found["paths"]) == {"torch", "compiled", "cuda-step"}
    assert asked == [("compiled", "fp16"), ("cuda-step", "fp16")]
    assert "not a CuPy array" in found["paths"]["cuda-step"]["error"]
    for name, worst in (("torch", 1e-2), ("compiled", 1e-5)):
        path = found["paths"][name]
        assert path["worst"] < worst
        assert path["us_step"] > 0
        assert path["peak"] == 7
    assert found["paths"]["torch"]["worst"] > 1e-5
