"""Ranks that are processes of one MPI job, on one machine or on many."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from xprnn.arguments import one_of
from xprnn.backend import Array, backend_of, dtype_name, to_numpy
from xprnn.train.wire import WIRES

SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Where launchers say how many processes they have started: Open MPI, MPICH and Intel MPI, MVAPICH, srun."""


_OWN: WeakKeyDictionary[Any, tuple[Any, Any, Progress | None]] = WeakKeyDictionary()
"""By the library: a communicator of ours, since what others send must not be taken for ours; one for begun sums; and
who looks after these. MPI has only so many communicators, so that not every call of ``world`` may take two."""


class MPI:
    """A communicator of all processes that ``mpiexec`` has started, by mpi4py, through the memory of the host.

    Where one of them ends with an exception, MPI ends all, after its traceback: for those that ``fit`` meets at once,
    for others when they reach the end of the script. Arrays of a device go through the host and back, which the logger
    "xprnn" says once; :class:`NCCL` leaves them where they are.

    ``wire`` is as for :func:`world`. Raises ValueError for another; ImportError without mpi4py or an MPI library,
    RuntimeError where that library is not the launcher's.
    """

    def __init__(self, wire: str = "float32") -> None:
        self.wire = one_of("MPI", "wire", wire, WIRES)
        try:
            from mpi4py import MPI as library
        except (ImportError, RuntimeError) as error:
            raise ImportError(f"MPI needs mpi4py and an MPI library: pip install 'xprnn[mpi]' ({error})") from error
        if library not in _OWN:
            progress = Progress() if library.Query_thread() == library.THREAD_MULTIPLE else None
            _OWN[library] = library.COMM_WORLD.Dup(), library.COMM_WORLD.Dup(), progress
        self._world, self._sums, self._progress = _OWN[library]
        self._in_place, self._shared = library.IN_PLACE, library.COMM_TYPE_SHARED
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        started = launched()
        if started > 1 and self.size == 1:
            raise RuntimeError(
                f"MPI: the launcher started {started} processes, but each sees itself alone: mpiexec and the library "
                "that mpi4py has loaded are of different MPIs; install mpi4py for the MPI whose mpiexec you call"
            )
        if self.size > 1:
            sys.excepthook = self._ended_by

    def sum(self, array: Array) -> Array:
        """The sum of all arrays, by MPI's Allreduce, in the memory of a NumPy array that allows it."""
        if type(array) is not np.ndarray:
            return backend_of(array).asarray(self.sum(np.array(to_numpy(array))), dtype_name(array))
        host = _own(array)
        self._world.Allreduce(self._in_place, host)
        return host

    def begin_sum(self, array: Array) -> Callable[[], Array]:
        """The same by MPI's Iallreduce, which a thread looks after."""
        if type(array) is not np.ndarray:
            begun = self.begin_sum(np.array(to_numpy(array)))
            return lambda: backend_of(array).asarray(begun(), dtype_name(array))
        host = _own(array)
        return self._waiting(self._sums.Iallreduce(self._in_place, host), host)

    def begin_swap(self, array: Array) -> Callable[[], Array]:
        """Rows for each by MPI's Ialltoall."""
        arrived = np.empty_like(array)
        return self._waiting(self._sums.Ialltoall(array, arrived), arrived)

    def _waiting(self, request: Any, found: Array) -> Callable[[], Array]:
        """What waits for a request, and gives what it has brought."""
        if self._progress is not None:
            self._progress.look_after(request)

        def wait() -> Array:
            if self._progress is not None:
                self._progress.leave(request)
            request.Wait()
            return found

        return wait

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0: an array as it is, anything else pickled."""
        form = self._world.bcast((value.shape, value.dtype) if isinstance(value, np.ndarray) else None)
        if form is None:
            return self._world.bcast(value)
        array = np.array(value, order="C") if self.rank == 0 else np.empty(*form)
        self._world.Bcast(array.reshape(-1).view(np.uint8))
        return array

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, pickled."""
        values: list[Any] = self._world.allgather(value)
        return values

    def local_rank(self) -> int:
        """The number of this process among those of its machine."""
        return self.gather_here(None)[0]

    def gather_here(self, value: Any) -> tuple[int, list[Any]]:
        """That number, and the values of the processes of this machine, in order."""
        machine = self._world.Split_type(self._shared)
        found = machine.Get_rank(), machine.allgather(value)
        machine.Free()
        return found

    def abort(self, error: BaseException) -> None:
        """Print the traceback of what has ended this rank, and end all of them."""
        self._ended_by(type(error), error, error.__traceback__)

    def _ended_by(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        told = f"rank {self.rank} of {self.size} ends all ranks, since it has raised:"
        sys.stdout.flush()
        print(told, "".join(traceback.format_exception(kind, error, trace)), sep="\n", file=sys.stderr, flush=True)
        self._world.Abort(1)


class Progress:
    """A thread that asks begun sums how they are: MPI moves them only while it is called.

    It asks and sleeps in turns. One that waited within MPI would do so without rest, on a processor that kernels want.
    """

    EVERY = 1e-4  # seconds

    def __init__(self) -> None:
        self._begun: list[Any] = []
        self._failed: dict[int, Exception] = {}  # by the id of a request, which whoever waits for it holds
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def look_after(self, request: Any) -> None:
        """Ask this request, until it is done or left."""
        with self._changed:
            self._begun.append(request)
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="xprnn sums", daemon=True)
            self._thread.start()

    def leave(self, request: Any) -> None:
        """Ask it no more: another thread waits for it, and of two only one may see a request end.

        Raises what it has ended with; to ask again would find nothing wrong.
        """
        with self._changed:
            if request in self._begun:
                self._begun.remove(request)
            error = self._failed.pop(id(request), None)
        if error is not None:
            raise error

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._begun)
                try:
                    done = self._begun[0].Test()  # which moves the others too
                except Exception as error:
                    self._failed[id(self._begun[0])] = error
                    done = True
                if done:
                    del self._begun[0]
            time.sleep(self.EVERY)


def _own(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array or, where it cannot be written into as it lies, a copy."""
    return array if array.flags.c_contiguous and array.flags.writeable else array.copy()


def launched() -> int:
    """How many processes a launcher says it has started; 1 where there is none."""
    return max([int(os.environ[name]) for name in SIZES if os.environ.get(name, "").isdigit()], default=1)
