"""Times plans of the persistent kernels: python -m benchmarks.gpu.run --tune.

For each shape the most promising plans are launched themselves, in memory that was NaN, and checked against a product
and a kernel for each step. fit.py says what follows for the constants of kernels/cuda/plan.py.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.gpu.contenders import CupyClock, names, problem
from benchmarks.gpu.measuring import attempt, poison, trying, worst
from benchmarks.gpu.rows import BATCHES, SIZES, Row

CELLS = {"LSTM": "Lstm", "GRU": "Gru"}
WAYS = ("forward", "backward")
PRECISIONS = ("bf16", "float32", "tf32")  # fp16 goes forward as fast as bf16, and back as bf16
STEPS, INPUTS, ROUNDS = 512, 64, 5  # many steps, so that a launch is nothing beside them
MOST = 5  # plans of a shape
NAMED = ("units", "warps", "sides", "tiles", "cluster", "polls", "groups")  # what tells two of them apart


def planner() -> Any:
    """plan.py of the kernels. Imported late, when run.py has said where xprnn is."""
    return importlib.import_module("xprnn.kernels.cuda.plan")


def rows() -> list[Row]:
    """Every shape of the grid, few sequences before many, and large layers first."""
    found: list[Row] = [
        {"what": "tune", "cell": cell, "way": way, "precision": precision, "B": batch, "H": size}
        for batch, size, precision, cell, way in itertools.product(BATCHES, SIZES, PRECISIONS, CELLS, WAYS)
    ]
    return sorted(found, key=lambda row: ((16, 64, 1, 256).index(row["B"]), (512, 1024, 256, 128).index(row["H"])))


def promising(row: Row, *device: int) -> list[Any]:
    """The plans that are predicted to be fastest, but different ones: the best for each way in which blocks meet, and
    then for each width and number of warps.

    ``device``: multiprocessors, shared memory of a block, largest cluster, as in plan.py.
    """
    plan, found = planner(), dict[Any, Any]()
    shape = CELLS[row["cell"]], row["way"] == "backward", row["precision"], row["B"], row["H"]
    ordered = sorted(plan.candidates(*shape, *device), key=plan.microseconds)
    ways = {(bool(one.cluster), one.polls): one for one in reversed(ordered)}
    for one in [*sorted(ways.values(), key=plan.microseconds), *ordered]:
        found.setdefault((one.units, one.warps, one.cluster, one.polls), one)
    return list(found.values())[:MOST]


class Timed:
    """Stands in for the place of persistent.py, and times what is launched there."""

    def __init__(self, place: Any, clock: Any) -> None:
        self._place, self._clock, self.seconds = place, clock, list[float]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def launch(self, shape: Any, arguments: list[Any]) -> None:
        self.seconds.append(self._clock.seconds(lambda: self._place.launch(shape, arguments)))


class Layer:
    """One layer on one problem, by any module with the interface of the kernels."""

    def __init__(self, row: Row, steps: int, xp: Any) -> None:
        kinds = importlib.import_module("xprnn.kernels.kinds")
        arrays = problem(row["cell"], steps, row["B"], INPUTS, row["H"], seed=row["B"] + row["H"], xp=xp)
        self.kind, self._flags = getattr(kinds, row["cell"]), kinds.Flags(None, None)
        self._w = {name.removesuffix("_l0"): arrays[name] for name in names(1)}
        self._x, self._dy = arrays["x"], arrays["dy"]
        self._parts = kinds.KINDS[self.kind].parts
        self._state = lambda: tuple(xp.zeros((row["B"], row["H"]), "float32") for _ in self._parts)

    def forward(self, module: Any, precision: str, keep: bool) -> tuple[Row, Any]:
        """Results by name, and the cache."""
        states, cache = module.forward(
            self.kind, self._w, self._x, self._state(), self._flags, False, keep, precision=precision
        )
        return dict(zip(self._parts, states, strict=True)), cache

    def backward(self, module: Any, precision: str, cache: Any) -> Row:
        """Gradients by name."""
        dstates = (self._dy, *(None,) * (len(self._parts) - 1))
        dx, dstate, gradients = module.backward(
            self.kind, self._w, self._x, cache, self._flags, False, dstates, self._state(), True, precision=precision
        )
        return {"x": dx, **{f"{name}0": d for name, d in zip(self._parts, dstate, strict=True)}, **gradients}


def measure(row: Row, steps: int = STEPS, xp: Any = None, clock: Any = None) -> Row:
    """Microseconds a step and the worst error of each promising plan, and of the path with a launch for each step."""
    persistent, step, launch = (
        importlib.import_module(f"xprnn.kernels.cuda.{name}") for name in ("persistent", "step", "launch")
    )
    xp, clock, facts = xp or importlib.import_module("cupy"), clock or CupyClock(), launch.facts()
    layer, backward, precision = Layer(row, steps, xp), row["way"] == "backward", row["precision"]

    def check(plan: Any) -> None:
        """Blocks that are not on the device at once would wait for each other for ever."""
        if reason := persistent._reason_against(facts.number, plan):
            raise ValueError(reason)

    exact, cache = layer.forward(step, "float32", keep=True)
    if backward:
        exact = layer.backward(step, "float32", cache)
        place = persistent._place(precision, backward=False)
        check(persistent._plan(place, layer.kind, False, precision, row["B"], row["H"]))
        cache = layer.forward(persistent, precision, keep=True)[1]

    def run() -> Row:
        return (
            layer.backward(persistent, precision, cache)
            if backward
            else layer.forward(persistent, precision, keep=False)[0]
        )

    def one(plan: Any) -> Row:
        check(plan)
        trying("plan " + ", ".join(f"{name} {getattr(plan, name)}" for name in NAMED))
        place = Timed(persistent._place(precision, backward=backward), clock)
        with patch.multiple(persistent, _plan=lambda *_: plan, _place=lambda *_, **__: place):
            poison()
            first = run()
            for _ in range(ROUNDS):
                last = run()
        return {
            "measured": 1e6 * float(np.median(place.seconds[1:])) / steps,
            "worst": worst(first, exact, xp)["worst"],
            "moved": any(not bool((first[name] == last[name]).all()) for name in first),
        }

    found = []
    for plan in promising(row, facts.multiprocessors, facts.shared_memory, facts.largest_cluster):
        known = {"plan": dataclasses.asdict(plan), "predicted": planner().microseconds(plan)}
        found.append(known | attempt(lambda plan=plan: one(plan)))
    answer = {"plans": found, "fatal": any(plan.pop("fatal", False) for plan in found)}
    if not backward:
        times = [clock.seconds(lambda: layer.forward(step, precision, keep=False)) for _ in range(ROUNDS)]
        answer["step"] = {"measured": 1e6 * float(np.median(times)) / steps}
    return answer
