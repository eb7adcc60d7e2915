"""TextClassifier: fit a recurrent network to labelled texts, and say which label a text has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xprnn.backend import Array, Backend, Rng, backend_of, default_backend, generator, get_backend
from xprnn.data.bucketing import Buckets
from xprnn.data.padding import pad_sequences
from xprnn.data.tokenizer import is_word
from xprnn.data.vocabulary import Vocabulary
from xprnn.data.word_vectors import WordVectors
from xprnn.estimators.estimator import model_file
from xprnn.estimators.text.explanation import Explanation
from xprnn.estimators.text.input import cut_texts, encode_labels, hold_out, log_count_ratios, share_right
from xprnn.estimators.text.network import TextNetwork
from xprnn.estimators.text.settings import TOKENIZERS, Tokenizer, check_settings
from xprnn.tensor import Tensor, no_grad
from xprnn.train import Adam, Callback, EarlyStopping, History, cross_entropy, fit, write_tensors

Host = np.ndarray[Any, Any]
EMBEDDING = 100
TEXTS_AT_ONCE = 256  # of the dev part in one batch
TOKENS_AT_ONCE = 2**15  # predicted in one batch, padding too: a long text among short ones must not cost gigabytes


class TextClassifier:
    """Labels of texts, two or more, from the words in their order.

    A text becomes tokens, tokens become vectors, a recurrent layer reads them in both directions, its states are pooled
    to one vector, and that gives the probabilities of the labels.

    >>> classifier = TextClassifier(seed=0).fit(texts, labels)  # doctest: +SKIP
    >>> classifier.predict(["a gripping story, well told", "qwx zzt"])  # doctest: +SKIP
    array(['positive', None], dtype=object)

    The defaults suit some ten thousand sentences: they were chosen on dev parts of the movie reviews of
    benchmarks/sentiment.py. A few hundred texts are enough where few words matter; for fewer, try less dropout.

    A text in which no word is known, such as an empty one, is no evidence: ``predict`` says None, and ``predict_proba``
    the shares of the labels among the training texts. Single punctuation marks are no words.

    Parameters
    ----------
    cell
        "gru", "lstm" or "rnn".
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
    seed
        Same seed, same numbers.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

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
        dtype: str = "float32",
        backend: str | None = None,
        progress: bool = False,
    ) -> None:
        self.settings = check_settings(
            cell=cell,
            pooling=pooling,
            embedding=embedding,
            hidden=hidden,
            layers=layers,
            bidirectional=bidirectional,
            tokenizer=tokenizer,
            min_count=min_count,
            max_vocabulary=max_vocabulary,
            count_ratios=count_ratios,
            dropout=dropout,
            word_dropout=word_dropout,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            clip_norm=clip_norm,
            validation=validation,
            patience=patience,
            seed=seed,
            dtype=dtype,
        )
        self.tokenize: Tokenizer = TOKENIZERS[tokenizer] if isinstance(tokenizer, str) else tokenizer
        self.backend = None if backend is None else get_backend(backend)
        self.progress = progress
        self.classes: tuple[Any, ...] = ()
        """The labels, sorted: the columns of ``predict_proba``."""
        self.vocabulary: Vocabulary | None = None
        self.network: TextNetwork | None = None
        self.training: History | None = None
        self._prior: Host = np.zeros(0)  # shares of the classes

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"xprnn {self.settings['cell']}"

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
        tokens = cut_texts("TextClassifier.fit", texts, self.tokenize)
        classes, target = encode_labels("TextClassifier.fit", labels, len(tokens))
        options, home, draws = self.settings, self._home(), generator(self.settings["seed"])
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
        network = self._build(vocabulary, len(classes), vectors, draws)
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
            callbacks=[*([EarlyStopping(options["patience"])] if validation is not None else []), *callbacks],
            progress=self.progress,
        )
        network.eval()
        self.classes, self.vocabulary, self.network, self.training = classes, vocabulary, network, history
        self._prior = prior
        return self

    def predict(self, texts: Sequence[str]) -> Host:
        """The most probable label of each text (N,), None where no word is known; an array of objects.

        Raises TypeError for texts that are not str, RuntimeError before ``fit``.
        """
        tokens, (vocabulary, _) = self._tokens("predict", texts), self._fitted()
        best = self._probabilities(tokens).argmax(axis=1)
        labels = np.empty(len(tokens), dtype=object)
        for k, text in enumerate(tokens):
            labels[k] = self.classes[best[k]] if _has_word(vocabulary, text) else None
        return labels

    def predict_proba(self, texts: Sequence[str]) -> Host:
        """The probabilities of ``classes`` for each text (N, C), of a text without a known word the training shares."""
        return self._probabilities(self._tokens("predict_proba", texts))

    def has_evidence(self, texts: Sequence[str]) -> Host:
        """Whether each text (N,) has a word that is known."""
        tokens, (vocabulary, _) = self._tokens("has_evidence", texts), self._fitted()
        return np.array([_has_word(vocabulary, text) for text in tokens], dtype=bool)

    def score(self, texts: Sequence[str], labels: Sequence[Any]) -> float:
        """The share of texts whose label is the predicted one; None is never right.

        Raises ValueError for no texts, another number of labels, or labels none of which is known.
        """
        return share_right("TextClassifier.score", self.predict(texts), labels, self.classes)

    def explain(self, text: str) -> Explanation:
        """Which words the prediction rests on: see :class:`Explanation`.

        Leaves out one token at a time (Li, Monroe and Jurafsky 2016, arXiv 1612.08220), so the cost is that of as many
        predictions as there are tokens. Raises TypeError for what is no str, RuntimeError before ``fit``.
        """
        (tokens,), (vocabulary, network) = self._tokens("explain", [text]), self._fitted()
        known = tuple(token in vocabulary for token in tokens)
        everything = self._probabilities([tokens])[0]
        best, attention, effects = int(everything.argmax()), None, np.zeros(len(tokens))
        evidence = _has_word(vocabulary, tokens)
        if evidence:
            for part in _portions([len(tokens)] * len(tokens)):  # all at once they would take memory for N^2 tokens
                without = self._probabilities([tokens[:k] + tokens[k + 1 :] for k in part])
                effects[part] = _log_odds(everything)[best] - _log_odds(without)[:, best]
            if self.settings["pooling"] == "attention":
                home = backend_of(network.parameters()[0].data)
                ids = home.asarray(np.asarray(vocabulary.encode(tokens))[:, None])
                with no_grad():
                    attention = network.attention(ids, np.array([len(tokens)])).numpy()[:, 0]
        label = self.classes[best] if evidence else None
        return Explanation(tuple(tokens), known, label, float(everything[best]), effects, attention)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted classifier to a safetensors file, atomically."""
        vocabulary, network = self._fitted()
        arrays: dict[str, Any] = {f"network.{name}": array for name, array in network.state_dict().items()}
        metadata = {
            "kind": "text classifier",
            "version": 1,
            "settings": self.settings,
            "classes": list(self.classes),
            "vocabulary": vocabulary.state_dict(),
        }
        write_tensors(path, arrays | {"prior": self._prior}, metadata)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, tokenizer: Tokenizer | None = None, backend: str | None = None
    ) -> TextClassifier:
        """Read what :meth:`save` wrote, with the tokenizer where that was a function of your own.

        Raises ValueError for a file that is damaged, lacks something, or is something else, and where the tokenizer is
        missing.
        """
        expected: dict[str, Any] = {
            "settings": cls().settings,
            "metadata": {"classes": list, "vocabulary": dict},
            "arrays": {"prior": 1, "network.embedding.weight": 2},
        }
        with model_file(path, "text classifier", **expected, backend=backend) as (arrays, metadata):
            settings = metadata["settings"]
            if (settings["tokenizer"] == "custom") != (tokenizer is not None):
                own = "of its own: give load the same function" if tokenizer is None else settings["tokenizer"]
                raise ValueError(f"it was made with a tokenizer {own}")
            classifier = cls(backend=backend, **settings | {"tokenizer": tokenizer or settings["tokenizer"]})
            vocabulary, classes = Vocabulary.from_state_dict(metadata["vocabulary"]), tuple(metadata["classes"])
            if len(arrays["prior"]) != len(classes):
                raise ValueError(f"prior has {len(arrays['prior'])} numbers; expected {len(classes)}, one a label")
            weights = {name.removeprefix("network."): a for name, a in arrays.items() if name.startswith("network.")}
            size = weights["embedding.weight"].shape[1]
            network = classifier._build(vocabulary, len(classes), None, 0, size)
            network.load_state_dict(weights)
        network.eval()
        classifier.classes, classifier.vocabulary = classes, vocabulary
        classifier.network, classifier._prior = network, arrays["prior"]
        return classifier

    def _home(self) -> Backend:
        return self.backend or default_backend()

    def _build(
        self, vocabulary: Vocabulary, classes: int, vectors: WordVectors | None, rng: Rng, size: int | None = None
    ) -> TextNetwork:
        options, draws = self.settings, generator(rng)
        size = size or options["embedding"]
        if vectors is not None:
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

    def _fitted(self) -> tuple[Vocabulary, TextNetwork]:
        if self.vocabulary is None or self.network is None:
            raise RuntimeError("TextClassifier: fit it first")
        return self.vocabulary, self.network

    def _tokens(self, method: str, texts: Sequence[str]) -> list[list[str]]:
        self._fitted()
        return cut_texts(f"TextClassifier.{method}", texts, self.tokenize)

    def _probabilities(self, tokens: list[list[str]]) -> Host:
        """(N, C) float64, for texts as tokens."""
        vocabulary, network = self._fitted()
        found = np.tile(self._prior, (len(tokens), 1))
        rows = [k for k, text in enumerate(tokens) if _has_word(vocabulary, text)]
        if not rows:
            return found
        ids = [np.asarray(vocabulary.encode(tokens[k]), np.int64) for k in rows]
        home = backend_of(network.parameters()[0].data)
        with no_grad():
            for part in _portions([len(text) for text in ids]):
                x, lengths = pad_sequences([ids[k] for k in part])
                logits = network(home.asarray(x), lengths).numpy().astype(np.float64)
                powers = np.exp(logits - logits.max(axis=1, keepdims=True))
                found[[rows[k] for k in part]] = powers / powers.sum(axis=1, keepdims=True)
        return found


def _has_word(vocabulary: Vocabulary, tokens: list[str]) -> bool:
    """Whether some of the tokens are known words."""
    return any(token in vocabulary and is_word(token) for token in tokens)


def _portions(lengths: list[int]) -> Iterator[list[int]]:
    """The numbers of texts, the longest first, in parts of TOKENS_AT_ONCE or of one text."""
    order, start = sorted(range(len(lengths)), key=lambda k: -lengths[k]), 0
    while start < len(order):
        stop = start + max(1, TOKENS_AT_ONCE // lengths[order[start]])
        yield order[start:stop]
        start = stop


def _log_odds(probabilities: Host) -> Host:
    """log(p / (1 - p)), finite also where p is rounded to 0 or 1."""
    p = np.clip(probabilities, 1e-12, 1.0 - 1e-12)
    return np.log(p) - np.log1p(-p)
