"""``xprnn stream-check``: whether a network keeps up with samples as they come, on this machine."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from xprnn.arguments import above_zero, size
from xprnn.backend import use_backend
from xprnn.cli.errors import one_line_errors
from xprnn.cli.export_command import READERS
from xprnn.interop.nam import Capture
from xprnn.nn import GRU, LSTM, RNN, IndRNN, Linear, Sequential
from xprnn.nn.recurrent.stream import Stream

LAYERS: dict[str, Callable[..., Any]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU, "indrnn": IndRNN}
WARM, TRACED = 200, 200  # blocks: first of all, and with every allocation looked at, which takes its time


class Run(NamedTuple):
    """What blocks took, and what they asked of the system."""

    seconds: np.ndarray[Any, Any]
    """Of each block."""
    allocated: int
    """Bytes that a block takes at most while it runs, and gives back."""
    kept: int
    """Bytes that all traced blocks left allocated."""
    system: dict[str, int] | None
    """Page faults, and how often others got the processor, while blocks were timed; None where nobody counts them."""


def opened(model: str) -> Stream:
    """The stream of a file, or of a layer and a Linear whose kind, inputs and units are said, not trained."""
    kind, *numbers = model.split(":")
    path = Path(model)
    if path.suffix.lower() in READERS:
        found = READERS[path.suffix.lower()](path)
        return found.stream() if isinstance(found, Capture) else found.stream(None)
    if kind.lower() not in LAYERS or not 2 <= len(numbers) <= 3 or not all(number.isdecimal() for number in numbers):
        files, kinds = " or ".join(READERS), ", ".join(LAYERS)
        raise ValueError(
            f"{model}: expected a file that ends in {files}, or KIND:INPUTS:UNITS[:LAYERS] such as lstm:1:32, "
            f"KIND one of {kinds}"
        )
    inputs, units, layers = (*map(int, numbers), 1)[:3]
    return Sequential(LAYERS[kind.lower()](inputs, units, layers, rng=0), Linear(units, 1, rng=1)).stream(None)


def measure(stream: Stream, block: int, blocks: int) -> Run:
    """Blocks of noise, one after another, the state carried."""
    block, blocks = size("stream-check", "block", block), size("stream-check", "blocks", blocks)
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (block, stream.input_size)).astype(stream.dtype)
    out = stream.block(x)
    for _ in range(WARM):
        stream.block(x, out)
    took, clock, run = np.zeros(blocks, np.int64), time.perf_counter_ns, stream.block
    gc.collect()
    before = _counted()
    for k in range(blocks):
        start = clock()
        run(x, out)
        took[k] = clock() - start
    after = _counted()
    system = None if before is None or after is None else {name: after[name] - before[name] for name in after}
    return Run(took / 1e9, *_traced(lambda: run(x, out)), system)


def _counted() -> dict[str, int] | None:
    try:
        import resource  # which Windows has not
    except ImportError:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "page faults": used.ru_minflt + used.ru_majflt,
        "of them from disk": used.ru_majflt,
        "times the processor went to others": used.ru_nivcsw,
    }


def _traced(run: Callable[[], object]) -> tuple[int, int]:
    """Bytes that a call takes at most, and bytes that all calls keep."""
    tracemalloc.start()
    try:
        run()
        begin, _ = tracemalloc.get_traced_memory()
        most = 0
        for _ in range(TRACED):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            run()
            most = max(most, tracemalloc.get_traced_memory()[1] - before)
        return most, max(tracemalloc.get_traced_memory()[0] - begin, 0)
    finally:
        tracemalloc.stop()


def report_of(model: str, stream: Stream, run: Run, rate: float, block: int) -> str:
    """The report."""
    there_is, took = block / rate, run.seconds
    late = int((took > there_is).sum())
    lines = [
        f"{model}: {stream!r}",
        f"{len(took)} blocks of {block} at {rate:g} Hz, {1e6 * there_is:.0f} us each",
        "                        us a block   share of real time",
    ]
    figures = {"median": np.median(took), "99.9th percentile": np.percentile(took, 99.9), "worst": took.max()}
    for name, seconds in figures.items():
        lines.append(f"  {name:<20} {1e6 * seconds:>11.1f}   {100 * seconds / there_is:>17.2f} %")
    lines.append(f"  late: {late} blocks")
    lines.append(f"  a block allocates {run.allocated} bytes at most, and {TRACED} blocks keep {run.kept}")
    counts = run.system or {}
    lines.append(
        "  " + (", ".join(f"{name}: {count}" for name, count in counts.items()) or "page faults: not counted here")
    )
    return "\n".join(lines)


@click.command("stream-check")
@click.argument("model")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=48000.0, show_default=True, help="Samples a s."
)
@click.option("--block", type=click.IntRange(1), default=64, show_default=True, help="Samples in a block.")
@click.option("--blocks", type=click.IntRange(1), default=100_000, show_default=True, help="How many are timed.")
def stream_check(model: str, rate: float, block: int, blocks: int) -> None:
    """Say whether a network keeps up with samples that come in blocks, such as audio.

    MODEL is a file of one (.nam, or .json of RTNeural), or KIND:INPUTS:UNITS[:LAYERS] for one with random weights and a
    Linear of one output behind it, such as lstm:1:32. A block is late that takes longer than its samples last.
    """
    with one_line_errors(), use_backend("numpy"):
        above_zero("stream-check", "--rate", rate)  # which may be nan or inf
        stream = opened(model)
        click.echo(report_of(model, stream, measure(stream, block, blocks), rate, block))
