"""What NVIDIA's compiler makes of the persistent kernels, without a GPU: python -m benchmarks.gpu.compiled.

For each architecture, cell, precision and way: the planner's best plan of each kind, compiled by nvcc; where it
spills, those that persistent.py tries then, which spare the compiler registers. A table of registers, bytes spilled,
plans tried, shared memory, and instructions of the loop over steps, each counted once: what runs more often (a loop
over sequences, or over weights in shared memory) or seldom is in there. They need nvdisasm, which is in the wheel
nvidia-cuda-nvdisasm. --before COMMIT: those of that commit's kernels, too, in the same plans, through memory on an
H100. What was compiled is kept, so that an interrupted run goes on. The exit status is 1 if anything spills.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCES = "kernels/cuda"
Row = dict[str, Any]

DEVICES = {  # multiprocessors, shared memory of a block, largest cluster; of an A100, H100, B200 and RTX 5090
    "sm_80": (108, 166912, 0),
    "sm_90": (132, 232448, 16),
    "sm_100": (148, 232448, 16),
    "sm_120": (170, 101376, 8),
}
# By the way in which blocks meet: sequences, units, and which plans are of that kind.
KINDS: dict[str, tuple[int, int, Callable[[Any], bool]]] = {
    "memory": (16, 512, lambda plan: plan.cluster == plan.polls == 0 < plan.blocks - 1),
    "memory, many rows": (64, 1024, lambda plan: plan.cluster == plan.polls == 0 < plan.blocks - 1),
    "polling": (16, 512, lambda plan: plan.polls > 0),
    "polling, many rows": (64, 1024, lambda plan: plan.polls > 0),
    "cluster": (16, 256, lambda plan: 1 < plan.cluster <= 8),
    "wide cluster": (16, 512, lambda plan: plan.cluster > 8),
    "one block": (16, 64, lambda plan: plan.cluster == 1),
}
# Several hundred kernels would take an hour of two cores: of devices but the H100 one size of each kind is enough.
AT_LENGTH, MORE = "sm_90", ("memory, many rows", "polling, many rows", "wide cluster")
COLUMNS = ("registers", "spilled", "tried", "shared", "instructions")


def plans(architectures: list[str]) -> Iterator[tuple[Row, Iterator[Any]]]:
    """What is compiled, by what it is: the plans of a kind in the order in which they are tried, if any fits."""
    plan = importlib.import_module("xprnn.kernels.cuda.plan")
    every = itertools.product(architectures, KINDS, plan.GATES, plan.NUMBERS, (False, True))
    for architecture, kind, cell, precision, backward in every:
        if precision == "fp16" or (kind in MORE and architecture != AT_LENGTH):
            continue  # fp16 differs from bf16 in how it rounds
        batch, size, of_kind = KINDS[kind]
        shape = cell, backward, precision, batch, size, *DEVICES[architecture]
        way = "backward" if backward else "forward"
        row = {"device": architecture, "kind": kind, "B": batch, "H": size, "cell": cell, "precision": precision}
        yield row | {"way": way}, in_turn(of_kind, shape)


def in_turn(of_kind: Callable[[Any], bool], shape: tuple[Any, ...]) -> Iterator[Any]:
    """The best plan of a kind, and those that spare the compiler registers; each once."""
    plan, last = importlib.import_module("xprnn.kernels.cuda.plan"), None
    for spare in plan.SPARE:
        found = min(filter(of_kind, plan.candidates(*shape, spare)), key=plan.microseconds, default=None)
        if found is None:
            return
        if found != last:
            yield found
        last = found


@dataclass(frozen=True)
class Compiler:
    """nvcc, and a folder that has what it made before of the same text, told the same."""

    version: str
    kept: Path

    def figures(self, architecture: str, plan: Any, folder: Path) -> Row:
        """Of one plan's kernel, whose source is in the folder."""
        texts = [(folder / plan.source).read_bytes(), *(file.read_bytes() for file in sorted(folder.glob("*.cuh")))]
        told = [self.version, architecture, *plan.options, str(plan.shared_bytes), str(_disassembler() is not None)]
        digest = hashlib.sha256(b"\0".join(texts + [word.encode() for word in told])).hexdigest()
        file = self.kept / f"{digest}.json"
        if not file.exists():
            self.kept.mkdir(parents=True, exist_ok=True)
            half = file.with_suffix(f".{os.getpid()}")
            half.write_text(json.dumps(compiled(architecture, plan, folder)))
            half.replace(file)
        return dict(json.loads(file.read_text()))


def compiled(architecture: str, plan: Any, folder: Path) -> Row:
    """The figures of one plan's kernel; raises RuntimeError with what nvcc says where it does not compile."""
    with tempfile.TemporaryDirectory() as scratch:
        cubin = Path(scratch) / "kernel.cubin"
        command = ["nvcc", f"-arch={architecture}", "-cubin", "-ftz=true", "-Xptxas", "-v", *plan.options]
        done = subprocess.run(
            [*command, "-o", str(cubin), str(folder / plan.source)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        found = said(done.stdout + done.stderr) | {"shared": plan.shared_bytes}
        if disassembler := _disassembler():
            shown = subprocess.run([disassembler, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
            found["instructions"] = of_a_step(shown)
    return found


def first_without_spill(plans: Iterator[Any], figures: Callable[[Any], Row]) -> tuple[Any, Row] | None:
    """The first plan whose kernel does not spill, or the last one; its figures, and how many were tried."""
    last = None
    for tried, plan in enumerate(plans, 1):
        last = plan, figures(plan) | {"tried": tried}
        if not last[1]["spilled"]:
            break
    return last


def sources_of(commit: str, folder: Path) -> Path:
    """The kernels of a commit, unpacked into the folder."""
    packed = subprocess.run(["git", "archive", commit, SOURCES], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    return folder / SOURCES


def said(report: str) -> Row:
    """Registers of a thread, and bytes of its registers that are in memory, of what ptxas reports of a kernel."""
    stack, stores, loads = re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", report)
    (registers,) = re.findall(r"Used (\d+) registers", report)
    return {"registers": int(registers), "spilled": max(int(stack), int(stores), int(loads))}


def of_a_step(text: str) -> int:
    """Instructions of the longest loop in a disassembled kernel, which is the one over steps."""
    count, seen, longest = 0, dict[str, int](), 0
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            seen[label[1]] = count
        elif re.match(r"\s*/\*[0-9a-f]{4,}\*/", line):
            count += 1
            if back := re.search(r"\bBRA.*?(\.L_x_\d+)", line):
                longest = max(longest, count - seen.get(back[1], count))
    return longest


def _disassembler() -> str | None:
    """On the path, or in NVIDIA's wheel."""
    if found := shutil.which("nvdisasm"):
        return found
    spec = importlib.util.find_spec("nvidia")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).glob("*/bin/nvdisasm")):
            return str(file)
    return None


def table(report: Row) -> str:
    """All of it as Markdown: forward / backward in a cell."""
    before = report.get("before")
    columns = ("plan", *COLUMNS, *(["before"] if before else []))
    lines = [
        f"# The persistent kernels as compiled by {report['compiler']}, {report['date']}",
        "",
        "Forward / backward. Registers of a thread; bytes spilled; plans tried until none were; bytes of shared memory",
        "of a block; instructions of the loop over steps, each counted once. -: no such plan fits on the device.",
        *([f"Before: instructions of {before} in the same plan, through memory on an H100."] if before else []),
        "",
        f"| device, kind B,H | cell | precision | {' | '.join(columns)} |",
        "|" + "---|" * (3 + len(columns)),
    ]
    names = ("device", "kind", "B", "H", "cell", "precision")
    for (device, kind, batch, size, cell, precision), both in itertools.groupby(
        report["rows"], key=lambda row: tuple(row[name] for name in names)
    ):
        ways = {row["way"]: row for row in both}
        cells = [
            " / ".join(str(ways[way].get(column, "-")) for way in ("forward", "backward") if way in ways)
            for column in columns
        ]
        lines.append(f"| {device}, {kind} {batch},{size} | {cell} | {precision} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    parser.add_argument("--architectures", nargs="+", default=list(DEVICES), choices=DEVICES)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--before", metavar="COMMIT")
    parser.add_argument("--kept", type=Path, default=ROOT / "build" / "compiled")
    options = parser.parse_args(arguments)
    version = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    compiler = Compiler(f"nvcc {re.findall(r'V([0-9.]+)', version)[0]}", options.kept)
    chosen = [one for one in plans(options.architectures) if one[0]["kind"] in options.kinds]
    done = itertools.count(1)

    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.processes) as pool:
        earlier = sources_of(options.before, Path(scratch)) if options.before else None

        def measure(one: tuple[Row, Iterator[Any]]) -> Row:
            row, tried = one
            if found := first_without_spill(tried, lambda plan: compiler.figures(row["device"], plan, ROOT / SOURCES)):
                plan, figures = found
                row["plan"] = f"{plan.blocks} x {plan.groups} of {plan.units}, {plan.warps} warps"
                row |= figures
                if earlier and row["device"] == AT_LENGTH and row["kind"].startswith("memory"):
                    row["before"] = compiler.figures(row["device"], plan, earlier).get("instructions", "-")
            print(f"{next(done)} of {len(chosen)}:", *row.values(), flush=True)
            return row

        rows = list(pool.map(measure, chosen))
    report = {"compiler": compiler.version, "date": datetime.date.today().isoformat(), "rows": rows}
    if options.before:
        report["before"] = options.before
    (options.out / "compiled.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "compiled.md").write_text(table(report))
    return int(any(row.get("spilled") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
