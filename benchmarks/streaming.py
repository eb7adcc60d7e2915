"""Latency of recurrent layers, batch 1, beside PyTorch, ONNX Runtime and NumPy: median, 99th percentile, us a step.

    python benchmarks/streaming.py

First single steps of an LSTM with as many inputs as units, then samples of one number each, as audio comes, for LSTM
and GRU: blocks of 64, and 4096 in one call. One process, one thread, contenders in turns; the state is carried from
call to call, as a stream needs it. The multiply-adds that a thread can do are measured beside.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BENCH_THREADS"), "1"))

import history
import numpy as np
from cpu import GATES, arrays_for, device

ROUNDS, CALLS = 20, {1: 1000, 64: 50, 4096: 2}  # of each number of steps in a call, calls in a round
BLOCK, WHOLE = 64, 4096  # samples in a block of audio, and in what stands for a whole sequence


def cell_of(arrays: dict[str, np.ndarray]) -> str:
    """LSTM or GRU, by how many gates the weights have."""
    gates = len(arrays["weight_hh_l0"]) // arrays["dy"].shape[2]
    return next(cell for cell in ("LSTM", "GRU") if GATES[cell] == gates)


def xprnn(arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
    """This library's stream."""
    from xprnn import nn

    x, out = arrays["x"], np.empty_like(arrays["dy"])
    layer = getattr(nn, cell_of(arrays))(x.shape[2], out.shape[2])
    layer.load_state_dict({name: a for name, a in arrays.items() if name not in ("x", "dy")})
    stream, first = layer.stream(), x[0]
    return (lambda: stream.step(first)) if len(x) == 1 else lambda: stream.block(x, out)


def torch(arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
    """torch.nn.LSTMCell in inference mode, and torch.nn.LSTM and GRU for blocks."""
    import torch as library

    library.set_num_threads(1)
    x, hidden = library.from_numpy(arrays["x"]), arrays["dy"].shape[2]
    weights = {name: library.from_numpy(a) for name, a in arrays.items() if name.endswith("_l0")}
    if len(x) > 1:
        layer = getattr(library.nn, cell_of(arrays))(x.shape[2], hidden)
        layer.load_state_dict(weights)
        carried = [None]

        def block() -> Any:
            with library.inference_mode():
                y, carried[0] = layer(x, carried[0])
            return y.numpy()

        return block
    cell, x = library.nn.LSTMCell(x.shape[2], hidden), x[0]
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in weights.items()})
    state = [(library.zeros(1, hidden), library.zeros(1, hidden))]

    def step() -> Any:
        with library.inference_mode():
            state[0] = cell(x, state[0])
        return state[0][0].numpy()

    return step


def numpy(arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
    """The equations in NumPy."""
    w_ih, w_hh = (np.ascontiguousarray(arrays[name].T) for name in ("weight_ih_l0", "weight_hh_l0"))
    bias, xs, hidden = arrays["bias_ih_l0"] + arrays["bias_hh_l0"], arrays["x"], arrays["dy"].shape[2]
    state = [np.zeros((2, 1, hidden), "float32")]

    def sigmoid(x: np.ndarray) -> Any:
        return 1 / (1 + np.exp(-x))

    def lstm(x: np.ndarray) -> Any:
        h, c = state[0]
        z = x @ w_ih + h @ w_hh + bias
        i, f, o = (sigmoid(z[:, k * hidden : (k + 1) * hidden]) for k in (0, 1, 3))
        c = f * c + i * np.tanh(z[:, 2 * hidden : 3 * hidden])
        state[0] = (o * np.tanh(c), c)
        return state[0][0]

    def gru(x: np.ndarray) -> Any:
        h, _ = state[0]
        from_x, from_h = x @ w_ih + arrays["bias_ih_l0"], h @ w_hh + arrays["bias_hh_l0"]
        r, z = np.split(sigmoid(from_x + from_h)[:, : 2 * hidden], 2, axis=1)
        n = np.tanh(from_x[:, 2 * hidden :] + r * from_h[:, 2 * hidden :])
        state[0] = n + z * (h - n), h
        return state[0][0]

    step = {"LSTM": lstm, "GRU": gru}[cell_of(arrays)]
    return (lambda: step(xs[0])) if len(xs) == 1 else lambda: np.stack([step(x) for x in xs])


def onnxruntime(arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
    """An ONNX node of all steps of a call, with the state fed back."""
    import onnxruntime as library
    from onnx import TensorProto, helper, numpy_helper

    hidden, cell = arrays["dy"].shape[2], cell_of(arrays)
    order, parts = {"LSTM": ((0, 3, 1, 2), ["h", "c"]), "GRU": ((1, 0, 2), ["h"])}[cell]  # ONNX: i o f c, and z r h

    def blocks(name: str) -> np.ndarray:
        return np.concatenate([arrays[name][k * hidden : (k + 1) * hidden] for k in order])

    constants = {
        "W": blocks("weight_ih_l0")[None],
        "R": blocks("weight_hh_l0")[None],
        "B": np.concatenate([blocks("bias_ih_l0"), blocks("bias_hh_l0")])[None],
    }
    x = arrays["x"]
    single, shapes = len(x) == 1, {"x": x.shape} | dict.fromkeys(parts, (1, 1, hidden))
    outputs = ["" if single else "y", *(f"{part}1" for part in parts)]
    form = {"linear_before_reset": 1} if cell == "GRU" else {}
    node = helper.make_node(cell, ["x", "W", "R", "B", "", *parts], outputs, hidden_size=hidden, **form)
    graph = helper.make_graph(
        [node],
        "step",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name],
        [numpy_helper.from_array(a, name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = library.SessionOptions()
    options.intra_op_num_threads = 1
    session = library.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    state = dict.fromkeys(parts, np.zeros((1, 1, hidden), "float32"))

    def call() -> Any:
        found = session.run(None, {"x": x, **state})
        state.update(zip(parts, found[-len(parts) :], strict=True))
        return state["h"][0] if single else found[0][:, 0]

    return call


CONTENDERS = {"xprnn": xprnn, "torch": torch, "onnxruntime": onnxruntime, "numpy": numpy}


def measure(cell: str, hidden: int, block: int, names: list[str]) -> dict[str, Any]:
    """Percentiles of the time of a step, alone or in a block, after ten equal calls have been found to agree."""
    arrays = arrays_for(cell, (1, block, hidden if block == 1 else 1, hidden))
    steps = {name: CONTENDERS[name](arrays) for name in names}
    for _ in range(10 if block < WHOLE else 1):
        results = {name: np.array(step()) for name, step in steps.items()}
    for name, result in results.items():
        worst = float(np.abs(result - results["xprnn"]).max())
        if not worst <= 1e-4:
            raise SystemExit(
                f"{cell}, H={hidden}, {block} steps: {name} differs from xprnn by {worst:.1e}; nothing is timed"
            )
    samples: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            for _ in range(CALLS[block]):
                start = time.perf_counter_ns()
                step()
                samples[name].append(time.perf_counter_ns() - start)
    found = {name: np.percentile(s, [50, 99]) / 1e3 / block for name, s in samples.items()}
    return {
        "cell": cell,
        "hidden": hidden,
        "block": block,
        "median": {n: float(p[0]) for n, p in found.items()},
        "p99": {n: float(p[1]) for n, p in found.items()},
    }


def how(row: dict[str, Any]) -> str:
    """In what calls a row's steps came."""
    return {1: "step", WHOLE: "whole"}.get(row["block"], f"block of {row['block']}")


def ratio(row: dict[str, Any]) -> float:
    """The best peer's median over ours. There is always one: NumPy."""
    return min(us for name, us in row["median"].items() if name != "xprnn") / row["median"]["xprnn"]


def history_rows(report: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Each row as :mod:`history` keeps it."""
    for row in report["rows"]:
        yield "median" if row["block"] == 1 else how(row), f"{row['cell']} H={row['hidden']}", ratio(row)


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    names = list(report["versions"])
    lines = [
        f"{report['device']}, 1 thread, float32, batch 1, {report['date']}. {versions}.",
        f"Multiply-adds in registers, one thread: {report['peak']:.0f} GF/s.",
        f"Microseconds for one step: median (99th percentile). I = H for single steps, else 1; whole is {WHOLE} steps.",
        "",
        f"| | | H | {' | '.join(names)} | ratio |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    for row in report["rows"]:
        cells = [f"{row['median'][name]:.3g} ({row['p99'][name]:.3g})" for name in names]
        lines.append(f"| {row['cell']} | {how(row)} | {row['hidden']} | {' | '.join(cells)} | {ratio(row):.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 64, 128, 256], help="units, for single steps")
    parser.add_argument("--audio", type=int, nargs="+", default=[8, 16, 32, 64, 96], help="units, for samples")
    parser.add_argument("--out", type=Path, default=history.results(), help="folder")
    options = parser.parse_args()
    from peak import peak

    names = [name for name in CONTENDERS if importlib.util.find_spec(name)]
    report: dict[str, Any] = {
        "device": device(),
        "date": datetime.date.today().isoformat(),
        "versions": {name: importlib.import_module(name).__version__ for name in names},
        "peak": peak(1) / 1e9,
        "rows": [
            *(measure("LSTM", hidden, 1, names) for hidden in options.hidden),
            *(
                measure(cell, hidden, block, names)
                for cell in ("LSTM", "GRU")
                for block in (BLOCK, WHOLE)
                for hidden in options.audio
            ),
        ],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "streaming.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "streaming.md").write_text(table(report) + "\n")
    history.append(options.out, "streaming", history_rows(report), 1, report["versions"])
    print(table(report))


if __name__ == "__main__":
    main()
