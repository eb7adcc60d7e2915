"""What benchmarks/gpu.py measures, in which order, and how fast it could be at best. Plain arithmetic, no device."""

from __future__ import annotations

import itertools
from typing import Any

Row = dict[str, Any]

GATES = {"LSTM": 4, "GRU": 3}
MODES = ("inference", "training")
PRECISIONS = ("float32", "tf32", "bf16", "fp16")
BATCHES, SIZES, STEPS = (1, 16, 64, 256), (128, 256, 512, 1024), (128, 512)
CHECKS = [(7, 3, 10, 100), (33, 19, 24, 130), (6, 37, 8, 1020)]  # T, B, I, H: odd, so that every tail is there
MODELS = ("characters", "sentiment", "characters, large")  # of gpu_train.py
FIRST = [(512, 16), (1024, 64), (1024, 16), (256, 64), (128, 16), (1024, 256)]  # H, B


def parts() -> dict[str, list[Row]]:
    """Everything by the part of a session it belongs to, in order. What an earlier part did a later one does not do."""
    checks: list[Row] = [
        {"what": "check", "cell": cell, "precision": precision, "shape": list(shape), "control": control}
        for control, shape, precision, cell in itertools.product((False, True), CHECKS, PRECISIONS, GATES)
    ]
    first = [
        _cell("LSTM", mode, precision, batch, size, STEPS[-1])
        for (size, batch), precision, mode in itertools.product(FIRST, ("float32", "bf16"), MODES)
    ]
    size, batch = FIRST[0]  # a GRU's training runs both of its kernels
    first += [_cell("GRU", "training", precision, batch, size, STEPS[-1]) for precision in ("float32", "bf16")]
    grid = [_cell(*one) for one in itertools.product(GATES, MODES, PRECISIONS, BATCHES, SIZES, STEPS)]
    train: list[Row] = [
        {"what": "train", "name": name, "precision": precision}
        for precision, name in itertools.product(("float32", "bf16"), MODELS)
    ]
    return {
        "preflight": _micro("preflight"),
        "checks": checks,
        "micro": _micro("barrier", "launch"),
        "first": first,
        "rest": [*checks, *first, *sorted(grid, key=_importance)],
        "last": [*train, *_micro("graph", "ceilings", "host")],
    }


def rows() -> list[Row]:
    """Everything once, what matters most first."""
    return list({key(row): row for part in parts().values() for row in part}.values())


def _cell(cell: str, mode: str, precision: str, batch: int, size: int, steps: int) -> Row:
    return {"what": "grid", "cell": cell, "mode": mode, "precision": precision, "B": batch, "H": size, "T": steps}


def _micro(*names: str) -> list[Row]:
    return [{"what": "micro", "name": name} for name in names]


def _importance(row: Row) -> tuple[int, ...]:
    """First what the goal names (not fp16, few sequences), short before long, and of each a sample of all sizes."""
    return (
        int(row["precision"] == "fp16"),
        int(row["T"] > STEPS[0]),
        int(row["B"] > 64),
        (512, 1024, 256, 128).index(row["H"]),
        (16, 64, 1, 256).index(row["B"]),
        PRECISIONS.index(row["precision"]),
        MODES.index(row["mode"]),
    )


def key(row: Row) -> str:
    """The same for the same measurement in any run."""
    names = ("what", "name", "cell", "mode", "way", "precision", "B", "H", "T", "shape", "control")
    return " ".join(f"{name}={row[name]}" for name in names if name in row)


# An H100 SXM: what data sheets and the study in the design notes say. Floors are arithmetic, for orientation.
H100 = {
    "multiprocessors": 132,
    "flops": {"float32": 67e12, "tf32": 495e12, "bf16": 990e12, "fp16": 990e12},
    "second_cache": 5.5e12,  # bytes a second
    "shared": 128 * 1.755e9,  # bytes a second, of one multiprocessor
    "on_chip": (227 + 128) * 1024,  # bytes of shared memory and about half of the registers
}
BYTES = {"float32": 4, "tf32": 4, "bf16": 2, "fp16": 2}


def floor(row: Row) -> float:
    """Microseconds that a step takes at least, with weight_hh on the chip; training adds backward and its gradient."""
    size, columns = row["H"], GATES[row["cell"]] * row["H"]
    forward = _way(row, columns, size)
    if row["mode"] == "inference":
        return forward
    gradient = 2.0 * row["B"] * columns * size / H100["flops"][row["precision"]] * 1e6
    return forward + _way(row, size, columns) + gradient


def _way(row: Row, columns: int, inner: int) -> float:
    """One product of (B, inner) and (inner, columns), over the best split of the batch into groups."""
    batch, item, processors = row["B"], BYTES[row["precision"]], H100["multiprocessors"]
    best = float("inf")
    for groups in (1, 2, 4, 8, 16, 32, 64, 132):
        blocks = processors // groups
        weights = columns * inner * item / blocks
        if groups > max(1, batch // 8) or weights > H100["on_chip"]:
            continue
        sequences = -(-batch // groups)
        used = blocks * groups
        padded = 1.0 if row["precision"] == "float32" else -(-sequences // 8) * 8 / sequences
        compute = 2.0 * batch * columns * inner / H100["flops"][row["precision"]] * padded * processors / used
        exchange = 0.0 if blocks == 1 else used * sequences * inner * item / H100["second_cache"]
        barrier = 0.15e-6 if blocks == 1 else 1.0e-6
        best = min(best, max(compute, exchange, weights / H100["shared"]) + barrier)
    return best * 1e6
