"""``xprnn detect``, as a user sees it."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from reports import check_page

from xprnn.cli import main
from xprnn.estimators import AnomalyDetector

QUICK = ["--epochs", "2", "--hidden", "4"]
ODD = 7  # the day on which one hour is far off


@pytest.fixture
def table(tmp_path):
    """Thirty days of six hours."""
    draws = np.random.default_rng(0)
    with open(tmp_path / "in.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "hour", "heat", "load"])
        for day in range(30):
            for hour in range(6):
                heat = np.sin(hour) + draws.normal() / 20 + 30 * ((day, hour) == (ODD, 3))
                writer.writerow([f"d{day:02}", hour, heat, draws.normal()])
    return tmp_path / "in.csv"


def run(*arguments):
    result = CliRunner().invoke(main, ["detect", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_odd_day_is_named_with_its_hour_and_found_again(table, tmp_path, pictures):
    out = tmp_path / "out"
    result = run("train", table, "--id", "day", "--time", "hour", "--out", out, "--contamination", "0.1", *QUICK)
    assert result.exit_code == 0, result.output
    assert "30 sequences of 2 numbers a step" in result.stderr
    assert "3 of 30 sequences are stranger than" in result.stdout
    assert result.stdout.splitlines()[2].split()[::2] == ["d07", "3"]
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [row["id"] for row in rows] == [f"d{day:02}" for day in range(30)]
    assert sum(row["anomaly"] == "True" for row in rows) == 3
    assert "Of 30 sequences, 3 are called anomalies" in check_page(out / "report.html")

    model = out / "model.safetensors"
    lines = run("predict", model, table, "--report", tmp_path / "page").stdout.splitlines()
    assert [line.split("\t")[0] == "anomaly" for line in lines] == [row["anomaly"] == "True" for row in rows]
    assert "d07: strangest at 3." in check_page(tmp_path / "page")
    found = json.loads(run("predict", model, table, "--json").stdout)
    np.testing.assert_allclose(-found["threshold"], AnomalyDetector.load(model).offset_)
    assert [row["strangeness"] for row in found["sequences"]] == [float(row["strangeness"]) for row in rows]


def test_windows_of_one_long_sequence(table, tmp_path):
    options = ["--window", "6", "--column", "heat", "--out", tmp_path / "out", "--json"]
    found = json.loads(run("train", table, *options, *QUICK).stdout)
    strangest = max(found["windows"], key=lambda row: row["strangeness"])
    assert (len(found["windows"]), strangest["id"]) == (30, str(6 * ODD + 1))
    again = json.loads(run("predict", tmp_path / "out" / "model.safetensors", table, "--json").stdout)
    assert again["windows"] == found["windows"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give --id, whose step a row is, or --window"),
        (["--window", "1"], 2, "1 is not in the range x>=2"),
        (["--id", "day", "--contamination", "0.7"], 1, "contamination is 0.7; expected a share above 0"),
        (["--window", "6"], 1, "line 2, column 'day': 'd00' is not a finite number; name the columns"),
        (["--id", "hour", "--time", "day", "--column", "cold"], 1, "no column 'cold'"),
    ],
)
def test_errors_are_one_line_and_leave_no_file(table, tmp_path, arguments, code, message):
    result = run("train", table, "--out", tmp_path / "out", *QUICK, *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert not list((tmp_path / "out").glob("*"))


def test_what_is_read_is_not_written(table, tmp_path):
    before = table.read_bytes()
    model = tmp_path / "model"
    AnomalyDetector(hidden=2, epochs=1).fit(np.ones((5, 3, 1))).save(model)
    assert "would be overwritten" in run("predict", model, table, "--report", table).stderr
    assert "it does not say which columns it reads" in run("predict", model, table).stderr
    assert table.read_bytes() == before
