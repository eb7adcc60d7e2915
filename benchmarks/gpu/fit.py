"""What the times of plans say about kernels/cuda/plan.py: how well it predicts them, and with which constants it would.

Constants of plan.microseconds and plan.step_microseconds are fitted to what tune.py measured.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.gpu.rows import Row
from benchmarks.gpu.tune import CELLS, NAMED, planner

RATES = (
    "MULTIPLY_ADDS",
    "SHARED_BYTES",
    "EXCHANGE_BYTES",
    "ROUND_TRIP",
    "BARRIER",
    "POLLS",
    "GIVE_BYTES",
    "CLUSTER_BARRIER",
    "SYNC",
    "CELL",
)
STEP_RATES = ("LIBRARY", "ROWS_FOR_HALF", "MEMORY_BYTES", "HOST")
RIDGE = 1e-4  # holds a constant where it is, if nothing that was measured depends on it

Observation = tuple[tuple[Any, ...], float]
"""What a prediction is made from, and the microseconds that were measured."""


def observations(found: Iterable[Row]) -> tuple[list[Observation], list[Observation]]:
    """Of the persistent kernels, and of the path with a launch for each step."""
    plan, ours, others = planner(), list[Observation](), list[Observation]()
    for row in found:
        ours += [((plan.Plan(**one["plan"]),), one["measured"]) for one in row.get("plans", []) if "measured" in one]
        if "step" in row:
            number = plan.NUMBERS[row["precision"]][row["way"] == "backward"]
            others.append(((CELLS[row["cell"]], number, row["B"], row["H"]), row["step"]["measured"]))
    return ours, others


def fitted(predict: Callable[..., float], seen: list[Observation], constants: Iterable[str]) -> dict[str, Any]:
    """Constants of plan.py with which a prediction is nearest to what was seen, by the ratio: {name: (now, fitted)}.

    A pattern search over the logarithms: a step up or down along each, and half the step when none helps.
    """
    plan = planner()
    places = [
        (name, key)
        for name in constants
        for key in (list(getattr(plan, name)) if isinstance(getattr(plan, name), dict) else [None])
    ]
    now = {name: getattr(plan, name) for name, _ in places}

    def constants_at(logs: list[float]) -> dict[str, Any]:
        values: dict[str, Any] = {name: dict(old) if isinstance(old, dict) else old for name, old in now.items()}
        for (name, key), log in zip(places, logs, strict=True):
            if key is None:
                values[name] = now[name] * math.exp(log)
            else:
                values[name][key] = now[name][key] * math.exp(log)
        return values

    def loss(logs: list[float]) -> float:
        with patch.multiple(plan, **constants_at(logs)):
            misses = [math.log(predict(*given) / measured) for given, measured in seen]
        return float(np.mean(np.square(misses))) + RIDGE * float(np.mean(np.square(logs)))

    logs, step = [0.0] * len(places), 0.5
    least = loss(logs)
    while step > 0.01:
        improved = False
        for k, sign in itertools.product(range(len(logs)), (1, -1)):
            tried = [*logs[:k], logs[k] + sign * step, *logs[k + 1 :]]
            if (new := loss(tried)) < least:
                logs, least, improved = tried, new, True
        step = step if improved else step / 2
    values = constants_at(logs)
    return {name: (now[name], values[name]) for name in now}


def _miss(predict: Callable[..., float], seen: list[Observation]) -> float:
    """The typical factor between a prediction and what was measured."""
    return math.exp(float(np.sqrt(np.mean([math.log(predict(*given) / us) ** 2 for given, us in seen]))))


def _regret(found: Iterable[Row]) -> float:
    """How much slower the plan is that is predicted to be the best than the best of those measured: a mean factor."""
    plan, ratios = planner(), []
    for row in found:
        tried = [one for one in row.get("plans", []) if "measured" in one]
        if tried:
            chosen = min(tried, key=lambda one: plan.microseconds(plan.Plan(**one["plan"])))
            ratios.append(chosen["measured"] / min(one["measured"] for one in tried))
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else math.nan


def conclusions(found: list[Row]) -> Row:
    """Fitted constants, and how well predictions fit with those there are and with the fitted ones."""
    plan, answer = planner(), Row()
    ours, others = observations(found)
    for name, predict, seen, constants in (
        ("plan.microseconds", plan.microseconds, ours, RATES),
        ("plan.step_microseconds", plan.step_microseconds, others, STEP_RATES),
    ):
        if not seen:
            continue
        values = fitted(predict, seen, constants)
        with patch.multiple(plan, **{constant: new for constant, (_, new) in values.items()}):
            after, regret = _miss(predict, seen), _regret(found)
        answer[name] = {"constants": values, "measured": len(seen), "off by": (_miss(predict, seen), after)}
        if seen is ours:
            answer[name]["slower than the best"] = (_regret(found), regret)
    return answer


def table(report: dict[str, Any]) -> str:
    """All of it as Markdown."""
    lines = [f"# Plans of the persistent kernels: {report['device']}, {report['date']}, code {report['code']}", ""]
    if report["missing"]:
        lines += [f"{report['missing']} shapes are not measured yet; run benchmarks.gpu.run --tune again.", ""]
    for name, found in report["conclusions"].items():
        lines += [f"## {name}, fitted to {found['measured']} measurements", ""]
        lines += ["- off by a factor of {:.2f} now, {:.2f} fitted".format(*found["off by"])]
        if "slower than the best" in found:
            lines += ["- its choice is {:.3f} times slower than the best now, {:.3f} fitted".format(
                *found["slower than the best"])]  # fmt: skip
        lines += [f"- {constant}: {_show(now)}, fitted {_show(new)}" for constant, (now, new) in
                  found["constants"].items()] + [""]  # fmt: skip
    lines += [f"Microseconds a step. A plan is {', '.join(NAMED)}; * is what is predicted to be best.", ""]
    lines += ["| cell way precision B,H | plan | predicted | measured | worst error | step path |", "|" + "---|" * 6]
    for row in report["rows"]:
        what = f"{row['cell']} {row['way']} {row['precision']} {row['B']},{row['H']}"
        path = f"{row['step']['measured']:.2f}" if "step" in row else "-"
        if "error" in row:
            lines.append(f"| {what} | {row['error']} | | | | |")
        tried = [(one, "*" if k == 0 else "") for k, one in enumerate(row.get("plans", []))]
        for one, mark in sorted(tried, key=lambda pair: pair[0].get("measured", math.inf)):
            plan, error = ", ".join(str(one["plan"][name]) for name in NAMED), one.get("error")
            measured = error or f"{one['measured']:.2f}{' (bits moved)' if one['moved'] else ''}"
            worst = "-" if error else f"{one['worst']:.1e}"
            lines.append(f"| {what} | {plan}{mark} | {one['predicted']:.2f} | {measured} | {worst} | {path} |")
    return "\n".join(lines)


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {number:.4g}" for key, number in value.items())
    return f"{value:.4g}"
