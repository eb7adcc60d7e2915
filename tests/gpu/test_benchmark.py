"""What benchmarks/gpu.py rests on: that its clock, its counts and its memory are those of CuPy's work."""

import pytest
from gpu_benchmark import FOLDER
from gpu_home import gpu, needs_cupy

pytestmark = [pytest.mark.gpu, needs_cupy]
HOME = gpu()


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def test_the_profiler_sees_what_cupy_does():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    import cupy
    import gpu_trace

    def work(x):
        for _ in range(6):
            x = x + 1
        return x.get()

    x, wait = cupy.zeros(1 << 20, "float32"), cupy.cuda.Device().synchronize
    work(x)
    wait()
    meter = gpu_trace.Trace()
    meter.start()
    work(x)
    found = meter.stop(2, wait)
    assert found["kernels"] == 3
    assert found["to host"] == 0.5
    assert found["to device"] == 0
    assert found["kernel us"] > 1


def test_clock_and_peak():
    import cupy
    import gpu_contenders

    clock, x = gpu_contenders.CupyClock(), cupy.zeros((2048, 2048), "float32")
    assert 1e-4 < clock.seconds(lambda: [x @ x for _ in range(20)]) < 10  # 3.4e11 operations
    peak = clock.peak(lambda: (cupy.zeros(1 << 20, "uint8"), cupy.zeros(1 << 18, "uint8")))
    assert peak == (1 << 20) + (1 << 18)


def test_a_poisoned_pool_gives_out_nan():
    import cupy
    import gpu_measuring

    gpu_measuring.poison()
    for size in (1 << 10, 1 << 16, 1 << 22):
        assert bool(cupy.isnan(cupy.empty(size, "float32")).all())


def test_a_small_cell_of_the_grid_is_measured_and_right():
    pytest.importorskip("torch")
    import gpu_table
    import gpu_worker

    row = {"what": "grid", "cell": "GRU", "mode": "training", "precision": "tf32", "B": 4, "H": 128, "T": 16}
    found = gpu_worker.answer(row)
    for name in ("torch", "cuda-persistent", "cuda-step"):
        path = found["paths"][name]
        assert "error" not in path, path
        assert not gpu_table.wrong(row, path), path
        assert path["us_step"] > 0


def test_a_plan_is_tuned():
    import gpu_tune

    row = {"what": "tune", "cell": "LSTM", "way": "backward", "precision": "bf16", "B": 4, "H": 128}
    found = gpu_tune.measure(row, steps=32)
    assert [plan for plan in found["plans"] if plan.get("worst", 1.0) < 4e-2 and not plan["moved"]]


def test_training_is_counted():
    import gpu_train

    found = gpu_train.train({"name": "sentiment", "precision": "float32"}, steps=(3, 4, 3))
    assert found["ms"] > 0
    if found["counted"] == "torch.profiler":
        assert found["kernels"] > 10
        assert 0 < found["busy"] <= 1.1
