"""Rows of an Arrow file, read where they lie."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

import numpy as np


class ArrowRows:
    """Columns of an Arrow IPC file as a source of :class:`xprnn.data.Streamed`; the file is mapped, never read whole.

    >>> rows = ArrowRows("sensors.arrow", "speed", "load")  # doctest: +SKIP
    >>> rows[0:2]  # doctest: +SKIP
    array([[0.5, 1.2], [0.6, 1.1]])

    Columns of numbers give (rows, columns), one alone (rows,); one column of lists gives a list of sequences. What is
    decoded at once is one record batch, so write them smaller than a window.

    Raises ImportError without pyarrow, OSError or ValueError for a file that cannot be read, ValueError for columns
    that it does not have or that are of another type and, when they are read, for nulls.
    """

    def __init__(self, path: str | PathLike[str], *columns: str) -> None:
        try:
            import pyarrow as pa
        except ImportError as error:
            raise ImportError("ArrowRows needs pyarrow: pip install 'xprnn[arrow]'") from error
        self._name = fspath(path)
        self._file = pa.ipc.open_file(pa.memory_map(self._name))  # its errors are OSError and ValueError
        schema = self._file.schema
        if not columns or (missing := [name for name in columns if name not in schema.names]):
            came = f"columns {missing}" if columns else "no columns"
            raise ValueError(f"ArrowRows: {self._name}: {came} asked for; expected some of {', '.join(schema.names)}")
        self.columns, kinds = columns, [schema.field(name).type for name in columns]
        lists = [pa.types.is_list(kind) or pa.types.is_large_list(kind) for kind in kinds]
        numbers = [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds]
        if not all(numbers) and not (lists == [True] and _holds_numbers(pa, kinds[0].value_type)):
            raise ValueError(
                f"ArrowRows: {self._name}: {', '.join(columns)} are {', '.join(map(str, kinds))}; expected columns of "
                "numbers, or one of lists of numbers"
            )
        self._lists = lists[0]
        counts = [self._file.get_batch(k).num_rows for k in range(self._file.num_record_batches)]
        self._ends = np.cumsum([0, *counts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, rows: slice) -> Any:
        first, stop, _ = rows.indices(len(self))
        holding = int(np.searchsorted(self._ends, first, "right")) - 1  # the record batch that has the first row
        pieces: list[Any] = []
        for k in range(min(holding, len(self._ends) - 2), len(self._ends) - 1):
            begin = int(self._ends[k])
            if pieces and begin >= stop:
                break
            low, high = max(first - begin, 0), max(first, min(stop, int(self._ends[k + 1]))) - begin
            batch = self._file.get_batch(k).slice(low, high - low)
            found = [self._numbers(name, batch.column(name)) for name in self.columns]
            pieces += found[0] if self._lists else [found[0] if len(found) == 1 else np.stack(found, axis=-1)]
        return pieces if self._lists else np.concatenate(pieces)

    def _numbers(self, name: str, column: Any) -> Any:
        """A column as an array, or as a list of arrays."""
        inner = column.flatten() if self._lists else column
        if column.null_count or inner.null_count:
            raise ValueError(f"ArrowRows: {self._name}: {name} has nulls; expected numbers only: fill them first")
        numbers = inner.to_numpy(zero_copy_only=False)
        if not self._lists:
            return numbers
        ends = column.offsets.to_numpy()[1:] - column.offsets[0].as_py()
        return np.split(numbers, ends[:-1])


def _holds_numbers(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
