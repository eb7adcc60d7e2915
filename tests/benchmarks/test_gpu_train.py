"""Rows of benchmarks/gpu.py that train: what is timed, what is counted, and what a trace says."""

import sys

import numpy as np
import pytest
from gpu_benchmark import gpu

__all__ = ["gpu"]


def event(kind, name, begin, length, **more):
    return {"ph": "X", "cat": kind, "name": name, "ts": begin, "dur": length, **more}


def trace():
    """Two steps of a made-up training, from 100 to 200 microseconds."""
    from gpu_trace import WINDOW

    return {
        "traceEvents": [
            {"ph": "M", "name": "process_name"},
            event("user_annotation", WINDOW, 100.0, 100.0),
            event("gpu_user_annotation", WINDOW, 110.0, 120.0),
            event("cuda_runtime", "cudaDeviceSynchronize", 90.0, 5.0),
            event("cuda_runtime", "cudaLaunchKernel", 101.0, 5.0),
            event("cuda_driver", "cuLaunchKernel", 102.0, 5.0),
            event("cuda_runtime", "cudaMemcpyAsync", 110.0, 5.0),
            event("cuda_runtime", "cudaStreamSynchronize", 120.0, 5.0),
            event("cuda_runtime", "cudaEventSynchronize", 130.0, 5.0),
            event("cuda_runtime", "cudaDeviceSynchronize", 201.0, 9.0),
            event("kernel", "void persistent_forward<float, 3>(float const*, int)", 110.0, 40.0),
            event("kernel", "persistent_forward", 140.0, 20.0),
            event("kernel", "ampere_sgemm_128x64_tn", 205.0, 10.0),
            event("gpu_memcpy", "Memcpy DtoH (Device -> Pageable)", 161.0, 1.0),
            event("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", 163.0, 1.0),
            event("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", 165.0, 1.0),
            event("gpu_memcpy", "Memcpy DtoD (Device -> Device)", 167.0, 1.0),
            event("gpu_memset", "Memset (Device)", 169.0, 1.0),
        ]
    }


def test_a_trace_is_counted(gpu):
    import gpu_trace

    assert gpu_trace.counts(trace(), 2) == {
        "kernels": 1.5,
        "kernel us": 30.0,  # from 110 to 160, and 10 more
        "to host": 0.5,
        "to device": 1.0,
        "waits": 1.0,
        "most": {"persistent_forward": 60 / 70, "ampere_sgemm_128x64_tn": 10 / 70},
        "counted": "torch.profiler",
    }
    nothing = {"traceEvents": [e for e in trace()["traceEvents"] if e.get("cat") != "kernel"]}
    assert gpu_trace.counts(nothing, 2) == {"counted": "nothing: the profiler's trace has no kernels"}


def test_pytorch_writes_such_a_trace(gpu):
    torch = pytest.importorskip("torch")
    import gpu_trace

    meter = gpu_trace.Trace()
    meter.start()
    torch.ones(2, 2) @ torch.ones(2, 2)
    if torch.cuda.is_available():
        pytest.skip("tests/gpu looks at kernels")
    # But its window, or an error would come first.
    assert meter.stop(1, lambda: None) == {"counted": "nothing: the profiler's trace has no kernels"}


class Meter:
    """Counts nothing, but notes in what order it was asked."""

    def __init__(self):
        self.log = []

    def start(self):
        self.log.append("start")

    def stop(self, steps, synchronize):
        self.log.append(f"stop after {steps}")
        return {"kernel us": 10.0, "counted": "by nobody"}


@pytest.mark.parametrize("name", ["characters", "sentiment"])
def test_a_model_is_trained_for_as_many_steps_as_are_watched(gpu, monkeypatch, name):
    import gpu_train

    meter, look = Meter(), gpu_train.Watch.on_batch_end
    monkeypatch.setattr(gpu_train, "meter", lambda: meter)
    monkeypatch.setattr(gpu_train, "_waiting", lambda backend: lambda: meter.log.append("wait"))
    monkeypatch.setattr(gpu_train.Watch, "on_batch_end", lambda self, run: meter.log.append("step") or look(self, run))
    found = gpu_train.train({"name": name, "precision": "float32"}, "numpy", (2, 3, 2))
    timed = ["wait", *["step"] * 3, "wait"]
    assert meter.log == ["step", "step", *timed, "start", "step", "step", "stop after 2"]
    assert found["busy"] == pytest.approx(1e-2 / found["ms"])


def test_training_without_a_profiler_says_so(gpu, monkeypatch):
    import gpu_train

    monkeypatch.setitem(sys.modules, "torch.profiler", None)
    found = gpu_train.train({"name": "sentiment", "precision": "float32"}, "numpy", (1, 1, 1))
    assert found["ms"] > 0
    assert found["counted"].startswith("nothing: import of torch")


def test_texts_have_something_to_learn(gpu):
    import gpu_train

    text = gpu_train.characters(50_000)
    pairs = {}
    for k in range(2, len(text)):
        pairs.setdefault(text[k - 2 : k], set()).add(text[k])
    assert len(set(text)) == 60
    assert max(map(len, pairs.values())) <= 4
    texts, labels = gpu_train.sentences(500)
    assert set(labels) == {"good", "bad"}
    assert 20 < np.mean([len(t.split()) for t in texts]) < 24
