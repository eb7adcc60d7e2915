"""One training step of an encoder and decoder with attention, beside the same model in PyTorch: us per target token.

    python benchmarks/seq2seq.py

A bidirectional LSTM encoder, a bridge, an LSTM decoder with attention after it (Luong 2015) and a softmax over the
vocabulary; forward, masked cross-entropy, backward and a step of Adam. Weights, data and threads are the same, and the
loss and gradients are compared before anything is timed. Each contender has a process of its own, and they take turns.

Three ways to feed the decoder: "forced", with all sequences of full length; "forced, lengths", with lengths between
half and all, which PyTorch needs a packed sequence for; "free", with its own tokens, where PyTorch runs step by step.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import history
import numpy as np
from cpu import PAUSE, ROUNDS, SAMPLE, Worker, device, ratio

SHAPES = [
    (64, 12, 12, 32, 64, 32),
    (64, 30, 30, 64, 128, 64),
    (32, 30, 30, 128, 256, 1000),
    (64, 30, 30, 256, 512, 4000),
]
MODES = ("forced", "forced, lengths", "free")
START, END, RATE = 0, 1, 1e-3
TOLERANCE = 2e-3  # relative to the largest element; float32 sums in another order


def model_of(shape: tuple[int, ...], attention: str) -> Any:
    """Our model."""
    from xprnn import nn

    _, _, length, embedded, hidden, classes = shape
    encoder = nn.Encoder(classes, hidden, embedding_dim=embedded, bidirectional=True, rng=0)
    decoder = nn.Decoder(classes, hidden, embedding_dim=embedded, attention=attention, memory_size=2 * hidden, rng=1)
    return nn.Seq2Seq(encoder, decoder, start=START, end=END, max_length=length, rng=2)


def xprnn(shape: tuple[int, ...], attention: str, mode: str, arrays: dict[str, np.ndarray]) -> Any:
    """This library."""
    from xprnn.data import lengths_to_mask
    from xprnn.train import Adam, cross_entropy

    model = model_of(shape, attention)
    model.load_state_dict({name[2:]: a for name, a in arrays.items() if name.startswith("w.")})
    optimizer = Adam(model.parameters(), lr=RATE)
    source, target = arrays["source"], arrays["target"]
    lengths = (arrays["source_lengths"], arrays["target_lengths"]) if mode == "forced, lengths" else (None, None)
    mask = None if lengths[1] is None else lengths_to_mask(lengths[1], len(target))

    def loss() -> Any:
        optimizer.zero_grad()
        outputs = model(source, target, *lengths, ratio=0.0 if mode == "free" else 1.0)
        found = cross_entropy(outputs, target, mask=mask)
        found.backward()
        return found

    def check() -> list[np.ndarray]:
        return [np.asarray(loss().data), *(parameter.grad.data for parameter in model.parameters())]

    def step() -> None:
        loss()
        optimizer.step()

    return check, step


def torch(shape: tuple[int, ...], attention: str, mode: str, arrays: dict[str, np.ndarray]) -> Any:
    """PyTorch, eager."""
    import torch as library
    from torch import nn
    from torch.nn import functional
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    library.set_num_threads(int(os.environ["BENCH_THREADS"]))
    batch, _, length, embedded, hidden, classes = shape

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.key_projection = nn.Linear(2 * hidden, hidden, bias=False)
            if attention == "additive":
                self.query_projection = nn.Linear(hidden, hidden)
                self.v = nn.Parameter(library.zeros(hidden))

        def forward(self, query: Any, keys: Any, values: Any, mask: Any) -> Any:
            if attention == "additive":
                asked = self.query_projection(query).transpose(0, 1)[:, :, None]
                scores = library.tanh(asked + keys.transpose(0, 1)[:, None]) @ self.v
            else:
                scores = query.transpose(0, 1) @ keys.permute(1, 2, 0)
            if mask is not None:
                scores = scores.masked_fill(~mask, -library.inf)
            return (scores.softmax(dim=-1) @ values.transpose(0, 1)).transpose(0, 1)

    parts = {"embedding": nn.Embedding(classes, embedded), "rnn": nn.LSTM(embedded, hidden, bidirectional=True)}
    inside = {
        "embedding": nn.Embedding(classes, embedded),
        "rnn": nn.LSTM(embedded, hidden),
        "attention": Attention(),
        "combination": nn.Linear(3 * hidden, hidden),
        "readout": nn.Linear(hidden, classes),
    }
    encoder, decoder, bridge = (
        nn.ModuleDict(parts),
        nn.ModuleDict(inside),
        nn.ModuleList([nn.Linear(2 * hidden, hidden) for _ in range(2)]),
    )
    model = nn.ModuleDict({"encoder": encoder, "decoder": decoder, "bridge": bridge})
    model.load_state_dict({name[2:]: library.from_numpy(a) for name, a in arrays.items() if name.startswith("w.")})
    optimizer = library.optim.Adam(model.parameters(), lr=RATE)
    source, target = library.from_numpy(arrays["source"]), library.from_numpy(arrays["target"])
    start = library.full((1, batch), START)
    packed = mode == "forced, lengths"
    lengths = library.from_numpy(arrays["source_lengths"])
    mask = (library.arange(source.shape[0]) < lengths[:, None])[:, None] if packed else None
    ends = library.from_numpy(arrays["target_lengths"])
    labels = target.masked_fill(library.arange(length)[:, None] >= ends, -100) if packed else target

    def decode(tokens: Any, state: Any, keys: Any, values: Any) -> Any:
        output, state = decoder["rnn"](decoder["embedding"](tokens), state)
        context = decoder["attention"](output, keys, values, mask)
        combined = library.tanh(decoder["combination"](library.cat([context, output], dim=-1)))
        return decoder["readout"](combined), state

    def loss() -> Any:
        optimizer.zero_grad()
        x = encoder["embedding"](source)
        if packed:
            outputs, states = encoder["rnn"](pack_padded_sequence(x, lengths, enforce_sorted=False))
            outputs, _ = pad_packed_sequence(outputs, total_length=source.shape[0])
        else:
            outputs, states = encoder["rnn"](x)
        h, c = (bridge[k](library.cat([s[0], s[1]], dim=-1))[None] for k, s in enumerate(states))
        state, keys = (library.tanh(h), c), decoder["attention"].key_projection(outputs)
        if mode == "free":
            tokens, steps = start, []
            for _ in range(length):
                logits, state = decode(tokens, state, keys, outputs)
                tokens = logits.detach().argmax(dim=-1)
                steps.append(logits)
            logits = library.cat(steps)
        else:
            logits, _ = decode(library.cat([start, target[:-1]]), state, keys, outputs)
        found = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        found.backward()
        return found

    def check() -> list[np.ndarray]:
        found = loss().detach().numpy()
        gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
        return [found, *(gradients[name[2:]] for name in arrays if name.startswith("w."))]

    def step() -> None:
        loss()
        optimizer.step()

    return check, step


CONTENDERS = {"xprnn": xprnn, "torch": torch}


def work(name: str) -> None:
    """One contender's process: tasks come in as lines of JSON, answers go out likewise."""
    answers, step = sys.stdout, None
    sys.stdout = sys.stderr
    for line in sys.stdin:
        task = json.loads(line)
        if task["do"] == "version":
            answer: Any = importlib.import_module(name).__version__
        elif task["do"] == "make":
            arrays = dict(np.load(task["arrays"]))
            check, step = CONTENDERS[name](tuple(task["shape"]), task["attention"], task["mode"], arrays)
            np.savez(task["results"], *check())
            answer = True
        else:
            assert step is not None
            step()
            count, start = 0, time.perf_counter()
            while count == 0 or time.perf_counter() - start < SAMPLE:
                step()
                count += 1
            answer = (time.perf_counter() - start) / count
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def arrays_for(shape: tuple[int, ...], attention: str) -> dict[str, np.ndarray]:
    """Weights by name, and random sources and targets."""
    batch, steps, length, _, _, classes = shape
    draws = np.random.default_rng(0)
    arrays = {f"w.{name}": a for name, a in model_of(shape, attention).state_dict().items()}
    for name, n in (("source", steps), ("target", length)):
        arrays[name] = draws.integers(2, classes, (n, batch))
        arrays[f"{name}_lengths"] = np.r_[n, draws.integers(n // 2, n + 1, batch - 1)]
    return arrays


def measure(
    processes: dict[str, Worker], shape: tuple[int, ...], attention: str, mode: str, folder: Path
) -> dict[str, Any]:
    """Samples of each contender in turns, after their results have been found equal."""
    arrays = arrays_for(shape, attention)
    np.savez(folder / "arrays.npz", **arrays)
    results = {}
    for name, process in processes.items():
        found = folder / f"{name}.npz"
        given = str(folder / "arrays.npz")
        process.ask(do="make", shape=shape, attention=attention, mode=mode, arrays=given, results=str(found))
        results[name] = list(np.load(found).values())
    for name, found in results.items():
        for k, (a, b) in enumerate(zip(found, results["xprnn"], strict=True)):
            worst = float(np.abs(a - b).max() / np.abs(b).max())
            if not worst <= TOLERANCE:
                raise SystemExit(f"{shape} {attention} {mode}: {name} differs by {worst:.1e} in result {k}")
    samples: dict[str, list[float]] = {name: [] for name in processes}
    for _ in range(ROUNDS):
        for name, times in samples.items():
            time.sleep(PAUSE)
            times.append(processes[name].ask(do="sample"))
    tokens = int(arrays["target_lengths"].sum()) if mode == "forced, lengths" else shape[0] * shape[2]
    return {
        "shape": list(shape),
        "attention": attention,
        "mode": mode,
        "tokens": tokens,
        "ms": {name: 1e3 * float(np.median(s)) for name, s in samples.items()},
        "spread": {n: float(np.subtract(*np.percentile(s, [75, 25])) / 2 / np.median(s)) for n, s in samples.items()},
    }


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    names = list(report["versions"])
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        f"{report['device']}, {report['threads']} threads, float32, {report['date']}.",
        f"{versions}, Python {report['python']}.",
        "us per target token of a training step, medians; ratio is PyTorch's time over ours.",
        "",
        f"| B,S,L,E,H,C | attention | decoder is fed | {' | '.join(names)} | ratio |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    for row in report["rows"]:
        entries = [f"{1e3 * row['ms'][n] / row['tokens']:.3g} ±{row['spread'][n]:.0%}" for n in names]
        beside = f"{ratio(row):.2f}" if "torch" in row["ms"] else "-"
        shape = ",".join(map(str, row["shape"]))
        lines.append(f"| {shape} | {row['attention']} | {row['mode']} | {' | '.join(entries)} | {beside} |")
    return "\n".join(lines)


def history_rows(report: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Each row as :mod:`history` keeps it."""
    for row in report["rows"]:
        yield row["mode"], f"{row['attention']} {','.join(map(str, row['shape']))}", ratio(row)


def main() -> None:
    """Measure, print, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--shapes", nargs="+", default=[",".join(map(str, s)) for s in SHAPES], help="B,S,L,E,H,C")
    parser.add_argument("--attentions", nargs="+", default=["general", "additive"], choices=["general", "additive"])
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--out", type=Path, default=history.results(), help="folder")
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    names = [name for name in CONTENDERS if importlib.util.find_spec(name)]
    processes = {name: Worker(name, options.threads, (__file__, "--work")) for name in names}
    report: dict[str, Any] = {
        "device": device(),
        "threads": options.threads,
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {name: process.ask(do="version") for name, process in processes.items()},
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes:
            for attention in options.attentions:
                for mode in options.modes:
                    size = tuple(int(n) for n in shape.split(","))
                    report["rows"].append(measure(processes, size, attention, mode, Path(folder)))
                    print(table(report).splitlines()[-1], file=sys.stderr, flush=True)
    for process in processes.values():
        process.process.terminate()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "seq2seq.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "seq2seq.md").write_text(table(report) + "\n")
    history.append(options.out, "seq2seq", history_rows(report), options.threads, report["versions"])
    print(table(report))


if __name__ == "__main__":
    main()
