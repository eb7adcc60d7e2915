"""TextClassifier: fit a recurrent network to labelled texts, and say which label a text has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from xprnn.arguments import among, at_least_zero, whole_number
from xprnn.backend import backend_of
from xprnn.data.vocabulary import Vocabulary
from xprnn.data.word_vectors import WordVectors
from xprnn.estimators.cells import POOLINGS
from xprnn.estimators.labels import share_right
from xprnn.estimators.learning import class_loss, learn, mean_one, outputs
from xprnn.estimators.parameters import Role
from xprnn.estimators.sequences.calibration import class_temperature, softmax
from xprnn.estimators.sequences.estimator import check_monitor
from xprnn.estimators.sequences.input import as_weights
from xprnn.estimators.sequences.labelled import MEASURES
from xprnn.estimators.sequences.targets import Classes, weights_of_classes
from xprnn.estimators.text.corpus import Corpus, with_words
from xprnn.estimators.text.estimator import TEXTS, TextEstimator
from xprnn.estimators.text.explanation import Explanation, leaving_out
from xprnn.estimators.text.input import (
    TOKENIZERS,
    Tokenizer,
    chosen_labels,
    cut_texts,
    log_count_ratios,
    tokenizer_setting,
)
from xprnn.estimators.text.subwords import Subwords
from xprnn.grad_mode import no_grad
from xprnn.randomness import generator
from xprnn.train import Callback
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]


class TextClassifier(TextEstimator):
    """Labels of texts, two or more, from the words and their order.

    A text is cut into tokens, each of which has a vector. A recurrent layer reads the vectors in both directions, its
    states are pooled to one vector, and from that the probabilities of the labels are computed.

    >>> classifier = TextClassifier(seed=0).fit(texts, labels)  # doctest: +SKIP
    >>> classifier.predict(["a gripping story, well told", "qwx zzt"])  # doctest: +SKIP
    array(['positive', 'negative'], dtype='<U8')

    The defaults suit some ten thousand sentences: they were chosen on dev parts of the movie reviews of
    benchmarks/sentiment.py. A few hundred texts are enough where few words matter; for fewer, try less dropout.

    A text without a known word, such as an empty one, is no evidence: ``predict_proba`` then gives the shares of the
    labels among the training texts, and ``predict`` the most frequent of them or, if you like, None. Single punctuation
    marks are not words.

    Parameters
    ----------
    cell
        "gru", "lstm", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mgu", "slstm", "ctrnn", "antisymmetricrnn", "mingru", "minlstm",
        "qrnn", "sru", "lmu", "mlstm", "lru" or "s5".
    pooling
        "max", "mean" or "attention" over the states of all tokens, or the "last" state.
    embedding
        Length of a token's vector. Default: 100, or that of the ``vectors`` given to ``fit``.
    hidden, layers, bidirectional
        Hidden units of each layer and direction; layers; whether the text is read backward too.
    tokenizer
        "words", "characters", or a function from a text to a list of tokens, which ``load`` must be given again. Or
        subwords: a Tokenizer of the library ``tokenizers`` or the path of its .json, which goes into the file of the
        model. Its numbers are not used: tokens that come ``min_count`` times have numbers of their own.
    min_count, max_vocabulary
        Tokens that come fewer times than this in the training texts are unknown, and so are the rarest beyond so many
        (None: no limit).
    count_ratios
        The first numbers of a token's vector start as so many times its log-count ratios, one for each label, and the
        rest at random: what the words alone tell is there from the first step. 0 for random numbers only; without
        effect on ``vectors``.
    dropout, word_dropout
        Probabilities of a zero in vectors and pooled states, and of a token that is made unknown, while training.
    class_weight
        How much classes count: a dict by label (1 for those that it lacks), or "balanced" for N / (classes * count).
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam on the cross-entropy, gradients clipped to this global norm. Default batch: a fiftieth of the
        texts, at least 4 and at most 50, so that few texts too give many steps.
    validation, patience, monitor
        The share of each label's texts that is not trained on; training stops after ``patience`` epochs without a
        better ``monitor`` there, "loss" (the cross-entropy), "accuracy", "balanced_accuracy" or "f1" (the mean over
        classes), and takes the best weights. ``validation=0``, and texts so few that it rounds to none, train on
        everything, to the end.
    calibrate
        Whether logits are divided by the temperature that fits the validation part best (Guo et al. 2017), so that
        probabilities are as often right as they say.
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed, or a generator to draw it.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = TEXTS | {"pooling": among(POOLINGS), "tokenizer": tokenizer_setting, "count_ratios": at_least_zero}
    ADDED: ClassVar = {"class_weight": None, "monitor": "loss", "calibrate": False}
    KIND = "text classifier"
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
        tokenizer: Any = "words",
        min_count: int = 2,
        max_vocabulary: int | None = None,
        count_ratios: float = 1.0,
        dropout: float = 0.7,
        word_dropout: float = 0.1,
        class_weight: Mapping[Any, float] | str | None = None,
        epochs: int = 40,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        clip_norm: float = 3.0,
        validation: float = 0.1,
        patience: int = 4,
        monitor: str = "loss",
        calibrate: bool = True,
        seed: int = 0,
        random_state: Any = None,
        dtype: str = "float32",
        backend: str | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(locals())
        check_monitor(type(self).__name__, self.settings)
        kind = self.settings["tokenizer"]
        self.tokenize: Tokenizer = tokenizer if callable(tokenizer) else TOKENIZERS.get(kind) or Subwords(kind)
        self.vocabulary: Vocabulary | None = None
        self._prior: Host = np.zeros(0)  # shares of the classes
        self._labels = np.zeros(0)

    @property
    def classes(self) -> tuple[Any, ...]:
        """The labels, sorted: the columns of ``predict_proba``. Empty before ``fit``."""
        return tuple(self._labels.tolist())

    def fit(
        self,
        texts: Iterable[Any],
        labels: Sequence[Any] | None = None,
        sample_weight: Any = None,
        *,
        vectors: WordVectors | None = None,
        callbacks: Sequence[Callback] = (),
        communicator: Communicator | None = None,
    ) -> TextClassifier:
        """Learn from texts (N,) and their labels (N,), all str or all numbers. Returns itself.

        Without ``labels`` texts are pairs (text, label), from anywhere, such as :class:`xprnn.data.TextFile`. They are
        gone through once and one by one, and may be more than memory holds: of a text four bytes a token are kept,
        which are in a temporary file where there are many. The same texts give the same model.

        Texts without a word, empty ones too, count for the shares of the labels and for nothing else.
        ``sample_weight`` (N,) says how much each text counts; those of weight 0 are left out. ``vectors`` are what the
        embeddings of their tokens start from.

        ``communicator`` is that of several processes which make the same call with the same data, as
        :func:`xprnn.distributed.world` gives it: they train one model together.

        Raises
        ------
        TypeError
            A text is not a str (its position is named), what the tokenizer gives is no list of str, or labels are of
            several kinds, or neither str nor numbers.
        ValueError
            No texts, or another number of labels or weights; a missing label; fewer than two different ones; a weight
            below 0; no word that comes ``min_count`` times; vectors of another length than ``embedding``, or of none of
            the words.
        FloatingPointError
            Training diverges.

        After an error the classifier is as it was.
        """
        owner, new = self._owner("fit"), self._unfitted(communicator)
        options, draws = new.settings, generator(new.settings["seed"])
        corpus = Corpus(owner, texts, labels, sample_weight, new.tokenize)
        of_class = weights_of_classes(owner, options["class_weight"], Classes(corpus.own), corpus.target)
        held_out = corpus.hold_out(options["validation"], draws)
        vocabulary = new._words(corpus.counts(held_out))
        evidence = corpus.evidence(vocabulary)
        least = f"word that comes min_count={options['min_count']} times"
        learned = {*corpus.target[evidence & ~held_out]}
        if not learned:
            raise ValueError(f"{owner}: there is no {least} in the {len(corpus.rows)} texts")
        if len(learned) == 1:
            raise ValueError(f"{owner}: all texts with a {least} have the label {corpus.classes[learned.pop()]!r}")
        network = new._build(vocabulary, len(corpus.classes), vectors, draws)
        corpus.rows.renumber(np.array(vocabulary.encode(corpus.words), np.int32))
        batch_size = new._batch_size(len(corpus.rows))
        ids, held = corpus.rows.taken(evidence), held_out[evidence]
        target, weight = corpus.target[evidence], corpus.weight[evidence]
        each = mean_one(weight * of_class[target], options["dtype"])
        if vectors is None and options["count_ratios"]:
            ratios = log_count_ratios(ids.taken(~held), target[~held], len(vocabulary), len(corpus.classes))
            network.begin_with(options["count_ratios"] * ratios)
        out = ids.taken(held)

        def measure(said: list[Host]) -> float:
            return MEASURES[options["monitor"]](target[held], np.stack(said).argmax(axis=1), weight[held])

        history = learn(
            new, network, (ids, target, each), held, class_loss, measure, callbacks, communicator, draws, batch_size
        )
        temperature = 1.0
        if len(out) and options["calibrate"]:
            temperature = class_temperature(np.stack(outputs(network, out)), target[held], weight[held])
        fitted = {"_network": network, "_training": history, "vocabulary": vocabulary}
        fitted |= {"_prior": corpus.shares(), "_labels": corpus.own, "_temperature": temperature}
        self._become(**vars(new) | fitted)
        return self

    def predict(self, texts: Sequence[str], *, unknown: str = "frequent") -> Host:
        """The most probable label of each text (N,), in the dtype of the labels given to ``fit``.

        Where no word is known this is the most frequent label of the training texts. With ``unknown="none"`` it is
        None, and the array one of objects.

        Raises TypeError for texts that are not str, ValueError for another ``unknown``, RuntimeError before ``fit``.
        """
        tokens, (vocabulary, _) = self._tokens("predict", texts), self._known()
        evidence = with_words(vocabulary, tokens)
        best = self._probabilities(tokens).argmax(axis=1)
        return chosen_labels("TextClassifier.predict", self._labels, best, evidence, unknown)

    def predict_proba(self, texts: Sequence[str]) -> Host:
        """The probabilities of ``classes`` for each text (N, C), of a text without a known word the training shares."""
        return self._probabilities(self._tokens("predict_proba", texts))

    def predict_best(self, texts: Sequence[str], n: int = 3) -> list[list[tuple[Any, float]]]:
        """The n most probable labels of each text, or all where there are fewer, as pairs (label, probability).

        The most probable comes first, of equal ones the one that is sorted first. Raises as :meth:`predict`, and
        ValueError for n below 1.
        """
        n, probabilities = whole_number(self._owner("predict_best"), "n", n), self.predict_proba(texts)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :n]
        return [
            [(self.classes[k], float(row[k])) for k in order] for row, order in zip(probabilities, best, strict=True)
        ]

    def has_evidence(self, texts: Sequence[str]) -> Host:
        """Whether each text (N,) has a word that is known."""
        tokens, (vocabulary, _) = self._tokens("has_evidence", texts), self._known()
        return with_words(vocabulary, tokens)

    def score(
        self, texts: Sequence[str], labels: Sequence[Any], sample_weight: Any = None, *, unknown: str = "frequent"
    ) -> float:
        """The share of texts, by their weights, whose label is what ``predict`` says; None is never right.

        Raises ValueError for no texts, another number of labels, or labels none of which is known.
        """
        owner, said = self._owner("score"), self.predict(texts, unknown=unknown)
        return share_right(owner, said, labels, self.classes, as_weights(owner, sample_weight, len(said), "text"))

    def explain(self, text: str) -> Explanation:
        """Which words the prediction rests on: see :class:`Explanation`.

        The cost is that of as many predictions as there are tokens. Raises TypeError for what is no str, RuntimeError
        before ``fit``.
        """
        (tokens,), (vocabulary, network) = self._tokens("explain", [text]), self._known()
        known = tuple(token in vocabulary for token in tokens)
        everything = self._probabilities([tokens])[0]
        best = int(everything.argmax())
        if not with_words(vocabulary, [tokens])[0]:
            return Explanation(tuple(tokens), known, None, float(everything[best]), np.zeros(len(tokens)), None)
        effects = leaving_out(tokens, lambda texts: self._probabilities(texts)[:, best], everything[best])
        attention = None
        if self.settings["pooling"] == "attention":
            ids = backend_of(network.parameters()[0].data).asarray(np.asarray(vocabulary.encode(tokens))[:, None])
            with no_grad():
                attention = network.attention(ids, np.array([len(tokens)])).numpy()[:, 0]
        return Explanation(tuple(tokens), known, self.classes[best], float(everything[best]), effects, attention)

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
        arrays, metadata = super()._described()
        return arrays | {"prior": self._prior}, metadata

    def _restored(
        self, arrays: Mapping[str, Host], metadata: dict[str, Any], weights: Mapping[str, Host]
    ) -> dict[str, Any]:
        found, prior = super()._restored(arrays, metadata, weights), arrays["prior"]
        if len(prior) != len(found["_labels"]):
            raise ValueError(f"prior has {len(prior)} numbers; expected {len(found['_labels'])}, one a label")
        if prior.min() < 0.0 or abs(prior.sum() - 1.0) > 1e-6:
            raise ValueError("prior has numbers that are no shares of a whole")
        return found | {"_prior": prior}

    def _tokens(self, method: str, texts: Sequence[str]) -> list[list[str]]:
        self._known()
        return cut_texts(self._owner(method), texts, self.tokenize)

    def _probabilities(self, tokens: list[list[str]]) -> Host:
        """(N, C) float64, for texts as tokens."""
        vocabulary, network = self._known()
        found = np.tile(self._prior, (len(tokens), 1))
        rows = np.flatnonzero(with_words(vocabulary, tokens))
        if not len(rows):
            return found
        ids = [np.asarray(vocabulary.encode(tokens[k]), np.int64) for k in rows]
        found[rows] = softmax(np.stack(outputs(network, ids)) / self._temperature)
        return found
