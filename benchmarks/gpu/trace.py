"""What the device and the host did in some steps of training, read off a trace of torch.profiler.

CUPTI, from which PyTorch's profiler has its events, sees every kernel, copy and call of the process, CuPy's too.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

Counts = dict[str, Any]

WINDOW = "the steps that count"
# Calls that only wait. A copy to the host waits too, and is counted as what it is.
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaDeviceSynchronize")
MOST = 5  # kernels that are named


class Trace:
    """Counts with torch.profiler between ``start`` and ``stop``."""

    def __init__(self) -> None:
        from torch.profiler import ProfilerActivity, profile, record_function

        self._profile = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
        self._window = record_function(WINDOW)

    def start(self) -> None:
        """When the device has nothing left to do."""
        self._profile.start()
        self._window.__enter__()

    def stop(self, steps: int, synchronize: Any) -> Counts:
        """What happened in each of so many steps."""
        self._window.__exit__(None, None, None)
        synchronize()
        self._profile.stop()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self._profile.export_chrome_trace(str(path))
            return counts(json.loads(path.read_text()), steps)


class NoTrace:
    """In its place where there is no PyTorch: counts nothing, and says why."""

    def __init__(self, reason: object) -> None:
        self._reason = reason

    def start(self) -> None:
        """Nothing to do."""

    def stop(self, steps: int, synchronize: Any) -> Counts:
        """The reason."""
        return {"counted": f"nothing: {self._reason}"}


def meter() -> Trace | NoTrace:
    """What can count here."""
    try:
        return Trace()
    except ImportError as error:
        return NoTrace(error)


def counts(trace: dict[str, Any], steps: int) -> Counts:
    """What a step did, by a trace in Chrome's format whose window has so many steps.

    The device had nothing to do before the window and was waited for after it: all of its events are the window's.
    """
    events = [event for event in trace["traceEvents"] if event.get("ph") == "X"]
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(event.get("cat", ""), []).append(event)
    (window,) = [event for event in by_kind.get("user_annotation", []) if event["name"] == WINDOW]
    kernels = by_kind.get("kernel", [])
    if not kernels:
        return {"counted": "nothing: the profiler's trace has no kernels"}
    copies = Counter(event["name"].split("(")[0].strip() for event in by_kind.get("gpu_memcpy", []))
    begin, end = window["ts"], window["ts"] + window["dur"]
    calls = [e["name"] for e in by_kind.get("cuda_runtime", []) if begin <= e["ts"] <= end]
    busy, spent = covered(kernels), Counter[str]()
    for kernel in kernels:
        spent[short(kernel["name"])] += kernel["dur"]
    return {
        "kernels": len(kernels) / steps,
        "kernel us": busy / steps,
        "to host": copies["Memcpy DtoH"] / steps,
        "to device": copies["Memcpy HtoD"] / steps,
        "waits": sum(name in WAITS for name in calls) / steps,
        "most": {name: time / sum(spent.values()) for name, time in spent.most_common(MOST)},
        "counted": "torch.profiler",
    }


def covered(events: list[dict[str, Any]]) -> float:
    """Microseconds in which at least one of the events ran."""
    total, until = 0.0, float("-inf")
    for event in sorted(events, key=lambda event: event["ts"]):
        begin, end = event["ts"], event["ts"] + event["dur"]
        total, until = total + max(0.0, end - max(begin, until)), max(until, end)
    return total


def short(name: str) -> str:
    """A kernel's name without its types and arguments."""
    name = name.removeprefix("void ").split("(")[0].split("<")[0]
    return name[:60]
