"""Labelled texts from a CSV file, row by row: the file may be larger than memory."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

from xprnn.data.csv_rows import check_cells, parted_by, place_of, with_long_cells

START = 4096  # characters by which the separator is found: few, as what cannot be decoded is told of by its row


class TextFile:
    """The pairs (text, label) of a CSV file with a header, read anew by each ``iter()``, a row at a time.

    >>> classifier.fit(TextFile("reviews.csv", text="review", label="stars"))  # doctest: +SKIP

    Cells are parted by commas, semicolons or tabs, by which the first rows part into as many; a quoted one may go over
    lines.

    Raises, when it is read, OSError where the file cannot be read; ValueError, naming file and line, for an unknown
    encoding and bytes that are no text in it, no such column or two, a row with another number of cells than the
    header, and a row without a label.
    """

    def __init__(
        self, path: str | Path, text: str = "text", label: str = "label", *, encoding: str = "utf-8-sig"
    ) -> None:
        self.path, self.text, self.label, self.encoding = Path(path), text, label, encoding

    def __iter__(self) -> Iterator[tuple[str, str]]:
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(
                f"{self.path}: encoding {self.encoding!r} is unknown; expected one such as utf-8"
            ) from None
        line, size = 0, self.path.stat().st_size
        try:
            with open(self.path, encoding=self.encoding, newline="") as file:
                start = file.read(START)
                separator, named = parted_by(start, len(start) == START)
                file.seek(0)
                file.read(named)
                reader = csv.reader(file, delimiter=separator, strict=True)
                header: list[str] | None = None
                for cells in with_long_cells(reader, size):
                    begin, line = line + 1, reader.line_num
                    if not any(cell.strip() for cell in cells):
                        continue
                    if header is None:
                        header = [cell.strip() for cell in cells]
                        places = [place_of(self.path, header, name) for name in (self.text, self.label)]
                        continue
                    check_cells(self.path, begin, cells, header)
                    text, label = (cells[place].strip() for place in places)
                    if not label:
                        raise ValueError(f"{self.path}: line {begin} has no label in column {self.label!r}")
                    yield text, label
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise ValueError(
                f"{self.path}: behind line {line}: byte 0x{byte:02x} is not text in {self.encoding}; name its encoding"
            ) from None
        except csv.Error as error:
            raise ValueError(f"{self.path}: line {line + 1}: {error}") from None
