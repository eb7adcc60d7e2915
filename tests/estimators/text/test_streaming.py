"""TextClassifier learns from texts that come one by one, of which it keeps little."""

import csv
import tracemalloc

import numpy as np
import pytest
from reviews import QUICK, reviews

from xprnn.data import TextFile, rows
from xprnn.estimators import TextClassifier

TINY = {"hidden": 2, "embedding": 2, "epochs": 1, "batch_size": 50, "validation": 0, "tokenizer": str.split}


def write(path, texts, labels, delimiter=",", encoding="utf-8"):
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["n", "text", "label"])
        writer.writerows((k, *row) for k, row in enumerate(zip(texts, labels, strict=True)))
    return path


@pytest.mark.parametrize("spill", [10, 1 << 22])
def test_the_same_texts_give_the_same_model_however_they_come(tmp_path, monkeypatch, spill):
    monkeypatch.setattr(rows, "SPILL", spill)  # to a file on disk after ten tokens, or not at all
    texts, labels = reviews(80)
    texts = [*texts, 'one, "two"\nand caf\u00e9', "..."]
    labels = [*labels, "positive", "negative"]
    expected = TextClassifier(**QUICK).fit(texts, labels)
    file = TextFile(write(tmp_path / "in.csv", texts, labels))
    weight = np.ones(82)
    weight[5] = 0.0
    for source in (zip(texts, labels, strict=True), file):
        found = TextClassifier(**QUICK).fit(source)
        np.testing.assert_array_equal(found.predict_proba(texts), expected.predict_proba(texts))
        assert found.vocabulary == expected.vocabulary
    one, other = TextClassifier(**QUICK).fit(file, None, weight), TextClassifier(**QUICK).fit(texts, labels, weight)
    np.testing.assert_array_equal(one.predict_proba(texts), other.predict_proba(texts))


def test_several_files_are_read_side_by_side(tmp_path):
    before, long = csv.field_size_limit(), "x" * 200_000
    first, second = (
        iter(TextFile(write(tmp_path / name, ["short", text], ["a", "b"]))) for name, text in (("1", "y"), ("2", long))
    )
    assert next(first) == next(second) == ("short", "a")
    assert csv.field_size_limit() == before  # a setting of the process: others read files meanwhile
    assert list(first) == [("y", "b")]
    assert list(second) == [(long, "b")]


def test_memory_does_not_grow_with_the_texts(monkeypatch):
    for bound in ("SPILL", "AT_ONCE"):  # below what a step of training takes, which differs from machine to machine
        monkeypatch.setattr(rows, bound, 1000)

    def peak(count):
        pairs = ((f"{'good' if k % 2 else 'bad'} " + "film town " * 100, k % 2) for k in range(count))
        tracemalloc.start()
        TextClassifier(**TINY).fit(pairs)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(100)  # what is loaded once
    assert peak(1000) - peak(200) < 800 * 300  # bytes; the texts alone are 1000 each, and their tokens more


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        (["good film"], TypeError, "text 0 is 'good film', without labels; expected a pair"),
        ([("good", "a"), ("bad",)], TypeError, "text 1 is"),
        ([("good", "a"), (3, "b")], TypeError, "text 1 is a int, 3; expected a str"),
        ([("good", "a"), ("bad", None)], ValueError, "1 texts have no label"),
        ([], ValueError, "there are no texts"),
    ],
)
def test_bad_pairs(pairs, error, message):
    with pytest.raises(error, match=f"TextClassifier.fit: {message}"):
        TextClassifier(**QUICK).fit(iter(pairs))


def test_columns_separators_and_encodings(tmp_path):
    path = write(tmp_path / "in", ["a;b", "caf\u00e9"], ["x", "y"], ";", "latin-1")
    assert list(TextFile(path, encoding="latin-1")) == [("a;b", "x"), ("caf\u00e9", "y")]
    assert list(TextFile(path, "label", "n", encoding="latin-1")) == [("x", "0"), ("y", "1")]
    path.write_bytes(b"\xef\xbb\xbftext\tlabel\r\n\r\nlong \t x\r\n")
    assert list(TextFile(path)) == [("long", "x")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,label\n1,2\n", "no column 'text'; the header has 'a', 'label'"),
        (b"text,text,label\n", "more than one column 'text'"),
        (b"text,label\na,b\n\nc\n", "line 4 has 1 cells, the header has 2"),
        (b'text,label\n"a\nb",c\nd,\n', "line 4 has no label in column 'label'"),
        (b"text,label\na,b\n\xff,c\n", "byte 0xff is not text in utf-8-sig; name its encoding"),
        (b'text,label\n"a"b,c\n', "line 2: "),
    ],
)
def test_complaints_name_the_line(tmp_path, content, message):
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    limit = csv.field_size_limit()
    with pytest.raises(ValueError, match=f"in.csv: .*{message}"):
        list(TextFile(path))
    assert csv.field_size_limit() == limit
    with pytest.raises(ValueError, match="encoding 'klingon' is unknown"):
        list(TextFile(path, encoding="klingon"))
    with pytest.raises(FileNotFoundError):
        list(TextFile(tmp_path / "none"))
