"""What a TextClassifier is given: texts, checked, cut and parted."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from xprnn.arguments import one_of, share
from xprnn.data.rows import Rows, RowWriter
from xprnn.data.tokenizer import split_characters, split_words
from xprnn.estimators.labels import encode_labels, hold_out, listed
from xprnn.estimators.text.subwords import Subwords, json_of
from xprnn.randomness import Rng, generator

Host = np.ndarray[Any, Any]
Labelled = tuple[list[str], list[Any]]
UNKNOWN = ("frequent", "none")
Tokenizer = Callable[[str], Iterable[str]]
TOKENIZERS: dict[str, Tokenizer] = {"words": split_words, "characters": split_characters}


def tokenizer_setting(owner: str, name: str, tokenizer: Any) -> str:
    """Its name; the JSON of one of subwords; "custom" for a function, which no file can hold."""
    if callable(tokenizer):
        return "custom"
    if (told := json_of(tokenizer)) is not None:
        try:
            return Subwords(told).told
        except ValueError as error:
            raise ValueError(f"{owner}: {name} is {reprlib.repr(tokenizer)}: {error}") from None
    if not isinstance(tokenizer, str) or tokenizer not in TOKENIZERS:
        expected = ", ".join(map(repr, TOKENIZERS))
        subwords = "or subwords: a Tokenizer or its .json"
        raise ValueError(f"{owner}: {name} is {tokenizer!r}; expected {expected} or a function, {subwords}")
    return tokenizer


def check_texts(owner: str, texts: Any, first: int = 0) -> list[str]:
    """Texts as a list of str. Raises TypeError for anything else, and names the position, counted from ``first``."""
    found = listed(owner, "texts", texts, "a list of str")
    for k, text in enumerate(found, start=first):
        if not isinstance(text, str):
            raise TypeError(f"{owner}: text {k} is a {type(text).__name__}, {reprlib.repr(text)}; expected a str")
    return [str(text) for text in found]  # NumPy's str too


def cut_texts(owner: str, texts: Any, tokenize: Callable[[str], Iterable[str]], first: int = 0) -> list[list[str]]:
    """The tokens of texts, counted from ``first``. Raises TypeError for what is no text, and for what are no tokens."""
    found = []
    for k, text in enumerate(check_texts(owner, texts, first), start=first):
        given = tokenize(text)
        tokens = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [None]
        if not all(isinstance(token, str) for token in tokens):
            shown = f"{reprlib.repr(given)} for text {k}"
            raise TypeError(f"{owner}: the tokenizer gave {shown}; expected a list of str")
        found.append([str(token) for token in tokens])
    return found


def chosen_labels(owner: str, classes: Host, best: Host, evidence: Host, unknown: str) -> Host:
    """The classes of numbers (N,), or where there is no evidence what ``unknown`` says: that number's too, or None."""
    if one_of(owner, "unknown", unknown, UNKNOWN) == "frequent":
        return classes[best]
    labels = np.array([*classes.tolist(), None], dtype=object)
    return labels[np.where(evidence, best, len(classes))]


def split_texts(texts: Sequence[str], labels: Sequence[Any], test: float, rng: Rng = None) -> tuple[Labelled, Labelled]:
    """Texts and labels to learn from, and a share of each label's, drawn, to test on; each in the order given.

    Raises ValueError for a share that is not from 0 to below 1, and as ``fit`` for texts and labels.
    """
    owner = "split_texts"
    texts, labels = check_texts(owner, texts), listed(owner, "labels", labels, "a list")
    test = share(owner, "test", test)
    held = hold_out(encode_labels(owner, labels, len(texts))[1], test, generator(rng))
    train, rest = ([k for k in range(len(texts)) if held[k] == part] for part in (False, True))
    return _chosen(texts, labels, train), _chosen(texts, labels, rest)


def _chosen(texts: Sequence[str], labels: Sequence[Any], rows: list[int]) -> Labelled:
    return [texts[k] for k in rows], [labels[k] for k in rows]


def log_count_ratios(ids: Iterable[Host], target: Host, tokens: int, classes: int) -> Host:
    """log p(t | c) - log p(t | not c) for each token and class (V, C), as Wang and Manning 2012 have it.

    ids are the numbers of each text's tokens, target their classes. p(t | c) = (n + 1) / sum over t of (n + 1), with n
    the number of texts of class c that hold t.
    """
    counts = np.zeros((tokens, classes))
    for numbers_of, c in zip(ids, target, strict=True):
        counts[np.unique(numbers_of), c] += 1
    inside, outside = counts + 1.0, counts.sum(axis=1, keepdims=True) - counts + 1.0
    return np.log(inside / inside.sum(axis=0)) - np.log(outside / outside.sum(axis=0))


def read_texts(
    owner: str, texts: Iterable[Any], labels: Sequence[Any] | None, tokenize: Tokenizer
) -> tuple[list[str], Rows, Any]:
    """The different tokens of texts, each text as rows of their numbers, and the labels."""
    words: dict[str, int] = {}
    writer, found = RowWriter(), []
    for k, text in enumerate(texts if labels is None else check_texts(owner, texts)):
        if labels is None:
            if not isinstance(text, (tuple, list)) or len(text) != 2:
                shown = reprlib.repr(text)
                raise TypeError(
                    f"{owner}: text {k} is {shown}, without labels; expected a pair of a text and its label"
                )
            text, label = text
            found.append(label)
        (tokens,) = cut_texts(owner, [text], tokenize, k)
        writer.append([words.setdefault(token, len(words)) for token in tokens])
    return list(words), writer.rows(), found if labels is None else labels
