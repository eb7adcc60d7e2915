"""What fell since an earlier run: ratios to the best peer, from the history that the benchmarks keep.

    python benchmarks/compare.py                          # the last commit of each benchmark beside the one before it
    python benchmarks/compare.py --old 3ad64b7 --new 7c330f0

Only runs on the same kind of machine are compared: processor, vector units and threads. The exit status is 1 where a
row or a geometric mean fell beyond its bound, and 2 where there is nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from history import FILE, geometric_mean, results, runs

Run = dict[str, Any]


def pairs(found: list[Run], old: str | None, new: str | None) -> Iterator[tuple[Run, Run]]:
    """For each benchmark and kind of machine, the earlier and the later run; commits by how their names begin."""
    alike: dict[str, list[Run]] = {}
    for run in found:
        alike.setdefault(json.dumps([run["benchmark"], run["machine"]], sort_keys=True), []).append(run)
    for group in alike.values():
        later = [k for k, run in enumerate(group) if new is None or run["commit"].startswith(new)]
        if not later:
            continue
        end = len(group) if old is not None else later[-1]  # one that is named may also be the younger run
        earlier = [k for k in range(end) if k != later[-1] and (old is None or group[k]["commit"].startswith(old))]
        if earlier:
            yield group[earlier[-1]], group[later[-1]]


def falls(old: Run, new: Run, bound: float, mean_bound: float) -> list[str]:
    """A line for each row that fell by more than ``bound``, and for each group whose mean fell by more than its own."""
    lines = []
    for group, ratios in new["ratios"].items():
        before = old["ratios"].get(group, {})
        both = [name for name in ratios if name in before]
        for name in both:
            if ratios[name] < before[name] * (1 - bound):
                lines.append(f"{new['benchmark']} {group} {name}: {_fall(before[name], ratios[name])}")
        if len(both) > 1:
            means = [geometric_mean(side[name] for name in both) for side in (before, ratios)]
            if means[1] < means[0] * (1 - mean_bound):
                lines.append(f"{new['benchmark']} {group}, geometric mean of {len(both)} rows: {_fall(*means)}")
    return lines


def _fall(old: float, new: float) -> str:
    return f"{old:.2f} -> {new:.2f} ({new / old - 1:+.0%})"


def _header(old: Run, new: Run) -> str:
    model, threads = new["machine"]["model"], new["machine"]["threads"]
    versions = {name: (old["versions"].get(name), version) for name, version in new["versions"].items()}
    changed = [f"{name} {was} -> {now}" for name, (was, now) in versions.items() if was not in (None, now)]
    also = f"; also {', '.join(changed)}" if changed else ""
    return f"{new['benchmark']}, {model}, threads: {threads}; {old['commit']} -> {new['commit']}{also}"


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{share} is not between 0 and 1")
    return share


def main() -> int:
    """Print what fell; the exit status says whether anything did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bound", type=_share, default=0.15, help="share by which noise may lower a row's ratio")
    parser.add_argument("--mean-bound", type=_share, default=0.05, help="the same of a geometric mean")
    parser.add_argument("--old", metavar="COMMIT", help="default: the run before")
    parser.add_argument("--new", metavar="COMMIT", help="default: the last run")
    parser.add_argument("--history", type=Path, default=results() / FILE, metavar="FILE")
    options = parser.parse_args()
    try:
        found = list(pairs(runs(options.history), options.old, options.new))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not found:
        print(f"nothing to compare: no two runs on one kind of machine in {options.history}", file=sys.stderr)
        return 2
    fell = 0
    for old, new in found:
        lines = falls(old, new, options.bound, options.mean_bound)
        fell += len(lines)
        print(_header(old, new), *(lines or ["nothing fell beyond the bounds"]), sep="\n  ")
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main())
