"""What estimators of texts have in common: a vocabulary, the labels that there are, and the file of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from xprnn.arguments import at_least, of_kind, optional, probability, size, true_or_false, whole_number
from xprnn.data.vocabulary import Vocabulary
from xprnn.data.word_vectors import WordVectors
from xprnn.estimators.estimator import TRAINING, Estimator
from xprnn.estimators.labels import classes_described, classes_restored
from xprnn.estimators.sequences.calibration import restored_temperature
from xprnn.estimators.sequences.labelled import LABELLED
from xprnn.estimators.text.network import TextNetwork
from xprnn.randomness import Rng, generator

Host = np.ndarray[Any, Any]
EMBEDDING = 100
SIZES = ("cell", "hidden", "layers", "bidirectional", "pooling")
TEXTS = (
    TRAINING
    | LABELLED
    | {
        "embedding": optional(size),
        "bidirectional": true_or_false,
        "min_count": whole_number,
        "max_vocabulary": optional(at_least(3)),  # two specials and a token
        "dropout": probability,
        "word_dropout": probability,
        "batch_size": optional(whole_number),
        "patience": whole_number,
    }
)
"""The settings that estimators of texts have."""


class TextEstimator(Estimator):
    """Base of those that read tokens and say labels: a :class:`TextNetwork` over the numbers of a vocabulary."""

    METADATA: ClassVar = {"classes": list, "vocabulary": dict}

    vocabulary: Vocabulary | None
    _labels: Host  # the classes in the labels' own dtype
    _temperature = 1.0

    @property
    def classes_(self) -> Host:
        """The labels, sorted, in the dtype of those given to ``fit``."""
        self._of_fit("classes_")
        return self._labels

    def _known(self) -> tuple[Vocabulary, TextNetwork]:
        return self._fitted(self.vocabulary), self._fitted(self._network)

    def _words(self, counts: Mapping[str, int]) -> Vocabulary:
        """The vocabulary of tokens that come so often in what is learned from."""
        least, most = self.settings["min_count"], self.settings["max_vocabulary"]
        return Vocabulary.of_counts(counts, min_count=least, max_size=most, specials=("pad", "unknown"))

    def _batch_size(self, count: int) -> int:
        """How many of so many texts are a batch."""
        given: int | None = self.settings["batch_size"]
        return given or min(50, max(4, count // 50))

    def _sizes(self) -> dict[str, Any]:
        return {name: self.settings[name] for name in SIZES if name in self.settings}

    def _build(
        self, vocabulary: Vocabulary, classes: int, vectors: WordVectors | None, rng: Rng, size: int | None = None
    ) -> TextNetwork:
        options, draws = self.settings, generator(rng)
        size = size or options["embedding"]
        if vectors is not None:
            of_kind(type(self).__name__, "vectors", vectors, WordVectors)
            length = int(vectors.vectors.shape[1])
            if size not in (None, length):
                raise ValueError(f"{type(self).__name__}: the vectors have {length} numbers; embedding is {size}")
            size = length
        network = TextNetwork(
            len(vocabulary),
            classes,
            vocabulary.unknown_id,
            embedding=size or EMBEDDING,
            rng=draws,
            **self._sizes(),
            **{name: options[name] for name in ("dropout", "word_dropout", "dtype")},
        )
        if vectors is not None:
            network.embedding.weight.data = vectors.table(vocabulary, rng=draws, dtype=options["dtype"])[0]
        network.to(self._home())
        return network

    def _described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays, classes = classes_described(self._labels)
        arrays |= {"temperature": np.array([self._temperature])} if self.settings["calibrate"] else {}
        return arrays, {"classes": classes, "vocabulary": self._fitted(self.vocabulary).state_dict()}

    def _restored(
        self, arrays: Mapping[str, Host], metadata: dict[str, Any], weights: Mapping[str, Host]
    ) -> dict[str, Any]:
        vocabulary = Vocabulary.from_state_dict(metadata["vocabulary"])
        own = classes_restored(arrays, metadata["classes"])
        size = self.settings["embedding"] or weights["embedding.weight"].shape[1]
        shapes = TextNetwork.shapes(len(vocabulary), len(own), embedding=size, **self._sizes())
        network = self._read_network(weights, shapes, lambda: self._build(vocabulary, len(own), None, 0, size))
        found = {"vocabulary": vocabulary, "_network": network, "_labels": own}
        return found | {"_temperature": restored_temperature(arrays) if self.settings["calibrate"] else 1.0}
