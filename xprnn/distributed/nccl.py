"""Ranks with a GPU each, whose gradients never leave the devices.

MPI starts them and brings them together. CuPy's own ``cupyx.distributed`` is not used: without mpi4py it would fall
back to an open TCP port, and say nothing. This was written from CuPy's and NCCL's interfaces; the tests run it on a
stand-in for both, and no part of it has yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn.backend import Array
from xprnn.distributed.mpi import MPI


class NCCL(MPI):
    """An :class:`MPI` that sums CuPy's arrays by NCCL, on a stream of its own beside the current one.

    Nobody waits for a device: the one stream waits for the other there.

    Each process of a machine takes a GPU of its own, of those that it sees. Make models after it. Raises RuntimeError
    where a machine has fewer GPUs than processes.
    """

    def __init__(self) -> None:
        from cupy.cuda import Stream, nccl

        super().__init__()
        use_own_device(self)
        self._library, self._stream = nccl, Stream(non_blocking=True)
        self._nccl = nccl.NcclCommunicator(
            self.size, self.broadcast(nccl.get_unique_id() if self.rank == 0 else None), self.rank
        )

    def sum(self, array: Array) -> Array:
        """The sum of all arrays: in an array's own memory on a device, by MPI on the host."""
        return super().sum(array) if type(array) is np.ndarray else self.begin_sum(array)()

    def begin_sum(self, array: Array) -> Callable[[], Array]:
        """Begin the same; what waits for it lets the stream that is current then wait."""
        if type(array) is np.ndarray:
            return super().begin_sum(array)
        import cupy

        kinds = {"float32": self._library.NCCL_FLOAT32, "float64": self._library.NCCL_FLOAT64}
        whole = cupy.ascontiguousarray(array)
        self._stream.wait_event(cupy.cuda.get_current_stream().record())
        address, kind = whole.data.ptr, kinds[whole.dtype.name]
        self._nccl.allReduce(address, address, whole.size, kind, self._library.NCCL_SUM, self._stream.ptr)
        done = self._stream.record()

        def wait() -> Array:
            cupy.cuda.get_current_stream().wait_event(done)
            return whole

        return wait


def use_own_device(ranks: MPI) -> None:
    """Let each process of a machine make its arrays on a GPU of its own: the first that it sees and none before it has.

    Some launchers show all GPUs to each process, and others each its own, which is number 0 in all of them.
    """
    import cupy

    runtime = cupy.cuda.runtime
    seen = [str(runtime.getDeviceProperties(k)["uuid"]) for k in range(runtime.getDeviceCount())]
    local, seen_by_all = ranks.gather_here(seen)
    taken: list[str] = []
    for each in seen_by_all[: local + 1]:
        taken += [name for name in each if name not in taken][:1]
    if len(taken) <= local:
        there = len({name for each in seen_by_all for name in each})
        raise RuntimeError(
            f"world: process {local} of this machine has no GPU: there are {there}, one for each is needed"
        )
    cupy.cuda.Device(seen.index(taken[-1])).use()


def why_not() -> str | None:
    """Why NCCL cannot be used in this process; None where it can."""
    try:
        from cupy.cuda import nccl
    except ImportError as error:
        return str(error)
    found: Any = getattr(nccl, "available", False)
    return None if found else "CuPy finds no library of NCCL; pip install nvidia-nccl-cu12 or nvidia-nccl-cu13"
