"""How data-parallel training scales: measured with 1 and 2 ranks, and computed for more from what was measured.

    python benchmarks/scaling.py            # two minutes; needs mpi4py and mpiexec; one kernel thread a rank

It prints its tables and writes them to benchmarks/results/scaling.md, which ``docs/scaling.md`` shows.

    python benchmarks/scaling.py --link 1gbit    # the measured ones alone, to benchmarks/results/scaling-1gbit.md

has the two ranks in network namespaces of their own, joined by a link that tc limits (benchmarks/limited_link.sh).

The model of a step, of which ``docs/scaling.md`` says more:

    T(N) = C(b) + A(N, flags) + A(N, gradients)        A(N, M) = 2 ceil(log2 N) alpha + 2 (N - 1) / N M beta

C(b) is what computing b sequences takes, alpha what a message takes and beta what a byte of it does. Of the sums of
gradients only what is not hidden counts: those of the layer that backward comes to last, and of the others what takes
longer than backward goes on behind them.

C is measured in one process and in two that know nothing of each other, alpha and beta between two ranks, and T(2) must
then come out. What is hidden is measured too: by what ranks wait for their sums where these begin during backward, and
where they begin when somebody waits. What is printed for more than two ranks is computed, for networks whose alpha and
beta are assumptions. At the end stand pieces of independent work, by all executors (benchmarks/executors.py).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
os.environ |= dict.fromkeys(THREADS, "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np  # noqa: E402 - the number of threads comes first

MODELS = {"small": (64, 128, 1), "middle": (128, 256, 2), "large": (256, 512, 2)}  # inputs, units, layers
STEPS, BATCH = 16, 16  # of a sequence; sequences of the batch of one rank
UPDATES = {"small": 100, "middle": 24, "large": 8}  # steps
RESULTS = Path(__file__).parent / "results" / "scaling.md"
SIZES = (1, 2**10, 2**14, 2**18, 2**20, 2**22)  # float32 numbers summed, for alpha and beta
NETWORKS = {  # assumed: seconds a message, and a byte
    "10 Gbit/s Ethernet": (30e-6, 1 / 1.1e9),
    "100 Gbit/s InfiniBand": (3e-6, 1 / 11e9),
}
MOST = 10**5  # ranks that are looked at
ENOUGH = 0.8
INSIDE = (5e-6, 1 / 200e9)  # assumed, between the eight GPUs of a machine
BACKWARD = 2 / 3  # of C, behind which sums could be hidden


def allreduce(ranks: float, size: float, alpha: float, beta: float) -> float:
    """Seconds that summing so many bytes takes."""
    return 2 * math.ceil(math.log2(ranks)) * alpha + 2 * (ranks - 1) / ranks * size * beta


def step(ranks: float, compute: float, size: float, parameters: int, alpha: float, beta: float) -> float:
    """Seconds of a step that sums after backward: computing, agreeing, summing."""
    flags = 8 * (parameters + 6)  # four flags, whether each parameter has a gradient, the loss and its weight
    return compute + allreduce(ranks, flags, alpha, beta) + allreduce(ranks, size, alpha, beta)


def overlapped(ranks: float, compute: float, size: float, parameters: int, alpha: float, beta: float) -> float:
    """The same with sums that begin during backward, which gives each layer out as a whole."""
    layers = parameters / 4
    sums, last = allreduce(ranks, size, alpha, beta), allreduce(ranks, size / layers, alpha, beta)
    rest = step(ranks, compute, size, parameters, alpha, beta) - sums
    return rest + max(last, sums - BACKWARD * compute * (1 - 1 / layers))


def sums(ranks) -> dict[str, float]:
    """The fastest of several sums of each size, in bytes."""
    found = {}
    for size in SIZES:
        array, times = np.ones(size, "float32"), []
        for _ in range(50):
            ranks.gather(None)  # together
            began = time.perf_counter()
            array = ranks.sum(array)
            times.append(time.perf_counter() - began)
        found[str(4 * size)] = min(times)
    return found


class Timed:
    """A communicator that counts the seconds in which its rank waits for sums, begun during backward or after it."""

    def __init__(self, ranks, during: bool) -> None:
        self.rank, self.size, self.wire, self.seconds = ranks.rank, ranks.size, ranks.wire, 0.0
        self.broadcast, self.gather, self.abort = ranks.broadcast, ranks.gather, ranks.abort
        self._ranks, self._during = ranks, during

    def _timed(self, function, *arguments):
        began = time.perf_counter()
        found = function(*arguments)
        self.seconds += time.perf_counter() - began
        return found

    def sum(self, array):
        """The sum of the ranks' arrays."""
        return self._timed(self._ranks.sum, array)

    def begin_sum(self, array):
        """What waits for it."""
        wait = self._timed(self._ranks.begin_sum, array) if self._during else lambda: self._ranks.sum(array)
        return lambda: self._timed(wait)


def train(name: str, batch: int, ranks=None, during: bool = True) -> dict[str, float]:
    """The fastest step of a model on batches of so many sequences, alone or among ranks, and the fastest of its parts:
    what is waited for sums, and all else.
    """
    from xprnn import nn
    from xprnn.data import Divided
    from xprnn.train import Adam, Callback, fit, mse

    inputs, units, layers = MODELS[name]
    draws = np.random.default_rng(0)
    x = draws.normal(size=(STEPS, batch, inputs)).astype("float32")
    y = draws.normal(size=(STEPS, batch, units)).astype("float32")
    model, times, summed = nn.LSTM(inputs, units, layers, rng=0), [], []
    joined = Timed(ranks, during) if ranks else None

    class Watch(Callback):
        def on_batch_end(self, run):
            times.append(time.perf_counter())
            summed.append(joined.seconds if joined else 0.0)

    def loss(model, batch):
        return mse(model(batch[0])[0], batch[1])

    source, optimizer = Divided([(x, y)] * UPDATES[name], axis=(1, 1)), Adam(model.parameters(), 1e-4)
    fit(model, source, loss, optimizer, epochs=1, callbacks=[Watch()], progress=False, communicator=joined)
    steps, sums_ = np.diff(times)[2:], np.diff(summed)[2:]  # the first knows no buckets yet
    parameters = list(model.parameters())
    size = sum(parameter.data.nbytes for parameter in parameters)
    fastest_parts = {"seconds": float(min(steps)), "computing": float(min(steps - sums_)), "summing": float(min(sums_))}
    return {**fastest_parts, "size": size, "parameters": len(parameters)}


def work() -> None:
    """What each process does; rank 0 prints what it measured."""
    from xprnn.distributed import world

    ranks, found = world(), {}
    for name in MODELS:
        for batch in (BATCH, BATCH // 2):
            ranks.gather(None)
            found[f"{name} {batch} alone"] = train(name, batch)
            if ranks.size > 1:
                found[f"{name} {batch} after"] = train(name, batch * ranks.size, ranks, during=False)
                found[f"{name} {batch} joined"] = train(name, batch * ranks.size, ranks)
    if ranks.size > 1:
        found["sums"] = sums(ranks)
    if ranks.rank == 0:
        print(json.dumps(found))


def launched(ranks: int, link: str = "") -> dict:
    """What :func:`work` says in so many processes, or in two that a link of this rate joins."""
    launcher = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if launcher is None:
        raise SystemExit("benchmarks/scaling.py needs mpiexec: pip install 'xprnn[mpi]'")
    start = [launcher, "-n", str(ranks)]
    if link:
        start = ["unshare", "-Urnm", str(Path(__file__).with_name("limited_link.sh").resolve()), link]
    path = f"{Path(launcher).parent}{os.pathsep}{os.environ['PATH']}"
    command = [*start, sys.executable, str(Path(__file__).resolve()), "work"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path})
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def fastest(rounds: list[dict]) -> dict:
    """The fastest of each over several launches."""
    best = dict(rounds[0])
    for found in rounds[1:]:
        for what, each in found.items():
            if what == "sums":
                best[what] = {size: min(seconds, best[what][size]) for size, seconds in each.items()}
            else:
                best[what] = {name: min(value, best[what][name]) for name, value in each.items()}
    return best


def fitted(sums: dict) -> tuple[float, float]:
    """Alpha and beta for two ranks, from sums of the smallest and the largest size."""
    times = {int(size): seconds for size, seconds in sums.items()}
    small, large = min(times), max(times)
    beta = (times[large] - times[small]) / (large - small)
    return times[small] / 2, beta


def last_above(compute: float, size: float, parameters: int, alpha: float, beta: float) -> int | None:
    """The most ranks whose efficiency is enough, or None where all are."""
    for ranks in range(2, MOST):
        if compute / overlapped(ranks, compute, size, parameters, alpha, beta) < ENOUGH:
            return ranks - 1
    return None


def measured(one: dict, two: dict) -> None:
    """Print what steps of one and two ranks take, beside what the model says of two."""
    alpha, beta = fitted(two["sums"])
    print(f"Between two ranks here: alpha {alpha * 1e6:.1f} us, 1 / beta {1e-9 / beta:.2f} GB/s. Milliseconds:\n")
    print(
        "| model, MB | sequences | C, 1 process | C, 2 processes | A computed | A, after | A, during | hidden ", end=""
    )
    print("| T computed | T, after | T |\n|---|---|---|---|---|---|---|---|---|---|---|")
    for name in MODELS:
        for batch in (BATCH, BATCH // 2):
            alone, beside = (found[f"{name} {batch} alone"] for found in (one, two))
            joined, after = two[f"{name} {batch} joined"], two[f"{name} {batch} after"]
            of = (2, beside["seconds"], beside["size"], beside["parameters"], alpha, beta)
            waits = (step(*of) - beside["seconds"], after["summing"], joined["summing"])
            hidden = f"{100 * (1 - joined['summing'] / after['summing']):.0f} %"
            steps = (overlapped(*of), after["seconds"], joined["seconds"])
            first, then = (
                " | ".join(f"{1e3 * seconds:.2f}" for seconds in each)
                for each in ((alone["seconds"], beside["seconds"], *waits), steps)
            )
            print(f"| {name}, {alone['size'] / 1e6:.2f} | {batch} | {first} | {hidden} | {then} |")
    print("\n| model | weak: T(1, b) / T(2, 2 b) | strong: T(1, b) / 2 T(2, b) |\n|---|---|---|")
    for name in MODELS:
        whole = one[f"{name} {BATCH} alone"]["seconds"]
        weak, strong = (two[f"{name} {batch} joined"]["seconds"] for batch in (BATCH, BATCH // 2))
        print(f"| {name} | {whole / weak:.2f} | {whole / (2 * strong):.2f} |")


def tables(launches: int) -> None:
    """Measure, and print all tables."""
    rounds = [(launched(1), launched(2)) for _ in range(launches)]  # in turns
    one, two = fastest([first for first, _ in rounds]), fastest([second for _, second in rounds])
    measured(one, two)
    print(
        "\nComputed, not measured: efficiency of N ranks of one thread, with sums after backward and during it, and the"
    )
    print(f"largest N that has at least {ENOUGH} by the second:\n")
    print("| model | network (assumed) | N = 8 | 64 | 1000 | largest N |\n|---|---|---|---|---|---|")
    for name in MODELS:
        alone = one[f"{name} {BATCH} alone"]
        for network, (a, b) in NETWORKS.items():
            of = (alone["seconds"], alone["size"], alone["parameters"], a, b)
            shown = (f"{of[0] / step(n, *of):.2f}, {of[0] / overlapped(n, *of):.2f}" for n in (8, 64, 1000))
            print(f"| {name} | {network} | {' | '.join(shown)} | {last_above(*of) or f'above {MOST}'} |")
    print("\nComputed, not measured: 8 x 8 GPUs, summed within machines and then among them, by the assumed networks")
    print(f"(inside {INSIDE[0] * 1e6:.0f} us and {1e-9 / INSIDE[1]:.0f} GB/s), in ms:\n")
    print(f"| model | network among machines | sums | least C for {ENOUGH} |\n|---|---|---|---|")
    for name in MODELS:
        size = one[f"{name} {BATCH} alone"]["size"]
        for network, (a, b) in NETWORKS.items():
            sums_of = allreduce(8, size, *INSIDE) + allreduce(8, size / 8, a, b)
            print(f"| {name} | {network} | {1e3 * sums_of:.3f} | {1e3 * sums_of * ENOUGH / (1 - ENOUGH):.2f} |")
    free = {name: value for name, value in os.environ.items() if name not in THREADS}
    command = [sys.executable, str(Path(__file__).with_name("executors.py")), "--rounds", str(launches)]
    done = subprocess.run(command, env=free, check=True, stdout=subprocess.PIPE, text=True)
    print(f"\nIndependent work: {done.stdout}", end="")


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3, help="launches, of which the fastest steps count")
    parser.add_argument("--link", default="", help="the rate of a link between the two ranks, as tc says it: 1gbit")
    given, text = parser.parse_args(), io.StringIO()
    busy = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    with contextlib.redirect_stdout(text):
        print(
            f"{datetime.date.today()}, {os.cpu_count()} cores, load {busy} when it began, fastest of {given.rounds}.\n"
        )
        if given.link:
            print(f"Two network namespaces, joined by a link of {given.link} (tc tbf).\n")
            rounds = [(launched(1), launched(2, given.link)) for _ in range(given.rounds)]
            measured(fastest([first for first, _ in rounds]), fastest([second for _, second in rounds]))
        else:
            tables(given.rounds)
    print(text.getvalue(), end="")
    results = RESULTS.with_name(f"scaling-{given.link}.md") if given.link else RESULTS
    results.write_text(text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    work() if sys.argv[1:] == ["work"] else main()
