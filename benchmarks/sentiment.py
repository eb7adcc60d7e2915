"""The TextClassifier on movie reviews: mean accuracy over seeds, without vectors trained elsewhere.

    python benchmarks/sentiment.py --positive rt-polarity.pos --negative rt-polarity.neg

Data: sentence polarity dataset v1.0 of Pang and Lee 2005, 10,662 sentences in latin-1, one a line, half of them
positive: https://www.cs.cornell.edu/people/pabo/movie-review-data/. Seed s holds out a tenth of each class, drawn by
that seed, and trains on the rest, a tenth of which decides when training stops. The settings are the classifier's
defaults; they were chosen on such tenths, never on a test part of the same seed. The five splits overlap, so the dev
part of one seed holds test texts of the others: "never on a test part" is true within a seed only. For comparison:
Kim 2014 (arXiv 1408.5882), table 2, CNN-rand, reports 76.1% as a mean over ten folds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from cpu import device

import xprnn
from xprnn.data import read_lines
from xprnn.estimators import NaiveBayes, TextClassifier, split_texts
from xprnn.estimators.cells import POOLINGS

TARGET = 0.761


def study(texts: list[str], labels: list[str], seed: int, **settings: Any) -> dict[str, Any]:
    """Accuracies on the test part of one seed, and what training took."""
    train, test = split_texts(texts, labels, 0.1, seed)
    start = time.perf_counter()
    model = TextClassifier(seed=seed, **settings).fit(*train)
    seconds = time.perf_counter() - start
    assert model.training is not None
    losses = [epoch["validation_loss"] for epoch in model.training.epochs]
    return {
        "seed": seed,
        "test texts": len(test[0]),
        "accuracy": model.score(*test),
        "naive Bayes": NaiveBayes().fit(*train).score(*test),
        "without evidence": int((~model.has_evidence(test[0])).sum()),
        "epochs": len(losses),
        "best epoch": int(np.argmin(losses)) + 1,
        "seconds": seconds,
    }


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    rows, accuracies = report["seeds"], [row["accuracy"] for row in report["seeds"]]
    here = f"{report['device']}, {report['threads']} threads"
    return "\n".join(
        [
            f"{here}, {report['date']}, xprnn {xprnn.__version__}, numpy {np.__version__}.",
            f"{report['texts']} texts, a tenth held out; {report['model']}.",
            "",
            "| seed | test accuracy | naive Bayes, words and pairs | epochs (best) | training s |",
            "|---|---|---|---|---|",
            *[
                f"| {r['seed']} | {r['accuracy']:.2%} | {r['naive Bayes']:.2%} | {r['epochs']} ({r['best epoch']}) "
                f"| {r['seconds']:.1f} |"
                for r in rows
            ],
            f"| mean | {np.mean(accuracies):.2%} ± {np.std(accuracies, ddof=1) if len(rows) > 1 else 0:.2%} "
            f"| {np.mean([r['naive Bayes'] for r in rows]):.2%} | "
            f"| {np.mean([r['seconds'] for r in rows]):.1f} |",
            "",
            f"CNN-rand of Kim 2014 reports {TARGET:.1%}, the mean over ten folds; ± is the deviation between seeds.",
        ]
    )


def main() -> None:
    """Run the study, print the table, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positive", type=Path, required=True)
    parser.add_argument("--negative", type=Path, required=True)
    parser.add_argument("--encoding", default="latin-1")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pooling", choices=POOLINGS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder")
    options = parser.parse_args()
    paths = {"negative": options.negative, "positive": options.positive}
    sides = {name: read_lines(path, options.encoding).texts for name, path in paths.items()}
    texts, labels = [text for side in sides.values() for text in side], [name for name in sides for _ in sides[name]]
    settings = {} if options.pooling is None else {"pooling": options.pooling}
    chosen = TextClassifier(**settings).settings
    report: dict[str, Any] = {
        "device": device(),
        "threads": int(os.environ.get("NUMBA_NUM_THREADS", os.cpu_count() or 1)),
        "date": datetime.date.today().isoformat(),
        "texts": len(texts),
        "model": f"{chosen['cell']} both ways, {chosen['pooling']} pooling, no pretrained vectors",
        "settings": chosen,
        "seeds": [],
    }
    for seed in range(options.seeds):
        report["seeds"].append(study(texts, labels, seed, **settings))
        print(report["seeds"][-1], flush=True)
    report["mean accuracy"] = float(np.mean([row["accuracy"] for row in report["seeds"]]))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "sentiment.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "sentiment.md").write_text(table(report) + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
