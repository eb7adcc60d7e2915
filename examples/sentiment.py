"""Sentiment: a recurrent classifier of texts, what it gets right, and which words it looked at.

Without files it learns from sentences made here, in which words alone mislead: "isn't dull" is praise, and "we hoped
for something clever and got something slow" is not, though it has the words of its opposite. With --data, or with
--positive and --negative (such as the two files of rt-polarity, --encoding latin-1), it learns from yours.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import example, save, table

from xprnn.data import read_lines, read_table
from xprnn.estimators import NaiveBayes, TextClassifier, draw_explanations, split_texts

THINGS = ["story", "acting", "script", "music", "ending", "cast", "camera work", "dialogue", "pace", "humour"]
PRAISE = ["gripping", "moving", "funny", "clever", "beautiful", "honest", "fresh", "charming"]
BLAME = ["dull", "clumsy", "predictable", "shallow", "noisy", "slow", "silly", "lifeless"]
PATTERNS = [
    "the {a} is {very}{x}",
    "the {a} isn't {y}",
    "the {a} was never {y}, and the {b} is {x}",
    "the {a} may be {y}, but the {b} is {very}{x}",
    "we hoped for something {y} and got something {x}",
    "not at all {y}: the {a} is {x}",
    "the {b} is {y} only where the {a} needs it, all else is {x}",
]  # x is what the whole sentence says, y its opposite
UNSEEN = "zxqv brrm"
EXAMPLES = [
    "the ending isn't dull",
    "the ending isn't funny",
    "we hoped for something slow and got something clever",
    "we hoped for something clever and got something slow",
    "the script may be clumsy, but the cast is really charming",
    UNSEEN,
]


def made_up(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Sentences and their labels."""
    draws, texts, labels = np.random.default_rng(seed), [], []
    for k in range(count):
        same, opposite = (PRAISE, BLAME) if k % 2 else (BLAME, PRAISE)
        first, second = draws.choice(THINGS, 2, replace=False)
        very = draws.choice(["", "very ", "really ", "quite "])
        pattern = PATTERNS[draws.integers(len(PATTERNS))]
        texts.append(pattern.format(a=first, b=second, x=draws.choice(same), y=draws.choice(opposite), very=very))
        labels.append("positive" if k % 2 else "negative")
    return texts, labels


def read(data: Path | None, positive: Path | None, negative: Path | None, encoding: str) -> tuple[list[str], list[str]]:
    """Texts and labels from files."""
    if data is not None:
        found = read_table(data, encoding=encoding)
        return list(found.texts), list(found.labels or ())
    if positive is None or negative is None:
        raise click.UsageError("give --positive and --negative together")
    sides = {"positive": read_lines(positive, encoding).texts, "negative": read_lines(negative, encoding).texts}
    return [text for side in sides.values() for text in side], [name for name in sides for _ in sides[name]]


def classifiers(quick: bool, made: bool) -> dict[str, TextClassifier]:
    """One for each pooling. The few words of the sentences made here need neither many units nor much dropout."""
    settings: dict[str, Any] = {"epochs": 3 if quick else 12}
    if made:
        settings = {"epochs": 3 if quick else 20, "patience": 4, "hidden": 16, "embedding": 16, "dropout": 0.1}
        settings |= {"learning_rate": 1e-2, "min_count": 1}
    return {pooling: TextClassifier(pooling=pooling, **settings) for pooling in ("last", "mean", "max", "attention")}


@example
@click.option("--data", type=click.Path(path_type=Path), help="CSV file with columns text and label.")
@click.option("--positive", type=click.Path(path_type=Path), help="Positive texts, one a line.")
@click.option("--negative", type=click.Path(path_type=Path), help="Negative texts, one a line.")
@click.option("--encoding", default="utf-8", show_default=True, help="Of the files.")
def main(
    quick: bool, output: Path, data: Path | None, positive: Path | None, negative: Path | None, encoding: str
) -> None:
    """Compare poolings with naive Bayes, and show the words that one of them looked at."""
    made = data is None and positive is None and negative is None
    try:
        texts, labels = made_up(600 if quick else 1500, seed=0) if made else read(data, positive, negative, encoding)
        train, test = split_texts(texts, labels, 0.1, rng=0)
        if not test[0]:
            raise ValueError(f"{len(texts)} texts are too few to hold a tenth out")
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    rows: list[tuple[Any, ...]] = []
    for pairs in (False, True):
        began = time.perf_counter()
        bayes = NaiveBayes(pairs).fit(*train)
        rows.append((bayes.name, f"{bayes.score(*test):.1%}", "-", time.perf_counter() - began))
    models = classifiers(quick, made)
    for pooling, model in models.items():
        began = time.perf_counter()
        model.fit(*train)
        assert model.training is not None
        seconds = time.perf_counter() - began
        rows.append(
            (f"GRU both ways, {pooling} pooling", f"{model.score(*test):.1%}", str(len(model.training)), seconds)
        )
    print(f"{len(train[0])} {'made-up sentences' if made else 'texts'} to learn from, {len(test[0])} held out:")
    table(rows, ["classifier", "right", "epochs", "seconds"])
    shown = EXAMPLES if made else [*test[0][:5], UNSEEN]
    explained = [models["attention"].explain(text) for text in shown]
    print()
    for text, found in zip(shown, explained, strict=True):
        print(f"{found.label or 'no evidence':>12}  {text}")
    save(
        draw_explanations(explained, "Which words speak for the label: GRU with attention pooling"), output, "sentiment"
    )


if __name__ == "__main__":
    main()
