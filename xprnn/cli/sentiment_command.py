"""``xprnn sentiment``: learn labels of texts from a file, and say them for other texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from xprnn.backend import default_backend
from xprnn.cli.errors import one_line_errors
from xprnn.cli.options import BACKEND, EPOCHS, INPUT, JSON, PATH, RESUME, SEED, one_cell, options
from xprnn.cli.outputs import echo_json, in_a_line, keep_inputs, writable_file
from xprnn.cli.ranks import echo_once, together
from xprnn.cli.report.labels import Answers, label_page
from xprnn.data.text_file import TextTable, decode, lines_of, read_lines, read_table
from xprnn.data.word_vectors import read_word_vectors
from xprnn.estimators import NaiveBayes, TextClassifier
from xprnn.estimators.cells import POOLINGS
from xprnn.estimators.text.explanation import Explanation
from xprnn.estimators.text.input import split_texts
from xprnn.estimators.text.report import NO_EVIDENCE, TextReport
from xprnn.whole_files import write_atomically

TABLES = (".csv", ".tsv")
SHOWN = 6  # words of an explanation


@click.group()
def sentiment() -> None:
    """Labels of texts, such as positive and negative."""


ENCODING = click.option("--encoding", default="utf-8", show_default=True, help="Of the files, such as latin-1.")


@sentiment.command()
@click.argument("file", type=INPUT, required=False)
@click.option("--positive", type=PATH, help="Instead of FILE: positive texts, one a line.")
@click.option("--negative", type=PATH, help="Instead of FILE: negative texts, one a line.")
@click.option("--text", default="text", show_default=True, help="Column of FILE with the texts.")
@click.option("--label", default="label", show_default=True, help="Column of FILE with the labels.")
@click.option("--out", type=PATH, default=Path("sentiment.safetensors"), show_default=True, help="Model file to write.")
@click.option("--test", default=0.1, show_default=True, help="Share of each label's texts to test on; 0 for no test.")
@one_cell("gru")
@click.option("--pooling", type=click.Choice(POOLINGS), default="max", show_default=True, help="Of states over time.")
@click.option("--hidden", default=64, show_default=True, help="Hidden units of each direction.")
@click.option(
    "--tokenizer", default="words", show_default=True, help="words, characters, or a .json of the library tokenizers."
)
@click.option("--class-weight", type=click.Choice(["balanced"]), help="Count rare labels as much as frequent ones.")
@click.option("--min-count", default=2, show_default=True, help="A word that comes fewer times is unknown.")
@click.option("--vectors", type=PATH, help="Word vectors to start from: a file of GloVe or word2vec, text or binary.")
@click.option("--dropout", default=0.7, show_default=True, help="While training; few texts want less.")
@click.option("--learning-rate", default=1e-3, show_default=True, help="Of Adam; few texts want more.")
@click.option("--report", type=PATH, help="Page of HTML to write. Default: as the model file, ending in .html.")
@options(EPOCHS, SEED, RESUME, ENCODING, BACKEND, JSON)
def train(backend: str | None, **options: Any) -> None:
    """Learn labels of texts from a CSV file with a header, or from two files of one text a line.

    Holds out a part of the texts, learns from the rest, prints how many of those held out it gets right, and writes the
    model to a file for "xprnn sentiment predict" and, where texts were held out, a page that tells of it.
    """
    with one_line_errors(backend):
        _train(**options)


def _train(
    file: Path | None,
    positive: Path | None,
    negative: Path | None,
    text: str,
    label: str,
    out: Path,
    test: float,
    vectors: Path | None,
    report: Path | None,
    resume: Path | None,
    seed: int,
    encoding: str,
    as_json: bool,
    **settings: Any,
) -> None:
    classifier = TextClassifier(seed=seed, progress=True, **settings)  # checks the options
    writable_file(out)  # before the work, not after it, and before a name is made of its own
    page_file = out.with_suffix(".html") if report is None else report
    if page_file == out:
        raise click.UsageError(f"{out} would be both model and report: give another --report")
    ranks, training = together(resume, out, page_file)
    for path in (out, page_file):
        keep_inputs(path, file, positive, negative, vectors)
    writable_file(page_file)
    texts, labels = _read_labelled(file, positive, negative, text, label, encoding)
    known, unseen = split_texts(texts, labels, test, seed)
    echo_once(
        ranks,
        f"{len(texts)} texts with {len(set(labels))} labels, {len(known[0])} for training and "
        f"{len(unseen[0])} for the test; computing on {default_backend()}",
    )
    found = None
    if vectors is not None:
        words = {token for t in known[0] for token in classifier.tokenize(t)}
        found = read_word_vectors(vectors, only=words)
        echo_once(ranks, f"{vectors}: vectors for {len(found.tokens)} of {len(words)} words")
    classifier.fit(*known, vectors=found, **training)
    if ranks.rank > 0:
        return
    found_out, page = None, None
    if unseen[0]:
        baseline = NaiveBayes().fit(*known)
        others = {baseline.name: baseline.score(*unseen, unknown="none")}
        said = classifier.predict(unseen[0], unknown="none").tolist()
        found_out = TextReport(classifier.classes, unseen[1], said, classifier.name, others)
        answers = Answers(found_out, unseen[0], classifier.predict_proba(unseen[0]))
        named = {"file": " and ".join(path.name for path in (file, positive, negative) if path is not None)}
        title = f"Labels of the texts in {named['file']}"
        page = label_page(title, answers, classifier.training, named | classifier.settings)
    classifier.save(out)
    if page is not None:
        write_atomically(page_file, page)
    if as_json:
        result = {
            "train_texts": len(known[0]),
            "test": found_out and found_out.as_json(),
            "file": str(out),
            "report": str(page_file) if found_out else None,
        }
        echo_json(result)
        return
    click.echo("no texts held out, so nothing is known of the accuracy" if found_out is None else found_out.table())
    click.echo(f"\nwritten: {out}" + (f", {page_file}" if page is not None else ""))


def _read_labelled(
    file: Path | None, positive: Path | None, negative: Path | None, text: str, label: str, encoding: str
) -> tuple[list[str], list[str]]:
    """Texts, and their labels as str."""
    if file is not None and positive is None and negative is None:
        table = read_table(file, text, label, encoding)
        return list(table.texts), list(table.labels or ())
    if file is not None or positive is None or negative is None:
        raise click.UsageError("give either FILE, or --positive FILE and --negative FILE")
    sides = {}
    for name, path in (("negative", negative), ("positive", positive)):
        sides[name] = read_lines(path, encoding).texts
        if not sides[name]:
            raise ValueError(f"{path}: there are no texts")
    return [t for side in sides.values() for t in side], [name for name in sides for _ in sides[name]]


@sentiment.command()
@click.argument("model", type=PATH)
@click.argument("file", type=INPUT, required=False)
@click.option("--text", help='Column of FILE with the texts; "text" in a .csv or .tsv file. Else: one text a line.')
@click.option("--explain", is_flag=True, help="Also print the words that mattered most.")
@options(ENCODING, BACKEND, JSON)
def predict(
    model: Path,
    file: Path | None,
    text: str | None,
    explain: bool,
    encoding: str,
    backend: str | None,
    as_json: bool,
) -> None:
    """Labels of the texts in FILE or, without it, on standard input.

    Prints label, probability and text, parted by tabs. A text in which no word is known gets "no evidence".
    """
    with one_line_errors(backend):
        classifier = TextClassifier.load(model)
        table = _read_texts(file, text, encoding)
        if not table.texts:
            raise ValueError(f"{file or 'standard input'}: there are no texts")
        labels = classifier.predict(table.texts, unknown="none")
        probabilities = classifier.predict_proba(table.texts)
        explained = [classifier.explain(t) for t in table.texts] if explain else [None] * len(table.texts)
        rows = [
            _row(classifier, *row)
            for row in zip(table.texts, table.lines, labels, probabilities, explained, strict=True)
        ]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        shown = f"{max(row['probabilities'].values()):.3f}" if row["evidence"] else "-"
        click.echo(f"{in_a_line(row['label']) if row['evidence'] else NO_EVIDENCE}\t{shown}\t{in_a_line(row['text'])}")
        if row.get("words"):
            click.echo("\t\t" + ", ".join(f"{word['token']} {word['effect']:+.2f}" for word in row["words"]))


def _row(
    classifier: TextClassifier, text: str, line: int, label: Any, shares: Any, explained: Explanation | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "line": line,
        "text": text,
        "label": label,
        "evidence": label is not None,
        "probabilities": {str(name): float(p) for name, p in zip(classifier.classes, shares, strict=True)},
    }
    if explained is not None and label is not None:
        strongest = sorted(range(len(explained.tokens)), key=lambda k: -abs(explained.effects[k]))[:SHOWN]
        row["words"] = [{"token": explained.tokens[k], "effect": float(explained.effects[k])} for k in strongest]
    return row


def _read_texts(file: Path | None, column: str | None, encoding: str) -> TextTable:
    if file is None:
        if column is not None:
            raise click.UsageError("--text names a column of FILE, but there is none")
        if sys.stdin is None:  # closed
            raise click.UsageError("there is no standard input: give FILE")
        return lines_of(decode(sys.stdin.buffer.read(), encoding, "standard input"))
    if column is not None or file.suffix.lower() in TABLES:
        return read_table(file, column or "text", None, encoding)
    return read_lines(file, encoding)
