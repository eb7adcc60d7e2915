"""SequenceClassifier: which class a sequence is of, or which of several labels it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import among
from xprnn.backend import Array
from xprnn.estimators.cells import POOLINGS
from xprnn.estimators.learning import class_loss, mean_one, weighted_mean
from xprnn.estimators.metrics import accuracy
from xprnn.estimators.parameters import Role
from xprnn.estimators.sequences.calibration import class_temperature, label_temperature, sigmoid, softmax
from xprnn.estimators.sequences.estimator import SEQUENCES, check_monitor
from xprnn.estimators.sequences.input import as_weights
from xprnn.estimators.sequences.labelled import LABELLED, MEASURES, LabelledEstimator
from xprnn.estimators.sequences.targets import (
    host_labels,
    read_labels,
    those_kept,
    weights_of_classes,
)
from xprnn.tensor import Tensor
from xprnn.train import Callback, bce_with_logits
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]


class SequenceClassifier(LabelledEstimator):
    """Classes of sequences of numbers: a recurrent layer reads a sequence, and its pooled states tell the class.

    X is an array (N, T, F), a list of arrays (T_n, F) or (T_n,) of different lengths, or a table (N, C), each row of
    which is a sequence of C steps of one value or, with ``steps``, of so many steps of C / steps values. Long tables of
    a row a step come by :func:`xprnn.estimators.long_table`. y holds the class of each, or (N, L) of 0 and 1 for L
    labels at once. Features are scaled with mean and deviation of the training part. A table whose columns have names,
    ``feature_names_in_``, is asked for by the same names in the same order afterwards.

    >>> classifier = SequenceClassifier(seed=0).fit(X, y)  # doctest: +SKIP
    >>> classifier.predict_proba(X[:3])  # doctest: +SKIP

    It keeps scikit-learn's contract for classifiers, and needs no scikit-learn.

    Parameters
    ----------
    cell
        "gru", "lstm", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mgu", "slstm", "ctrnn", "antisymmetricrnn", "mingru", "minlstm",
        "qrnn", "sru", "lmu", "mlstm", "lru" or "s5". The last two are linear in X, however many layers there are.
    hidden, layers, bidirectional
        Hidden units of each layer and direction; layers; whether sequences are read backward too.
    pooling
        "last" state, or the "mean", "max" or "attention" over the states of all steps.
    dropout
        Probability of a zero, while training, in what was pooled and between layers.
    steps
        How many steps a row of a table is cut into. Default: each column is a step.
    class_weight
        How much classes count: a dict by label (1 for those that it lacks), or "balanced" for N / (classes * count).
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam on the cross-entropy, gradients clipped to this global norm. Default batch: a twentieth of
        the sequences, at least 4 and at most 64.
    validation, patience, monitor
        The share of each class that is not trained on; training stops after ``patience`` epochs without a better
        ``monitor`` there, "loss", "accuracy", "balanced_accuracy" or "f1" (the mean over classes), and takes the best
        weights. ``validation=0``, and rows so few that it rounds to none, train on everything, to the end.
    calibrate
        Whether logits are divided by the temperature that fits the validation part best (Guo et al. 2017), so that
        probabilities are as often right as they say.
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed or a generator to draw it.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = SEQUENCES | LABELLED | {"pooling": among(POOLINGS)}
    KIND = "sequence classifier"
    ROLE = Role("classifier", reads=("two_d_array", "three_d_array"), several=True)

    def __init__(
        self,
        cell: str = "gru",
        *,
        hidden: int = 64,
        layers: int = 1,
        bidirectional: bool = False,
        pooling: str = "last",
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
        """The labels, sorted, in the dtype of those given to ``fit``; of several labels a row, their numbers."""
        self._of_fit("classes_")
        return np.arange(self._classes.several) if self._classes.several else self._classes.own

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        callbacks: Sequence[Callback] = (),
        communicator: Communicator | None = None,
    ) -> SequenceClassifier:
        """Learn from sequences and their labels (N,) or (N, L). Returns itself.

        ``sample_weight`` (N,) says how much each sequence counts; those of weight 0 are left out.

        ``communicator`` is that of several processes which make the same call with the same data, as
        :func:`xprnn.distributed.world` gives it: they train one model together.

        Raises TypeError and ValueError for data of other kinds and shapes, naming the row, and for fewer than two
        classes; FloatingPointError if training diverges. A classifier that was fitted before is then as it was.
        """
        owner, new = self._owner("fit"), self._unfitted(communicator)
        options = new.settings
        given, weight, kept = new._counted(owner, X, sample_weight)
        classes, target = read_labels(owner, those_kept(owner, y, kept), len(given.rows))
        held = new._part(target[:, 0] if classes.several else target)
        chosen = weights_of_classes(owner, options["class_weight"], classes, target)
        if classes.several:
            each = weight[:, None] * chosen[np.arange(classes.several), target]
            wanted, loss, fitting = target.astype(options["dtype"]), _several_loss, label_temperature
        else:
            each, wanted, loss, fitting = weight * chosen[target], target, class_loss, class_temperature

        def measure(said: list[Host]) -> float:
            logits = np.stack(said)
            found = (logits > 0.0).astype(int) if classes.several else logits.argmax(axis=1)
            return MEASURES[options["monitor"]](target[held], found, weight[held])

        beside = (wanted, mean_one(each, options["dtype"]))
        new._learn(given, beside, held, classes.count, loss, measure, callbacks, communicator)
        new._classes, new._temperature = classes, 1.0
        if held.any() and options["calibrate"]:
            new._temperature = fitting(np.stack(new._said(given.taken(held).rows)), target[held], weight[held])
        self._become(**vars(new))
        return self

    def predict(self, X: Any) -> Host:
        """The most probable class of each sequence (N,), or which labels it has (N, L), in the labels' own dtype."""
        probabilities = self._probabilities("predict", X)
        return self._classes.chosen(probabilities)

    def predict_proba(self, X: Any) -> Host:
        """The probabilities of ``classes_`` for each sequence (N, C), or of each of several labels (N, L)."""
        return self._probabilities("predict_proba", X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of sequences, by their weights, of which the class, or every one of several labels, is right.

        Raises ValueError for labels of another number or shape, and where none of them is known.
        """
        owner, probabilities = self._owner("score"), self._probabilities("score", X)
        found, actual = self._classes.chosen(probabilities), host_labels(owner, y)
        actual = actual[:, 0] if actual.ndim == 2 and found.ndim == 1 and actual.shape[1] == 1 else actual
        if actual.shape != found.shape:
            raise ValueError(f"{owner}: y has shape {actual.shape}; expected {found.shape}")
        if not np.isin(actual.tolist(), self._classes.own.tolist()).any():
            raise ValueError(f"{owner}: none of the labels is known; expected some of {self._classes.own.tolist()}")
        return accuracy(actual, found, as_weights(owner, sample_weight, len(found)))

    def _probabilities(self, method: str, X: Any) -> Host:
        logits = np.stack(self._said(self._read(method, X).rows)) / self._temperature
        return sigmoid(logits) if self._classes.several else softmax(logits)


def _several_loss(model: Any, batch: tuple[Array, ...]) -> Tensor:
    x, lengths, target, weight = batch
    losses = bce_with_logits(model(x, lengths), target, reduction="none")
    return weighted_mean(ops.mean(losses * weight, axis=1), 1.0)
