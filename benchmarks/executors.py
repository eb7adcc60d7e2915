"""Sixteen small fits that know nothing of each other, by each executor that `xprnn.distributed.each` can be given.

    python benchmarks/executors.py      # what is not installed of joblib, dask.distributed and mpi4py is left out

Each pool has two workers. "first" is the first time that a pool is given the work, from before it is made: processes
start, import the library and load its kernels. "again" is the same pool given the same work once more. Figures are the
fastest of several rounds, in which all take turns, beside the same work one after the other in this process.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])  # for workers

import executors  # noqa: E402 - by this name workers know what they are given

FITS, WORKERS = 16, 2
UPDATES = 60  # of a fit


def one_fit(seed: int) -> bytes:
    """A small LSTM that learns for about a tenth of a second; its parameters."""
    import numpy as np

    from xprnn import nn
    from xprnn.data import Batches
    from xprnn.train import Adam, fit, mse

    draws = np.random.default_rng(seed)
    x, y = draws.normal(size=(50, 32, 8)).astype("float32"), draws.normal(size=(32, 64)).astype("float32")
    model = nn.LSTM(8, 64, rng=seed)

    def loss(model, batch):
        return mse(model(batch[0])[0][-1], batch[1])

    batches = Batches(x, y, batch_size=32, axis=(1, 0), shuffle=True, rng=seed)
    fit(model, batches, loss, Adam(model.parameters(), 1e-3), epochs=UPDATES, progress=False)
    return b"".join(parameter.numpy().tobytes() for parameter in model.parameters())


@contextmanager
def dask() -> Iterator[Executor]:
    """Two worker processes of Dask on this machine."""
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        yield client.get_executor(pure=False)  # it would not do the same work twice


def loky() -> Executor:
    """Two processes of joblib's loky."""
    from joblib.externals.loky import ProcessPoolExecutor as Pool

    return Pool(WORKERS)


def mpi() -> Executor:
    """Two processes that MPI starts."""
    from mpi4py.futures import MPIPoolExecutor

    return MPIPoolExecutor(WORKERS)


def pools() -> dict[str, Callable[[], AbstractContextManager[Executor]]]:
    """What makes each executor that is installed."""
    found: dict[str, Callable[[], AbstractContextManager[Executor]]] = {
        "threads": lambda: ThreadPoolExecutor(WORKERS),
        "processes (spawn)": lambda: ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")),
    }
    if "fork" in get_all_start_methods():  # whose processes have what this one has loaded
        found["processes (fork)"] = lambda: ProcessPoolExecutor(WORKERS, mp_context=get_context("fork"))
    installed = (("joblib's loky", "joblib", loky), ("Dask", "distributed", dask), ("mpi4py.futures", "mpi4py", mpi))
    return found | {name: make for name, module, make in installed if find_spec(module)}


def timed(executor: Executor | None, expected: list[bytes]) -> float:
    """Seconds of all fits, which must come to the same bits."""
    from xprnn.distributed import each

    began = time.perf_counter()
    found = each(executors.one_fit, range(FITS), executor)
    seconds = time.perf_counter() - began
    if expected and found != expected:
        raise SystemExit("benchmarks/executors.py: an executor has come to other bits")
    expected[:] = found
    return seconds


def main(rounds: int) -> None:
    """Print the table."""
    expected: list[bytes] = []
    times: dict[str, list[tuple[float, float]]] = {}
    timed(None, expected)  # loads the kernels
    for _ in range(rounds):
        serial = timed(None, expected)
        times.setdefault("one after the other", []).append((serial, serial))
        for name, make in pools().items():
            began = time.perf_counter()
            with make() as executor:
                timed(executor, expected)
                first = time.perf_counter() - began
                times.setdefault(name, []).append((first, timed(executor, expected)))
    print(f"{FITS} fits on {WORKERS} workers, seconds; how often faster than one after the other\n")
    print("| executor | first | again | faster, first | again |\n|---|---|---|---|---|")
    alone, _ = map(min, zip(*times["one after the other"], strict=True))
    for name, found in times.items():
        first, again = map(min, zip(*found, strict=True))
        print(f"| {name} | {first:.2f} | {again:.2f} | {alone / first:.2f} | {alone / again:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3, help="of which the fastest counts")
    main(parser.parse_args().rounds)
