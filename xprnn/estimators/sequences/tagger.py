"""SequenceTagger: a label for each step of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xprnn.estimators.learning import step_loss
from xprnn.estimators.metrics import accuracy
from xprnn.estimators.parameters import Role
from xprnn.estimators.sequences.calibration import class_temperature, softmax
from xprnn.estimators.sequences.estimator import SEQUENCES, check_monitor
from xprnn.estimators.sequences.input import Sequences, as_weights
from xprnn.estimators.sequences.labelled import LABELLED, MEASURES, LabelledEstimator
from xprnn.estimators.sequences.targets import (
    Classes,
    read_tags,
    step_weights,
    tag_rows,
    those_kept,
    weights_of_classes,
)
from xprnn.train import Callback
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]


class SequenceTagger(LabelledEstimator):
    """Labels of all steps of sequences of numbers: a recurrent layer reads a sequence, and each state tells a label.

    X as for :class:`SequenceClassifier`; y a list of arrays (T_n,), or an array (N, T), of the label of each step. What
    is said comes in the same form: an array where X is one, else a list. Features are scaled with mean and deviation of
    the training part.

    >>> SequenceTagger(seed=0).fit(X, y).predict(X[:3])  # doctest: +SKIP

    Parameters
    ----------
    cell
        "gru", "lstm", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mgu", "slstm", "ctrnn", "antisymmetricrnn", "mingru", "minlstm",
        "qrnn", "sru", "lmu", "mlstm", "lru" or "s5".
    hidden, layers, bidirectional
        Hidden units of each layer and direction; layers; whether a label may depend on later steps too.
    dropout
        Probability of a zero, while training, in the states and between layers.
    steps
        How many steps a row of a table is cut into. Default: each column is a step.
    class_weight
        How much classes count: a dict by label (1 for those that it lacks), or "balanced" for N / (classes * count).
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam on the cross-entropy, gradients clipped to this global norm. Default batch: a twentieth of
        the sequences, at least 4 and at most 64.
    validation, patience, monitor
        The share of the sequences that is not trained on; training stops after ``patience`` epochs without a better
        ``monitor`` there, "loss", "accuracy", "balanced_accuracy" or "f1" (the mean over classes) of all steps, and
        takes the best weights. ``validation=0`` trains on everything, to the end.
    calibrate
        Whether logits are divided by the temperature that fits the validation part best (Guo et al. 2017).
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed or a generator to draw it.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = SEQUENCES | LABELLED
    KIND = "sequence tagger"
    ROLE = Role(reads=("three_d_array",))

    def __init__(
        self,
        cell: str = "gru",
        *,
        hidden: int = 64,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        steps: int | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        epochs: int = 100,
        batch_size: int | None = None,
        learning_rate: float = 3e-3,
        clip_norm: float = 1.0,
        validation: float = 0.1,
        patience: int = 20,
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

    @property
    def classes_(self) -> Host:
        """The labels, sorted, in the dtype of those given to ``fit``."""
        self._of_fit("classes_")
        return self._classes.own

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        callbacks: Sequence[Callback] = (),
        communicator: Communicator | None = None,
    ) -> SequenceTagger:
        """Learn from sequences and the labels of their steps. Returns itself.

        ``sample_weight`` (N,) says how much the steps of each sequence count; those of weight 0 are left out.

        ``communicator`` is that of several processes which make the same call with the same data, as
        :func:`xprnn.distributed.world` gives it: they train one model together.

        Raises TypeError and ValueError for data of other kinds and shapes, naming the row, and for fewer than two
        classes; FloatingPointError if training diverges. A tagger that was fitted before is then as it was.
        """
        owner, new = self._owner("fit"), self._unfitted(communicator)
        options = new.settings
        given, weight, kept = new._counted(owner, X, sample_weight)
        classes, tags = read_tags(owner, those_kept(owner, y, kept), given.lengths)
        held = new._part(np.zeros(len(tags)))
        of_class = weights_of_classes(owner, options["class_weight"], classes, np.concatenate(tags))
        each, of_class = step_weights(weight, of_class, tags, options["dtype"])
        right = np.concatenate([tags[0][:0], *(tags[k] for k in np.flatnonzero(held))])
        counted = np.repeat(weight, np.where(held, given.lengths, 0))

        def measure(said: list[Host]) -> float:
            return MEASURES[options["monitor"]](right, np.concatenate(said).argmax(axis=1), counted)

        loss = step_loss(of_class)
        new._learn(given, (tags, each), held, classes.count, loss, measure, callbacks, communicator)
        new._classes, new._temperature = classes, 1.0
        if held.any() and options["calibrate"]:
            logits = np.concatenate(new._said(given.taken(held).rows))
            new._temperature = class_temperature(logits, right, counted)
        self._become(**vars(new))
        return self

    def predict(self, X: Any) -> Any:
        """The most probable label of each step, in their own dtype: a list of (T_n,), or (N, T) for an array X."""
        given = self._read("predict", X)
        return _formed(given, X, [self._classes.chosen(p) for p in self._probabilities(given)])

    def predict_proba(self, X: Any) -> Any:
        """The probabilities of ``classes_`` at each step: a list of (T_n, C), or (N, T, C) for an array X."""
        given = self._read("predict_proba", X)
        return _formed(given, X, self._probabilities(given))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of steps, by the weights of their sequences, whose label is right."""
        owner, given = self._owner("score"), self._read("score", X)
        weight = np.repeat(as_weights(owner, sample_weight, len(given.rows)), given.lengths)
        actual = np.concatenate(tag_rows(owner, y, given.lengths))
        found = np.concatenate([self._classes.chosen(p) for p in self._probabilities(given)])
        return accuracy(actual, found, weight)

    def _probabilities(self, given: Sequences) -> list[Host]:
        return [softmax(said / self._temperature) for said in self._said(given.rows)]

    def _check_restored(self, classes: Classes) -> None:
        if classes.several:
            raise ValueError(f"several is {classes.several}; expected 0, as a step has one label")


def _formed(given: Sequences, X: Any, said: list[Host]) -> Any:
    """A list where X is a list of sequences, else one array."""
    return np.stack(said) if given.width or getattr(X, "ndim", 0) == 3 else said
