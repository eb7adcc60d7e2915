"""TextClassifier: fit a recurrent network to labelled texts, and say which label a text has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from xprnn.arguments import (
    among,
    at_least,
    at_least_zero,
    of_kind,
    optional,
    probability,
    several,
    true_or_false,
    whole_number,
)
from xprnn.backend import Array, Rng, backend_of, generator
from xprnn.data.bucketing import Buckets
from xprnn.data.padding import pad_sequences
from xprnn.data.tokenizer import is_word, split_characters, split_words
from xprnn.data.vocabulary import Vocabulary
from xprnn.data.word_vectors import WordVectors
from xprnn.estimators.cells import POOLINGS
from xprnn.estimators.estimator import TRAINING, Estimator
from xprnn.estimators.labels import check_classes, hold_out, label_array, number_labels, share_right
from xprnn.estimators.parameters import Role
from xprnn.estimators.portions import portions
from xprnn.estimators.text.explanation import Explanation
from xprnn.estimators.text.input import chosen_labels, cut_texts, log_count_ratios
from xprnn.estimators.text.network import TextNetwork
from xprnn.tape import no_grad
from xprnn.tensor import Tensor
from xprnn.train import Adam, Callback, EarlyStopping, cross_entropy, fit

Host = np.ndarray[Any, Any]
Tokenizer = Callable[[str], Iterable[str]]
TOKENIZERS: dict[str, Tokenizer] = {"words": split_words, "characters": split_characters}
EMBEDDING = 100
TEXTS_AT_ONCE = 256  # of the dev part in one batch


def _tokenizer(owner: str, name: str, tokenizer: Any) -> str:
    """Its name; "custom" for a function, which no file can hold."""
    if callable(tokenizer):
        return "custom"
    if not isinstance(tokenizer, str) or tokenizer not in TOKENIZERS:
        expected = ", ".join(map(repr, TOKENIZERS))
        raise ValueError(f"{owner}: {name} is {tokenizer!r}; expected {expected} or a function")
    return tokenizer


class TextClassifier(Estimator):
    """Labels of texts, two or more, from the words in their order.

    A text becomes tokens, tokens become vectors, a recurrent layer reads them in both directions, its states are pooled
    to one vector, and that gives the probabilities of the labels.

    >>> classifier = TextClassifier(seed=0).fit(texts, labels)  # doctest: +SKIP
    >>> classifier.predict(["a gripping story, well told", "qwx zzt"])  # doctest: +SKIP
    array(['positive', 'negative'], dtype='<U8')

    The defaults suit some ten thousand sentences: they were chosen on dev parts of the movie reviews of
    benchmarks/sentiment.py. A few hundred texts are enough where few words matter; for fewer, try less dropout.

    A text in which no word is known, such as an empty one, is no evidence: ``predict_proba`` says the shares of the
    labels among the training texts, and ``predict`` the most frequent of them or, if you like, None. Single punctuation
    marks are no words.

    Parameters
    ----------
    cell
        "gru", "lstm", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mingru", "minlstm", "qrnn" or "sru".
    pooling
        "max", "mean" or "attention" over the states of all tokens, or the "last" state.
    embedding
        Length of a token's vector. Default: 100, or that of the ``vectors`` given to ``fit``.
    hidden, layers, bidirectional
        Hidden units of each layer and direction; layers; whether the text is read backward too.
    tokenizer
        "words", "characters", or a function from a text to a list of tokens, which ``load`` must be given again.
    min_count, max_vocabulary
        Tokens that come fewer times than this in the training texts are unknown, and so are the rarest beyond so many
        (None: no limit).
    count_ratios
        A token's vector starts with so many times its log-count ratios, one for each label, before random numbers: what
        the words alone say is there from the first step. 0 for random numbers only; without effect on ``vectors``.
    dropout, word_dropout
        Probabilities of a zero in vectors and pooled states, and of a token that is made unknown, while training.
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam on the cross-entropy, gradients clipped to this global norm. Default batch: a fiftieth of the
        texts, at least 4 and at most 50, so that few texts too give many steps.
    validation, patience
        The share of each label's texts that is not trained on; training stops after ``patience`` epochs without a lower
        cross-entropy there, and takes the best weights. ``validation=0``, and texts so few that it rounds to none,
        train on everything, to the end.
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed, or a generator to draw it.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = TRAINING | {
        "pooling": among(POOLINGS),
        "embedding": optional(whole_number),
        "bidirectional": true_or_false,
        "tokenizer": _tokenizer,
        "min_count": whole_number,
        "max_vocabulary": optional(at_least(3)),  # two specials and a token
        "count_ratios": at_least_zero,
        "dropout": probability,
        "word_dropout": probability,
        "batch_size": optional(whole_number),
        "patience": whole_number,
    }
    KIND = "text classifier"
    METADATA: ClassVar = {"classes": list, "vocabulary": dict}
    ARRAYS: ClassVar = {"prior": 1}
    ROLE = Role("classifier", reads=("one_d_array", "string"))

    def __init__(
        self,
        cell: str = "gru",
        *,
        pooling: str = "max",
        embedding: int | None = None,
        hidden: int = 64,
        layers: int = 1,
        bidirectional: bool = True,
        tokenizer: str | Tokenizer = "words",
        min_count: int = 2,
        max_vocabulary: int | None = None,
        count_ratios: float = 1.0,
        dropout: float = 0.7,
        word_dropout: float = 0.1,
        epochs: int = 40,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        clip_norm: float = 3.0,
        validation: float = 0.1,
        patience: int = 4,
        seed: int = 0,
        random_state: Any = None,
        dtype: str = "float32",
        backend: str | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(locals())
        self.tokenize: Tokenizer = TOKENIZERS[tokenizer] if isinstance(tokenizer, str) else tokenizer
        self.classes: tuple[Any, ...] = ()
        """The labels, sorted: the columns of ``predict_proba``."""
        self.vocabulary: Vocabulary | None = None
        self._prior: Host = np.zeros(0)  # shares of the classes
        self._labels: Host = np.zeros(0)  # the classes in the labels' own dtype

    @property
    def classes_(self) -> Host:
        """The labels, sorted, in the dtype of those given to ``fit``."""
        self._of_fit("classes_")
        return self._labels

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[Any],
        *,
        vectors: WordVectors | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> TextClassifier:
        """Learn from texts (N,) and their labels (N,), all str or all numbers. Returns itself.

        Texts without a word, empty ones too, count for the shares of the labels and for nothing else. ``vectors`` are
        what the embeddings of their tokens start from.

        Raises
        ------
        TypeError
            A text is not a str (its position is named), what the tokenizer gives is no list of str, or labels are of
            several kinds, or neither str nor numbers.
        ValueError
            No texts, or another number of labels; a missing label; fewer than two different ones; no word that comes
            ``min_count`` times; vectors of another length than ``embedding``, or of none of the words.
        FloatingPointError
            Training diverges.

        After an error the classifier is as it was.
        """
        new = self._unfitted()
        tokens = cut_texts("TextClassifier.fit", texts, new.tokenize)
        classes, own, target = number_labels("TextClassifier.fit", labels, len(tokens))
        options, home, draws = new.settings, self._home(), generator(new.settings["seed"])
        prior = np.bincount(target, minlength=len(classes)) / len(target)
        spoken = np.flatnonzero([any(map(is_word, t)) for t in tokens])
        held_out = np.zeros(len(tokens), dtype=bool)
        held_out[spoken] = hold_out(target[spoken], options["validation"], draws)
        vocabulary = Vocabulary.build(
            [tokens[k] for k in spoken if not held_out[k]],
            min_count=options["min_count"],
            max_size=options["max_vocabulary"],
            specials=("pad", "unknown"),
        )
        evidence = np.array([_has_word(vocabulary, t) for t in tokens])
        least, learned = f"word that comes min_count={options['min_count']} times", set(target[evidence & ~held_out])
        if not learned:
            raise ValueError(f"TextClassifier.fit: there is no {least} in the {len(tokens)} texts")
        if len(learned) == 1:
            only = classes[learned.pop()]
            raise ValueError(f"TextClassifier.fit: all texts with a {least} have the label {only!r}")
        ids = [np.asarray(vocabulary.encode(t), np.int64) for t in tokens]
        network = new._build(vocabulary, len(classes), vectors, draws)
        if vectors is None and options["count_ratios"]:
            rows = np.flatnonzero(evidence & ~held_out)
            ratios = log_count_ratios([ids[k] for k in rows], target[rows], len(vocabulary), len(classes))
            network.begin_with(options["count_ratios"] * ratios)

        batch_size = options["batch_size"] or min(50, max(4, len(tokens) // 50))

        def buckets(rows: Host, batch_size: int, shuffle: bool) -> Buckets | None:
            chosen = np.flatnonzero(rows)
            if not chosen.size:
                return None
            return Buckets([ids[k] for k in chosen], target[chosen], batch_size=batch_size, shuffle=shuffle, rng=draws)

        def loss(model: Any, batch: tuple[Array, ...]) -> Tensor:
            x, lengths, label = batch
            return cross_entropy(model(home.asarray(x), lengths), home.asarray(label))

        train = buckets(evidence & ~held_out, batch_size, True)
        validation = buckets(evidence & held_out, TEXTS_AT_ONCE, False)
        assert train is not None
        history = fit(
            network,
            train,
            loss,
            Adam(network.parameters(), lr=options["learning_rate"]),
            epochs=options["epochs"],
            validation=validation,
            clip_norm=options["clip_norm"],
            callbacks=[
                *([EarlyStopping(options["patience"])] if validation is not None else []),
                *several("TextClassifier", "callbacks", callbacks),
            ],
            progress=self.progress,
        )
        network.eval()
        fitted = {"_network": network, "_training": history, "vocabulary": vocabulary}
        self._become(**vars(new) | fitted | {"classes": classes, "_prior": prior, "_labels": own})
        return self

    def predict(self, texts: Sequence[str], *, unknown: str = "frequent") -> Host:
        """The most probable label of each text (N,), in the dtype of the labels given to ``fit``.

        Where no word is known this is the most frequent label of the training texts. With ``unknown="none"`` it is
        None, and the array one of objects.

        Raises TypeError for texts that are not str, ValueError for another ``unknown``, RuntimeError before ``fit``.
        """
        tokens, (vocabulary, _) = self._tokens("predict", texts), self._known()
        evidence = np.array([_has_word(vocabulary, text) for text in tokens], dtype=bool)
        best = self._probabilities(tokens).argmax(axis=1)
        return chosen_labels("TextClassifier.predict", self._labels, best, evidence, unknown)

    def predict_proba(self, texts: Sequence[str]) -> Host:
        """The probabilities of ``classes`` for each text (N, C), of a text without a known word the training shares."""
        return self._probabilities(self._tokens("predict_proba", texts))

    def has_evidence(self, texts: Sequence[str]) -> Host:
        """Whether each text (N,) has a word that is known."""
        tokens, (vocabulary, _) = self._tokens("has_evidence", texts), self._known()
        return np.array([_has_word(vocabulary, text) for text in tokens], dtype=bool)

    def score(self, texts: Sequence[str], labels: Sequence[Any], *, unknown: str = "frequent") -> float:
        """The share of texts whose label is what ``predict`` says; None is never right.

        Raises ValueError for no texts, another number of labels, or labels none of which is known.
        """
        return share_right("TextClassifier.score", self.predict(texts, unknown=unknown), labels, self.classes)

    def explain(self, text: str) -> Explanation:
        """Which words the prediction rests on: see :class:`Explanation`.

        Leaves out one token at a time (Li, Monroe and Jurafsky 2016, arXiv 1612.08220), so the cost is that of as many
        predictions as there are tokens. Raises TypeError for what is no str, RuntimeError before ``fit``.
        """
        (tokens,), (vocabulary, network) = self._tokens("explain", [text]), self._known()
        known = tuple(token in vocabulary for token in tokens)
        everything = self._probabilities([tokens])[0]
        best, attention, effects = int(everything.argmax()), None, np.zeros(len(tokens))
        evidence = _has_word(vocabulary, tokens)
        if evidence:
            for part in portions([len(tokens)] * len(tokens)):  # all at once they would take memory for N^2 tokens
                without = self._probabilities([tokens[:k] + tokens[k + 1 :] for k in part])
                effects[part] = _log_odds(everything)[best] - _log_odds(without)[:, best]
            if self.settings["pooling"] == "attention":
                home = backend_of(network.parameters()[0].data)
                ids = home.asarray(np.asarray(vocabulary.encode(tokens))[:, None])
                with no_grad():
                    attention = network.attention(ids, np.array([len(tokens)])).numpy()[:, 0]
        label = self.classes[best] if evidence else None
        return Explanation(tuple(tokens), known, label, float(everything[best]), effects, attention)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, tokenizer: Tokenizer | None = None, backend: str | None = None
    ) -> TextClassifier:
        """Read what :meth:`save` wrote, with the tokenizer where that was a function of your own.

        Raises ValueError for a file that is damaged, lacks something, or is something else, and where the tokenizer is
        missing.
        """
        return cls._load(path, backend, tokenizer=tokenizer)

    @classmethod
    def _arguments(cls, settings: dict[str, Any], tokenizer: Tokenizer | None = None) -> dict[str, Any]:
        if (settings["tokenizer"] == "custom") != (tokenizer is not None):
            own = "of its own: give load the same function" if tokenizer is None else settings["tokenizer"]
            raise ValueError(f"it was made with a tokenizer {own}")
        return settings | {"tokenizer": tokenizer or settings["tokenizer"]}

    def _described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays = {"prior": self._prior}
        if self._labels.dtype != label_array(self.classes).dtype:  # what the classes themselves do not tell
            arrays["labels"] = self._labels
        vocabulary = self._fitted(self.vocabulary)
        return arrays, {"classes": list(self.classes), "vocabulary": vocabulary.state_dict()}

    def _restored(
        self, arrays: Mapping[str, Host], metadata: dict[str, Any], weights: Mapping[str, Host]
    ) -> dict[str, Any]:
        vocabulary, classes = Vocabulary.from_state_dict(metadata["vocabulary"]), check_classes(metadata["classes"])
        own, prior = label_array(classes, arrays["labels"].dtype if "labels" in arrays else None), arrays["prior"]
        if own.tolist() != arrays.get("labels", own).tolist():
            raise ValueError("labels are not the classes")
        if len(prior) != len(classes):
            raise ValueError(f"prior has {len(prior)} numbers; expected {len(classes)}, one a label")
        if prior.min() < 0.0 or abs(prior.sum() - 1.0) > 1e-6:
            raise ValueError("prior has numbers that are no shares of a whole")
        size = self.settings["embedding"] or weights["embedding.weight"].shape[1]
        sizes = {n: self.settings[n] for n in ("cell", "hidden", "layers", "bidirectional", "pooling")}
        shapes = TextNetwork.shapes(len(vocabulary), len(classes), embedding=size, **sizes)
        network = self._read_network(weights, shapes, lambda: self._build(vocabulary, len(classes), None, 0, size))
        return {"classes": classes, "vocabulary": vocabulary, "_network": network, "_prior": prior, "_labels": own}

    def _build(
        self, vocabulary: Vocabulary, classes: int, vectors: WordVectors | None, rng: Rng, size: int | None = None
    ) -> TextNetwork:
        options, draws = self.settings, generator(rng)
        size = size or options["embedding"]
        if vectors is not None:
            of_kind("TextClassifier", "vectors", vectors, WordVectors)
            length = int(vectors.vectors.shape[1])
            if size not in (None, length):
                raise ValueError(f"TextClassifier: the vectors have {length} numbers; embedding is {size}")
            size = length
        names = ("cell", "hidden", "layers", "bidirectional", "pooling", "dropout", "word_dropout", "dtype")
        network = TextNetwork(
            len(vocabulary),
            classes,
            vocabulary.unknown_id,
            embedding=size or EMBEDDING,
            rng=draws,
            **{name: options[name] for name in names},
        )
        if vectors is not None:
            network.embedding.weight.data = vectors.table(vocabulary, rng=draws, dtype=options["dtype"])[0]
        network.to(self._home())
        return network

    def _known(self) -> tuple[Vocabulary, TextNetwork]:
        return self._fitted(self.vocabulary), self._fitted(self._network)

    def _tokens(self, method: str, texts: Sequence[str]) -> list[list[str]]:
        self._known()
        return cut_texts(f"TextClassifier.{method}", texts, self.tokenize)

    def _probabilities(self, tokens: list[list[str]]) -> Host:
        """(N, C) float64, for texts as tokens."""
        vocabulary, network = self._known()
        found = np.tile(self._prior, (len(tokens), 1))
        rows = [k for k, text in enumerate(tokens) if _has_word(vocabulary, text)]
        if not rows:
            return found
        ids = [np.asarray(vocabulary.encode(tokens[k]), np.int64) for k in rows]
        home = backend_of(network.parameters()[0].data)
        with no_grad():
            for part in portions([len(text) for text in ids]):
                x, lengths = pad_sequences([ids[k] for k in part])
                logits = network(home.asarray(x), lengths).numpy().astype(np.float64)
                powers = np.exp(logits - logits.max(axis=1, keepdims=True))
                found[[rows[k] for k in part]] = powers / powers.sum(axis=1, keepdims=True)
        return found


def _has_word(vocabulary: Vocabulary, tokens: list[str]) -> bool:
    """Whether some of the tokens are known words."""
    return any(token in vocabulary and is_word(token) for token in tokens)


def _log_odds(probabilities: Host) -> Host:
    """log(p / (1 - p)), finite also where p is rounded to 0 or 1."""
    p = np.clip(probabilities, 1e-12, 1.0 - 1e-12)
    return np.log(p) - np.log1p(-p)
