"""``xprnn classify``: learn labels of sequences of numbers from a file, and say them for other sequences."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import click
import numpy as np

from xprnn.backend import default_backend
from xprnn.cli.errors import one_line_errors
from xprnn.cli.options import BACKEND, EPOCHS, INPUT, JSON, PATH, RESUME, SEED, one_cell, options
from xprnn.cli.outputs import echo_json, in_a_line, keep_inputs, writable_folder
from xprnn.cli.ranks import echo_once, together
from xprnn.cli.report.labels import Answers, label_page
from xprnn.cli.sequences import COLUMNS, TIME, file_and_folder, notes, read_as_noted, read_told
from xprnn.data.long_csv import LongCsv
from xprnn.estimators import SequenceClassifier
from xprnn.estimators.cells import POOLINGS
from xprnn.estimators.labels import encode_labels, hold_out
from xprnn.estimators.text.report import TextReport
from xprnn.randomness import generator
from xprnn.whole_files import write_atomically

Host = np.ndarray[Any, Any]
FILES = ("predictions.csv", "model.safetensors", "report.html")


@click.group()
def classify() -> None:
    """Labels of sequences of numbers, such as movements or machines."""


@classify.command()
@file_and_folder("xprnn-classify")
@options(
    click.option("--id", required=True, help="Column that says whose step a row is."),
    click.option("--label", required=True, help="Column of the label, the same in all rows of an id."),
    TIME,
    COLUMNS,
    click.option("--test", default=0.2, show_default=True, help="Share of each label's sequences to test on."),
    one_cell("gru"),
    click.option(
        "--pooling", type=click.Choice(POOLINGS), default="last", show_default=True, help="Of states over time."
    ),
    click.option("--hidden", default=64, show_default=True, help="Hidden units of each layer and direction."),
    click.option("--layers", default=1, show_default=True, help="Recurrent layers."),
    click.option("--bidirectional", is_flag=True, help="Read sequences backward too."),
    click.option("--class-weight", type=click.Choice(["balanced"]), help="Count rare labels as much as frequent ones."),
    click.option("--dropout", default=0.0, show_default=True, help="While training."),
    click.option("--learning-rate", default=3e-3, show_default=True, help="Of Adam."),
    EPOCHS,
    SEED,
    RESUME,
    BACKEND,
    JSON,
)
def train(backend: str | None, out: Path, file: Path, **given: Any) -> None:
    """Learn labels of sequences from a CSV file that has a row for each step of each.

    Holds out a part of the sequences, learns from the rest, prints how many of those held out it gets right, and writes
    predictions.csv, model.safetensors for "xprnn classify predict", and report.html to the output folder.
    """
    for name in FILES:
        keep_inputs(out / name, file)
    with one_line_errors(backend):
        _train(file, out, **given)


def _train(
    file: Path,
    out: Path,
    *,
    id: str,  # noqa: A002 - as the option
    time: str | None,
    label: str,
    columns: tuple[str, ...],
    test: float,
    resume: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    classifier = SequenceClassifier(progress=True, **settings)  # checks the options
    ranks, training = together(resume, *(out / name for name in FILES))
    writable_folder(out, *FILES)  # before the work, not after it
    source = read_told(file, id=id, time=time, label=label, columns=columns)
    held = held_out(file, source, test, settings["seed"])
    known, unseen = np.flatnonzero(~held), np.flatnonzero(held)
    labels = source.labels or ()
    echo_once(
        ranks,
        f"{len(source.ids)} sequences of {len(source.features)} numbers a step with {len(set(labels))} labels, "
        f"{len(known)} for training and {len(unseen)} for the test; computing on {default_backend()}",
    )
    classifier.fit([source.X[k] for k in known], [labels[k] for k in known], **training)
    if ranks.rank > 0:
        return
    rows, classes = [source.X[k] for k in unseen], classifier.classes_.tolist()
    probabilities = classifier.predict_proba(rows)
    said = [classes[k] for k in probabilities.argmax(axis=1)]
    report = TextReport(classes, [labels[k] for k in unseen], said, classifier.name, things="sequences")
    answers = Answers(report, [source.ids[k] for k in unseen], probabilities)
    title = f"Labels of the sequences in {file.name}"
    read = {"file": file.name, "columns": ", ".join(source.features), "held out": f"{test:g} of each label"}
    page = label_page(title, answers, classifier.training, read | classifier.settings)
    contents = {"predictions.csv": predictions(answers).encode(), "report.html": page}
    for name, content in contents.items():
        write_atomically(out / name, content)
    classifier.save(out / "model.safetensors", notes=notes(source, id=id, time=time))
    written = [str(out / name) for name in FILES]
    if as_json:
        found = {"train_sequences": len(known), "test": report.as_json(), "files": written}
        echo_json(found)
        return
    click.echo(report.table())
    click.echo(f"\nwritten: {', '.join(written)}")


def held_out(file: Path, source: LongCsv, test: float, seed: int) -> Host:
    """Which sequences are tested on, a share of each label's. Raises ValueError where that is none or all."""
    if not 0.0 < test < 1.0:
        raise ValueError(f"--test is {test}; expected a share between 0 and 1")
    _, target = encode_labels(str(file), source.labels, len(source.ids), "sequences")
    held = hold_out(target, test, generator(seed))
    if not held.any():
        raise ValueError(f"{file}: {len(held)} sequences are too few to hold out {test:g} of each label's")
    return held


def predictions(answers: Answers) -> str:
    """A line for each sequence: its id, its label, what was said, and the probability of each label."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "label", "predicted", *(f"probability of {name}" for name in answers.report.classes)])
    rows = zip(answers.names, answers.report.actual, answers.report.predicted, answers.probabilities, strict=True)
    writer.writerows([name, actual, said, *map(str, shares)] for name, actual, said, shares in rows)
    return out.getvalue()


@classify.command()
@click.argument("model", type=PATH)
@click.argument("file", type=INPUT)
@options(BACKEND, JSON)
def predict(model: Path, file: Path, backend: str | None, as_json: bool) -> None:
    """Labels of the sequences in FILE, whose columns are called as those that MODEL learned from.

    Prints id, label and its probability, parted by tabs.
    """
    with one_line_errors(backend):
        classifier = SequenceClassifier.load(model)
        source, _ = read_as_noted(model, file, ("id", "time"))
        probabilities, classes = classifier.predict_proba(source.X), classifier.classes_.tolist()
    rows = [
        {
            "id": name,
            "label": classes[int(shares.argmax())],
            "probabilities": dict(zip(map(str, classes), map(float, shares), strict=True)),
        }
        for name, shares in zip(source.ids, probabilities, strict=True)
    ]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        click.echo(f"{in_a_line(row['id'])}\t{in_a_line(row['label'])}\t{max(row['probabilities'].values()):.3f}")
