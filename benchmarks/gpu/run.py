"""Recurrent layers on one GPU, beside PyTorch's cuDNN: python benchmarks/gpu.py. See benchmarks/README.md.

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu_compile
import gpu_fit
import gpu_rows
import gpu_table
import gpu_tune
from gpu_rows import Row, key

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.append(str(ROOT))  # for xprnn, where it is not installed
ROW_SECONDS = 60.0  # more than any row should take, kernels compiled on the way
HANGS = 2  # rows in which a path may hang, before the others go on without it


class Worker:
    """The process that measures. One that does not answer in time, or dies, is replaced."""

    def __init__(self, command: list[str]) -> None:
        self._command, self._process = command, None
        self._answers: queue.Queue[str] = queue.Queue()

    def ask(self, task: Row, seconds: float) -> Row:
        """What it answers, or an error, with the path that ``hung`` if it said which it was trying."""
        process = self._process or self._start()
        assert process.stdin is not None
        end, trying = time.monotonic() + seconds, ""
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            while True:
                answer = self._answers.get(timeout=max(0.0, end - time.monotonic()))
                if not answer:
                    break
                found: Row = json.loads(answer)
                if "trying" not in found:
                    if found.pop("fatal", False):  # the device keeps refusing after some errors
                        self.stop()
                    return found
                trying = found["trying"]
        except OSError:
            pass
        except queue.Empty:
            self.stop()
            where = f", in {trying}" if trying else ""
            return {"error": f"no answer within {seconds:.0f} s{where}"} | ({"hung": trying} if trying else {})
        status = process.wait()
        self.stop()
        return {"error": f"the process ended with {status}" + (f", in {trying}" if trying else "")}

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


def run(worker: Worker, wanted: list[Row], path: Path, code: str, budget: float) -> Iterator[Row]:
    """Measure row by row until the time is over, and add each to the file at once."""
    end, hung = time.monotonic() + budget, Counter[str]()
    for row in wanted:
        left = end - time.monotonic()
        if left <= 0:
            return
        without = [name for name, times in hung.items() if times >= HANGS]
        answer = worker.ask(row | {"without": without}, min(ROW_SECONDS, left))
        if "hung" in answer:
            hung[answer["hung"]] += 1
        if time.monotonic() >= end and "error" in answer:
            return  # it was not given its time
        result = row | answer | {"code": code}
        with path.open("a") as file:
            file.write(json.dumps(result) + "\n")
        yield result


def main() -> int:
    """Measure what is not measured yet, write JSON and Markdown, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=540.0, help="seconds; what is left over waits for the next run")
    parser.add_argument("--tune", action="store_true", help="time plans of the persistent kernels, see gpu_tune.py")
    parser.add_argument("--only", default="", help="a regular expression: rows whose key it matches")
    parser.add_argument("--fresh", action="store_true", help="measure again what a file of this device has already")
    parser.add_argument("--list", action="store_true", help="print the rows in order, and measure nothing")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="that compile kernels beforehand; 0: at first use"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder")
    parser.add_argument(
        "--worker", nargs="+", default=[sys.executable, str(HERE / "gpu_worker.py")], help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    everything = gpu_tune.rows() if options.tune else gpu_rows.rows()
    wanted = [row for row in everything if re.search(options.only, key(row))]
    if options.list:
        print("\n".join(key(row) for row in wanted))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was measured is still written
    started, worker = time.monotonic(), Worker(options.worker)
    environment = worker.ask({"what": "environment"}, ROW_SECONDS)
    if "error" in environment:
        print(f"gpu.py: no GPU to measure: {environment['error']}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    label = re.sub(r"[^a-z0-9]+", "-", environment["device"].lower()).strip("-")
    name = f"gpu-tune-{label}" if options.tune else f"gpu-{label}"
    lines = options.out / f"{name}.jsonl"
    code = code_digest()
    found = [] if options.fresh else measured(lines, code)
    lines.write_text("".join(json.dumps(row) + "\n" for row in found))
    todo = missing(wanted, found)
    if todo and options.processes:
        print(gpu_compile.ahead(todo, options.processes, options.budget / 3, ROOT), file=sys.stderr, flush=True)
    left = options.budget - (time.monotonic() - started)
    try:
        for row in run(worker, todo, lines, code, left):
            print(f"{key(row)}: {row.get('error') or summary(row)}", file=sys.stderr, flush=True)
    finally:
        worker.stop()
        report = {"date": datetime.date.today().isoformat(), "code": code, **environment, "rows": measured(lines, code)}
        report["missing"] = len(missing(everything, report["rows"]))
        if options.tune:
            report["conclusions"] = gpu_fit.conclusions(report["rows"])
        text = gpu_fit.table(report) if options.tune else gpu_table.table(report)
        (options.out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.out / f"{name}.md").write_text(text + "\n")
    print(text)
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
