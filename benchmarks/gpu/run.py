"""Recurrent layers on one GPU, beside PyTorch's cuDNN: python -m benchmarks.gpu.run. See benchmarks/README.md.

Rows go to a file one by one as they are measured, most important first; what is cut off goes on where it stopped, if
the code is still the same. Another process measures, so that a row that crashes or hangs costs only itself.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu import compile as gpu_compile
from benchmarks.gpu import fit as gpu_fit
from benchmarks.gpu import rows as gpu_rows
from benchmarks.gpu import table as gpu_table
from benchmarks.gpu import tune as gpu_tune
from benchmarks.gpu.rows import Row, key

HERE = Path(__file__).parent
ROOT, RESULTS = HERE.parents[1], HERE.parent / "results"
ROW_SECONDS = {"check": 15.0, "grid": 30.0}  # more than any row should take, kernels compiled on the way
OTHER_SECONDS = 60.0
COMPILED = ("check", "grid", "tune")  # rows whose kernels are compiled beforehand
SHOWN = 80  # lines of a table: facts and summary
POLL = 0.05  # seconds between two looks at the clock
HANGS = 2  # rows in which a path may hang, before the others go on without it


class Worker:
    """The process that measures. One that does not answer in time, or dies, is replaced."""

    def __init__(self, command: list[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._command, self._process, self._clock = command, None, clock
        self._answers: queue.Queue[str] = queue.Queue()
        self.trying = ""  # what the process said last that it tries

    def ask(self, task: Row, seconds: float) -> Row:
        """What it answers, or an error, with the path that ``hung`` if it said which it was trying."""
        process = self._process or self._start()
        assert process.stdin is not None
        end, self.trying = self._clock() + seconds, ""
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            while (answer := self._next(end)) is not None:
                found: Row = json.loads(answer)
                if "trying" not in found:
                    if found.pop("fatal", False):  # the device keeps refusing after some errors
                        self.stop()
                    return found
                self.trying = found["trying"]
        except TimeoutError:
            self.stop()
            where = f", in {self.trying}" if self.trying else ""
            return {"error": f"no answer within {seconds:.0f} s{where}"} | (
                {"hung": self.trying} if self.trying else {}
            )
        except OSError:
            pass
        status = process.wait()
        self.stop()
        return {"error": f"the process ended with {status}" + (f", in {self.trying}" if self.trying else "")}

    def _next(self, end: float) -> str | None:
        """A line of the process; None where it has ended. Raises TimeoutError when the time is over."""
        while True:
            try:
                return self._answers.get(timeout=POLL) or None
            except queue.Empty:
                if self._clock() >= end:
                    raise TimeoutError from None

    def _start(self) -> subprocess.Popen[str]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )
        self._answers = queue.Queue()
        threading.Thread(target=_listen, args=(self._process, self._answers), daemon=True).start()
        return self._process

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None


def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")


def code_digest() -> str:
    """Of all that is measured: rows of other code are not this code's."""
    digest = hashlib.sha256()
    for path in sorted(p for folder in ("xprnn", "kernels") for p in (ROOT / folder).rglob("*")):
        if path.suffix in (".py", ".cu", ".cuh"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def measured(path: Path, code: str) -> list[Row]:
    """The rows in a file that this code gave; a last line that was cut off is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [row for row in found if row.get("code") == code]


def missing(wanted: list[Row], found: list[Row]) -> list[Row]:
    """What is still to be measured. A row that failed once is not tried again; --fresh tries all."""
    done = {key(row) for row in found}
    return [row for row in wanted if key(row) not in done]


def run(
    worker: Any, wanted: list[Row], path: Path, code: str, end: float, clock: Callable[[], float], hung: Counter[str]
) -> Iterator[Row]:
    """Measure row by row until the time is over, and add each to the file at once. ``hung`` counts paths that did."""
    for row in wanted:
        left = end - clock()
        if left <= 0:
            return
        without = [name for name, times in hung.items() if times >= HANGS]
        answer = worker.ask(row | {"without": without}, min(ROW_SECONDS.get(row["what"], OTHER_SECONDS), left))
        if "hung" in answer:
            hung[answer["hung"]] += 1
        if clock() >= end and "error" in answer:
            return  # it was not given its time
        result = row | answer | {"code": code}
        with path.open("a") as file:
            file.write(json.dumps(result) + "\n")
        yield result


class Report:
    """What is known of a device: rows in a file that grows, and the table of them."""

    def __init__(self, folder: Path, environment: Row, tune: bool, fresh: bool) -> None:
        label = re.sub(r"[^a-z0-9]+", "-", environment["device"].lower()).strip("-")
        name = f"gpu-tune-{label}.jsonl" if tune else f"gpu-{label}.jsonl"
        self.code, self.lines, self._environment, self._tune = code_digest(), folder / name, environment, tune
        folder.mkdir(parents=True, exist_ok=True)
        earlier = self.lines if self.lines.exists() else RESULTS / name  # of another session
        found = [] if fresh else measured(earlier, self.code)
        self.lines.write_text("".join(json.dumps(row) + "\n" for row in found))

    def rows(self) -> list[Row]:
        """So far."""
        return measured(self.lines, self.code)

    def write(self) -> str:
        """The table, beside the rows."""
        rows, everything = self.rows(), gpu_tune.rows() if self._tune else gpu_rows.rows()
        report = {"date": datetime.date.today().isoformat(), "code": self.code, **self._environment, "rows": rows}
        report["missing"] = len(missing(everything, rows))
        if self._tune:
            report["conclusions"] = gpu_fit.conclusions(rows)
        text = gpu_fit.table(report) if self._tune else gpu_table.table(report)
        self.lines.with_suffix(".md").write_text(text + "\n")
        return text


def wanted_parts(options: argparse.Namespace) -> list[tuple[list[Row], float]]:
    """Rows and seconds of each part, as it was asked for."""
    if options.tune or not options.part:
        parts = [(gpu_tune.rows() if options.tune else gpu_rows.rows(), options.budget)]
    else:
        asked, known = [part.partition(":") for part in options.part], gpu_rows.parts()
        if unknown := [name for name, *_ in asked if name not in known]:
            raise SystemExit(f"run.py: --part {unknown[0]} is unknown; expected one of {', '.join(known)}")
        parts = [(known[name], float(seconds or options.budget)) for name, _, seconds in asked]
    return [([row for row in rows if re.search(options.only, key(row))], seconds) for rows, seconds in parts]


def main(arguments: list[str] | None = None, worker: Any = None, clock: Callable[[], float] = time.monotonic) -> int:
    """Measure what is not measured yet, write rows and Markdown, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=540.0, help="seconds; what is left over waits for the next run")
    parser.add_argument("--part", action="append", metavar="NAME[:SECONDS]", help="of rows.py; may be repeated")
    parser.add_argument("--tune", action="store_true", help="time plans of the persistent kernels, see tune.py")
    parser.add_argument("--only", default="", help="a regular expression: rows whose key it matches")
    parser.add_argument("--fresh", action="store_true", help="measure again what a file of this device has already")
    parser.add_argument("--list", action="store_true", help="print the rows in order, and measure nothing")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="that compile kernels beforehand; 0: at first use"
    )
    parser.add_argument("--compiling", type=float, default=60.0, help="seconds of a part for that, a third at the most")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder")
    options = parser.parse_args(arguments)
    parts = wanted_parts(options)
    if options.list:
        print("\n".join(key(row) for rows, _ in parts for row in rows))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was measured is still written
    end = clock()
    worker = worker or Worker([sys.executable, "-m", "benchmarks.gpu.worker"])
    environment = worker.ask({"what": "environment"}, OTHER_SECONDS)
    if "error" in environment:
        print(f"benchmarks.gpu.run: no GPU to measure: {environment['error']}", file=sys.stderr)
        return 2
    report, hung = Report(options.out, environment, options.tune, options.fresh), Counter[str]()
    text = ""
    try:
        for rows, seconds in parts:
            end += seconds  # what a part does not need the next one has
            todo = missing(rows, report.rows())
            try:
                if options.processes and any(row["what"] in COMPILED for row in todo):
                    most = min(options.compiling, max(0.0, end - clock()) / 3)
                    print(gpu_compile.ahead(todo, options.processes, most, ROOT), file=sys.stderr, flush=True)
                for row in run(worker, todo, report.lines, report.code, end, clock, hung):
                    print(f"{key(row)}: {row.get('error') or summary(row)}", file=sys.stderr, flush=True)
            finally:
                text = report.write()
    finally:
        worker.stop()
    print("\n".join([*text.splitlines()[:SHOWN], f"All of it: {report.lines.with_suffix('.md')}"]))
    return 0


def summary(row: Row) -> str:
    """A row in a few words."""
    if "plans" in row:
        said = [
            f"{plan['predicted']:.2f} -> {plan.get('error') or round(plan['measured'], 2)}" for plan in row["plans"]
        ]
        return f"us a step, predicted -> measured: {', '.join(said) or 'no plan fits'}"
    paths: dict[str, Any] = row.get("paths", {})
    return ", ".join(
        f"{name} {path['us_step']:.2f} us" if "us_step" in path else f"{name} {path.get('error') or path.get('worst')}"
        for name, path in paths.items()
    ) or json.dumps(row.get("found"))


if __name__ == "__main__":
    sys.exit(main())
