"""world: which communicator a process gets, on stand-ins for mpi4py, CuPy and NCCL."""

import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from xprnn.distributed import MPI, NCCL, Alone, world
from xprnn.distributed.mpi import SIZES, Progress


class World:
    """mpi4py's communicator of one rank of so many, who all give the same."""

    def __init__(self, rank, size):
        self.rank, self.size, self.ended, self.copies = rank, size, [], 0
        self.others = lambda value: [value] * size  # what processes of this machine see

    def Dup(self):
        self.copies += 1
        return self

    Get_rank = lambda self: self.rank
    Get_size = lambda self: self.size
    Split_type = lambda self, kind: self
    Free = lambda self: None
    bcast = lambda self, value: value
    allgather = lambda self, value: self.others(value) if isinstance(value, list) else [value] * self.size
    Abort = lambda self, code: self.ended.append(code)

    def Allreduce(self, place, array):
        assert place == "in place"
        array *= self.size

    def Iallreduce(self, place, array):
        return SimpleNamespace(Wait=lambda: self.Allreduce(place, array))


class Array(np.ndarray):
    """CuPy's array."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])


class Stream:
    """CuPy's stream, which knows what it waited for; an event is the number of its stream."""

    waits = []

    def __init__(self, ptr):
        self.ptr = ptr

    def record(self):
        return self.ptr

    def wait_event(self, event):
        self.waits.append((self.ptr, event))


def device(values):
    return np.array(values).view(Array)


@pytest.fixture
def here(monkeypatch):
    """Puts a stand-in for mpi4py, and for CuPy with so many GPUs and NCCL, in their places."""

    def place(rank=0, size=2, gpus=None, nccl=True):
        joined = World(rank, size)
        library = ModuleType("mpi4py.MPI")
        vars(library).update(COMM_WORLD=joined, IN_PLACE="in place", COMM_TYPE_SHARED=None)
        vars(library).update(THREAD_MULTIPLE=3, Query_thread=lambda: 1)  # no thread may look after sums
        package = ModuleType("mpi4py")
        package.MPI = library
        calls = []
        cupy = SimpleNamespace(
            ndarray=Array,
            ascontiguousarray=lambda array: np.ascontiguousarray(array).view(Array),
            cuda=SimpleNamespace(
                Device=lambda number: SimpleNamespace(use=lambda: calls.append(number)),
                runtime=SimpleNamespace(
                    getDeviceCount=lambda: gpus,
                    getDeviceProperties=lambda k: {"uuid": f"gpu {k}".encode()},
                ),
                get_current_stream=lambda: Stream(7),
                Stream=lambda non_blocking: Stream(8),
                nccl=SimpleNamespace(
                    available=nccl,
                    NCCL_SUM="sum",
                    NCCL_FLOAT32="f4",
                    NCCL_FLOAT64="f8",
                    get_unique_id=lambda: "id",
                    NcclCommunicator=lambda *arguments: SimpleNamespace(
                        made=arguments, allReduce=lambda *arguments: calls.append(arguments)
                    ),
                ),
            ),
        )
        for name, module in {"mpi4py": package, "mpi4py.MPI": library, "cupy": cupy, "cupy.cuda": cupy.cuda}.items():
            monkeypatch.setitem(sys.modules, name, module)
        name = "numpy" if gpus is None else "cupy"
        monkeypatch.setattr("xprnn.distributed.processes.default_backend", lambda: SimpleNamespace(name=name))
        return joined, calls

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in SIZES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    return place


def test_alone(here):
    ranks, array = world(), np.ones(3)
    assert type(ranks) is Alone
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.sum(array) is array
    assert (ranks.broadcast(3), ranks.gather(4)) == (3, [4])


def test_several_processes_are_never_left_apart(here, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"MPI needs mpi4py and an MPI library: pip install 'xprnn\[mpi\]'"):
        world()
    here(size=1)
    with pytest.raises(RuntimeError, match="the launcher started 4 processes, but each sees itself alone"):
        world()


def test_processes_of_mpi(here, capsys):
    joined, _ = here(rank=1, size=3)
    ranks = world()
    assert type(ranks) is MPI
    world()
    assert joined.copies == 2  # of a thousand or two that MPI has
    array, fixed = np.ones(2), np.ones(2)
    fixed.flags.writeable = False
    assert ranks.sum(array) is array
    assert ranks.sum(fixed).tolist() == array.tolist() == [3.0, 3.0]
    assert fixed.tolist() == [1.0, 1.0]
    wait = ranks.begin_sum(array)
    assert array.tolist() == [3.0, 3.0]
    assert wait().tolist() == [9.0, 9.0]
    assert ranks.gather("a") == ["a"] * 3
    try:
        raise KeyError("lost")
    except KeyError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert joined.ended == [1]
    said = capsys.readouterr().err
    assert said.startswith("rank 1 of 3 ends all ranks, since it has raised:\nTraceback")
    assert "KeyError: 'lost'" in said


def test_a_gpu_for_each(here):
    _, calls = here(rank=0, gpus=2)
    ranks = world()
    assert type(ranks) is NCCL
    assert ranks._nccl.made == (2, "id", 0)
    for dtype, kind in (("float32", "f4"), ("float64", "f8")):
        array = device(np.ones((2, 3), dtype))
        Stream.waits.clear()
        wait = ranks.begin_sum(array)
        address = array.data.ptr
        assert calls[-1] == (address, address, 6, kind, "sum", 8)
        assert Stream.waits == [(8, 7)]  # a stream of its own, after what the current one has computed
        assert wait().data.ptr == address  # in place
        assert Stream.waits == [(8, 7), (7, 8)]
        assert ranks.sum(array).data.ptr == address
    strided = device(np.ones((2, 3)).T)
    assert ranks.sum(strided).flags.c_contiguous
    assert calls[0] == 0
    assert ranks.sum(np.ones(2)).tolist() == [2.0, 2.0]  # of the host, by MPI


def test_nccl_has_one_wire(here):
    here(gpus=2)
    with pytest.raises(ValueError, match="wire is 'bfloat16', but NCCL would add up in it too"):
        world(wire="bfloat16")


def test_a_gpu_that_is_shown_to_one_process_only(here):
    joined, calls = here(rank=1, gpus=1)  # each sees its own as number 0
    joined.others = lambda value: [["another"], value]
    assert type(world()) is NCCL
    assert calls == [0]
    joined, calls = here(rank=1, gpus=2)  # both see both
    assert type(world()) is NCCL
    assert calls == [1]


def test_too_few_gpus(here):
    here(rank=1, gpus=1)
    with pytest.raises(RuntimeError, match="process 1 of this machine has no GPU: there are 1, one for each is needed"):
        world()


def test_without_nccl_the_host_is_said_aloud(here, caplog):
    _, calls = here(gpus=2, nccl=False)
    assert type(world()) is MPI
    assert calls == [0]  # the device of its own all the same
    assert "world: rank 0 has no NCCL (CuPy finds no library of NCCL" in caplog.text
    assert "gradients go through the host's memory" in caplog.text


def test_a_sum_that_fails_says_so_to_who_waits():
    class Request:
        def __init__(self, failure=None):
            self.asked, self.failure = threading.Event(), failure

        def Test(self):
            self.asked.set()
            if self.failure:
                raise self.failure
            return True

    progress = Progress()
    for request in (Request(OSError("a wire is cut")), Request()):
        progress.look_after(request)
        assert request.asked.wait(60)  # by a thread that the first has not ended
        if request.failure:
            with pytest.raises(OSError, match="a wire is cut"):
                progress.leave(request)
        progress.leave(request)
