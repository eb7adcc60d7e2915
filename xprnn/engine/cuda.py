"""Sequence calls on the CUDA kernels: which of their paths takes a call, and why not."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from xprnn.backend import Array, dtype_name
from xprnn.cells import State
from xprnn.engine import kernels
from xprnn.engine.call import Gradients, Result, SequenceCall
from xprnn.engine.cell_kinds import Kind, number_of
from xprnn.settings import current_precision


class Saved(NamedTuple):
    """What a way back needs: the kernels' own cache, and the precision of the way forward."""

    kernels: Any
    precision: str


class CudaPath:
    """One module of CUDA kernels, imported when a call comes that it could take."""

    def __init__(self, name: str, module: str, runs: Callable[[Kind], bool]) -> None:
        self.name, self._module, self.runs = name, module, runs

    def reasons_against(self, call: SequenceCall) -> list[str]:
        """What keeps these kernels from running a call."""
        reasons = kernels.reasons_against(call, _fits, "a CuPy array", self.runs)
        if reasons:
            return reasons
        others = [name for name, array in kernels.arrays(call).items() if array.device != call.x.device]
        if others:
            return [f"x is on device {call.x.device}, but {others[0]} is not"]
        if type(call.x) is not np.ndarray and _simulated():
            return ["NUMBA_ENABLE_CUDASIM is set, so nothing is compiled for a device"]
        try:
            module = self._kernels()
        except Exception as error:  # a broken compiler stack raises far more than ImportError
            return [f"the kernels cannot be imported ({type(error).__name__}: {error})"]
        steps, batch, _ = call.x.shape
        number, size = number_of(call.cell), call.state[0].shape[1]
        with _device_of(call.x):
            found: list[str] = module.reasons_against(
                number, steps, batch, size, dtype_name(call.x), current_precision()
            )
        return found

    @staticmethod
    def how(call: SequenceCall) -> str:
        """What ``explain`` says, as long as it is true."""
        return "" if type(call.x) is np.ndarray else " (tested without a GPU only: none has run it yet)"

    def forward(self, call: SequenceCall) -> tuple[Result, Any]:
        """Run a call."""
        precision = current_precision()
        with _device_of(call.x):
            result, saved = kernels.forward(self._kernels(), call, precision=precision)
        return result, Saved(saved, precision)

    def backward(self, call: SequenceCall, saved: Saved, dsequences: State, dfinal: State, need_dx: bool) -> Gradients:
        """The way back through a call, in the precision of the way forward."""
        with _device_of(call.x):
            return kernels.backward(
                self._kernels(), call, saved.kernels, dsequences, dfinal, need_dx, precision=saved.precision
            )

    def _kernels(self) -> Any:
        return importlib.import_module(f"xprnn.kernels.cuda.{self._module}")


def _fits(array: Array) -> bool:
    """CuPy's arrays; and NumPy's where Numba simulates a device, which is how these paths are tested without one."""
    if type(array) is np.ndarray:  # the variable first: without it nothing of CUDA is imported
        return "NUMBA_ENABLE_CUDASIM" in os.environ and _simulated()
    return type(array).__module__.split(".")[0] == "cupy" and type(array).__name__ == "ndarray"


def _simulated() -> bool:
    return bool(importlib.import_module("xprnn.kernels.cuda.launch").simulated())


def _device_of(x: Array) -> AbstractContextManager[Any]:
    """Kernels and streams are of the current device, which need not be that of the arrays."""
    return nullcontext() if type(x) is np.ndarray else x.device


PERSISTENT = CudaPath("cuda-persistent", "persistent", lambda kind: kind.persistent != "")
STEP = CudaPath("cuda-step", "step", lambda kind: kind.step != "")
