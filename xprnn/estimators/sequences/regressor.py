"""SequenceRegressor: a number, or several, of each sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from xprnn import ops
from xprnn.arguments import among
from xprnn.backend import Array
from xprnn.data.series import StandardScaler
from xprnn.estimators.cells import POOLINGS
from xprnn.estimators.learning import mean_one, weighted_mean
from xprnn.estimators.metrics import mean_absolute_error, r_squared
from xprnn.estimators.parameters import Role
from xprnn.estimators.sequences.estimator import SEQUENCES, SequenceEstimator, check_monitor
from xprnn.estimators.sequences.input import as_numbers, as_weights
from xprnn.storage import HostArrays
from xprnn.tensor import Tensor
from xprnn.train import Callback, huber, mae, mse
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]
LOSSES: dict[str, Callable[..., Tensor]] = {"huber": huber, "mae": mae, "mse": mse}
MEASURES = {"mae": mean_absolute_error, "r2": r_squared}


class SequenceRegressor(SequenceEstimator):
    """Target numbers of sequences: a recurrent layer reads a sequence, and its pooled states tell the numbers.

    X as for :class:`SequenceClassifier`; y (N,) or (N, K). Features and targets are scaled with mean and deviation of
    the training part. It keeps scikit-learn's contract for regressors, and needs no scikit-learn.

    >>> SequenceRegressor(seed=0).fit(X, y).predict(X[:3])  # doctest: +SKIP

    Parameters
    ----------
    cell
        "gru", "lstm", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mgu", "slstm", "ctrnn", "antisymmetricrnn", "mingru", "minlstm",
        "qrnn", "sru", "lmu", "mlstm", "lru" or "s5".
    hidden, layers, bidirectional
        Hidden units of each layer and direction; layers; whether sequences are read backward too.
    pooling
        "last" state, or the "mean", "max" or "attention" over the states of all steps.
    dropout
        Probability of a zero, while training, in what was pooled and between layers.
    steps
        How many steps a row of a table is cut into. Default: each column is a step.
    loss
        "mse", "mae" or "huber" of scaled targets.
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam, gradients clipped to this global norm. Default batch: a twentieth of the sequences, at least
        4 and at most 64.
    validation, patience, monitor
        The share of the sequences that is not trained on; training stops after ``patience`` epochs without a better
        ``monitor`` there, "loss", "mae" or "r2", and takes the best weights. ``validation=0`` trains on everything, to
        the end.
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed or a generator to draw it.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = SEQUENCES | {"pooling": among(POOLINGS), "loss": among(LOSSES), "monitor": among(("loss", *MEASURES))}
    KIND = "sequence regressor"
    METADATA: ClassVar = {"vector": bool, "width": int}
    ARRAYS: ClassVar = {"scaler.mean": 1, "scaler.std": 1, "target.mean": 1, "target.std": 1}
    ROLE = Role("regressor", reads=("two_d_array", "three_d_array"), several=True)

    _target: StandardScaler
    _vector = True  # whether y was given without columns

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
        loss: str = "mse",
        epochs: int = 100,
        batch_size: int | None = None,
        learning_rate: float = 3e-3,
        clip_norm: float = 1.0,
        validation: float = 0.1,
        patience: int = 20,
        monitor: str = "loss",
        seed: int = 0,
        random_state: Any = None,
        dtype: str = "float32",
        backend: str | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(locals())
        check_monitor(type(self).__name__, self.settings)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        callbacks: Sequence[Callback] = (),
        communicator: Communicator | None = None,
    ) -> SequenceRegressor:
        """Learn from sequences and their numbers (N,) or (N, K). Returns itself.

        ``sample_weight`` (N,) says how much each sequence counts; those of weight 0 are left out.

        ``communicator`` is that of several processes which make the same call with the same data, as
        :func:`xprnn.distributed.world` gives it: they train one model together.

        Raises TypeError and ValueError for data of other kinds and shapes, naming the row; FloatingPointError if
        training diverges. A regressor that was fitted before is then as it was.
        """
        owner, new = self._owner("fit"), self._unfitted(communicator)
        options = new.settings
        given, weight, kept = new._counted(owner, X, sample_weight)
        numbers = as_numbers(owner, y, len(kept))[kept]
        new._vector, numbers = numbers.ndim == 1, numbers.reshape(len(numbers), -1)
        held = new._part(np.zeros(len(numbers)))
        target = new._target = StandardScaler().fit(numbers[~held])

        def loss(model: Any, batch: tuple[Array, ...]) -> Tensor:
            x, lengths, wanted, each = batch
            losses = LOSSES[options["loss"]](model(x, lengths), wanted, reduction="none")
            return weighted_mean(ops.mean(losses, axis=1), each)

        def measure(said: list[Host]) -> float:
            return MEASURES[options["monitor"]](numbers[held], target.inverse(np.stack(said)), weight[held])

        beside = (target.transform(numbers).astype(options["dtype"]), mean_one(weight, options["dtype"]))
        new._learn(given, beside, held, numbers.shape[1], loss, measure, callbacks, communicator)
        self._become(**vars(new))
        return self

    def predict(self, X: Any) -> Host:
        """The numbers of each sequence, (N,) or (N, K) as y was, in its units."""
        said = np.stack(self._said(self._read("predict", X).rows))
        found = self._target.inverse(said)
        return found[:, 0] if self._vector else found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2 = 1 - sum of w (y - p)^2 / sum of w (y - mean)^2, the mean of its columns; 1 is perfect."""
        owner, given = self._owner("score"), self._read("score", X)
        actual, found = as_numbers(owner, y, len(given.rows)), np.stack(self._said(given.rows))
        found, weight = self._target.inverse(found), as_weights(owner, sample_weight, len(found))
        actual = actual.reshape(len(actual), -1)
        if actual.shape != found.shape:
            raise ValueError(f"{owner}: y has {actual.shape[1]} columns; fitted on {found.shape[1]}")
        return r_squared(actual, found, weight)

    def _described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays, metadata = self._common()
        arrays |= {"target.mean": self._target.mean, "target.std": self._target.std}
        return arrays, metadata | {"vector": self._vector}

    def _restored(self, arrays: HostArrays, metadata: dict[str, Any], weights: Mapping[str, Host]) -> dict[str, Any]:
        mean, std, vector = arrays["target.mean"], arrays["target.std"], metadata["vector"]
        if not len(mean) or len(std) != len(mean) or (vector and len(mean) > 1) or (std < 0.0).any():
            raise ValueError(f"target.mean has {len(mean)} numbers, target.std {len(std)}; expected one a number said")
        network = self._filled(weights, len(arrays["scaler.mean"]), len(mean))
        common = self._restored_common(arrays, metadata)
        return common | {"_network": network, "_target": StandardScaler(mean, std), "_vector": vector}
