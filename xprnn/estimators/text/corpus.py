"""Labelled texts as a classifier learns from them, and which texts have a word at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from xprnn.data.tokenizer import is_word
from xprnn.data.vocabulary import Vocabulary
from xprnn.estimators.labels import hold_out, number_labels
from xprnn.estimators.sequences.input import as_weights
from xprnn.estimators.sequences.targets import those_kept
from xprnn.estimators.text.input import Tokenizer, read_texts
from xprnn.estimators.text.subwords import MARKS

Host = np.ndarray[Any, Any]


class Corpus:
    """The N texts whose weight is not 0.

    Attributes
    ----------
    words, rows
        The different tokens of all texts, and each text as the numbers of its tokens among them.
    classes, own, target
        The labels, sorted, as Python's values and in their own dtype; and the number of each text's label (N,).
    weight
        How much each text counts (N,).
    """

    def __init__(
        self, owner: str, texts: Iterable[Any], labels: Sequence[Any] | None, sample_weight: Any, tokenize: Tokenizer
    ) -> None:
        self.words, rows, labels = read_texts(owner, texts, labels, tokenize)
        weight = as_weights(owner, sample_weight, len(rows), "text")
        kept = weight > 0.0
        labels = those_kept(owner, labels, kept)
        self.rows, self.weight = rows.taken(kept), weight[kept]
        self.classes, self.own, self.target = number_labels(owner, labels, len(self.rows))
        self._speaks = np.array([*map(_speaks, self.words), False])

    def hold_out(self, share: float, rng: np.random.Generator) -> Host:
        """Which texts are validated on (N,): of each label a share of those that have a word."""
        spoken, held = np.flatnonzero(self.rows.any(self._speaks)), np.zeros(len(self.rows), dtype=bool)
        held[spoken] = hold_out(self.target[spoken], share, rng)
        return held

    def counts(self, held: Host) -> dict[str, int]:
        """How often tokens come in the texts that have a word and are not held out."""
        learned = self.rows.taken(np.flatnonzero(self.rows.any(self._speaks) & ~held))
        counts = learned.counts(len(self.words)).tolist()
        return {word: count for word, count in zip(self.words, counts, strict=True) if count}

    def evidence(self, vocabulary: Vocabulary) -> Host:
        """Which texts have a word that is known (N,)."""
        known = np.array([*(word in vocabulary for word in self.words), False])
        return self.rows.any(self._speaks & known)

    def shares(self) -> Host:
        """The share of each label among the texts, by their weights (C,)."""
        return np.bincount(self.target, self.weight) / self.weight.sum()


def with_words(vocabulary: Vocabulary, tokens: list[list[str]]) -> Host:
    """Which texts (N,) have a known word among their tokens."""
    return np.array([any(token in vocabulary and _speaks(token) for token in text) for text in tokens], dtype=bool)


def _speaks(token: str) -> bool:
    """Whether a token, or part of a word without its marks, says something on its own."""
    return is_word(token.lstrip(MARKS))
