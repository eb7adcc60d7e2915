"""``xprnn detect``: learn what sequences of numbers are like, and say which are unlike them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import click

from xprnn.backend import default_backend
from xprnn.cli.errors import one_line_errors
from xprnn.cli.options import BACKEND, EPOCHS, INPUT, JSON, PATH, RESUME, SEED, one_cell, options
from xprnn.cli.outputs import echo_json, in_a_line, keep_inputs, writable_file, writable_folder
from xprnn.cli.ranks import echo_once, together
from xprnn.cli.report.anomalies import LISTED, Scored, anomaly_page
from xprnn.cli.sequences import COLUMNS, TIME, file_and_folder, notes, read_as_noted, read_told
from xprnn.data.long_csv import LongCsv
from xprnn.estimators import AnomalyDetector
from xprnn.estimators.sequences.detector import NETWORKS
from xprnn.estimators.series.report import readable
from xprnn.whole_files import write_atomically

FILES = ("scores.csv", "model.safetensors", "report.html")


@click.group()
def detect() -> None:
    """Sequences of numbers that are unlike the rest, such as days of a machine."""


@detect.command()
@file_and_folder("xprnn-detect")
@options(
    click.option("--id", help="Column that says whose step a row is. Default: all rows are one sequence."),
    click.option(
        "--window", type=click.IntRange(2), help="Cut sequences into so many steps each; needed where there is no --id."
    ),
    TIME,
    COLUMNS,
    click.option(
        "--kind",
        type=click.Choice(list(NETWORKS)),
        default="forecast",
        show_default=True,
        help="Strange is what is not foreseen from the steps before, or not put together again from one vector.",
    ),
    click.option("--contamination", default=0.05, show_default=True, help="Share of FILE that shall be anomalies."),
    one_cell("gru"),
    click.option("--hidden", default=32, show_default=True, help="Hidden units."),
    click.option("--layers", default=1, show_default=True, help="Recurrent layers."),
    click.option("--learning-rate", default=3e-3, show_default=True, help="Of Adam."),
    EPOCHS,
    SEED,
    RESUME,
    BACKEND,
    JSON,
)
def train(backend: str | None, out: Path, file: Path, **given: Any) -> None:
    """Learn what the sequences of a CSV file are like, which has a row for each step of each.

    Prints those that are strangest, and writes scores.csv, model.safetensors for "xprnn detect predict", and
    report.html to the output folder.
    """
    for name in FILES:
        keep_inputs(out / name, file)
    with one_line_errors(backend):
        _train(file, out, **given)


def _train(
    file: Path,
    out: Path,
    *,
    id: str | None,  # noqa: A002 - as the option
    window: int | None,
    time: str | None,
    columns: tuple[str, ...],
    resume: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    if id is None and window is None:
        raise click.UsageError("give --id, whose step a row is, or --window, how many rows belong together")
    detector = AnomalyDetector(progress=True, **settings)  # checks the options
    ranks, training = together(resume, *(out / name for name in FILES))
    writable_folder(out, *FILES)  # before the work, not after it
    source, things = _cut(read_told(file, id=id, time=time, columns=columns), window)
    echo_once(
        ranks,
        f"{len(source.ids)} {things} of {len(source.features)} numbers a step; computing on {default_backend()}",
    )
    detector.fit(source.X, **training)
    if ranks.rank > 0:
        return
    scored = Scored.of(detector, source, things)
    read = {"file": file.name, "columns": ", ".join(source.features)} | ({"window": window} if window else {})
    share = settings["contamination"]
    lead = (
        f"Of {len(source.ids)} {things}, {len(scored.anomalies)} are called anomalies, because {share:.1%} of them "
        "were to be: those that are hardest to foresee from the rest. Whether they matter is for you to judge."
    )
    page = anomaly_page(f"What is strange in {file.name}", lead, scored, detector.training, read | detector.settings)
    for name, content in {"scores.csv": _csv(scored).encode(), "report.html": page}.items():
        write_atomically(out / name, content)
    detector.save(out / "model.safetensors", notes=notes(source, id=id, time=time, window=window))
    written = [str(out / name) for name in FILES]
    if as_json:
        found = {"threshold": scored.threshold, things: scored.rows(), "files": written}
        echo_json(found)
        return
    click.echo(_table(scored))
    click.echo(f"\nwritten: {', '.join(written)}")


@detect.command()
@click.argument("model", type=PATH)
@click.argument("file", type=INPUT)
@click.option("--report", type=PATH, help="Page of HTML to write.")
@options(BACKEND, JSON)
def predict(model: Path, file: Path, report: Path | None, backend: str | None, as_json: bool) -> None:
    """Which sequences in FILE are unlike those that MODEL learned from; its columns are called as theirs.

    Prints "anomaly" or "usual", how strange it is, its id and its strangest step, parted by tabs.
    """
    if report is not None:
        keep_inputs(report, model, file)
    with one_line_errors(backend):
        if report is not None:
            writable_file(report)
        detector = AnomalyDetector.load(model)
        source, found = read_as_noted(model, file, ("id", "time", "window"))
        scored = Scored.of(detector, *_cut(source, found["window"]))
        if report is not None:
            share = detector.settings["contamination"]
            lead = (
                f"Of {len(scored.source.ids)} {scored.things}, {len(scored.anomalies)} are called anomalies "
                f"({len(scored.anomalies) / len(scored.source.ids):.1%}). Of those learned from it were {share:.1%}."
            )
            settings = {"file": file.name, "model": model.name} | detector.settings
            write_atomically(report, anomaly_page(f"What is strange in {file.name}", lead, scored, None, settings))
    if as_json:
        echo_json({"threshold": scored.threshold, scored.things: scored.rows()})
        return
    for row in scored.rows():
        called = "anomaly" if row["anomaly"] else "usual"
        click.echo(f"{called}\t{readable(row['strangeness'])}\t{in_a_line(row['id'])}\t{row['strangest_step']}")


def _cut(source: LongCsv, window: int | None) -> tuple[LongCsv, str]:
    """The sequences that are judged, and what they are called."""
    return (source, "sequences") if window is None else (source.windows(window), "windows")


def _csv(scored: Scored) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    rows = scored.rows()
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
    return out.getvalue()


def _table(scored: Scored) -> str:
    found = scored.anomalies
    names = [scored.source.ids[k] for k in found[:LISTED]]
    width = max([4, *map(len, names)])
    lines = [
        f"{len(found)} of {len(scored.strangeness)} {scored.things} are stranger than {readable(scored.threshold)}",
        *([f"  {'id':{width}}  {'strange':>9}  strangest step"] if names else []),
        *(
            f"  {name:{width}}  {readable(scored.strangeness[k]):>9}  {scored.worst(k)}"
            for name, k in zip(names, found, strict=False)
        ),
    ]
    return "\n".join(lines + ([f"  and {len(found) - LISTED} more"] if len(found) > LISTED else []))
