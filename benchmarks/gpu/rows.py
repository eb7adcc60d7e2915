"""What benchmarks/gpu.py measures, in which order, and how fast it could be at best. Plain arithmetic, no device."""

from __future__ import annotations

import itertools
from typing import Any

Row = dict[str, Any]

GATES = {"LSTM": 4, "GRU": 3}
MODES = ("inference", "training")
PRECISIONS = ("float32", "tf32", "bf16", "fp16")
BATCHES, SIZES, STEPS = (1, 16, 64, 256), (128, 256, 512, 1024), (128, 512)
CHECKS = [(7, 3, 10, 100), (33, 19, 24, 130), (20, 64, 64, 512), (6, 37, 8, 1024)]  # T, B, I, H
MICRO = ("ceilings", "launch", "barrier", "host", "graph")
MODELS = ("characters", "sentiment", "characters, large")  # of gpu_train.py


def rows() -> list[Row]:
    """Everything, what matters most first: whether results are right, what a barrier costs, training, then the grid."""
    checks: list[Row] = [
        {"what": "check", "cell": cell, "precision": precision, "shape": list(shape), "control": control}
        for shape, control, precision, cell in itertools.product(CHECKS, (False, True), PRECISIONS, GATES)
    ]
    micro: list[Row] = [{"what": "micro", "name": name} for name in MICRO]
    train: list[Row] = [
        {"what": "train", "name": name, "precision": precision}
        for precision, name in itertools.product(("float32", "bf16"), MODELS)
    ]
    grid: list[Row] = [
        {"what": "grid", "cell": cell, "mode": mode, "precision": precision, "B": batch, "H": size, "T": steps}
        for cell, mode, precision, batch, size, steps in itertools.product(
            GATES, MODES, PRECISIONS, BATCHES, SIZES, STEPS
        )
    ]
    return [*checks, *micro, *train, *sorted(grid, key=_importance)]


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
