"""Truncated BPTT: a language model of characters, on any text file, in memory that does not grow with the text.

    python examples/char_language_model.py --data tinyshakespeare.txt --epochs 4

The text is read as 32 streams side by side, 64 characters at a time; gradients reach back to the beginning of a chunk,
the state goes on. Bits per character are those of the last tenth of the text, which was not trained on. Without --data
the text is the short poem that Python prints for "import this": enough to see it run, too little to learn English.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib
import io
import math
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import COLOURS, example, plot, save, table

from xprnn.data import Alphabet, read_characters
from xprnn.estimators import CharacterModel
from xprnn.train import Callback, Run


class Curve(Callback):
    """The loss of every update, in bits a character, and when it was."""

    def __init__(self) -> None:
        self.bits: list[float] = []
        self.seconds: list[float] = []
        self.began = time.perf_counter()

    def on_batch_end(self, run: Run) -> None:
        self.bits.append(run.loss / math.log(2))
        self.seconds.append(time.perf_counter() - self.began)


def built_in_text() -> str:
    """What ``import this`` prints; the module keeps it in ROT13, and prints when it is first imported."""
    with contextlib.redirect_stdout(io.StringIO()):
        return codecs.decode(importlib.import_module("this").s, "rot13") + "\n"


def unigram_bits(ids: np.ndarray, train: int) -> float:
    """Bits a character for one who knows only how often each comes in the training part."""
    counts = np.bincount(ids[:train], minlength=int(ids.max()) + 1) + 1.0
    return float(-np.log2(counts[ids[train:]] / counts.sum()).mean())


def memory(text: str, settings: dict[str, Any]) -> list[list[Any]]:
    """What training holds at most, traced, for a text and for four times as much of it."""
    rows = []
    for times in (1, 4):
        longer, alphabet = text * times, Alphabet(text)
        tracemalloc.start()
        CharacterModel(**settings | {"epochs": 1}).fit(longer)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append([len(longer), alphabet.encode(longer).nbytes, (peak - len(longer)) / 1e6])
    return rows


def smoothed(bits: list[float], span: int) -> np.ndarray:
    """Means of ``span`` updates."""
    span = max(1, min(span, len(bits)))
    return np.convolve(bits, np.full(span, 1 / span), mode="valid")


def draw(curve: Curve, model: CharacterModel, held_out: float, unigram: float, name: str) -> Any:
    figure, axes = plot(size=(9, 5))
    span, per_epoch = max(1, len(curve.bits) // 50), len(curve.bits) // len(model.training or [0])
    seconds = np.array(curve.seconds)
    axes.plot(seconds[len(seconds) - len(smoothed(curve.bits, span)) :], smoothed(curve.bits, span), color=COLOURS[0],
              label=f"training, mean of {span} updates")  # fmt: skip
    if model.training is not None:
        after = seconds[np.minimum(per_epoch * np.arange(1, len(model.training) + 1), len(seconds)) - 1]
        axes.plot(after, np.array(model.training["validation_loss"]) / math.log(2), "o-", color=COLOURS[3],
                  label=f"held out, after each epoch; at the end {held_out:.3f}")  # fmt: skip
    axes.axhline(unigram, color="#888888", linestyle="--", linewidth=1, label="how often each character comes")
    axes.set(title=f"Characters of {name}: {model.settings['cell']}, {model.settings['hidden']} units",
             xlabel="seconds of training", ylabel="bits per character", ylim=(0, None))  # fmt: skip
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure


@example
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A text file in UTF-8.")
@click.option("--cell", type=click.Choice(["gru", "lstm", "rnn"]), default="gru", show_default=True)
@click.option("--hidden", default=256, show_default=True, help="Hidden units.")
@click.option("--epochs", default=4, show_default=True, help="Passes over the text.")
@click.option("--dropout", default=0.0, show_default=True, help="With 8 epochs or more, 0.2 generalises better.")
@click.option("--temperature", default=0.8, show_default=True, help="Of the sample: low is sure, high is daring.")
@click.option("--prompt", default="\n", help="What the sample goes on from.")
@click.option("--seed", default=0, show_default=True)
def main(
    quick: bool,
    output: Path,
    data: Path | None,
    cell: str,
    hidden: int,
    epochs: int,
    dropout: float,
    temperature: float,
    prompt: str,
    seed: int,
) -> None:
    """Learn to write from a text, and write."""
    settings: dict[str, Any] = {"cell": cell, "hidden": hidden, "epochs": epochs, "dropout": dropout, "seed": seed}
    if quick or data is None:
        settings |= {"hidden": 64, "chunk": 25, "batch_size": 4, "epochs": 5 if quick else 60}
    try:
        if data is None:
            text, name = built_in_text(), "import this"
            ids = Alphabet(text).encode(text)
            source: str | Path = text
        else:
            (ids, _), name, source = read_characters(data), data.name, data
            if quick:
                source = data.read_text(encoding="utf-8-sig")[:4000]
                ids = Alphabet(source).encode(source)
        model, curve = CharacterModel(**settings), Curve()
        began = time.perf_counter()
        model.fit(source, callbacks=[curve])
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    seconds, fitted = time.perf_counter() - began, model.alphabet
    assert fitted is not None
    train = len(ids) - max(1, round(model.settings["validation"] * len(ids)))
    end, unigram = fitted.decode(ids[train:]), unigram_bits(ids, train)
    bits, common = model.bits_per_character(end), Counter(end).most_common(1)[0][0]
    table(
        [
            ["all characters alike", math.log2(len(fitted)), "-"],
            ["how often each comes", unigram, "-"],
            [f"{model.settings['cell']}, {model.settings['hidden']} units", bits, f"{seconds:.1f} s"],
        ],
        ("knowledge", "held-out bits per character", "training"),
    )
    print(f"{name}: {len(ids)} characters, {len(fitted)} different ones, most often {common!r}")
    sample = model.sample(400, prompt=prompt, temperature=temperature, rng=seed)
    print(f"\na sample at temperature {temperature}:\n{sample}\n")
    small = {"hidden": 32, "chunk": 25, "batch_size": 4 if data is None or quick else 32}
    whole = fitted.decode(ids[:100_000])
    table(memory(whole, small), ("characters", "bytes of numbers", "training holds beside them, MB"))
    save(draw(curve, model, bits, unigram, name), output, "char_language_model")


if __name__ == "__main__":
    main()
