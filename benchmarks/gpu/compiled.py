"""What NVIDIA's compiler makes of the persistent kernels, without a GPU: python -m benchmarks.gpu.compiled.

For each architecture, cell, precision and way: the planner's best plan of each kind, compiled by nvcc. A table of
registers, bytes spilled, shared memory, and instructions of the loop over steps, each counted once: what runs more
often (a loop over sequences, or over weights in shared memory) or seldom is in there. They need nvdisasm, which is in
the wheel nvidia-cuda-nvdisasm. The exit status is 1 if anything spills.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Row = dict[str, Any]

DEVICES = {  # multiprocessors, shared memory of a block, largest cluster; of an A100, H100, B200 and RTX 5090
    "sm_80": (108, 166912, 0),
    "sm_90": (132, 232448, 8),
    "sm_100": (148, 232448, 8),
    "sm_120": (170, 101376, 8),
}
# By the way in which blocks meet: sequences, units, and which plans are of that kind.
KINDS: dict[str, tuple[int, int, Callable[[Any], bool]]] = {
    "memory": (16, 512, lambda plan: plan.cluster == plan.polls == 0 < plan.blocks - 1),
    "memory, many rows": (64, 1024, lambda plan: plan.cluster == plan.polls == 0 < plan.blocks - 1),
    "polling": (16, 512, lambda plan: plan.polls > 0),
    "polling, many rows": (64, 1024, lambda plan: plan.polls > 0),
    "cluster": (16, 256, lambda plan: plan.cluster > 1),
    "one block": (16, 64, lambda plan: plan.cluster == 1),
}
COLUMNS = ("registers", "spilled", "shared", "instructions")


def plans(architectures: list[str]) -> Iterator[tuple[Row, Any]]:
    """What is compiled, by what it is; None where no plan of a kind fits on a device. Each plan of a device once."""
    plan = importlib.import_module("xprnn.kernels.cuda.plan")
    every = itertools.product(architectures, KINDS, plan.GATES, plan.NUMBERS, (False, True))
    for architecture, kind, cell, precision, backward in every:
        if precision == "fp16" and backward:
            continue  # the same as in bf16
        batch, size, of_kind = KINDS[kind]
        found = plan.candidates(cell, backward, precision, batch, size, *DEVICES[architecture])
        way = "backward" if backward else "forward"
        row = {"device": architecture, "kind": kind, "B": batch, "H": size, "cell": cell, "precision": precision}
        yield row | {"way": way}, min(filter(of_kind, found), key=plan.microseconds, default=None)


def compiled(architecture: str, plan: Any) -> Row:
    """The figures of one plan's kernel; raises RuntimeError with what nvcc says where it does not compile."""
    folder = Path(importlib.import_module("xprnn.kernels.cuda.source").__file__).parent
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
    lines = [
        f"# The persistent kernels as compiled by {report['compiler']}, {report['date']}",
        "",
        "Forward / backward. Registers of a thread; bytes spilled; bytes of shared memory of a block; instructions of",
        "the loop over steps, each counted once. -: no such plan fits on the device.",
        "",
        "| device, kind B,H | cell | precision | plan | registers | spilled | shared | instructions |",
        "|" + "---|" * 8,
    ]
    names = ("device", "kind", "B", "H", "cell", "precision")
    for (device, kind, batch, size, cell, precision), both in itertools.groupby(
        report["rows"], key=lambda row: tuple(row[name] for name in names)
    ):
        ways = {row["way"]: row for row in both}
        cells = [
            " / ".join(str(ways[way].get(column, "-")) for way in ("forward", "backward") if way in ways)
            for column in ("plan", *COLUMNS)
        ]
        lines.append(f"| {device}, {kind} {batch},{size} | {cell} | {precision} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    parser.add_argument("--architectures", nargs="+", default=list(DEVICES), choices=DEVICES)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    version = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout

    def measure(one: tuple[Row, Any]) -> Row:
        row, plan = one
        if plan is None:
            return row
        row["plan"] = f"{plan.blocks} x {plan.groups} of {plan.units}, {plan.warps} warps"
        row |= compiled(row["device"], plan)
        print(" ".join(str(row[name]) for name in (*row,)), flush=True)
        return row

    chosen = [one for one in plans(options.architectures) if one[0]["kind"] in options.kinds]
    with ThreadPoolExecutor(options.processes) as pool:
        rows = list(pool.map(measure, chosen))
    report = {
        "compiler": f"nvcc {re.findall(r'V([0-9.]+)', version)[0]}",
        "date": datetime.date.today().isoformat(),
        "rows": rows,
    }
    (options.out / "compiled.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "compiled.md").write_text(table(report))
    return int(any(row.get("spilled") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
