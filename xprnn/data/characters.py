"""Characters as numbers, and a long text as streams side by side, for truncated backpropagation through time.

Of a file nothing is held but the numbers: one byte a character where there are at most 256 different ones; of a large
one they are held on the disk.
"""

from __future__ import annotations

import codecs
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from xprnn.arguments import size
from xprnn.backend import to_numpy
from xprnn.data.passes import let_pages_go
from xprnn.whole_files import checked_path

Host = np.ndarray[Any, Any]
PIECE = 1 << 16  # bytes of a file, or characters of a text, worked on at a time
RESIDENT = 1 << 26  # mapped numbers that are kept resident while they are written
IN_MEMORY = 1 << 30  # bytes of a file whose numbers are held in memory; those of a larger one are mapped


class Alphabet:
    """The different characters of a text, numbered by code point.

    >>> alphabet = Alphabet("to be")
    >>> alphabet.characters
    ' beot'
    >>> alphabet.encode("toe").tolist()
    [4, 3, 2]
    >>> alphabet.decode([4, 3, 2])
    'toe'

    Raises ValueError for no characters, TypeError for anything but text.
    """

    def __init__(self, characters: str) -> None:
        if not isinstance(characters, str):
            raise TypeError(f"Alphabet: characters is a {type(characters).__name__}; expected str")
        if not characters:
            raise ValueError("Alphabet: there are no characters; expected at least one")
        self.characters = "".join(sorted(set(characters)))
        self._codes = _codes(self.characters)
        self.dtype = np.min_scalar_type(len(self.characters) - 1)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Host:
        """The numbers of a text's characters (N,), in the narrowest unsigned dtype that holds them all.

        Raises ValueError, naming the first character that is not in the alphabet.
        """
        if not isinstance(text, str):
            raise TypeError(f"Alphabet.encode: text is a {type(text).__name__}; expected str")
        ids = np.empty(len(text), self.dtype)
        for start in range(0, len(text), PIECE):
            codes = _codes(text[start : start + PIECE])
            places = np.minimum(np.searchsorted(self._codes, codes), len(self) - 1)
            wrong = np.flatnonzero(self._codes[places] != codes)
            if len(wrong):
                at = start + int(wrong[0])
                raise ValueError(f"Alphabet.encode: character {text[at]!r} at {at} is not among the {len(self)} known")
            ids[start : start + len(codes)] = places
        return ids

    def decode(self, ids: Any) -> str:
        """The text of numbers (N,). Raises ValueError for a number outside the alphabet."""
        numbers = np.asarray(to_numpy(ids) if hasattr(ids, "shape") else ids)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            came = f"shape {numbers.shape} and dtype {numbers.dtype}"
            raise TypeError(f"Alphabet.decode: ids has {came}; expected integers (N,)")
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise ValueError(
                f"Alphabet.decode: numbers go from {numbers.min()} to {numbers.max()}; expected 0 to {len(self) - 1}"
            )
        return "".join(self.characters[k] for k in numbers)


def read_characters(path: str | PathLike[str], alphabet: Alphabet | None = None) -> tuple[Host, Alphabet]:
    """The numbers of all characters of a UTF-8 file (N,), and their alphabet: the file's own, or the one given.

    Line ends become newlines; a byte order mark is left out. The file is read in pieces, twice where its alphabet must
    be found first, so that no more than a piece of it is ever held beside the numbers. Those of a file of more than a
    gigabyte lie in a temporary file, which is gone with them, and come to memory where they are read.

    Raises OSError where it cannot be read; ValueError where it is empty, not UTF-8 (with the place), or has characters
    that the given alphabet lacks.
    """
    if alphabet is None:
        found: set[str] = set()
        for text in _pieces(path):
            found.update(text)
        if not found:
            raise ValueError(f"{fspath(path)}: the file is empty")
        alphabet = Alphabet("".join(found))
    # Bytes are never fewer than characters: what is not filled was never touched, so the system never gave it.
    ids, end = _room(Path(checked_path(path)).stat().st_size, alphabet.dtype), 0
    for text in _pieces(path):
        try:
            part = alphabet.encode(text)
        except ValueError as error:
            raise ValueError(f"{fspath(path)}: after {end} characters: {error}") from None
        if end + len(part) > len(ids):
            raise ValueError(f"{fspath(path)}: the file grew while it was read")
        ids[end : end + len(part)] = part
        if end // RESIDENT != (end := end + len(part)) // RESIDENT:
            let_pages_go(ids)
    if end == 0:
        raise ValueError(f"{fspath(path)}: the file is empty")
    return ids[:end], alphabet


def character_streams(ids: Host, batch: int) -> tuple[Host, Host]:
    """Cut a text into B streams that run side by side: inputs x (T, B) and the characters that follow them, y (T, B).

    Column b is one contiguous part of the text, so that the state after step t is the state before step t + 1; y is the
    text one character on. T = (N - 1) // B; what is left over at the end is not used. Both are views of ids (N,).

    Raises ValueError where the text is too short for one step.
    """
    batch = size("character_streams", "batch", batch)
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"character_streams: ids is a {type(ids).__name__}; expected an array of numbers (N,)")
    if ids.ndim != 1 or len(ids) <= batch:
        raise ValueError(
            f"character_streams: ids has shape {ids.shape}; expected (N,) with N > {batch}, the batch size"
        )
    steps = (len(ids) - 1) // batch
    return tuple(ids[k : k + steps * batch].reshape(batch, steps).T for k in (0, 1))  # type: ignore[return-value]


def _room(size: int, dtype: Any) -> Host:
    """An array to be filled: in memory or, where it is large, mapped from a file without a name."""
    if size <= IN_MEMORY:
        return np.empty(size, dtype)
    total = size * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile() as file:  # the map keeps it
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, total)  # a full disk is an error here, and later the process's end
        else:
            file.truncate(total)
        return np.asarray(np.memmap(file, dtype, "r+", shape=(size,)))


def _codes(text: str) -> Host:
    """Code points, sorted as the characters are."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), "<u4")


def _pieces(path: str | PathLike[str]) -> Iterator[str]:
    """The text of a file, piece by piece, with newlines as line ends."""
    decoder, at_start = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True), True
    with open(checked_path(path), "rb") as file:
        for begin, piece in _placed(iter(lambda: file.read(PIECE), b"")):
            held = len(decoder.getstate()[0])  # the bytes of a character that the piece before has cut
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                at = begin - held + error.start
                raise ValueError(f"{fspath(path)}: not UTF-8 text ({error.reason} at byte {at})") from None
            yield text.removeprefix("\ufeff") if at_start else text
            at_start = at_start and not text


def _placed(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number of its first byte, piece), and nothing as the last one."""
    begin = 0
    for piece in pieces:
        yield begin, piece
        begin += len(piece)
    yield begin, b""
