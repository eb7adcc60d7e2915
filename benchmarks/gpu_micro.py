"""What the device and its driver take for the small things that a recurrence is made of."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gpu_contenders import CupyClock

LOOPS = 2000

BARRIER = """
#include "barrier.cuh"
extern "C" __global__ void __launch_bounds__(256, 1) meet(int* counter, int times) {
    GroupBarrier barrier(counter, gridDim.x);
    for (int i = 0; i < times; ++i) {
        barrier.arrive();
        barrier.wait();
    }
}
"""


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
                kernel((64,), (256,), (counter,))

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
            times.append(CupyClock().seconds(lambda b=blocks, c=counter: kernel((b,), (256,), (c, np.int32(LOOPS)))))
        assert int(counter[0]) == blocks * LOOPS
        found[f"{blocks} blocks"] = f"{1e6 * np.median(times) / LOOPS:.2f} us"
    return found
