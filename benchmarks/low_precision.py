"""Weights of 8 and 16 bits: times, sizes and errors, beside ONNX Runtime's quantized LSTM and PyTorch's bfloat16.

    python benchmarks/low_precision.py                                   # layers and streams
    python benchmarks/low_precision.py --data ../shared/data             # tasks too, in their own scores

All contenders of a row take turns in one process, and the best time of each is told. Errors of layers are those of
outputs against our float32. Tasks are trained once, for a short time, and scored with the same weights in each
precision: daily minimum temperatures of Melbourne, rt-polarity, tinyshakespeare.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cpu import SHAPES, device

import xprnn
from xprnn import nn, no_grad, use_precision
from xprnn.data import read_csv, read_lines
from xprnn.estimators import CharacterModel, Forecaster, TextClassifier, split_texts
from xprnn.storage import write_tensors

STREAMED = (16, 32, 64, 128, 256)
KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU}
THREADS = int(os.environ.get("NUMBA_NUM_THREADS", os.cpu_count() or 1))
Run = Callable[[], Any]


def best(runs: dict[str, Run], seconds: float = 1.0, least: int = 3) -> dict[str, float]:
    """The least time of each, all taking turns."""
    found, start, rounds = dict.fromkeys(runs, float("inf")), time.perf_counter(), 0
    for run in runs.values():
        run()
    while rounds < least or time.perf_counter() - start < seconds:
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            found[name] = min(found[name], time.perf_counter() - begin)
        rounds += 1
    return found


def in_bf16(run: Run) -> Run:
    """The same in that precision."""

    def rounded() -> Any:
        with use_precision("bf16"):
            return run()

    return rounded


def inference(kind: str, shape: tuple[int, int, int, int], folder: Path) -> tuple[dict[str, Run], dict[str, int]]:
    """What computes a layer's output, by name, and the bytes of the files of weights."""
    batch, steps, inputs, hidden = shape
    layer = KINDS[kind](inputs, hidden, rng=0)
    x = np.random.default_rng(0).standard_normal((steps, batch, inputs)).astype("float32")
    coded = nn.quantize(layer)

    def of(module: Any) -> Run:
        def run() -> Any:
            with no_grad():
                return module(x)[0].data

        return run

    runs, sizes = {"float32": of(layer), "bf16": in_bf16(of(layer)), "int8": of(coded)}, {}
    for name, module in (("float32", layer), ("int8", coded)):
        write_tensors(folder / name, module.state_dict(), {})
        sizes[name] = (folder / name).stat().st_size
    if importlib.util.find_spec("torch"):
        runs |= torch_runs(kind, layer, x)
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        more, size = onnx_runs(kind, layer, x, folder)
        runs |= more
        sizes |= size
    return runs, sizes


def torch_runs(kind: str, layer: Any, x: np.ndarray) -> dict[str, Run]:
    """PyTorch's layer of the same weights."""
    import torch

    torch.set_num_threads(THREADS)
    theirs = getattr(torch.nn, kind)(layer.input_size, layer.hidden_size)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in layer.state_dict().items()})

    def of(dtype: Any) -> Run:
        module, given = copy.deepcopy(theirs).to(dtype), torch.from_numpy(x).to(dtype)

        def run() -> Any:
            with torch.inference_mode():
                return module(given)[0].float().numpy()

        return run

    return {"torch float32": of(torch.float32), "torch bf16": of(torch.bfloat16)}


def onnx_runs(kind: str, layer: Any, x: np.ndarray, folder: Path) -> tuple[dict[str, Run], dict[str, int]]:
    """ONNX Runtime's, as it is and quantized: the latter of an LSTM only, since it leaves a GRU in float32."""
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    from xprnn.interop import onnx

    onnx.save(layer, folder / "layer.onnx")
    files = {"onnxruntime float32": folder / "layer.onnx"}
    if kind == "LSTM":
        quantize_dynamic(folder / "layer.onnx", folder / "int8.onnx", op_types_to_quantize=["LSTM"])
        files["onnxruntime int8"] = folder / "int8.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS

    def of(path: Path) -> Run:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: x})[0]

    return {name: of(path) for name, path in files.items()}, {n: path.stat().st_size for n, path in files.items()}


def training(kind: str, shape: tuple[int, int, int, int]) -> dict[str, Run]:
    """Forward and back, with all gradients."""
    batch, steps, inputs, hidden = shape
    layer = KINDS[kind](inputs, hidden, rng=0)
    draws = np.random.default_rng(0)
    x = draws.standard_normal((steps, batch, inputs)).astype("float32")
    dy = draws.standard_normal((steps, batch, hidden)).astype("float32")

    def run() -> Any:
        layer.zero_grad()
        layer(x)[0].backward(dy)

    return {"float32": run, "bf16": in_bf16(run)}


def layers(kinds: list[str], shapes: list[tuple[int, int, int, int]]) -> Iterator[dict[str, Any]]:
    """A row for each layer."""
    for kind in kinds:
        for shape in shapes:
            with tempfile.TemporaryDirectory() as folder:
                runs, sizes = inference(kind, shape, Path(folder))
                exact = runs["float32"]()
                off = {name: np.abs(run().reshape(exact.shape) - exact) for name, run in runs.items()}
                errors = {name: (float(each.max()), float(each.mean())) for name, each in off.items()}
                row = {"cell": kind, "shape": shape, "seconds": best(runs), "bytes": sizes, "errors": errors}
            yield row | {"training": best(training(kind, shape))}


def streams() -> Iterator[dict[str, Any]]:
    """Microseconds a step of a stream of one sequence, by itself and in blocks of 64."""
    for kind, make in KINDS.items():
        for hidden in STREAMED:
            layer = make(hidden, hidden, rng=0)
            x = np.random.default_rng(0).standard_normal((64, hidden)).astype("float32")
            with use_precision("bf16"):
                opened = {"bf16": layer.stream(None)}
            opened |= {"float32": layer.stream(None), "int8": nn.quantize(layer).stream(None)}
            runs: dict[str, Run] = {}
            for name, stream in opened.items():
                out = np.empty((64, hidden), "float32")
                runs[f"{name} block"] = partial(stream.block, x, out)
                runs[f"{name} step"] = partial(steps_of, stream, x)
            found = {name: 1e6 / 64 * seconds for name, seconds in best(runs, 0.5).items()}
            yield {"cell": kind, "hidden": hidden, "us": found}


def steps_of(stream: Any, x: np.ndarray) -> None:
    """Each row by itself."""
    for row in x:
        stream.step(row)


def tasks(data: Path) -> dict[str, dict[str, float]]:
    """Scores by task and precision."""
    return {
        "Melbourne, RMSE in degrees": melbourne(data),
        "rt-polarity, accuracy": polarity(data),
        "tinyshakespeare, bits a character": characters(data),
    }


def in_each(model: Any, score: Callable[[Any], float]) -> dict[str, float]:
    """A fitted model's score with its network as it is, in bf16, and in int8."""
    coded = copy.copy(model)
    coded._network = nn.quantize(model.network)
    return {"float32": score(model), "bf16": in_bf16(lambda: score(model))(), "int8": score(coded)}


def melbourne(data: Path) -> dict[str, float]:
    values = np.asarray(read_csv(data / "daily-min-temperatures.csv", fill="previous").values, "float64").reshape(-1, 1)
    first = len(values) * 4 // 5
    model = Forecaster("lstm", periods=[365.25], epochs=15, seed=0).fit(values[:first])
    origins = np.arange(first - 1, len(values) - 1)

    def score(each: Any) -> float:
        return float(np.sqrt(np.mean((each.forecast(values, origins, 1)[:, 0] - values[first:]) ** 2)))

    return in_each(model, score)


def polarity(data: Path) -> dict[str, float]:
    sides = [read_lines(data / f"rt-polarity.{side}", "latin-1").texts for side in ("neg", "pos")]
    texts, labels = [text for side in sides for text in side], [k for k, side in enumerate(sides) for _ in side]
    train, test = split_texts(texts, labels, 0.1, 0)
    return in_each(TextClassifier(epochs=5, seed=0).fit(*train), lambda model: model.score(*test))


def characters(data: Path) -> dict[str, float]:
    text = (data / "tinyshakespeare.txt").read_text(encoding="utf-8")
    end = len(text) * 9 // 10
    model = CharacterModel("gru", hidden=128, epochs=1, validation=0.0, seed=0).fit(text[:end])
    return in_each(model, lambda each: each.bits_per_character(text[end : end + 50_000]))


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    names = list(dict.fromkeys(name for row in report["layers"] for name in row["seconds"]))
    lines = [
        f"{report['device']}, {report['threads']} threads, {report['date']}, xprnn {xprnn.__version__}.",
        f"{report['how']}",
        "",
        "Best times in ms, contenders taking turns; in parentheses the largest and the mean error against our float32.",
        "",
        f"| inference: cell B,T,I,H | {' | '.join(names)} |",
        "|---|" + "---|" * len(names),
    ]
    for row in report["layers"]:
        cells = [
            f"{1e3 * row['seconds'][n]:.3g} ({row['errors'][n][0]:.0e}, {row['errors'][n][1]:.0e})"
            if n in row["seconds"]
            else "-"
            for n in names
        ]
        lines.append(f"| {row['cell']} {','.join(map(str, row['shape']))} | {' | '.join(cells)} |")
    lines += ["", "| training: cell B,T,I,H | float32 | bf16 |", "|---|---|---|"]
    for row in report["layers"]:
        found = [f"{1e3 * row['training'][n]:.3g}" for n in ("float32", "bf16")]
        lines.append(f"| {row['cell']} {','.join(map(str, row['shape']))} | {' | '.join(found)} |")
    lines += ["", "Bytes of the files of weights:", "", "| layer | float32 | int8 | onnxruntime float32, int8 |"]
    lines.append("|---|---|---|---|")
    for row in report["layers"]:
        of, theirs = row["bytes"], [str(v) for n, v in row["bytes"].items() if n.startswith("onnx")]
        shape = ",".join(map(str, row["shape"][2:]))
        lines.append(f"| {row['cell']} {shape} | {of['float32']} | {of['int8']} | {', '.join(theirs) or '-'} |")
    ways = [f"{name} {way}" for way in ("step", "block") for name in ("float32", "bf16", "int8")]
    lines += ["", "Streams of one sequence, us a step, called step by step from Python and in blocks of 64:", ""]
    lines += [f"| stream: cell I=H | {' | '.join(ways)} |", "|---|" + "---|" * len(ways)]
    for row in report["streams"]:
        times = [f"{row['us'][way]:.3g}" for way in ways]
        lines.append(f"| {row['cell']} {row['hidden']} | {' | '.join(times)} |")
    if report["tasks"]:
        lines += ["", "| task and score | float32 | bf16 | int8 |", "|---|---|---|---|"]
        for name, scores in report["tasks"].items():
            lines.append(f"| {name} | {' | '.join(f'{scores[p]:.4f}' for p in ('float32', 'bf16', 'int8'))} |")
    return "\n".join(lines)


def main() -> None:
    """Run all, print the table, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the tasks' files")
    parser.add_argument("--cells", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--shapes", nargs="+", default=[",".join(map(str, s)) for s in SHAPES], help="B,T,I,H")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder")
    options = parser.parse_args()
    shapes: list[Any] = [tuple(int(n) for n in shape.split(",")) for shape in options.shapes]
    kernels = xprnn.host_kernels.int8_kernels()
    report = {
        "device": device(),
        "threads": THREADS,
        "date": datetime.date.today().isoformat(),
        "how": kernels if isinstance(kernels, str) else f"int8 by {kernels.UNIT.instruction or 'plain instructions'}.",
        "tasks": tasks(options.data) if options.data else {},
        "layers": list(layers(options.cells, shapes)),
        "streams": list(streams()),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "low_precision.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "low_precision.md").write_text(table(report) + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
