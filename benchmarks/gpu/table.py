"""What benchmarks/gpu.py measured, as Markdown."""

from __future__ import annotations

import math
from typing import Any

from gpu_rows import GATES, MODES, PRECISIONS, Row, floor

GOAL = {True: 1.0, False: 0.9}  # the ratio in cells with few sequences, and with many
FEW = 64
REGRET = 1.03  # a smaller ratio is noise
NOT_FACTS = ("rows", "device", "date", "missing")
LIMIT = {"float32": 2e-5, "tf32": 5e-3, "bf16": 4e-2, "fp16": 4e-2}  # of a check's relative error
UNLIKE = {
    "float32": "torch: allow_tf32=False.",
    "tf32": "torch: float32 with allow_tf32=True.",
    "bf16": "torch runs bfloat16 throughout, ours rounds what it multiplies.",
    "fp16": "torch runs float16 throughout, ours multiplies float16 and TF32 forward, bfloat16 backward.",
}


def wrong(row: Row, path: dict[str, Any]) -> bool:
    """Whether a path's results are no results: off by more than a check may be, and than three times PyTorch's are."""
    known = "worst" in path and not str(path.get("where", "")).startswith("no float64")
    peer = row.get("paths", {}).get("torch", {}).get("worst", math.nan)
    allowed = max(LIMIT[row["precision"]], 3 * peer if math.isfinite(peer) else 0.0)
    return known and not path["worst"] <= allowed


def _right(row: Row) -> dict[str, dict[str, Any]]:
    """Our paths of a row that ran and were right."""
    paths = row.get("paths", {})
    return {n: path for n, path in paths.items() if n != "torch" and "us_step" in path and not wrong(row, path)}


def ours(row: Row) -> tuple[str, dict[str, Any]] | None:
    """The path that dispatch chooses, by name, which is what a user gets; None where it did not run or was wrong."""
    name, right = row.get("chosen", ""), _right(row)
    return (name, right[name]) if name in right else None


def regret(row: Row) -> tuple[str, float]:
    """Our fastest path, and how often its time the chosen one takes; infinitely often where that gave no result."""
    right, chosen = _right(row), ours(row)
    if not right:
        return "none", math.nan
    name, fastest = min(right.items(), key=lambda item: item[1]["us_step"])
    return name, chosen[1]["us_step"] / fastest["us_step"] if chosen else math.inf


def ratio(row: Row) -> float:
    """cuDNN's time over ours; NaN where one of them did not run."""
    chosen, peer = ours(row), row.get("paths", {}).get("torch", {})
    return peer["us_step"] / chosen[1]["us_step"] if chosen and "us_step" in peer else math.nan


def table(report: dict[str, Any]) -> str:
    """All of it, with what failed and what is missing said plainly."""
    rows, facts = report["rows"], {name: value for name, value in report.items() if name not in NOT_FACTS}
    grid = [row for row in rows if row["what"] == "grid"]
    lines = [f"# {report['device']}, {report['date']}", "", *(f"- {name}: {value}" for name, value in facts.items())]
    if report["missing"]:
        lines += ["", f"{report['missing']} rows are not measured yet; run benchmarks/gpu.py again."]
    checks = [row for row in rows if row["what"] == "check"]
    lines += ["", *_summary(grid), "", _verdict(checks)]
    lines += _regrets(grid)
    lines += _training([row for row in rows if row["what"] == "train"])
    for row in rows:
        if row["what"] == "micro":
            lines += ["", f"## {row['name']}", "", *(f"- {n}: {v}" for n, v in row.get("found", {}).items())]
    lines += _checks(checks)
    for mode in MODES:
        for precision in PRECISIONS:
            lines += _grid([row for row in grid if (row["mode"], row["precision"]) == (mode, precision)])
    return "\n".join(lines + _failed(rows))


def _line(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _head(*names: str) -> list[str]:
    return [_line(*names), _line(*["---"] * len(names))]


def _summary(grid: list[Row]) -> list[str]:
    """How many cells reach the goal. One in which none of our paths gave a right result does not."""
    lines = _head("precision", "cells", "ratio, geometric mean", "ratio at goal", "H >= 512 within twice the floor")
    for precision in PRECISIONS:
        rows = [row for row in grid if row["precision"] == precision and "paths" in row]
        if not rows:
            continue
        beside = [row for row in rows if "us_step" in row["paths"].get("torch", {})]
        ratios = [ratio(row) for row in beside if ours(row)]
        mean = _number(math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None)
        reached = sum(ratio(row) >= GOAL[row["B"] <= FEW] for row in beside)
        large = [row for row in rows if row["H"] >= 512]
        near = sum(_over_floor(row) <= 2 for row in large)
        lines.append(_line(precision, len(rows), mean, f"{reached} of {len(beside)}", f"{near} of {len(large)}"))
    return lines if len(lines) > 2 else ["No cell of the grid was measured."]


def _over_floor(row: Row) -> float:
    chosen = ours(row)
    return chosen[1]["us_step"] / floor(row) if chosen else math.nan


def _regrets(grid: list[Row]) -> list[str]:
    """Where dispatch did not choose our fastest path, worst first."""
    found = [(*regret(row), row) for row in grid]
    found = sorted((one for one in found if one[1] > REGRET), key=lambda one: -one[1])  # NaN is not
    lines = [
        f"- {_name(row)}: {row.get('chosen') or 'nothing'} was chosen, and {name} is "
        f"{'the only one of ours that is right' if times == math.inf else f'{times:.2f} times as fast'}"
        for name, times, row in found
    ]
    return ["", "## What dispatch should have chosen", "", *lines] if lines else []


def _checks(checks: list[Row]) -> list[str]:
    """What each path differs from float64 by."""
    if not checks:
        return []
    lines = ["", "## Results against float64", ""]
    lines += [
        "Fresh memory is NaN. Runs are repeated on the same input, and those in which a bit moves are counted.",
        "",
    ]
    lines += _head("T,B,I,H", "cell", "precision", "path", "worst relative error", "bits moved in")
    for row in checks:
        shape = ",".join(map(str, row["shape"])) + (", both ways, lengths, mask, reset" if row["control"] else "")
        for name, path in row.get("paths", {}).items():
            found, moved = path.get("error", "-"), "-"
            if "worst" in path:
                found, moved = f"{path['worst']:.1e} ({path['where']})", f"{path['moved']} of {path['repeats']} runs"
            lines.append(_line(shape, row["cell"], row["precision"], name, found, moved))
    return lines


def _verdict(checks: list[Row]) -> str:
    """How many results of checks are as they should be."""
    every = [(row["precision"], path) for row in checks for path in row.get("paths", {}).values()]
    found = [(precision, path) for precision, path in every if "worst" in path]
    right = sum(path["worst"] <= LIMIT[precision] for precision, path in found)  # NaN is not
    still = sum(path["moved"] == 0 for _, path in found)
    limits = ", ".join(f"{limit:.0e} in {precision}" for precision, limit in LIMIT.items())
    return (
        f"Checks with errors within {limits}: {right} of {len(found)}; with the same bits each time: {still}; "
        f"declined or failed: {len(every) - len(found)}."
    )


def _training(rows: list[Row]) -> list[str]:
    """What a training step takes, launches and waits for."""
    if not rows:
        return []
    lines = ["", "## Training, end to end", ""]
    lines += ["A step of `fit` within an epoch. Times are taken without the profiler, all else is counted with it.", ""]
    lines += _head("model", "precision", "ms a step", "GPU busy", "kernels a step", "copies to the host",
                   "copies to the device", "host synchronisations", "counted by")  # fmt: skip
    notes = []
    for row in rows:
        found = row.get("found", {})
        busy = f"{found['busy']:.0%}" if "busy" in found else "-"
        counts = [_number(found.get(name)) for name in ("kernels", "to host", "to device", "waits")]
        lines.append(_line(row["name"], row["precision"], _number(found.get("ms")), busy, *counts,
                           found.get("counted", row.get("error", "-"))))  # fmt: skip
        if "most" in found:
            most = ", ".join(f"{name} {share:.0%}" for name, share in found["most"].items())
            notes.append(f"- most of the GPU's time, {row['name']}, {row['precision']}: {most}")
    return [*lines, "", *notes] if notes else lines


def _grid(rows: list[Row]) -> list[str]:
    """Times, errors and memory in one mode and precision."""
    if not rows:
        return []
    mode, precision = rows[0]["mode"], rows[0]["precision"]
    lines = ["", f"## {mode}, {precision}", ""]
    lines += ["Microseconds a step; ratio: cuDNN's time over ours; floor: an H100's, by arithmetic; error: the worst."]
    lines += [UNLIKE[precision], ""]
    lines += _head(
        "cell B,H,T", "ours (chosen path)", "cuDNN", "ratio", "floor", "ours/floor", "error, ours", "error, cuDNN",
        "peak MB, ours", "peak MB, cuDNN",
    )  # fmt: skip
    order = list(GATES)
    for row in sorted(rows, key=lambda row: (order.index(row["cell"]), row["T"], row["H"], row["B"])):
        name, chosen = ours(row) or ("none", {})
        peer = row.get("paths", {}).get("torch", {})
        lines.append(
            _line(
                f"{row['cell']} {row['B']},{row['H']},{row['T']}", f"{_number(chosen.get('us_step'))} ({name})",
                _number(peer.get("us_step")), _number(ratio(row)), _number(floor(row)), _number(_over_floor(row)),
                _number(chosen.get("worst"), ".1e"), _number(peer.get("worst"), ".1e"),
                _number(_megabytes(chosen), ".1f"), _number(_megabytes(peer), ".1f"),
            )
        )  # fmt: skip
    return lines


def _failed(rows: list[Row]) -> list[str]:
    """Rows that gave nothing, and paths that failed in rows of the grid."""
    errors = [(_name(row), row["error"]) for row in rows if "error" in row]
    for row in rows:
        if row["what"] == "grid":
            paths = row.get("paths", {})
            errors += [(f"{_name(row)}, {n}", p["error"]) for n, p in paths.items() if "error" in p]
            errors += [
                (f"{_name(row)}, {n}", f"WRONG by {p['worst']:.1e} ({p.get('where')})")
                for n, p in paths.items()
                if wrong(row, p)
            ]
    return ["", "## What failed", "", *(f"- {name}: {error}" for name, error in errors)] if errors else []


def _name(row: Row) -> str:
    names = ("what", "name", "cell", "mode", "precision", "shape", "B", "H", "T")
    return " ".join(str(row[name]) for name in names if name in row)


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)


def _megabytes(path: dict[str, Any]) -> float | None:
    return path["peak"] / 1e6 if "peak" in path else None
