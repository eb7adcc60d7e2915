"""What all estimators of sequences have in common: how they read, learn and say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xprnn.arguments import optional, probability, true_or_false, whole_number
from xprnn.data.series import StandardScaler
from xprnn.estimators.estimator import TRAINING, Estimator
from xprnn.estimators.labels import hold_out
from xprnn.estimators.learning import Loss, Measure, learn, outputs
from xprnn.estimators.sequences.feature_names import require_names
from xprnn.estimators.sequences.input import Sequences, as_sequences, as_weights
from xprnn.estimators.sequences.network import SequenceNetwork
from xprnn.randomness import Rng, generator
from xprnn.storage import HostArrays
from xprnn.train import Callback
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]
SEQUENCES = TRAINING | {
    "bidirectional": true_or_false,
    "dropout": probability,
    "steps": optional(whole_number),
    "batch_size": optional(whole_number),
    "patience": whole_number,
}
"""The settings that estimators of sequences have."""


FAR = 1e30
"""Standard deviations beyond which no network tells numbers apart; weighted sums of it are float32."""


class SequenceEstimator(Estimator):
    """Base of the estimators of sequences: each is a :class:`SequenceNetwork` on scaled steps."""

    _scaler: StandardScaler
    _width = 0  # the columns of the table fitted on, 0 for none
    _names: tuple[str, ...] = ()

    @property
    def n_features_in_(self) -> int:
        """The columns of the table that it was fitted on; of other sequences the values of a step."""
        return self._width or int(self._of_fit("n_features_in_").recurrent.input_size)

    @property
    def feature_names_in_(self) -> Host:
        """The names (C,) of the columns of the table, or tables, that it was fitted on, where these are text."""
        self._of_fit("feature_names_in_")
        if not self._names:
            raise AttributeError(
                f"{type(self).__name__}: feature_names_in_ is not known, as it was fitted without names"
            )
        return np.array(self._names, dtype=object)

    def _read(self, method: str, X: Any) -> Sequences:
        """Sequences as those fitted on. Raises RuntimeError before ``fit``, ValueError for others.

        Columns of a table have the same names in the same order; a warning where only one of both has names.
        """
        network, owner = self._fitted(self._network), self._owner(method)
        require_names(owner, X, self._names, self._width > 0)
        given = as_sequences(owner, X, self.settings["steps"])
        came, expected = given.features, network.recurrent.input_size
        if self._width and given.width:
            came, expected = given.width, self._width
        if came != expected:
            name = type(self).__name__
            raise ValueError(f"{owner}: X has {came} features, but {name} is expecting {expected} features as input")
        return given

    def _counted(self, owner: str, X: Any, sample_weight: Any) -> tuple[Sequences, Host, Host]:
        """To learn from: the sequences that weigh something, their weights, and of all rows (N,) whether they do."""
        given = as_sequences(owner, X, self.settings["steps"])
        weight = as_weights(owner, sample_weight, len(given.rows))
        kept = weight > 0.0
        return given.taken(kept), weight[kept], kept

    def _scaled(self, rows: Sequence[Host]) -> list[Host]:
        """In the network's dtype. What is FAR off stays so, and finite: sums of infinities would be NaN."""
        return [np.clip(self._scaler.transform(row), -FAR, FAR).astype(self.settings["dtype"]) for row in rows]

    def _said(self, rows: Sequence[Host]) -> list[Host]:
        """What the fitted network says of each sequence, for rows that have been read."""
        return outputs(self._fitted(self._network), self._scaled(rows))

    def _part(self, target: Host) -> Host:
        """Which rows are held out for validation, in each class the same share."""
        return hold_out(target, self.settings["validation"], generator(self.settings["seed"]))

    def _learn(
        self,
        given: Sequences,
        beside: tuple[Any, ...],
        held: Host,
        said: int,
        loss: Loss,
        measure: Measure | None,
        callbacks: Sequence[Callback],
        communicator: Communicator | None,
    ) -> None:
        """Fit scaler and network, of an unfitted one, to sequences and what belongs to them, lists or arrays (N, ...).

        The network says so many numbers; ``held`` and ``measure`` are as :func:`xprnn.estimators.learning.learn` has
        them.
        """
        draws = generator(self.settings["seed"])
        self._width, self._names = given.width, given.names
        self._scaler = StandardScaler().fit(np.concatenate(given.taken(~held).rows))
        network = self._build(given.features, said, draws)
        data, batch_size = (self._scaled(given.rows), *beside), self.settings["batch_size"]
        batch_size = batch_size or min(64, max(4, len(held) // 20))
        self._training = learn(self, network, data, held, loss, measure, callbacks, communicator, draws, batch_size)
        self._network = network

    def _sizes(self) -> dict[str, Any]:
        """What the network is built of, beside its inputs and outputs."""
        names = ("cell", "hidden", "layers", "bidirectional", "pooling")
        return {name: self.settings[name] for name in names if name in self.settings}

    def _build(self, features: int, said: int, rng: Rng) -> SequenceNetwork:
        network = SequenceNetwork(
            features, said, **self._sizes(), dropout=self.settings["dropout"], dtype=self.settings["dtype"], rng=rng
        )
        network.to(self._home())
        return network

    def _common(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a file holds of each."""
        metadata = {"width": self._width, "feature_names": list(self._names)}
        return {"scaler.mean": self._scaler.mean, "scaler.std": self._scaler.std}, metadata

    def _restored_common(self, arrays: HostArrays, metadata: dict[str, Any]) -> dict[str, Any]:
        mean, std, width = arrays["scaler.mean"], arrays["scaler.std"], metadata["width"]
        if not len(mean) or len(std) != len(mean):
            raise ValueError(f"scaler.std has {len(std)} numbers; expected {max(len(mean), 1)}, one a feature")
        if width < 0 or (std < 0.0).any():
            raise ValueError(f"width is {width}, or a deviation is below 0")
        steps = self.settings["steps"]
        if width != ((steps or width) * len(mean) if steps or width else 0):
            raise ValueError(f"width is {width}; expected {steps or 'as many'} steps of {len(mean)} features")
        names = metadata.get("feature_names", [])  # which files of before 2026-12 lack
        if not isinstance(names, list):
            raise ValueError(f"feature_names is a {type(names).__name__}; expected a list")
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"feature_names are {names!r}; expected names")
        if len(names) not in (0, width or len(mean)):
            count = width or len(mean)
            raise ValueError(f"feature_names are {len(names)}; expected none, or one for each of {count} columns")
        return {"_scaler": StandardScaler(mean, std), "_width": width, "_names": tuple(names)}

    def _filled(
        self, weights: Mapping[str, Host], features: int, said: int, kind: type[SequenceNetwork] = SequenceNetwork
    ) -> SequenceNetwork:
        """The network of a file."""
        shapes = kind.shapes(features, said, **self._sizes())
        return self._read_network(weights, shapes, lambda: self._build(features, said, 0))


def check_monitor(owner: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError for something to watch and nothing to watch it on."""
    if settings["monitor"] != "loss" and not settings["validation"]:
        raise ValueError(f"{owner}: monitor is {settings['monitor']!r}, but validation is 0; expected a share to watch")
