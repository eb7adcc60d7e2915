"""One model in every format that it can go into: bytes, and ms to write and to read it.

    python benchmarks/interop.py [--hidden 40] [--rounds 20]

The model is an LSTM of one input and a Linear, as amplifiers are captured. Each format is written to a file and read by
us; where the library that it belongs to is here, and reads it too, that time stands beside. Least times of several
rounds in turn.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xprnn import nn
from xprnn.interop import c, nam, onnx, rtneural
from xprnn.train import load_weights, write_tensors

Task = tuple[str, Callable[[Path], Any], Callable[[Path], Any] | None, Callable[[Path], Any] | None]


def tasks(model: nn.Sequential) -> list[Task]:
    """The name of a format; how it is written, read by us, and read by its own library, if that is here."""
    lstm, head = model
    capture, small = nam.Capture(lstm, head), nn.quantize(model)
    found: list[Task] = [
        ("safetensors", lambda path: write_tensors(path, model.state_dict(), {}), load_weights, None),
        ("safetensors, int8", lambda path: write_tensors(path, small.state_dict(), {}), load_weights, None),
        ("RTNeural", lambda path: rtneural.save(model, path), rtneural.load, None),
        (".nam", lambda path: nam.save(capture, path), nam.load, None),
        ("C", lambda path: c.export(model, path), None, None),
        ("C, int8", lambda path: c.export(small, path), None, None),
    ]
    if find_spec("onnx"):
        theirs = None
        if find_spec("onnxruntime"):
            import onnxruntime

            theirs = lambda path: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])  # noqa: E731
        found.append(("ONNX", lambda path: onnx.save(model, path), onnx.load, theirs))
    if find_spec("torch"):
        import torch

        from xprnn.interop import torch as interop

        def write(path: Path) -> None:
            buffer = io.BytesIO()
            torch.save(interop.to_module(model).state_dict(), buffer)
            path.write_bytes(buffer.getvalue())

        found.append(("PyTorch, .pt", write, interop.load, lambda path: torch.load(path, weights_only=True)))
    return found


def ms(call: Callable[[Path], Any], path: Path) -> float:
    start = time.perf_counter()
    call(path)
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    model = nn.Sequential(nn.LSTM(1, given.hidden, rng=0), nn.Linear(given.hidden, 1, rng=1))
    numbers = sum(parameter.data.size for parameter in model.parameters())
    print(f"LSTM(1, {given.hidden}) and Linear: {numbers} numbers of float32, {4 * numbers} bytes")
    print(f"{'':20}{'bytes':>10}{'write ms':>10}{'read ms':>10}{'read by its own ms':>20}")
    with tempfile.TemporaryDirectory() as folder:
        formats = tasks(model)
        least = {name: [float("inf")] * 3 for name, *_ in formats}
        for _ in range(given.rounds):
            for number, (name, *calls) in enumerate(formats):
                for k, call in enumerate(calls):
                    if call is not None:
                        least[name][k] = min(least[name][k], ms(call, Path(folder) / f"{number}"))
        for number, (name, *calls) in enumerate(formats):
            cells = (f"{least[name][k]:.2f}" if call else "-" for k, call in enumerate(calls))
            written, read, theirs = cells
            print(f"{name:20}{(Path(folder) / f'{number}').stat().st_size:10}{written:>10}{read:>10}{theirs:>20}")


if __name__ == "__main__":
    main()
