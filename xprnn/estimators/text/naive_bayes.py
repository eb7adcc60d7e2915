"""A classifier of texts that needs no network, beside which every other one is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xprnn.data.tokenizer import is_word, split_words
from xprnn.estimators.text.input import check_texts, encode_labels, share_right

Host = np.ndarray[Any, Any]


class NaiveBayes:
    """Multinomial naive Bayes over words and, with ``pairs``, pairs of neighbours (Wang and Manning 2012).

    p(c | text) ~ p(c) product over its tokens t of p(t | c);  p(t | c) = (n(t, c) + 1) / sum over t of (n(t, c) + 1),
    with n(t, c) the number of training texts of class c that hold t. A text's own tokens count once, too. Text without
    a known word is no evidence, as in :class:`xprnn.estimators.TextClassifier`, whose methods and errors it shares.
    """

    def __init__(self, pairs: bool = True) -> None:
        self.pairs = bool(pairs)
        self.classes: tuple[Any, ...] = ()
        self._logs: dict[str, Host] = {}  # log p(t | c) for each token
        self._prior: Host = np.zeros(0)

    @property
    def name(self) -> str:
        """How tables call it."""
        return "naive Bayes, words and pairs" if self.pairs else "naive Bayes, words"

    def fit(self, texts: Sequence[str], labels: Sequence[Any]) -> NaiveBayes:
        """Count. Returns itself."""
        tokens = [self._tokens(text) for text in check_texts("NaiveBayes.fit", texts)]
        classes, target = encode_labels("NaiveBayes.fit", labels, len(tokens))
        counts = [Counter(t for k in np.flatnonzero(target == c) for t in tokens[k]) for c in range(len(classes))]
        known = sorted(set().union(*counts))
        table = np.array([[count[token] + 1.0 for token in known] for count in counts]).reshape(len(classes), -1)
        logs = np.log(table / table.sum(axis=1, keepdims=True)).T
        self.classes, self._logs = classes, dict(zip(known, logs, strict=True))
        self._prior = np.bincount(target) / len(target)
        return self

    def predict(self, texts: Sequence[str]) -> Host:
        """The most probable label of each text (N,), None where no word is known; an array of objects."""
        texts = check_texts("NaiveBayes.predict", texts)
        best = self.predict_proba(texts).argmax(axis=1)
        labels = np.empty(len(best), dtype=object)
        for k, text in enumerate(texts):
            labels[k] = self.classes[best[k]] if self._known(text) else None
        return labels

    def predict_proba(self, texts: Sequence[str]) -> Host:
        """The probabilities of ``classes`` for each text (N, C)."""
        if not self.classes:
            raise RuntimeError("NaiveBayes: fit it first")
        sums = [
            sum((self._logs[token] for token in self._known(text)), np.log(self._prior))
            for text in check_texts("NaiveBayes.predict_proba", texts)
        ]
        logs = np.array(sums).reshape(-1, len(self.classes))
        powers = np.exp(logs - logs.max(axis=1, keepdims=True, initial=-np.inf))
        return powers / powers.sum(axis=1, keepdims=True)

    def score(self, texts: Sequence[str], labels: Sequence[Any]) -> float:
        """The share of texts whose label is the predicted one; None is never right."""
        return share_right("NaiveBayes.score", self.predict(texts), labels, self.classes)

    def _known(self, text: str) -> list[str]:
        """The tokens of a text that were counted; none where no word is among them."""
        known = [token for token in self._tokens(text) if token in self._logs]
        return known if any(is_word(token) and " " not in token for token in known) else []

    def _tokens(self, text: str) -> list[str]:
        """Words and pairs, each once, in their order."""
        words = split_words(text)
        pairs = [f"{a} {b}" for a, b in pairwise(words)] if self.pairs else []
        return list(dict.fromkeys(words + pairs))
