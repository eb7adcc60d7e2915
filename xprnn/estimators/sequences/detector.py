"""AnomalyDetector: which sequences, and which of their steps, are unlike those that it has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from xprnn.arguments import among, real_number
from xprnn.backend import Array
from xprnn.data.padding import lengths_to_mask
from xprnn.estimators.estimator import TRAINING
from xprnn.estimators.parameters import Role
from xprnn.estimators.sequences.estimator import SEQUENCES, SequenceEstimator
from xprnn.estimators.sequences.input import as_sequences
from xprnn.estimators.sequences.network import NextStepNetwork, ReconstructionNetwork, SequenceNetwork
from xprnn.randomness import Rng
from xprnn.storage import HostArrays
from xprnn.tensor import Tensor
from xprnn.train import Callback, mse
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]
NETWORKS: dict[str, type[SequenceNetwork]] = {"forecast": NextStepNetwork, "reconstruction": ReconstructionNetwork}
LEAST = np.nextafter(0.0, 1.0)


class AnomalyDetector(SequenceEstimator):
    """Anomalies: sequences that are harder to forecast, or to reconstruct, than nearly all of those fitted on.

    A network learns to say each step, from the steps before it or from one vector that the whole sequence has gone
    through. e[t] is the mean over the features of the squared error, scaled by those of the training part; a sequence's
    score is -mean of e[t] over its steps, and it is an anomaly where that is below ``offset_``, the quantile
    ``contamination`` of the scores of the sequences fitted on.

    X as for :class:`SequenceClassifier`. It keeps scikit-learn's contract for outlier detectors, and needs no
    scikit-learn.

    >>> detector = AnomalyDetector(contamination=0.01).fit(X)  # doctest: +SKIP
    >>> detector.predict(new)  # 1, or -1 for an anomaly  # doctest: +SKIP

    Parameters
    ----------
    cell
        "gru", "lstm", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mgu", "slstm", "ctrnn", "antisymmetricrnn", "mingru", "minlstm",
        "qrnn", "sru", "lmu", "mlstm", "lru" or "s5".
    kind
        "forecast": each step from those before it. "reconstruction": all steps from the last state of a layer that has
        read them, by a second layer.
    hidden, layers
        Hidden units of each layer; layers.
    contamination
        The share of the fitted sequences that shall count as anomalies, above 0 and at most 0.5.
    steps
        How many steps a row of a table is cut into. Default: each column is a step.
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam on the mean squared error, gradients clipped to this global norm. Default batch: a twentieth
        of the sequences, at least 4 and at most 64.
    validation, patience
        The share of the sequences that is not trained on; training stops after ``patience`` epochs without a better
        error on it, and takes the best weights. ``validation=0`` trains on everything, to the end.
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed or a generator to draw it.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = TRAINING | {
        "kind": among(NETWORKS),
        "contamination": lambda owner, name, given: real_number(
            owner, name, given, "a share above 0 and at most 0.5", LEAST, 0.5
        ),
        **{name: SEQUENCES[name] for name in ("steps", "batch_size", "patience")},
    }
    KIND = "anomaly detector"
    METADATA: ClassVar = {"width": int}
    ARRAYS: ClassVar = {"scaler.mean": 1, "scaler.std": 1, "offset": 1}
    ROLE = Role("outlier_detector", reads=("two_d_array", "three_d_array"))

    _offset = 0.0

    def __init__(
        self,
        cell: str = "gru",
        *,
        kind: str = "forecast",
        hidden: int = 32,
        layers: int = 1,
        contamination: float = 0.05,
        steps: int | None = None,
        epochs: int = 100,
        batch_size: int | None = None,
        learning_rate: float = 3e-3,
        clip_norm: float = 1.0,
        validation: float = 0.1,
        patience: int = 20,
        seed: int = 0,
        random_state: Any = None,
        dtype: str = "float32",
        backend: str | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(locals())

    @property
    def offset_(self) -> float:
        """The score below which a sequence is an anomaly."""
        self._of_fit("offset_")
        return self._offset

    def fit(
        self, X: Any, y: Any = None, *, callbacks: Sequence[Callback] = (), communicator: Communicator | None = None
    ) -> AnomalyDetector:
        """Learn what sequences are like. Returns itself.

        ``y`` is what scikit-learn's searches score by, and is not looked at.

        ``communicator`` is that of several processes which make the same call with the same data, as
        :func:`xprnn.distributed.world` gives it: they train one model together.

        Raises TypeError and ValueError for data of other kinds and shapes, naming the row; FloatingPointError if
        training diverges. A detector that was fitted before is then as it was.
        """
        new = self._unfitted(communicator)
        given = as_sequences(self._owner("fit"), X, new.settings["steps"])
        held = new._part(np.zeros(len(given.rows)))

        def loss(model: Any, batch: tuple[Array, ...]) -> Tensor:
            x, lengths = batch
            mask = self._home().asarray(lengths_to_mask(lengths, x.shape[0]))
            return mse(model(x, lengths), x, mask)

        new._learn(given, (), held, given.features, loss, None, callbacks, communicator)
        new._offset = float(np.quantile(new._scores(given.rows), new.settings["contamination"]))
        self._become(**vars(new))
        return self

    def step_errors(self, X: Any) -> list[Host]:
        """e[t] for each step of each sequence: a list of (T_n,)."""
        return self._errors(self._read("step_errors", X).rows)

    def score_samples(self, X: Any) -> Host:
        """-mean of e[t] over the steps of each sequence (N,): the higher, the more like those fitted on."""
        return self._scores(self._read("score_samples", X).rows)

    def decision_function(self, X: Any) -> Host:
        """``score_samples`` - ``offset_`` (N,): below 0 for anomalies."""
        return self._scores(self._read("decision_function", X).rows) - self._offset

    def predict(self, X: Any) -> Host:
        """1 for each sequence that is like those fitted on, -1 for an anomaly (N,)."""
        return np.where(self._scores(self._read("predict", X).rows) < self._offset, -1, 1)

    def fit_predict(self, X: Any, y: Any = None) -> Host:
        """``fit(X)``, and ``predict`` of the same."""
        return self.fit(X, y).predict(X)

    def _errors(self, rows: Sequence[Host]) -> list[Host]:
        pairs = zip(self._scaled(rows), self._said(rows), strict=True)
        return [np.square(said - scaled).mean(axis=1) for scaled, said in pairs]

    def _scores(self, rows: Sequence[Host]) -> Host:
        return np.array([-errors.mean() for errors in self._errors(rows)])

    def _build(self, features: int, said: int, rng: Rng) -> SequenceNetwork:
        kind = NETWORKS[self.settings["kind"]]
        network = kind(features, said, **self._sizes(), dtype=self.settings["dtype"], rng=rng)
        network.to(self._home())
        return network

    def _described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays, metadata = self._common()
        return arrays | {"offset": np.array([self._offset])}, metadata

    def _restored(self, arrays: HostArrays, metadata: dict[str, Any], weights: Mapping[str, Host]) -> dict[str, Any]:
        if arrays["offset"].shape != (1,):
            raise ValueError(f"offset has shape {arrays['offset'].shape}; expected one number")
        features, kind = len(arrays["scaler.mean"]), NETWORKS[self.settings["kind"]]
        common = self._restored_common(arrays, metadata)
        network = self._filled(weights, features, features, kind)
        return common | {"_network": network, "_offset": float(arrays["offset"][0])}
