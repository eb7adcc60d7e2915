"""Text files as people have them."""

import csv

import pytest

from xprnn.data.text_file import decode, read_lines, read_table
from xprnn.data.text_stream import TextFile


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_lines(tmp_path):
    table = read_lines(write(tmp_path / "a", "one\r\n\r\n  two \nthree\rfour"))
    assert table.texts == ("one", "two", "three", "four")
    assert table.lines == (1, 3, 4, 5)
    assert table.labels is None
    assert read_lines(write(tmp_path / "empty", "")).texts == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_encodings(tmp_path, encoding):
    path = write(tmp_path / "a", "caf\u00e9\nna\u00efve", encoding)
    assert read_lines(path, "utf-8" if encoding == "utf-8-sig" else encoding).texts == ("caf\u00e9", "na\u00efve")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-32"])
def test_a_mark_at_the_beginning_is_no_text(tmp_path, encoding):
    path = write(tmp_path / "a", "one" if encoding == "utf-32" else "\ufeffone", encoding)
    assert read_lines(path, encoding).texts == ("one",)


def test_an_ellipsis_of_cp1252_ends_no_line(tmp_path):
    assert len(read_lines(write(tmp_path / "a", "well\u2026 yes", "cp1252"), "latin-1").texts) == 1


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"good\nfine\ncaf\xe9\n", "utf-8", r"a: line 3: byte 0xe9 is not text in utf-8;.*--encoding latin-1"),
        (b"a\r\nb\r\n\xff\r\n", "utf-8", "line 3: byte 0xff"),
        ("a\nb".encode("utf-16"), "utf-8", "--encoding utf-16"),
        ("a\nb".encode("utf-32"), "utf-8", "--encoding utf-32"),
        ("a\nb".encode("utf-16")[:-1], "utf-16", "is not text in utf-16; if it has another encoding, name it$"),
        ("a\nb".encode("utf-16"), "latin-1", "line 1 holds a zero byte, so this is no text in iso8859-1: is it in utf"),
        (b"ok\n\x00", "utf-8", "line 2 holds a zero byte"),
        (b"ok", "base64", "not text in base64"),
        (b"ok", "klingon", "encoding 'klingon' is unknown; expected one such as utf-8"),
    ],
)
def test_what_is_no_text(tmp_path, content, encoding, message):
    with pytest.raises(ValueError, match=message):
        decode(content, encoding, "a")
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_lines(tmp_path / "a", encoding)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_lines(tmp_path / "none")
    with pytest.raises(OSError, match="directory"):
        read_lines(tmp_path)


def test_the_separator_parts_all_rows_alike(tmp_path):
    path = write(tmp_path / "a.csv", "text (one, two, or three);label\nso, so;fair\nwell;good\n")
    name = "text (one, two, or three)"
    assert read_table(path, name).texts == ("so, so", "well")
    assert list(TextFile(path, name)) == [("so, so", "fair"), ("well", "good")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_table(tmp_path, separator):
    rows = ["id|label|text", '1|good|"so | good"', "2|bad| no ", "", '3|good|"two\nlines, ""both"" good"', "4|bad|"]
    table = read_table(write(tmp_path / "a.csv", "\n".join(rows).replace("|", separator)))
    assert table.texts == (f"so {separator} good", "no", 'two\nlines, "both" good', "")
    assert table.labels == ("good", "bad", "good", "bad")
    assert table.lines == (2, 3, 5, 7)


def test_columns_by_name(tmp_path):
    path = write(tmp_path / "a.csv", "Review,stars\nfine,5\n")
    assert read_table(path, "Review", "stars").labels == ("5",)
    table = read_table(path, "Review", None)
    assert (table.texts, table.labels) == (("fine",), None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("text,label\n", "no rows below the header"),
        ("text,klass\na,b\n", "no column 'label'; the header has 'text', 'klass'"),
        ("text,label,text\na,b,c\n", "more than one column 'text'"),
        ("text,label\nyes, it is,good\n", "line 2 has 3 cells, the header has 2; a cell that holds the separator"),
        ("text,label\na,b\nc, \nd,\n", "2 rows have no label in column 'label', the first of them in line 3"),
        ('text,label\na,b\n"open,b\n', "line 3: unexpected end of data; .* written twice"),
        ('text,label\na,b\n"a" film,b\n', "line 3: ',' expected after '\"'; .* written twice"),
    ],
)
def test_broken_tables(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path / "a.csv", content))


def test_a_text_may_be_long(tmp_path):
    long = "word " * 100_000 + "end"
    assert read_table(write(tmp_path / "a.csv", f"text,label\n{long},b\n")).texts == (long,)
    assert csv.field_size_limit() < len(long)  # as others have set it
