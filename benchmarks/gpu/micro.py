"""What the device and its driver take for the small things that a recurrence is made of."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
from gpu_contenders import CupyClock
from gpu_rows import GATES

LOOPS = 2000

BARRIER = """
#include "barrier.cuh"
extern "C" __global__ void __launch_bounds__(256, 1) meet(int* counter, int times) {
    GroupBarrier barrier(counter, gridDim.y);
    for (int i = 0; i < times; ++i) {
        barrier.arrive();
        barrier.wait();
    }
}
"""


def preflight() -> dict[str, str]:
    """Whether each path loads its kernels and runs a small layer, or why not."""
    from gpu_contenders import Ours, problem
    from gpu_measuring import attempt, trying

    found, arrays = {}, problem("LSTM", 7, 3, 10, 100, seed=0)
    for path, precision in itertools.product(("cuda-persistent", "cuda-step"), ("float32", "bf16")):
        trying(path)

        def run(path: str = path, precision: str = precision) -> dict[str, str]:
            contender = Ours("LSTM", arrays, True, path, precision)
            contender.clock.seconds(lambda: contender.repeat(1))  # and waits
            return {"text": "runs"}

        answer = attempt(run)
        found[f"{path}, {precision}"] = answer.get("text") or answer["error"]
    return found


def ceilings() -> dict[str, str]:
    """What memory moves and what products compute, to set times against."""
    import torch

    size = 1 << 28
    a, b = torch.empty(size, device="cuda"), torch.empty(size, device="cuda")
    found = {"copy": f"{2 * 4 * size / _torch_seconds(lambda: a.copy_(b), 10) / 1e12:.2f} TB/s, read and written"}
    for name, dtype, tf32 in (("float32", "float32", False), ("tf32", "float32", True), ("bf16", "bfloat16", False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        x, y = (torch.randn(8192, 8192, device="cuda").to(getattr(torch, dtype)) for _ in range(2))
        rate = 2 * 8192**3 / _torch_seconds(lambda x=x, y=y: x @ y, 5) / 1e12
        found[f"product of 8192 x 8192, {name}"] = f"{rate:.0f} TFLOP/s"
    return found


def _torch_seconds(work: Any, times: int) -> float:
    from gpu_contenders import TorchClock

    work()
    return float(np.median([TorchClock().seconds(work) for _ in range(times)]))


def launch() -> dict[str, str]:
    """A kernel that does nothing, launched in a row: by the host's clock and by the device's."""
    import cupy

    found = {}
    for name, cooperative in (("plain", False), ("cooperative", True)):
        kernel = cupy.RawModule(
            code='extern "C" __global__ void nothing(int* counter) {}', enable_cooperative_groups=cooperative
        ).get_function("nothing")
        counter = cupy.zeros(1, "int32")

        def work(kernel: Any = kernel, counter: Any = counter) -> None:
            for _ in range(LOOPS):
                kernel((1, 64), (256,), (counter,))

        work()
        cupy.cuda.get_current_stream().synchronize()
        start = time.perf_counter()
        work()
        host = 1e6 * (time.perf_counter() - start) / LOOPS
        cupy.cuda.get_current_stream().synchronize()
        device = 1e6 * CupyClock().seconds(work) / LOOPS
        found[name] = f"{host:.2f} us on the host, {device:.2f} us on the device"
    return found


def barrier() -> dict[str, str]:
    """The barrier of the persistent kernels among so many blocks, in a loop that does nothing else."""
    import cupy
    from xprnn.kernels.cuda import source

    code = "\n".join(source.expanded(BARRIER, set()))
    kernel = cupy.RawModule(code=code, options=("-std=c++17",), enable_cooperative_groups=True).get_function("meet")
    processors = cupy.cuda.Device().attributes["MultiProcessorCount"]
    found = {}
    for blocks in sorted({2, 8, 16, 32, 64, 128, processors}):
        if blocks > processors:
            continue
        times = []
        for _ in range(7):
            counter = cupy.zeros(1, "int32")
            times.append(CupyClock().seconds(lambda b=blocks, c=counter: kernel((1, b), (256,), (c, np.int32(LOOPS)))))
        assert int(counter[0]) == blocks * LOOPS
        found[f"{blocks} blocks"] = f"{1e6 * np.median(times) / LOOPS:.2f} us"
    return found


HOST_CALLS = 10  # fewer launches than the device keeps in its queue, also of cuDNN, with some for each step


def host() -> dict[str, str]:
    """What a call of a small layer costs the host, which gives out work and does not wait: no sequence is faster."""
    import cupy
    from gpu_contenders import Ours, Torch, problem
    from gpu_measuring import attempt

    found = {}
    for cell, training in itertools.product(GATES, (False, True)):
        arrays = problem(cell, 16, 1, 128, 128, seed=0, xp=cupy)
        for name, make in (
            ("cuda-persistent", lambda c=cell, a=arrays, t=training: Ours(c, a, t, "cuda-persistent", "float32")),
            ("torch", lambda c=cell, a=arrays, t=training: Torch(c, a, t, "float32")),
        ):
            answer = attempt(lambda make=make: {"text": f"{1e6 * host_seconds(make()):.0f} us a call"})
            found[f"{cell}, {'training' if training else 'inference'}, {name}"] = answer.get("text") or answer["error"]
    return found


def host_seconds(contender: Any) -> float:
    """Of one run, by the host's clock, whatever the device has still to do: the median of some rounds."""
    times = []
    for _ in range(7):
        contender.clock.seconds(lambda: contender.repeat(3))  # and waits
        start = time.perf_counter()
        contender.repeat(HOST_CALLS)
        times.append((time.perf_counter() - start) / HOST_CALLS)
    return float(np.median(times))


GRAPH_SHAPES, GRAPH_STEPS = ((256, 1024), (256, 512), (64, 1024)), 128  # B, H


def graph() -> dict[str, str]:
    """An LSTM as a product and a pointwise kernel a step by PyTorch, one by one and as a CUDA graph; and cuda-step.

    CuPy refuses cuBLAS while it captures: this is what a graph of our own could reach. PyTorch's is bf16 throughout.
    """
    from gpu_measuring import attempt

    found = {}
    for batch, size in GRAPH_SHAPES:
        for precision in ("float32", "tf32", "bf16"):
            answer = attempt(lambda b=batch, s=size, p=precision: {"text": _graph(b, s, p)})
            found[f"{batch} x {size}, {precision}"] = answer.get("text") or answer["error"]
    return found


def _graph(batch: int, size: int, precision: str) -> str:
    import cupy
    import torch
    from gpu_contenders import Ours, problem

    arrays = problem("LSTM", GRAPH_STEPS, batch, size, size, seed=0, xp=cupy)
    run = stepwise(arrays, torch.bfloat16 if precision == "bf16" else torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # cuBLAS makes its workspaces before the capture
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        output = run()
    ours = Ours("LSTM", arrays, False, "cuda-step", precision)
    expected = torch.from_dlpack(ours.repeat(1)["output"])
    captured.replay()
    differ = float((output.float() - expected).norm() / expected.norm())
    times = [1e6 * _torch_seconds(work, 7) / GRAPH_STEPS for work in (run, captured.replay)]
    step = 1e6 * np.median([ours.clock.seconds(lambda: ours.repeat(1)) for _ in range(7)]) / GRAPH_STEPS
    return (
        f"one by one {times[0]:.2f} us a step, as a graph {times[1]:.2f} us, cuda-step {step:.2f} us; "
        f"the graph's output differs from cuda-step's by {differ:.0e}"
    )


def stepwise(arrays: Any, dtype: Any, cell: Any = None) -> Any:
    """A function that runs the LSTM of a problem in PyTorch, a product and its fused cell a step: outputs (T, B, H)."""
    import torch

    cell = cell or torch.ops.aten._thnn_fused_lstm_cell  # the CUDA kernel of torch.nn.LSTMCell
    a = {name: torch.from_dlpack(array).to(dtype) for name, array in arrays.items()}
    x, w_ih, w_hh = a["x"], a["weight_ih_l0"].T.contiguous(), a["weight_hh_l0"].T.contiguous()
    zero = torch.zeros_like(a["dy"][0])

    def run() -> Any:
        with torch.no_grad():
            z, h, c, outputs = torch.matmul(x, w_ih), zero, zero, []
            for z_t in z:
                h, c, _ = cell(z_t, torch.mm(h, w_hh), c, a["bias_ih_l0"], a["bias_hh_l0"])
                outputs.append(h)
            return torch.stack(outputs)

    return run
