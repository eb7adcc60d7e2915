"""Vocabulary: tokens and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xprnn.arguments import each_true_or_false, several, true_or_false, whole_number
from xprnn.backend import to_numpy

SPECIALS = ("pad", "unknown", "start", "end")


class Vocabulary:
    """Numbers for tokens: first the specials, in the order given, then the tokens.

    >>> vocabulary = Vocabulary.build([["to", "be", "or", "not", "to", "be"]], specials=("pad", "unknown"))
    >>> vocabulary.tokens
    ('be', 'to', 'not', 'or')
    >>> vocabulary.encode(["not", "to", "see"])
    [4, 3, 1]

    Specials, any of "pad", "unknown", "start" and "end", are no tokens: a text that holds the word "<pad>" gets the
    number of that word, or of unknown. It does not change once made.

    Raises ValueError for a special or a token that is given twice, or a special of another name; TypeError for tokens
    that are not str.
    """

    def __init__(self, tokens: Iterable[str], specials: Sequence[str] = SPECIALS) -> None:
        self.tokens, self.specials = tuple(several("Vocabulary", "tokens", tokens)), _checked(specials)
        if wrong := [type(token).__name__ for token in self.tokens if not isinstance(token, str)]:
            raise TypeError(f"Vocabulary: a token is a {wrong[0]}; expected str")
        for name, entries in (("special", self.specials), ("token", self.tokens)):
            if len(set(entries)) < len(entries):
                twice = next(entry for entry, count in Counter(entries).items() if count > 1)
                raise ValueError(f"Vocabulary: {name} {twice!r} is given twice")
        self._ids = {token: k for k, token in enumerate(self.tokens, start=len(self.specials))}

    @classmethod
    def build(
        cls,
        sentences: Iterable[Sequence[str]],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        specials: Sequence[str] = SPECIALS,
    ) -> Vocabulary:
        """The vocabulary of sentences, which are lists of tokens: the most frequent first, equals by code point.

        Leaves out tokens that come fewer than ``min_count`` times, and the rarest where there would be more than
        ``max_size`` entries, specials included. Raises ValueError, and TypeError for a text in place of its tokens.
        """
        least, specials = whole_number("Vocabulary", "min_count", min_count), _checked(specials)
        if isinstance(sentences, str):
            raise TypeError("Vocabulary: sentences is a str; expected lists of tokens: tokenize it first")
        counts: Counter[str] = Counter()
        for k, sentence in enumerate(sentences):
            if isinstance(sentence, str):
                raise TypeError(
                    f"Vocabulary: sentence {k} is a str; expected a list of tokens: "
                    "tokenize it, or use list(text) for characters"
                )
            if wrong := [type(token).__name__ for token in sentence if not isinstance(token, str)]:
                raise TypeError(f"Vocabulary: sentence {k} holds a {wrong[0]}; expected tokens, which are str")
            counts.update(sentence)
        return cls.of_counts(counts, min_count=least, max_size=max_size, specials=specials)

    @classmethod
    def of_counts(
        cls,
        counts: Mapping[str, int],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        specials: Sequence[str] = SPECIALS,
    ) -> Vocabulary:
        """As :meth:`build`, from tokens that have been counted already."""
        least, specials = whole_number("Vocabulary", "min_count", min_count), _checked(specials)
        kept = sorted((token for token in counts if counts[token] >= least), key=lambda token: (-counts[token], token))
        if max_size is not None:
            kept = kept[: whole_number("Vocabulary", "max_size", max_size, len(specials)) - len(specials)]
        return cls(kept, specials)

    @property
    def pad_id(self) -> int:
        """The number that fills up a batch. Raises ValueError, as the next three, without such a special."""
        return self._special("pad")

    @property
    def unknown_id(self) -> int:
        """The number of all other tokens."""
        return self._special("unknown")

    @property
    def start_id(self) -> int:
        """The number that a sequence begins with."""
        return self._special("start")

    @property
    def end_id(self) -> int:
        """The number that a sequence ends with."""
        return self._special("end")

    def encode(self, tokens: Sequence[str], *, start: bool = False, end: bool = False) -> list[int]:
        """The numbers of tokens, between those of start and end where asked for.

        Raises ValueError for a token outside the vocabulary where there is no special "unknown"; TypeError for a str.
        """
        start, end = each_true_or_false("Vocabulary.encode", start=start, end=end)
        if isinstance(tokens, str):
            raise TypeError("Vocabulary.encode: tokens is a str; expected a list of tokens: tokenize it first")
        if "unknown" in self.specials:
            unknown = self.unknown_id
            ids = [self._ids.get(token, unknown) for token in tokens]
        else:
            if missing := [token for token in tokens if token not in self._ids]:
                raise ValueError(
                    f"Vocabulary.encode: token {missing[0]!r} is not in the vocabulary, which has no special 'unknown'"
                )
            ids = [self._ids[token] for token in tokens]
        return ([self.start_id] if start else []) + ids + ([self.end_id] if end else [])

    def decode(self, ids: Any, *, keep_specials: bool = False) -> list[str]:
        """The tokens of numbers, a list or a vector of any backend; an unknown one is "<unknown>".

        Pad, start and end are left out or, with ``keep_specials``, written likewise. Raises ValueError for a number
        outside the vocabulary or more than one axis, TypeError for numbers that are not integers.
        """
        keep_specials = true_or_false("Vocabulary.decode", "keep_specials", keep_specials)
        numbers = np.asarray(to_numpy(ids) if hasattr(ids, "shape") else ids)
        if numbers.ndim != 1:
            raise ValueError(f"Vocabulary.decode: ids has shape {numbers.shape}; expected one axis, one sequence")
        if numbers.size and numbers.dtype.kind not in "iu":
            raise TypeError(f"Vocabulary.decode: ids has dtype {numbers.dtype}; expected integers")
        first, tokens = len(self.specials), []
        for number in numbers.tolist():
            if not 0 <= number < len(self):
                raise ValueError(f"Vocabulary.decode: {number} is no number of this vocabulary, 0 to {len(self) - 1}")
            if number >= first:
                tokens.append(self.tokens[number - first])
            elif keep_specials or self.specials[number] == "unknown":
                tokens.append(f"<{self.specials[number]}>")
        return tokens

    def state_dict(self) -> dict[str, list[str]]:
        """The vocabulary as plain values, for JSON and :meth:`from_state_dict`."""
        return {"specials": list(self.specials), "tokens": list(self.tokens)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Vocabulary:
        """The vocabulary of a :meth:`state_dict`. Raises ValueError for anything else."""
        if not isinstance(state, Mapping):
            raise ValueError(f"Vocabulary: the state is a {type(state).__name__}; expected a dict")
        if set(state) != {"specials", "tokens"}:
            found = ", ".join(map(repr, sorted(state)))
            raise ValueError(f"Vocabulary: the state has {found or 'nothing'}; expected 'specials', 'tokens'")
        for name, entries in state.items():
            if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, str) for entry in entries):
                raise ValueError(f"Vocabulary: the state's {name} are no list of str")
        return cls(state["tokens"], state["specials"])

    def _special(self, name: str) -> int:
        if name not in self.specials:
            has = ", ".join(map(repr, self.specials)) or "none"
            raise ValueError(f"Vocabulary: this vocabulary has no {name!r}; its specials are {has}")
        return self.specials.index(name)

    def __len__(self) -> int:
        """How many numbers there are, specials included: the size of an embedding."""
        return len(self.specials) + len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (self.tokens, self.specials) == (other.tokens, other.specials)

    def __hash__(self) -> int:
        return hash((self.tokens, self.specials))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.tokens)} tokens, specials {', '.join(self.specials) or 'none'})"


def _checked(specials: Sequence[str]) -> tuple[str, ...]:
    specials = several("Vocabulary", "specials", specials)
    for name in specials:
        if not isinstance(name, str) or name not in SPECIALS:
            raise ValueError(f"Vocabulary: special {name!r} is unknown; expected some of {', '.join(SPECIALS)}")
    return tuple(specials)
