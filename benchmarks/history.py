"""The history of the benchmarks: a line of JSON for each run, with its commit, its machine, and the ratio of every row.

A ratio is the best peer's time over ours. Times themselves are not kept here: they move with the machine's state, and
ratios less so, since all contenders take turns.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import platform
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILE = "history.jsonl"
FEATURES = ("avx2", "fma", "avx512f", "asimd", "sve")  # vector units that float32 products use
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}
RUN = {"benchmark": str, "commit": str, "date": str, "machine": dict, "versions": dict, "means": dict, "ratios": dict}


def append(
    folder: Path, benchmark: str, rows: Iterable[tuple[str, str, float]], threads: int, versions: Mapping[str, str]
) -> None:
    """Add a run to a folder's history.

    ``rows`` are (group, name, ratio); those without a ratio, for want of peers, are left out, and a run of such rows
    alone leaves no line.
    """
    ratios: dict[str, dict[str, float]] = {}
    for group, name, ratio in rows:
        if not math.isnan(ratio):
            ratios.setdefault(group, {})[name] = round(ratio, 4)
    if not ratios:
        return
    run = {
        "benchmark": benchmark,
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "machine": machine(threads),
        "versions": {**_versions(), **versions},
        "means": {group: round(geometric_mean(found.values()), 4) for group, found in ratios.items()},
        "ratios": ratios,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(run) + "\n")


def runs(path: Path) -> list[dict[str, Any]]:
    """The runs of a history, oldest first; those of one benchmark, commit and machine are one, and later rows count.

    Raises ValueError for a line that is no run.
    """
    merged: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            run = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        whole = run if isinstance(run, dict) else {}
        if missing := [name for name, kind in RUN.items() if not isinstance(whole.get(name), kind)]:
            raise ValueError(f"{path}, line {number}: {missing[0]} is missing")
        key = json.dumps([run["benchmark"], run["commit"], run["machine"]], sort_keys=True)
        before = merged.pop(key, {"ratios": {}})["ratios"]
        groups = {group: {**before.get(group, {}), **run["ratios"].get(group, {})} for group in before | run["ratios"]}
        merged[key] = run | {
            "ratios": groups,
            "means": {group: geometric_mean(ratios.values()) for group, ratios in groups.items() if ratios},
        }
    return list(merged.values())


def geometric_mean(ratios: Iterable[float]) -> float:
    """The mean that treats twice as fast and twice as slow alike."""
    logarithms = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logarithms) / len(logarithms))


def commit() -> str:
    """The commit that is checked out, with a "+" where the code has changes; results do not count as such."""
    status = ["status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)benchmarks/results"]
    with suppress(OSError, subprocess.CalledProcessError):
        return _git("rev-parse", "--short=9", "HEAD") + "+" * bool(_git(*status))
    return "unknown"


def _git(*command: str) -> str:
    done = subprocess.run(["git", "-C", str(HERE), *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def machine(threads: int) -> dict[str, Any]:
    """What must be equal for two runs to be compared: the processor's name, its vector units, and how many threads."""
    found = flags()
    return {"model": processor(), "features": [name for name in FEATURES if name in found], "threads": threads}


def flags() -> set[str]:
    """What the processor can do, by Linux' names."""
    lines = [line for line in _cpuinfo().splitlines() if line.startswith(("flags", "Features"))]
    return {flag for line in lines for flag in line.split()}


def results() -> Path:
    """Where the results of machines like this one are kept; those that have AVX2 and no AVX-512 have a folder."""
    return HERE / "results" / ("avx2" if vectors() == "AVX2" else "")


def vectors() -> str:
    """The widest vector units of this machine, or its architecture."""
    found = flags()
    return next((word for feature, word in VECTORS.items() if feature in found), platform.machine())


def processor() -> str:
    """The processor's name."""
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    with suppress(OSError):
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return ""


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("numpy", "numba"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
