"""``xprnn sentiment``, as a user sees it."""

import csv
import json
import os
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner
from reports import check_page

from xprnn.cli import main
from xprnn.cli.sentiment_command import _read_texts as read_texts
from xprnn.estimators import TextClassifier
from xprnn.train import write_tensors

QUICK = ["--epochs", "3", "--hidden", "6"]
GOOD, BAD = ["good", "great", "lovely"], ["bad", "awful", "dull"]


def texts(words, count, seed):
    draws = np.random.default_rng(seed)
    others = ["long", "short", "caf\u00e9"]
    return [f"the film was {draws.choice(words)} and {draws.choice(others)}" for _ in range(count)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reviews.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        rows = [(t, "up") for t in texts(GOOD, 40, 0)] + [(t, "down") for t in texts(BAD, 40, 1)]
        writer.writerows((k, *row) for k, row in enumerate(rows))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    settings = {"hidden": 8, "embedding": 16, "epochs": 10, "learning_rate": 1e-2, "dropout": 0.1}
    TextClassifier(**settings).fit(texts(GOOD, 60, 0) + texts(BAD, 60, 1), ["up"] * 60 + ["down"] * 60).save(path)
    return path


def run(*arguments, stdin=None):
    result = CliRunner().invoke(main, ["sentiment", *map(str, arguments)], input=stdin)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_train_on_a_table(table, tmp_path):
    out = tmp_path / "model"
    result = run("train", table, "--out", out, *QUICK, "--test", "0.25")
    assert result.exit_code == 0, result.output
    assert "80 texts with 2 labels, 60 for training and 20 for the test" in result.stderr
    assert "20 texts held out, right:" in result.stdout
    for name in ("xprnn gru", "naive Bayes, words and pairs", "always "):
        assert name in result.stdout
    assert f"written: {out}" in result.stdout
    assert TextClassifier.load(out).classes == ("down", "up")
    page = check_page(tmp_path / "model.html")
    assert "Of 20 texts that it had not seen" in page
    assert "naive Bayes, words and pairs" in page


def test_where_the_page_goes(table, tmp_path):
    out = tmp_path / "model.html"
    result = run("train", table, "--out", out, *QUICK)
    assert result.exit_code == 2
    assert "would be both model and report: give another --report" in result.stderr
    assert run("train", table, "--out", out, "--report", tmp_path / "page", *QUICK).exit_code == 0
    check_page(tmp_path / "page")
    again = run("train", table, "--out", tmp_path / "other", "--report", table, *QUICK)
    assert "would be overwritten" in again.stderr


def test_train_on_two_files(tmp_path):
    positive, negative = tmp_path / "pos", tmp_path / "neg"
    positive.write_text("\n".join(texts(GOOD, 30, 0)), encoding="latin-1")
    negative.write_text("\n".join(texts(BAD, 20, 1)), encoding="latin-1")
    options = ["--encoding", "latin-1", "--out", tmp_path / "model", *QUICK, "--json"]
    result = run("train", "--positive", positive, "--negative", negative, *options)
    found = json.loads(result.stdout)
    assert (found["train_texts"], found["test"]["texts"]) == (45, 5)
    assert found["test"]["accuracy"]["always positive"] == 0.6
    assert sum(map(sum, found["test"]["confusion"])) == 5 - found["test"]["without_evidence"]
    assert TextClassifier.load(found["file"]).classes == ("negative", "positive")


def test_the_test_part_is_not_learned_from(table, tmp_path):
    """Nonsense in the texts that are held out changes nothing in the model."""
    first = run("train", table, "--out", tmp_path / "one", "--test", "0.25", *QUICK)
    assert first.exit_code == 0
    trained = TextClassifier.load(tmp_path / "one")
    lines = table.read_text(encoding="utf-8").splitlines()
    from xprnn.estimators.labels import hold_out

    target = np.array([line.endswith("up") for line in lines[1:]], np.int64)
    for k in np.flatnonzero(hold_out(target, 0.25, np.random.default_rng(0))):
        number, _, label = lines[k + 1].split(",")
        lines[k + 1] = f"{number},zebra zebra zebra,{label}"
    table.write_text("\n".join(lines), encoding="utf-8")
    second = run("train", table, "--out", tmp_path / "two", "--test", "0.25", *QUICK)
    assert "no evidence" in second.stdout
    again = TextClassifier.load(tmp_path / "two")
    assert np.array_equal(trained.predict_proba(["a good film"]), again.predict_proba(["a good film"]))


def test_without_a_test_part(table, tmp_path):
    result = run("train", table, "--out", tmp_path / "model", "--test", "0", *QUICK)
    assert "no texts held out, so nothing is known of the accuracy" in result.stdout
    found = json.loads(run("train", table, "--out", tmp_path / "m", "--test", "0", "--json", *QUICK).stdout)
    assert (found["test"], found["report"]) == (None, None)
    assert not list(tmp_path.glob("*.html"))


def test_characters_and_weights_of_labels(table, tmp_path):
    options = ["--tokenizer", "characters", "--class-weight", "balanced"]
    assert run("train", table, "--out", tmp_path / "model", *options, *QUICK).exit_code == 0
    settings = TextClassifier.load(tmp_path / "model").settings
    assert (settings["tokenizer"], settings["class_weight"]) == ("characters", "balanced")
    failed = run("train", table, "--out", tmp_path / "other", "--tokenizer", tmp_path / "none.json")
    assert failed.exit_code == 1
    assert "No such file" in failed.stderr


def test_word_vectors(table, tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("good 1 2 3 4\nbad 4 3 2 1\nzebra 0 0 0 0\n")
    result = run("train", table, "--out", tmp_path / "model", "--vectors", vectors, *QUICK)
    assert result.exit_code == 0, result.output
    assert "vectors for 2 of 13 words" in result.stderr
    assert TextClassifier.load(tmp_path / "model").network.embedding.embedding_dim == 4


def test_predict_lines(model, tmp_path):
    path = tmp_path / "new.txt"
    path.write_text("a lovely film\n\nqwx zzt\nan awful,\tawful film\n")
    result = run("predict", model, path)
    assert result.exit_code == 0, result.output
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["up", "no evidence", "down"]
    assert [row[2] for row in rows] == ["a lovely film", "qwx zzt", "an awful, awful film"]
    assert float(rows[0][1]) > 0.5
    assert rows[1][1] == "-"
    assert run("predict", model, stdin=path.read_bytes()).stdout == result.stdout


def test_predict_a_table(model, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text('text;who\n"lovely; great";a\n;b\n')
    assert [line.split("\t")[0] for line in run("predict", model, path).stdout.splitlines()] == ["up", "no evidence"]
    other = tmp_path / "new.txt"
    other.write_text("who\tReview\na\tdull\n")
    assert run("predict", model, other, "--text", "Review").stdout.startswith("down\t")


def test_predict_as_json(model):
    found = json.loads(run("predict", model, "--json", "--explain", stdin="a lovely film\n\nqwx\n").stdout)
    assert [row["line"] for row in found] == [1, 3]
    assert [row["label"] for row in found] == ["up", None]
    assert [row["evidence"] for row in found] == [True, False]
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1.0)
    assert found[0]["words"][0]["token"] == "lovely"
    assert "words" not in found[1]


def test_explained_words_come_strongest_first(model):
    lines = run("predict", model, "--explain", stdin="the film was lovely and long\n").stdout.splitlines()
    assert lines[1].strip().startswith("lovely +")
    assert len(lines[1].split(",")) == 6


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"text,label\ncaf\xe9,up\nbad,down\n", [], "line 2: byte 0xe9 is not text in utf-8"),
        (b"text,label\ncaf\xe9,up\nbad,down\n", [], "--encoding latin-1"),
        (b"text,label\na,b\n", ["--encoding", "klingon"], "encoding 'klingon' is unknown"),
        (b"", [], "the file is empty"),
        (b"a film\nanother\n", [], "no column 'text'; the header has 'a film'"),
        (b"text,label\ngood,up\nbad,\n", [], "1 rows have no label in column 'label', the first of them in line 3"),
        (b"text,label\ngood good,up\nbad bad,up\n", [], "all 2 labels are 'up'; expected at least two different ones"),
        (b"text,label\ngood,up\nbad,down\n", [], "there is no word that comes min_count=2 times"),
        (b"text,label\ngood,up\nbad,down\n", ["--test", "1"], "test is 1.0; expected a share"),
        (b"text,label\ngood,up\nbad,down\n", ["--hidden", "0"], "hidden is 0"),
        (b"text,label\ngood,up\nbad,down\n", ["--seed", "-1"], "seed is -1"),
        (b"text,label\ngood,up\nbad,down\n", ["--vectors", "none.txt"], "No such file"),
        (b"text,label\ngood,up\nbad,down\n", ["--text", "review"], "no column 'review'"),
    ],
)
def test_errors_are_one_line_and_leave_no_file(tmp_path, content, options, message):
    path, out = tmp_path / "in.csv", tmp_path / "model"
    path.write_bytes(content)
    result = run("train", path, "--out", out, *QUICK, *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
    assert not out.exists()


def test_which_file_is_meant(table, tmp_path):
    for arguments in ([], ["--positive", table], [table, "--positive", table, "--negative", table]):
        result = run("train", *arguments, "--out", tmp_path / "model")
        assert result.exit_code == 2
        assert "give either FILE, or --positive FILE and --negative FILE" in result.stderr
    empty = tmp_path / "empty"
    empty.write_text("\n")
    result = run("train", "--positive", table, "--negative", empty, "--out", tmp_path / "model")
    assert f"{empty}: there are no texts" in result.stderr


def test_where_nothing_can_be_written(table, tmp_path):
    assert "there is no folder" in run("train", table, "--out", tmp_path / "none" / "model").stderr
    for folder in (tmp_path, ".", ".."):
        assert "is a folder; expected the name of a file" in run("train", table, "--out", folder).stderr


def test_a_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(click.UsageError, match="there is no standard input: give FILE"):
        read_texts(None, None, "utf-8")


def test_no_input_is_overwritten(table, tmp_path):
    before = table.read_bytes()
    (tmp_path / "link").symlink_to(table)
    for arguments in (
        [table],
        [tmp_path / "link"],
        ["--positive", table, "--negative", tmp_path / "other"],
        [tmp_path / "other", "--vectors", table],
    ):
        result = run("train", *arguments, "--out", table, *QUICK)
        assert result.exit_code == 2
        assert "would be overwritten: give another --out" in result.stderr
    assert table.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_named_before_the_work(table, tmp_path):
    folder = tmp_path / "fixed"
    folder.mkdir(mode=0o500)
    assert f"cannot write to the folder {folder}" in run("train", table, "--out", folder / "model").stderr


def test_predicting_with_what_is_not_there(model, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    for arguments, message in (
        ([tmp_path / "none", empty], "No such file"),
        ([empty, empty], "truncated, corrupt or no safetensors file"),
        ([model, tmp_path / "none"], "No such file"),
        ([model, empty], "there are no texts"),
        ([model, empty, "--text", "review"], "the file is empty"),
    ):
        result = run("predict", *arguments)
        assert result.exit_code == 1
        assert message in result.stderr
    assert "standard input: there are no texts" in run("predict", model, stdin="").stderr
    assert "standard input: line 2: byte 0xff is not text" in run("predict", model, stdin=b"ok\n\xff\n").stderr
    assert run("predict", model, "--text", "review", stdin="a").exit_code == 2


def test_signs_that_the_terminal_has_not(model):
    runner = CliRunner(charset="cp1252")  # of pipes on Windows
    shown = runner.invoke(main, ["sentiment", "predict", str(model)], input="lovely \U0001f44d".encode())
    assert (shown.exit_code, shown.exception) == (0, None)
    assert shown.stdout.endswith("\tlovely \\U0001f44d\n")
    found = runner.invoke(main, ["sentiment", "predict", str(model), "--json"], input="lovely \U0001f44d".encode())
    assert json.loads(found.stdout)[0]["text"] == "lovely \U0001f44d"


def test_cupy_that_is_not_there(model):
    from xprnn import available_backends

    if not available_backends()["cupy"]:
        pytest.skip("CuPy works here")
    assert "backend 'cupy' cannot be used" in run("predict", model, "--backend", "cupy", stdin="good").stderr


def test_a_model_file_with_nothing_in_it(tmp_path):
    write_tensors(tmp_path / "model", {}, {"kind": "text classifier", "version": 1})
    result = run("predict", tmp_path / "model", stdin="good")
    assert result.exit_code == 1
    assert "model: not a whole text classifier: settings is missing" in result.stderr
    assert "Traceback" not in result.stderr


def test_word_vectors_of_no_word(table, tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("zebra 1 2 3\n")
    result = run("train", table, "--out", tmp_path / "model", "--vectors", vectors, *QUICK)
    assert result.exit_code == 1
    assert "words are known" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "model").exists()
