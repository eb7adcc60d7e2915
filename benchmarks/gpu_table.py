"""What benchmarks/gpu.py measured, as Markdown."""

from __future__ import annotations

import math
from typing import Any

from gpu_rows import CELLS, MODES, PRECISIONS, Row, floor

GOAL = {True: 1.0, False: 0.9}  # the ratio in cells with few sequences, and with many
FEW = 64
NOT_FACTS = ("rows", "device", "date", "missing")
UNLIKE = {
    "fp16": "torch runs float16, ours bf16.",
    "bf16": "torch runs bfloat16 throughout, ours rounds what it multiplies.",
}


def best(row: Row) -> tuple[str, dict[str, Any]] | None:
    """Our fastest path of a row, by name; None where none ran."""
    ours = {name: path for name, path in row.get("paths", {}).items() if name != "torch" and "us_step" in path}
    return min(ours.items(), key=lambda item: item[1]["us_step"]) if ours else None


def ratio(row: Row) -> float:
    """cuDNN's time over ours; NaN where one of them did not run."""
    ours, peer = best(row), row.get("paths", {}).get("torch", {})
    return peer["us_step"] / ours[1]["us_step"] if ours and "us_step" in peer else math.nan


def table(report: dict[str, Any]) -> str:
    """All of it, with what failed and what is missing said plainly."""
    rows, facts = report["rows"], {name: value for name, value in report.items() if name not in NOT_FACTS}
    grid = [row for row in rows if row["what"] == "grid"]
    lines = [f"# {report['device']}, {report['date']}", "", *(f"- {name}: {value}" for name, value in facts.items())]
    if report["missing"]:
        lines += ["", f"{report['missing']} rows are not measured yet; run benchmarks/gpu.py again."]
    lines += ["", *_summary(grid), *_checks([row for row in rows if row["what"] == "check"])]
    for row in rows:
        if row["what"] == "micro":
            lines += ["", f"## {row['name']}", "", *(f"- {n}: {v}" for n, v in row.get("found", {}).items())]
    for mode in MODES:
        for precision in PRECISIONS:
            lines += _grid([row for row in grid if (row["mode"], row["precision"]) == (mode, precision)])
    return "\n".join(lines + _failed(rows))


def _line(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _head(*names: str) -> list[str]:
    return [_line(*names), _line(*["---"] * len(names))]


def _summary(grid: list[Row]) -> list[str]:
    """How many cells reach the goal."""
    lines = _head("precision", "cells", "ratio, geometric mean", "ratio at goal", "H >= 512 within twice the floor")
    for precision in PRECISIONS:
        rows = [row for row in grid if row["precision"] == precision and not math.isnan(ratio(row))]
        if not rows:
            continue
        mean = math.exp(sum(math.log(ratio(row)) for row in rows) / len(rows))
        reached = sum(ratio(row) >= GOAL[row["B"] <= FEW] for row in rows)
        large = [row for row in rows if row["H"] >= 512]
        near = sum(_over_floor(row) <= 2 for row in large)
        lines.append(_line(precision, len(rows), f"{mean:.2f}", f"{reached} of {len(rows)}", f"{near} of {len(large)}"))
    return lines if len(lines) > 2 else ["No cell of the grid was measured."]


def _over_floor(row: Row) -> float:
    ours = best(row)
    return ours[1]["us_step"] / floor(row) if ours else math.nan


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


def _grid(rows: list[Row]) -> list[str]:
    """Times, errors and memory in one mode and precision."""
    if not rows:
        return []
    mode, precision = rows[0]["mode"], rows[0]["precision"]
    lines = ["", f"## {mode}, {precision}", ""]
    lines += ["Microseconds a step; ratio is cuDNN's time over ours; floor is arithmetic; error is the worst result's."]
    lines += [UNLIKE[precision], ""] if precision in UNLIKE else [""]
    lines += _head(
        "cell B,H,T", "ours (path)", "cuDNN", "ratio", "floor", "ours/floor", "error, ours", "error, cuDNN",
        "peak MB, ours", "peak MB, cuDNN",
    )  # fmt: skip
    order = list(CELLS)
    for row in sorted(rows, key=lambda row: (order.index(row["cell"]), row["T"], row["H"], row["B"])):
        name, ours = best(row) or ("none", {})
        peer = row.get("paths", {}).get("torch", {})
        lines.append(
            _line(
                f"{row['cell']} {row['B']},{row['H']},{row['T']}", f"{_number(ours.get('us_step'))} ({name})",
                _number(peer.get("us_step")), _number(ratio(row)), _number(floor(row)), _number(_over_floor(row)),
                _number(ours.get("worst"), ".1e"), _number(peer.get("worst"), ".1e"),
                _number(_megabytes(ours), ".1f"), _number(_megabytes(peer), ".1f"),
            )
        )  # fmt: skip
    return lines


def _failed(rows: list[Row]) -> list[str]:
    """Rows that gave nothing, and paths that failed in rows of the grid."""
    errors = [(_name(row), row["error"]) for row in rows if "error" in row]
    for row in rows:
        if row["what"] == "grid":
            errors += [(f"{_name(row)}, {n}", p["error"]) for n, p in row.get("paths", {}).items() if "error" in p]
    return ["", "## What failed", "", *(f"- {name}: {error}" for name, error in errors)] if errors else []


def _name(row: Row) -> str:
    names = ("what", "name", "cell", "mode", "precision", "shape", "B", "H", "T")
    return " ".join(str(row[name]) for name in names if name in row)


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)


def _megabytes(path: dict[str, Any]) -> float | None:
    return path["peak"] / 1e6 if "peak" in path else None
