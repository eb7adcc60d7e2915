"""Rows of CSV files: what parts their cells, what their columns are called, and the numbers in them."""

from __future__ import annotations

import csv
import io
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path


def parted_by(header: str) -> str:
    """What parts cells: commas, semicolons or tabs, whichever the line of the header has most of."""
    return max(",;\t", key=header.count)


def place_of(path: Path, header: Sequence[str], name: str) -> int:
    """Where a column stands. Raises ValueError where none is called so, or more than one."""
    if header.count(name) != 1:
        problem = "no column" if name not in header else "more than one column"
        raise ValueError(f"{path}: {problem} {name!r}; the header has {', '.join(map(reprlib.repr, header[:20]))}")
    return header.index(name)


def check_cells(path: Path, line: int, cells: Sequence[str], header: Sequence[str]) -> None:
    """Raise ValueError for a row of another number of cells than the header."""
    if len(cells) != len(header):
        raise ValueError(
            f"{path}: line {line} has {len(cells)} cells, the header has {len(header)}; "
            "a cell that holds the separator must stand in double quotes"
        )


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line number. Raises OSError and ValueError, naming file and line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    delimiter = parted_by(text.lstrip().split("\n", 1)[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells)
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from None
    if len(rows) < 3:
        raise ValueError(f"{path}: expected a header and at least two rows, found {len(rows)} lines")
    header = rows[0][1]
    if all(number_of(cell) is not None for cell in header):
        raise ValueError(f"{path}: line 1 holds only numbers; expected a header with the names of the columns")
    for line, cells in rows[1:]:
        check_cells(path, line, cells, header)
    return header, rows[1:]


def number_of(text: str) -> float | None:
    """The number that a cell holds, also one that is not finite; None where it holds something else."""
    if not text.isascii() or "_" in text:  # float() would read 1_000, and digits of other scripts
        return None
    try:
        return float(text)
    except ValueError:
        return None


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
