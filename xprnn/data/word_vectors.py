"""Word vectors that others have trained: the text formats of GloVe and word2vec, and the latter's binary one."""

from __future__ import annotations

import mmap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xprnn.arguments import float_dtype, of_kind, several
from xprnn.data.vocabulary import Vocabulary
from xprnn.randomness import Rng, generator
from xprnn.whole_files import checked_path

Host = np.ndarray[Any, Any]
PEEK = 1 << 12  # bytes that tell text from numbers
LONGEST = 1 << 12  # bytes of a token in a binary file, which says nowhere how long they are


@dataclass(frozen=True)
class WordVectors:
    """Tokens and their vectors (N, D) float32, on the host. Raises ValueError for another shape."""

    tokens: tuple[str, ...]
    vectors: Host

    def __post_init__(self) -> None:
        if not isinstance(self.vectors, np.ndarray):
            raise TypeError(f"WordVectors: vectors is a {type(self.vectors).__name__}; expected an array (N, D)")
        shape, count = self.vectors.shape, len(several("WordVectors", "tokens", self.tokens))
        if len(shape) != 2 or shape[0] != count:
            raise ValueError(f"WordVectors: vectors has shape {shape}; expected (N, D), N = {count} tokens")

    def table(self, vocabulary: Vocabulary, *, rng: Rng = None, dtype: str = "float32") -> tuple[Host, Host]:
        """An embedding's weight (V, D) for a vocabulary, and which of its rows (V,) have a vector here.

        The others, specials among them, are drawn from N(0, s^2), s the deviation of all vectors, so that no row is
        larger than the rest; pad is zero. Raises ValueError where no token of the vocabulary has a vector.
        """
        float_dtype("WordVectors.table", dtype)
        of_kind("WordVectors.table", "vocabulary", vocabulary, Vocabulary)
        places = {token: k for k, token in enumerate(self.tokens)}
        if not any(token in places for token in vocabulary.tokens):
            count = len(vocabulary.tokens)
            raise ValueError(f"WordVectors.table: 0 of {count} words are known; expected vectors of some of them")
        first, spread = len(vocabulary.specials), float(self.vectors.std())
        weight = generator(rng).normal(0.0, spread, (len(vocabulary), self.vectors.shape[1])).astype(dtype)
        found = np.zeros(len(vocabulary), dtype=bool)
        for row, token in enumerate(vocabulary.tokens, start=first):
            if token in places:
                weight[row], found[row] = self.vectors[places[token]], True
        if "pad" in vocabulary.specials:
            weight[vocabulary.pad_id] = 0.0
        return weight, found


def read_word_vectors(path: str | Path, only: Collection[str] | None = None) -> WordVectors:
    """Read a file of tokens and their numbers, a line each or as word2vec writes them in binary.

    Text has a token and its numbers a line (GloVe), and may begin with word2vec's line of two sizes (fastText's .vec
    too); there tokens may hold spaces. Binary begins with that line, and has each token, a space, and its numbers as
    little-endian float32, with or without a line end. Which of both a file is, its first bytes say.

    ``only`` these tokens are kept, such as ``vocabulary.tokens``: files hold millions that a text never uses. Of a
    token given twice the first counts. UTF-8; tokens in other bytes are passed over.

    Raises OSError where the file cannot be read; ValueError, with the line or the number of the word, for a number that
    is none or not finite, another number of numbers than in the lines before, a binary file that is cut off or goes on
    behind its last word, or a file without vectors.
    """
    path = Path(checked_path(path))
    wanted = None if only is None else {token.encode(errors="surrogatepass") for token in only}
    sizes = _sizes_of_binary(path)
    kept, size = _read_text(path, wanted) if sizes is None else (_read_binary(path, *sizes, wanted), sizes[1])
    tokens = {token: text for token in kept if (text := _text(token)) is not None}
    vectors = [kept[token] for token in tokens]
    return WordVectors(tuple(tokens.values()), np.array(vectors, np.float32).reshape(len(vectors), size))


def _read_text(path: Path, wanted: set[bytes] | None) -> tuple[dict[bytes, Host], int]:
    """The vectors of tokens, and how many numbers each has."""
    kept: dict[bytes, Host] = {}
    size = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            parts = line.rstrip().split(b" ")
            if line.isspace() or (number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts)):
                continue
            if not size:
                size = _count_numbers(parts)
                if not size:
                    raise ValueError(f"{path}: line {number}: expected a token and its numbers, parted by spaces")
            if len(parts) <= size:
                found = f"{len(parts) - 1} numbers; expected {size}, as in the lines before"
                raise ValueError(f"{path}: line {number} has {found}")
            token = b" ".join(parts[:-size])
            if token in kept or (wanted is not None and token not in wanted):
                continue
            kept[token] = _numbers(path, number, parts[-size:])
    if not size:
        raise ValueError(f"{path}: there are no vectors in this file")
    return kept, size


def _sizes_of_binary(path: Path) -> tuple[int, int, int] | None:
    """The number of words, of numbers each, and of bytes before the first, of a binary file; None for one of text."""
    with open(path, "rb") as file:
        first, following = file.readline(PEEK), file.read(PEEK)
    sizes = first.split()
    if len(sizes) != 2 or not all(part.isdigit() and len(part) < 16 for part in sizes):
        return None
    count, size = map(int, sizes)
    parts = following.split(b"\n", 1)[0].rstrip().split(b" ")
    if len(parts) > size and _count_numbers(parts) == size:
        return None  # a line of text, whatever its bytes
    try:
        following.decode()
    except UnicodeDecodeError as error:
        cut = error.start >= len(following) - 3  # within a sign, at the end of what was read
        if not cut:
            return count, size, len(first)
    control = any(byte < 32 and byte not in b"\t\n\v\f\r" for byte in following)
    return (count, size, len(first)) if control else None


def _read_binary(path: Path, count: int, size: int, at: int, wanted: set[bytes] | None) -> dict[bytes, Host]:
    """The vectors of tokens. The file is mapped, so that memory holds only what is kept."""
    if not count or not size:
        raise ValueError(f"{path}: line 1 says {count} words of {size} numbers; expected at least one of each")
    kept: dict[bytes, Host] = {}
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        for number in range(1, count + 1):
            end = held.find(b" ", at, at + LONGEST)
            stop = end + 1 + 4 * size
            if end < 0 or stop > len(held):
                raise ValueError(
                    f"{path}: word {number} of {count} is cut off, or has not {size} numbers as line 1 says"
                )
            token = held[at:end].lstrip(b"\r\n")
            if token not in kept and (wanted is None or token in wanted):
                kept[token] = np.frombuffer(held[end + 1 : stop], "<f4").astype(np.float32)
                if not np.isfinite(kept[token]).all():
                    raise ValueError(f"{path}: word {number} of {count}: expected finite numbers")
            at = stop
        if held[at:].strip():
            raise ValueError(f"{path}: there is more behind the {count} words of {size} numbers that line 1 says")
    return kept


def _count_numbers(parts: list[bytes]) -> int:
    """How many numbers the first line has after its token, which is not looked at."""
    count = 0
    for part in reversed(parts[1:]):
        try:
            float(part)
        except ValueError:
            break
        count += 1
    return count


def _numbers(path: Path, line: int, parts: list[bytes]) -> Host:
    try:
        with np.errstate(over="ignore"):
            numbers = np.array([float(part) for part in parts]).astype(np.float32)
    except ValueError as error:
        raise ValueError(f"{path}: line {line}: {error}") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path}: line {line}: expected finite numbers of float32")
    return numbers


def _text(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None
