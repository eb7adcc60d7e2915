"""One recurrent layer on the GPU: ours by each path of dispatch, and PyTorch's, with the same weights and inputs.

A contender is made of the arrays of :func:`problem`. ``repeat(times)`` computes the output (T, B, H) and, in training,
all gradients, and gives those of the last time by name, as that library's arrays. Both libraries work on the legacy
default stream, so that what one has written the other may read without waiting for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gpu_rows import GATES

Arrays = dict[str, Any]


def names(directions: int) -> list[str]:
    """The weights of a layer."""
    kinds = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return [kind + suffix for suffix in ("", "_reverse")[:directions] for kind in kinds]


def problem(
    cell: str, steps: int, batch: int, inputs: int, size: int, seed: int, directions: int = 1, xp: Any = np
) -> Arrays:
    """Fresh inputs x (T, B, I), cotangents dy (T, B, D*H) and weights, as layers are initialised; xp NumPy or CuPy."""
    draws, bound, gates = xp.random.default_rng(seed), 1 / np.sqrt(size), GATES[cell] * size
    shapes = ((gates, inputs), (gates, size), (gates,), (gates,)) * directions
    arrays = {
        name: ((2 * draws.random(shape, dtype=np.float32) - 1) * bound).astype("float32")
        for name, shape in zip(names(directions), shapes, strict=True)
    }
    arrays["x"] = draws.standard_normal((steps, batch, inputs), dtype=np.float32)
    arrays["dy"] = draws.standard_normal((steps, batch, directions * size), dtype=np.float32)
    return arrays


def control_for(arrays: Arrays) -> dict[str, Any]:
    """Lengths, a mask and resets for a problem, drawn from its own size."""
    steps, batch, _ = arrays["x"].shape
    draws = np.random.default_rng(steps * batch)
    return {
        "lengths": draws.integers(0, steps + 1, batch),
        "mask": draws.random((steps, batch)) > 0.2,
        "reset": draws.random((steps, batch)) > 0.9,
    }


class Ours:
    """This library on arrays of a backend, by one path and in one precision."""

    def __init__(
        self,
        cell: str,
        arrays: Arrays,
        training: bool,
        path: str,
        precision: str,
        control: dict[str, Any] | None = None,
        backend: str = "cupy",
        dtype: str = "float32",
    ) -> None:
        import xprnn

        self._xprnn, self._training, self._control = xprnn, training, control or {}
        self._path, self._precision = path, precision
        home = xprnn.backend.get_backend(backend)
        self._names = [name for name in arrays if name not in ("x", "dy")]
        directions = len(self._names) // 4
        size = arrays["dy"].shape[2] // directions
        layer = getattr(xprnn.nn, cell)(arrays["x"].shape[2], size, bidirectional=directions == 2, dtype=dtype)
        layer.load_state_dict({name: xprnn.backend.to_numpy(arrays[name]) for name in self._names})
        self.layer = layer.to(backend)
        self._x, self._dy = (home.asarray(arrays[name], dtype) for name in ("x", "dy"))
        self.clock: Clock = CupyClock()

    def repeat(self, times: int) -> Any:
        """Run so often; what the last run gave."""
        with self._xprnn.use_kernels(self._path), self._xprnn.use_precision(self._precision):
            for _ in range(times):
                found = self._train() if self._training else self._infer()
        return found

    def _infer(self) -> Any:
        with self._xprnn.no_grad():
            return {"output": self.layer(self._x, **self._control)[0].data}

    def _train(self) -> Any:
        x = self._xprnn.Tensor(self._x, requires_grad=True)
        self.layer.zero_grad()
        output = self.layer(x, **self._control)[0]
        output.backward(self._dy)
        return {"output": output.data, "x": x.grad.data} | {n: getattr(self.layer, n).grad.data for n in self._names}


class Torch:
    """PyTorch, eager: cuDNN."""

    def __init__(self, cell: str, arrays: Arrays, training: bool, precision: str, device: str = "cuda") -> None:
        import torch

        self._torch, self._training = torch, training
        types = {"float32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16", "float64": "float64"}
        dtype, self._tf32 = getattr(torch, types[precision]), precision == "tf32"
        sizes = arrays["x"].shape[2], arrays["dy"].shape[2]
        self._layer = getattr(torch.nn, cell)(*sizes, device=device, dtype=dtype)
        self._layer.load_state_dict({name: torch.from_dlpack(arrays[name]) for name in names(1)})
        self._layer.train(training)  # otherwise cuDNN keeps, in inference too, what only a way back needs
        self._x, self._dy = (torch.from_dlpack(arrays[name]).to(device, dtype) for name in ("x", "dy"))
        self.clock: Clock = TorchClock()

    def repeat(self, times: int) -> Any:
        """Run so often; what the last run gave."""
        self._torch.backends.cudnn.allow_tf32 = self._torch.backends.cuda.matmul.allow_tf32 = self._tf32
        for _ in range(times):
            found = self._train() if self._training else self._infer()
        return found

    def _infer(self) -> Any:
        with self._torch.inference_mode():
            return {"output": self._layer(self._x)[0]}

    def _train(self) -> Any:
        x = self._x.detach().requires_grad_()
        self._layer.zero_grad()
        output = self._layer(x)[0]
        output.backward(self._dy)
        return {"output": output.detach(), "x": x.grad} | {n: getattr(self._layer, n).grad for n in names(1)}


class Clock:
    """Times on a device and peaks of its memory, in the terms of one library."""

    def seconds(self, work: Callable[[], Any]) -> float:
        """Between two events around it."""
        raise NotImplementedError

    def peak(self, work: Callable[[], Any]) -> int:
        """Bytes in use at the most, beyond those in use before."""
        raise NotImplementedError


class CupyClock(Clock):
    """CuPy's events; its pool is watched through a hook."""

    def seconds(self, work: Callable[[], Any]) -> float:
        import cupy

        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        work()
        stop.record()
        stop.synchronize()
        return 1e-3 * float(cupy.cuda.get_elapsed_time(start, stop))

    def peak(self, work: Callable[[], Any]) -> int:
        import cupy

        class Watch(cupy.cuda.MemoryHook):  # type: ignore[misc]
            name = "peak"
            used = most = 0

            def malloc_postprocess(self, **facts: Any) -> None:
                self.used += facts["mem_size"]
                self.most = max(self.most, self.used)

            def free_postprocess(self, **facts: Any) -> None:
                self.used -= facts["mem_size"]

        with Watch() as watch:
            work()
            cupy.cuda.get_current_stream().synchronize()
        return int(watch.most)


class TorchClock(Clock):
    """PyTorch's events and its own record of memory. cuDNN's reserve is in it."""

    def seconds(self, work: Callable[[], Any]) -> float:
        import torch

        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        stop.synchronize()
        return 1e-3 * float(start.elapsed_time(stop))

    def peak(self, work: Callable[[], Any]) -> int:
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated() - before)
