"""Texts from files, one a line or a column of a CSV file, with errors that name the line."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass
from pathlib import Path

from xprnn.data.csv_rows import LINE_END, check_cells, parted_by, place_of, require_text, with_long_cells
from xprnn.whole_files import checked_path

MARKS = {  # that of UTF-32 begins as that of UTF-16 does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class TextTable:
    """Texts, the label of each as the file has it (None without labels), and the line of the file where each begins."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] | None
    lines: tuple[int, ...]


def decode(content: bytes, encoding: str, name: str) -> str:
    """Bytes as text; ``name`` is how errors call where they are from.

    Raises ValueError for an unknown encoding, and for bytes that are no text in it, with the line and the encoding to
    try.
    """
    if not isinstance(encoding, str):
        raise TypeError(f"{name}: encoding is a {type(encoding).__name__}; expected a name such as utf-8")
    try:
        known = codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(f"{name}: encoding {encoding!r} is unknown; expected one such as utf-8 or latin-1") from None
    require_text(name, content)
    marked = next((kind for mark, kind in MARKS.items() if content.startswith(mark)), "")
    try:
        text = content.decode(known).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = len(LINE_END.findall(content[: error.start].decode("latin-1"))) + 1
        other = marked or "latin-1"
        how = "" if other == known else f": --encoding {other} on the command line, encoding={other!r} in Python"
        raise ValueError(
            f"{name}: line {line}: byte 0x{content[error.start]:02x} is not text in {known}; if it has another "
            f"encoding, name it{how}"
        ) from None
    except (UnicodeError, LookupError) as error:  # UTF-16 without its mark; a codec that is not for text
        raise ValueError(f"{name}: not text in {known}: {error}") from None
    if "\0" in text:
        line = len(LINE_END.findall(text[: text.index("\0")])) + 1
        other = f": is it in {marked}?" if marked else ""
        raise ValueError(f"{name}: line {line} holds a zero byte, so this is no text in {known}{other}")
    return text


def lines_of(text: str) -> TextTable:
    """One text a line, without spaces around it; lines with nothing else are left out."""
    lines = [(k, line.strip()) for k, line in enumerate(LINE_END.split(text), start=1)]
    kept = [(k, line) for k, line in lines if line]
    return TextTable(tuple(line for _, line in kept), None, tuple(k for k, _ in kept))


def read_lines(path: str | Path, encoding: str = "utf-8") -> TextTable:
    """The lines of a file, as :func:`lines_of`. Raises OSError where it cannot be read, and as :func:`decode`."""
    return lines_of(decode(Path(checked_path(path)).read_bytes(), encoding, str(path)))


def read_table(path: str | Path, text: str = "text", label: str | None = "label", encoding: str = "utf-8") -> TextTable:
    """Columns of a CSV file with a header: texts and, unless ``label`` is None, their labels.

    Cells are parted by commas, semicolons or tabs, by which all rows part into as many; a quoted one may go over lines.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        As :func:`decode`; no such column, or two; no rows; a row with another number of cells than the header, or
        without a label. Messages name file and line.
    """
    path = Path(checked_path(path))
    content = decode(path.read_bytes(), encoding, str(path))
    separator, named = parted_by(content)
    reader = csv.reader(io.StringIO(content[named:], newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for cells in with_long_cells(reader, len(content)):
            if any(cell.strip() for cell in cells):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}: line {line}: {error}; a double quote inside quotes is written twice") from None
    if not rows:
        raise ValueError(f"{path}: the file is empty; expected a header and rows")
    header = [cell.strip() for cell in rows[0][1]]
    places = {name: place_of(path, header, name) for name in ([text] if label is None else [text, label])}
    if len(rows) == 1:
        raise ValueError(f"{path}: there are no rows below the header")
    for line, cells in rows[1:]:
        check_cells(path, line, cells, header)
    columns = {name: tuple(cells[place].strip() for _, cells in rows[1:]) for name, place in places.items()}
    lines = tuple(line for line, _ in rows[1:])
    if label is not None and (empty := [n for n, cell in zip(lines, columns[label], strict=True) if not cell]):
        raise ValueError(
            f"{path}: {len(empty)} rows have no label in column {label!r}, the first of them in line {empty[0]}; "
            "label them or take them out"
        )
    return TextTable(columns[text], None if label is None else columns[label], lines)
