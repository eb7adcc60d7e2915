"""Rows of CSV files: what parts their cells, what their columns are called, and the dates in them."""

from __future__ import annotations

import csv
import io
import re
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from xprnn.data.csv_numbers import number_of

LINE_END = re.compile("\r\n|\n|\r")  # and not str.splitlines, for which \x85 ends a line: in cp1252 it is an ellipsis
NAMED_SEPARATOR = re.compile(r'\A\s*"?sep=([^\r\n"])"?(?=[\r\n])', re.IGNORECASE)  # as Excel takes it above a header
EMPTY_LINES = re.compile(r"\A\s*[\r\n]")  # a tab at the start of a header parts an empty cell
QUOTED = re.compile('"[^"]*"')
MONTH = re.compile(r"\d{4}-\d{2}")
QUARTER = re.compile(r"(\d{4})-?Q([1-4])")
DAY_OF_YEAR = re.compile(r"(\d{4})-(\d{3})")
MIDNIGHT = re.compile(r"(.{8,10}[T ])24((:?00(:?00([.,]0+)?)?)?)(?=$|[Z+-])")  # at the end of a day, as ISO 8601 has it
YEAR = re.compile(r"\d{4}")
BASIC = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})?(\d{2})?)?")  # ISO 8601's without its signs
UNIX = re.compile(r"(\d{10})(\d{3}|\d{6}|\d{9})?(?:\.(\d+))?")  # seconds since 1970, or in thousands and so on
MONTHS = "jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|(oct|nov|dec)(o?(em)?ber)?"
WEEKDAYS = "(sun|mon|tues?|wed(nes)?|thu(rs?)?|fri|sat(ur)?)(day)?"
OF_DATES = re.compile(rf"({MONTHS}|{WEEKDAYS}|utc|gmt|[ap]m|[tzqwmh年月日時分秒]|[\d\s.,:/_+-])+", re.IGNORECASE)
MONTH_NAME = re.compile(f"(?<![a-z])({MONTHS})(?![a-z])", re.IGNORECASE)
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?(\s?[ap]m)?(\s?(utc|gmt|z))?", re.IGNORECASE)
SHORT_QUARTER = re.compile(r"([1-4]q|q[1-4])[\s'./-]?(\d{2}|\d{4})", re.IGNORECASE)
SHORT_YEAR = re.compile(r"\d{1,2}([./-])\d{1,2}\1\d{1,2}")
NO_TEXT = {
    b"\x1f\x8b": "a file packed by gzip",
    b"PK\x03\x04": "a zip archive, or a spreadsheet such as .xlsx",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of the form .xls",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format": "a database of SQLite",
}
LONGEST_DATE = 48  # characters


def parted_by(text: str, cut: bool = False) -> tuple[str, int]:
    """What parts cells, and how many characters the line ``sep=`` above the header has, which says what does.

    Else it is commas, semicolons or tabs, by which all rows part into as many cells as the header. Where several do, or
    none, the one that the line of the header has most of outside quotes. ``cut``: the text is the start of a longer
    one, and its last row maybe not whole.
    """
    if named := NAMED_SEPARATOR.match(text):
        return named[1], named.end()
    text = EMPTY_LINES.sub("", text)
    header = QUOTED.sub("", LINE_END.split(text, maxsplit=1)[0])
    ranked = sorted((mark for mark in ",;\t" if mark in header), key=header.count, reverse=True)
    fitting = (mark for mark in ranked if _as_many(text, mark, cut)) if len(ranked) > 1 else iter(ranked)
    return next(fitting, ranked[0] if ranked else ","), 0


def _as_many(text: str, delimiter: str, cut: bool) -> bool:
    """Whether all rows have as many cells as the first; empty ones aside."""
    expected = last = 0
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if last != expected:
                return False
            if any(cell.strip() for cell in cells):
                last = len(cells)
                expected = expected or last
    except csv.Error:
        return False
    return cut or last == expected


def place_of(path: Path, header: Sequence[str], name: str) -> int:
    """Where a column stands. Raises ValueError where none is called so, or more than one."""
    if header.count(name) != 1:
        problem = "no column" if name not in header else "more than one column"
        raise ValueError(f"{path}: {problem} {name!r}; the header has {', '.join(map(reprlib.repr, header[:20]))}")
    return header.index(name)


def require_once(path: Path, names: Sequence[str]) -> None:
    """Raise ValueError for a column that is named twice."""
    for k, name in enumerate(names):
        if name in names[:k]:
            raise ValueError(f"{path}: column {name!r} is named twice; expected each once")


def check_cells(path: Path, line: int, cells: Sequence[str], header: Sequence[str]) -> None:
    """Raise ValueError for a row of another number of cells than the header."""
    if len(cells) != len(header):
        raise ValueError(
            f"{path}: line {line} has {len(cells)} cells, the header has {len(header)}; "
            "a cell that holds the separator must stand in double quotes"
        )


def require_text(name: str, content: bytes) -> None:
    """Raise ValueError for files of other kinds, which begin as those do; ``name`` is how errors call it."""
    for start, kind in NO_TEXT.items():
        if content.startswith(start):
            raise ValueError(f"{name}: this is {kind}; expected text, such as that of a CSV file")


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line number. Raises OSError and ValueError, naming file and line.

    Lines of spaces are no rows, nor are those at the end of nothing but separators.
    """
    content = path.read_bytes()
    require_text(str(path), content)
    try:
        text = io.StringIO(content.decode("utf-8-sig"), newline=None).read()  # line ends of all systems are one
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    separator, named = parted_by(text)
    reader = csv.reader(io.StringIO(text[named:], newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend(
            (reader.line_num, [cell.strip() for cell in cells])
            for cells in reader
            if cells and not (len(cells) == 1 and cells[0].isspace())
        )
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from None
    while rows and not any(rows[-1][1]):  # spreadsheets write rows that somebody has emptied
        rows.pop()
    if len(rows) < 3:
        raise ValueError(f"{path}: expected a header and at least two rows, found {len(rows)} lines")
    header = rows[0][1]
    if all(not cell or number_of(cell) is not None or parse_date(cell) is not None for cell in header):
        raise ValueError(
            f"{path}: line 1 holds only numbers and dates; expected a header with the names of the columns"
        )
    for line, cells in rows[1:]:
        check_cells(path, line, cells, header)
    return header, rows[1:]


def parse_date(text: str, digits: bool = False) -> datetime | None:
    """A date in one of the forms that are read, of a span the first.

    Digits alone only where these ``digits`` are known to be no numbers.
    """
    if "/" in text:  # which Python takes for the T before a time
        return _of_span(*text.split("/", 1))
    if text[4:5] == text[7:8] == "-":  # as most are
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    if digits and text.isascii():
        if YEAR.fullmatch(text):
            text += "-01-01"
        elif (found := _of_digits(text)) is not None:
            return found
    if number_of(text) is not None:  # "2020" may well be a number, and "20200131.12"
        return None
    if quarter := QUARTER.fullmatch(text):
        text = f"{quarter[1]}-{3 * int(quarter[2]) - 2:02}"
    if MONTH.fullmatch(text):
        text += "-01"
    if text.endswith("Z"):  # which Python reads from 3.11 on
        text = text[:-1] + "+00:00"
    late = MIDNIGHT.match(text)
    if late:
        text = f"{late[1]}00{late[2]}{text[late.end() :]}"
    try:
        found = datetime.fromisoformat(text)
        return found + timedelta(days=1) if late else found
    except (ValueError, OverflowError):
        return None


def _of_span(begin: str, end: str) -> datetime | None:
    """The first date of a span of ISO 8601, which has two."""
    first, last = parse_date(begin), parse_date(end)
    if first is None or last is None or (first.tzinfo is None) != (last.tzinfo is None):
        return None
    return first if first <= last else None


def _of_digits(text: str) -> datetime | None:
    """YYYYMMDD, from 1900 on also with hours, minutes and seconds; a day of a year, YYYY-DDD; or seconds since 1970, in
    UTC, to microseconds.
    """
    if numbered := DAY_OF_YEAR.fullmatch(text):
        with suppress(ValueError, OverflowError):
            first = datetime(int(numbered[1]), 1, 1)
            found = first + timedelta(days=int(numbered[2]) - 1)
            return found if found.year == first.year else None
    moment = BASIC.fullmatch(text)
    if moment and (len(text) == len("YYYYMMDD") or text.startswith(("19", "20"))):  # as those of 2030 on begin
        year, month, day, *clock = moment.groups()
        with suppress(ValueError):
            return datetime.fromisoformat(f"{year}-{month}-{day}T{':'.join(part or '00' for part in clock)}")
    if moment := UNIX.fullmatch(text):
        seconds, *more = moment.groups()
        micros = "".join(part or "" for part in more).ljust(6, "0")[:6]
        return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=int(seconds), microseconds=int(micros))
    return None


def looks_dated(text: str) -> bool:
    """Whether a text is put together as dates are, in whatever form: of numbers, signs, and names of months and days.

    Among them are a month by name and a number, or a year of four digits and a shorter number, or three short ones.
    """
    if SHORT_QUARTER.fullmatch(text):
        return True
    if len(text) > LONGEST_DATE or not OF_DATES.fullmatch(text) or number_of(text) is not None:
        return False
    day = CLOCK.sub(" ", text)
    lengths = [len(number) for number in re.findall(r"\d+", day)]
    if MONTH_NAME.search(day):
        return bool(lengths)
    year = len(lengths) > 1 and sorted(lengths)[-2] <= 2 and max(lengths) == 4
    return year or bool(SHORT_YEAR.fullmatch(day.strip()))


def with_long_cells(reader: Iterator[list[str]], longest: int) -> Iterator[list[str]]:
    """The rows of a reader of :mod:`csv`, whose cells may have so many characters.

    The limit is one of the whole process, so it is another one only while a row is read.
    """
    while True:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, longest))
        try:
            cells = next(reader, None)
        finally:
            csv.field_size_limit(before)
        if cells is None:
            return
        yield cells
