"""TextTagger: a label for each token of a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from xprnn.arguments import among
from xprnn.data.word_vectors import WordVectors
from xprnn.estimators.labels import hold_out, listed
from xprnn.estimators.learning import learn, outputs, step_loss
from xprnn.estimators.metrics import accuracy
from xprnn.estimators.parameters import Role
from xprnn.estimators.sequences.calibration import class_temperature, softmax
from xprnn.estimators.sequences.estimator import check_monitor
from xprnn.estimators.sequences.input import as_weights
from xprnn.estimators.sequences.labelled import MEASURES
from xprnn.estimators.sequences.targets import read_tags, step_weights, tag_rows, weights_of_classes
from xprnn.estimators.text.estimator import TEXTS, TextEstimator
from xprnn.estimators.text.spans import span_f1
from xprnn.randomness import generator
from xprnn.train import Callback
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]
Sentences = Sequence[Sequence[str]]


class TextTagger(TextEstimator):
    """A label for each token: parts of speech, or names by labels such as B-PER, I-PER and O.

    Tokens become vectors, a recurrent layer reads them in both directions, and each of its states says which label.
    X is a list of sentences, each a list of tokens; y a list of as many lists of labels. A token that is not among
    those learned from is unknown, and its label is said from its neighbours.

    >>> tagger = TextTagger(seed=0).fit(sentences, labels)  # doctest: +SKIP
    >>> tagger.predict([["Ada", "lives", "in", "London"]])  # doctest: +SKIP
    [['B-PER', 'O', 'O', 'B-LOC']]

    Parameters
    ----------
    cell
        "gru", "lstm", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mgu", "slstm", "ctrnn", "antisymmetricrnn", "mingru", "minlstm",
        "qrnn", "sru", "lmu", "mlstm", "lru" or "s5".
    embedding
        Length of a token's vector. Default: 100, or that of the ``vectors`` given to ``fit``.
    hidden, layers, bidirectional
        Hidden units of each layer and direction; layers; whether sentences are read backward too.
    min_count, max_vocabulary
        Tokens that come fewer times than this in the training part are unknown, and so are the rarest beyond so many
        (None: no limit).
    dropout, word_dropout
        Probabilities of a zero in vectors and states, and of a token that is made unknown, while training.
    class_weight
        How much the steps of a class count: a dict by label (1 for those that it lacks), or "balanced" for
        N / (classes * count).
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam on the cross-entropy, gradients clipped to this global norm. Default batch: a fiftieth of the
        sentences, at least 4 and at most 50.
    validation, patience, monitor
        The share of the sentences that is not trained on; training stops after ``patience`` epochs without a better
        ``monitor`` there, "loss", "accuracy", "balanced_accuracy" or "f1" (the mean over classes) of all tokens, or
        "span_f1" of the spans that labels mark, and takes the best weights. ``validation=0``, and sentences so few that
        it rounds to none, train on everything, to the end.
    calibrate
        Whether logits are divided by the temperature that fits the validation part best (Guo et al. 2017).
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed, or a generator to draw it.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = TEXTS | {"monitor": among(("loss", *MEASURES, "span_f1"))}
    KIND = "text tagger"
    ARRAYS: ClassVar = {}
    ROLE = Role(reads=())

    def __init__(
        self,
        cell: str = "lstm",
        *,
        embedding: int | None = None,
        hidden: int = 64,
        layers: int = 1,
        bidirectional: bool = True,
        min_count: int = 1,
        max_vocabulary: int | None = None,
        dropout: float = 0.3,
        word_dropout: float = 0.1,
        class_weight: Mapping[Any, float] | str | None = None,
        epochs: int = 40,
        batch_size: int | None = None,
        learning_rate: float = 3e-3,
        clip_norm: float = 3.0,
        validation: float = 0.1,
        patience: int = 6,
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
        self.vocabulary = None
        self._labels = np.zeros(0)

    def fit(
        self,
        X: Sentences,
        y: Sequence[Sequence[Any]],
        sample_weight: Any = None,
        *,
        vectors: WordVectors | None = None,
        callbacks: Sequence[Callback] = (),
        communicator: Communicator | None = None,
    ) -> TextTagger:
        """Learn from sentences and the labels of their tokens. Returns itself.

        ``sample_weight`` (N,) says how much the tokens of each sentence count; those of weight 0 are left out, and so
        are sentences without tokens. ``vectors`` are what the embeddings of their tokens start from.

        ``communicator`` is that of several processes which make the same call with the same data, as
        :func:`xprnn.distributed.world` gives it: they train one model together.

        Raises TypeError for what is no list of lists of str; ValueError, naming the sentence, for another number of
        labels than of tokens, and for missing labels, fewer than two different ones, no token that comes ``min_count``
        times, and vectors of another length than ``embedding`` or of none of the tokens; FloatingPointError if training
        diverges. A tagger that was fitted before is then as it was.
        """
        owner, new = self._owner("fit"), self._unfitted(communicator)
        options, draws = new.settings, generator(new.settings["seed"])
        sentences = _sentences(owner, X)
        rows = tag_rows(owner, y, [len(tokens) for tokens in sentences])
        weight = as_weights(owner, sample_weight, len(sentences), "sentence")
        kept = [k for k, tokens in enumerate(sentences) if tokens and weight[k]]
        if not kept:
            raise ValueError(f"{owner}: there are no tokens in the {len(sentences)} sentences")
        sentences, weight = [sentences[k] for k in kept], weight[kept]
        lengths = np.array([len(tokens) for tokens in sentences])
        classes, tags = read_tags(owner, [rows[k] for k in kept], lengths.tolist())
        held = hold_out(np.zeros(len(sentences)), options["validation"], draws)
        learned = [tokens for tokens, out in zip(sentences, held, strict=True) if not out]
        vocabulary = new._words(Counter(token for tokens in learned for token in tokens))
        if not vocabulary.tokens:
            raise ValueError(f"{owner}: there is no token that comes min_count={options['min_count']} times")
        network = new._build(vocabulary, classes.count, vectors, draws)
        ids = [np.asarray(vocabulary.encode(tokens), np.int64) for tokens in sentences]
        of_class = weights_of_classes(owner, options["class_weight"], classes, np.concatenate(tags))
        each, of_class = step_weights(weight, of_class, tags, options["dtype"])
        out = [ids[k] for k in np.flatnonzero(held)]
        right = [tags[k] for k in np.flatnonzero(held)]
        counted = np.repeat(weight[held], lengths[held])

        def measure(said: list[Host]) -> float:
            found = [logits.argmax(axis=1) for logits in said]
            if options["monitor"] == "span_f1":
                return span_f1(*([classes.own[row].tolist() for row in part] for part in (right, found)))
            return MEASURES[options["monitor"]](np.concatenate(right), np.concatenate(found), counted)

        batch_size = new._batch_size(len(ids))
        loss, parts = step_loss(of_class), (ids, tags, each)
        history = learn(new, network, parts, held, loss, measure, callbacks, communicator, draws, batch_size)
        temperature = 1.0
        if out and options["calibrate"]:
            temperature = class_temperature(np.concatenate(outputs(network, out)), np.concatenate(right), counted)
        fitted = {"_network": network, "_training": history, "vocabulary": vocabulary}
        self._become(**vars(new) | fitted | {"_labels": classes.own, "_temperature": temperature})
        return self

    def predict(self, X: Sentences) -> list[list[Any]]:
        """The most probable label of each token: as many lists as sentences, of as many labels as tokens.

        Raises TypeError for what is no list of lists of str, RuntimeError before ``fit``.
        """
        return [self._labels[p.argmax(axis=1)].tolist() for p in self._probabilities("predict", X)]

    def predict_proba(self, X: Sentences) -> list[Host]:
        """The probabilities of ``classes_`` for each token: a list of (T_n, C)."""
        return self._probabilities("predict_proba", X)

    def score(self, X: Sentences, y: Sequence[Sequence[Any]], sample_weight: Any = None) -> float:
        """The share of tokens, by the weights of their sentences, whose label is right."""
        owner, found = self._owner("score"), self._probabilities("score", X)
        rows = tag_rows(owner, y, [len(p) for p in found])
        weight = np.repeat(as_weights(owner, sample_weight, len(found), "sentence"), [len(p) for p in found])
        if not len(weight):
            raise ValueError(f"{owner}: there are no tokens")
        said = np.concatenate([self._labels[p.argmax(axis=1)] for p in found])
        return accuracy(np.concatenate([row for row in rows if len(row)]), said, weight)

    def span_f1(self, X: Sentences, y: Sequence[Sequence[str]]) -> float:
        """How well spans are found, such as names: :func:`xprnn.estimators.span_f1` of what is predicted."""
        return span_f1([list(row) for row in y], self.predict(X))

    def _probabilities(self, method: str, X: Sentences) -> list[Host]:
        (vocabulary, network), sentences = self._known(), _sentences(self._owner(method), X)
        found = [np.zeros((0, len(self._labels)))] * len(sentences)
        spoken = [k for k, tokens in enumerate(sentences) if tokens]
        ids = [np.asarray(vocabulary.encode(sentences[k]), np.int64) for k in spoken]
        for k, logits in zip(spoken, outputs(network, ids), strict=True):
            found[k] = softmax(logits / self._temperature)
        return found


def _sentences(owner: str, X: Any) -> list[list[str]]:
    """Lists of tokens. Raises TypeError for anything else, and names the sentence."""
    found = []
    for k, sentence in enumerate(listed(owner, "X", X, "a list of sentences, which are lists of tokens")):
        if isinstance(sentence, (str, bytes)) or not isinstance(sentence, Iterable):
            kind = type(sentence).__name__
            raise TypeError(f"{owner}: sentence {k} is a {kind}; expected a list of tokens, as split_words gives it")
        tokens = list(sentence)
        if wrong := [type(token).__name__ for token in tokens if not isinstance(token, str)]:
            raise TypeError(f"{owner}: sentence {k} holds a {wrong[0]}; expected tokens, which are str")
        found.append([str(token) for token in tokens])
    return found
