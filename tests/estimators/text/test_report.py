"""Reports of a classifier, against counts by hand."""

import json

import pytest

from xprnn.estimators.text.report import TextReport

REPORT = TextReport(("a", "b", "c"), ["a", "a", "a", "b", "b"], ["a", "b", None, "b", "b"], "ours", {"theirs": 0.5})


def test_accuracy_counts_no_evidence_as_wrong():
    assert REPORT.accuracy == pytest.approx(3 / 5)
    assert REPORT.accuracies() == pytest.approx({"ours": 3 / 5, "theirs": 0.5, "always a": 3 / 5})


def test_scores_of_each_label():
    a, b, c = REPORT.scores()
    assert a == {"label": "a", "texts": 3, "precision": 1.0, "recall": 1 / 3, "f1": 1 / 2}
    assert b == {"label": "b", "texts": 2, "precision": 2 / 3, "recall": 1.0, "f1": 4 / 5}
    assert c == {"label": "c", "texts": 0, "precision": None, "recall": None, "f1": None}


def test_table():
    lines = REPORT.table().splitlines()
    assert lines[0] == "5 texts held out, right:"
    assert [line.split()[-1] for line in lines[1:4]] == ["60.0%", "50.0%", "60.0%"]
    assert lines[6].split() == ["a", "3", "100.0%", "33.3%", "50.0%"]
    assert lines[8].split() == ["c", "0", "-", "-", "-"]
    assert lines[10].split() == ["a", "b", "c", "no", "evidence"]
    assert lines[11].split() == ["a", "1", "1", "0", "1"]
    assert lines[12].split() == ["b", "0", "2", "0", "0"]
    assert "no evidence" not in TextReport((0, 1), [0, 1], [0, 1]).table()


def test_json():
    found = json.loads(json.dumps(REPORT.as_json(), allow_nan=False))
    assert found["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert (found["texts"], found["without_evidence"]) == (5, 1)
