"""``xprnn classify``, as a user sees it."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from reports import check_page

from xprnn.cli import main
from xprnn.estimators import SequenceClassifier

QUICK = ["--epochs", "2", "--hidden", "4"]
EVIL = "<script>alert('x')</script>"


def write(path, count, labels, header=("who", "t", "x", "y", "kind")):
    draws = np.random.default_rng(0)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for n in range(count):
            for t in range(3 + n % 3):
                row = {"who": f"w{n}", "t": t, "x": n % 2 + draws.normal() / 9, "y": 5, "kind": labels[n % len(labels)]}
                writer.writerow([row[name] for name in header])


@pytest.fixture
def table(tmp_path):
    write(tmp_path / "in.csv", 40, ["calm", EVIL])
    return tmp_path / "in.csv"


def run(*arguments):
    result = CliRunner().invoke(main, ["classify", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


COLUMNS = ["--id", "who", "--time", "t", "--label", "kind"]


def test_train_writes_predictions_model_and_page_and_predict_reads_it(table, tmp_path, pictures):
    out = tmp_path / "out"
    result = run("train", table, *COLUMNS, "--out", out, *QUICK)
    assert result.exit_code == 0, result.output
    assert "40 sequences of 2 numbers a step with 2 labels, 32 for training and 8 for the test" in result.stderr
    assert "8 sequences held out, right:" in result.stdout
    rows = list(csv.DictReader((out / "predictions.csv").open(encoding="utf-8")))
    assert len(rows) == 8
    assert {row["label"] for row in rows} == {"calm", EVIL}
    shares = [[float(row[f"probability of {name}"]) for name in (EVIL, "calm")] for row in rows]
    np.testing.assert_allclose(np.sum(shares, axis=1), 1.0)
    right = sum(row["label"] == row["predicted"] for row in rows)
    page = check_page(out / "report.html")
    for words in (f"{right / 8:.1%} got the right label", "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;", "x, y"):
        assert words in page

    # Other columns, in another order: those of the model are found by name.
    write(tmp_path / "new.csv", 40, ["?"], ("kind", "y", "t", "who", "x"))
    lines = run("predict", out / "model.safetensors", tmp_path / "new.csv").stdout.splitlines()
    found = {line.split("\t")[0]: line.split("\t")[1:] for line in lines}
    for row, share in zip(rows, shares, strict=True):
        assert found[row["id"]] == [row["predicted"], f"{max(share):.3f}"]
    told = json.loads(run("predict", out / "model.safetensors", tmp_path / "new.csv", "--json").stdout)
    assert told[0]["id"] == "w0"
    assert set(told[0]["probabilities"]) == {"calm", EVIL}


def test_json(table, tmp_path):
    found = json.loads(run("train", table, *COLUMNS, "--out", tmp_path / "out", *QUICK, "--json").stdout)
    assert (found["train_sequences"], found["test"]["sequences"], len(found["files"])) == (32, 8, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--id", "who", "--label", "kindness"], "no column 'kindness'; the header has 'who', 't'"),
        ([*COLUMNS, "--column", "who"], "line 2, column 'who': 'w0' is not a finite number"),
        (["--id", "t", "--label", "kind", "--column", "x"], "line 5, column 'kind' is"),
        ([*COLUMNS, "--test", "0"], "--test is 0.0; expected a share between 0 and 1"),
        ([*COLUMNS, "--test", "0.001"], "40 sequences are too few to hold out 0.001 of each label's"),
        ([*COLUMNS, "--dropout", "2"], "dropout is 2.0"),
    ],
)
def test_errors_are_one_line_and_leave_no_file(table, tmp_path, arguments, message):
    result = run("train", table, "--out", tmp_path / "out", *QUICK, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not list((tmp_path / "out").glob("*"))


def test_a_model_that_says_no_columns(table, tmp_path):
    X = np.random.default_rng(0).normal(size=(8, 3, 2))
    SequenceClassifier(hidden=2, epochs=1, validation=0).fit(X, [0, 1] * 4).save(tmp_path / "model")
    result = run("predict", tmp_path / "model", table)
    assert result.exit_code == 1
    assert "it does not say which columns it reads" in result.stderr
