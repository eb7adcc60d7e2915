"""A classifier of texts that needs no network, beside which every other one is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xprnn.arguments import true_or_false
from xprnn.data.tokenizer import is_word, split_words
from xprnn.estimators.labels import number_labels, share_right
from xprnn.estimators.parameters import Parameters, Role, not_fitted
from xprnn.estimators.sequences.input import as_weights
from xprnn.estimators.text.input import check_texts, chosen_labels

Host = np.ndarray[Any, Any]


class NaiveBayes(Parameters):
    """Multinomial naive Bayes over words and, with ``pairs``, pairs of neighbours (Wang and Manning 2012).

    p(c | text) ~ p(c) product over its tokens t of p(t | c);  p(t | c) = (n(t, c) + 1) / sum over t of (n(t, c) + 1),
    with n(t, c) the number of training texts of class c that hold t. A text's own tokens count once, too. Text without
    a known word is no evidence, as in :class:`xprnn.estimators.TextClassifier`, whose methods and errors it shares.

    Raises ValueError for ``pairs`` that are neither True nor False.
    """

    ROLE = Role("classifier", reads=("one_d_array", "string"))

    def __init__(self, pairs: bool = True) -> None:
        true_or_false("NaiveBayes", "pairs", pairs)
        self.pairs = pairs
        self.classes: tuple[Any, ...] = ()
        self._logs: dict[str, Host] = {}  # log p(t | c) for each token
        self._prior: Host = np.zeros(0)
        self._labels: Host = np.zeros(0)  # the classes in the labels' own dtype

    def __sklearn_is_fitted__(self) -> bool:
        return bool(self.classes)

    @property
    def classes_(self) -> Host:
        """The labels, sorted, in the dtype of those given to ``fit``."""
        if not self.classes:
            raise AttributeError("NaiveBayes: classes_ is known after fit")
        return self._labels

    @property
    def name(self) -> str:
        """How tables call it."""
        return "naive Bayes, words and pairs" if self.pairs else "naive Bayes, words"

    def fit(self, texts: Sequence[str], labels: Sequence[Any]) -> NaiveBayes:
        """Count. Returns itself."""
        tokens = [self._tokens(text) for text in check_texts("NaiveBayes.fit", texts)]
        classes, own, target = number_labels("NaiveBayes.fit", labels, len(tokens))
        counts = [Counter(t for k in np.flatnonzero(target == c) for t in tokens[k]) for c in range(len(classes))]
        known = sorted(set().union(*counts))
        table = np.array([[count[token] + 1.0 for token in known] for count in counts]).reshape(len(classes), -1)
        logs = np.log(table / table.sum(axis=1, keepdims=True)).T
        fitted = {"classes": classes, "_labels": own, "_logs": dict(zip(known, logs, strict=True))}
        # At once, so that Ctrl-C finds the old fit or the new one.
        vars(self).update(fitted, _prior=np.bincount(target) / len(target))
        return self

    def predict(self, texts: Sequence[str], *, unknown: str = "frequent") -> Host:
        """The most probable label of each text (N,): :meth:`xprnn.estimators.TextClassifier.predict`."""
        texts = check_texts("NaiveBayes.predict", texts)
        best = self.predict_proba(texts).argmax(axis=1)
        evidence = np.array([bool(self._known(text)) for text in texts], dtype=bool)
        return chosen_labels("NaiveBayes.predict", self._labels, best, evidence, unknown)

    def predict_proba(self, texts: Sequence[str]) -> Host:
        """The probabilities of ``classes`` for each text (N, C)."""
        if not self.classes:
            raise not_fitted("NaiveBayes")
        sums = [
            sum((self._logs[token] for token in self._known(text)), np.log(self._prior))
            for text in check_texts("NaiveBayes.predict_proba", texts)
        ]
        logs = np.array(sums).reshape(-1, len(self.classes))
        powers = np.exp(logs - logs.max(axis=1, keepdims=True, initial=-np.inf))
        return powers / powers.sum(axis=1, keepdims=True)

    def score(
        self, texts: Sequence[str], labels: Sequence[Any], sample_weight: Any = None, *, unknown: str = "frequent"
    ) -> float:
        """The share of texts, by their weights, whose label is what ``predict`` says; None is never right."""
        owner, said = "NaiveBayes.score", self.predict(texts, unknown=unknown)
        return share_right(owner, said, labels, self.classes, as_weights(owner, sample_weight, len(said), "text"))

    def _known(self, text: str) -> list[str]:
        """The tokens of a text that were counted; none where no word is among them."""
        known = [token for token in self._tokens(text) if token in self._logs]
        return known if any(is_word(token) and " " not in token for token in known) else []

    def _tokens(self, text: str) -> list[str]:
        """Words and pairs, each once, in their order."""
        words = split_words(text)
        pairs = [f"{a} {b}" for a, b in pairwise(words)] if self.pairs else []
        return list(dict.fromkeys(words + pairs))
