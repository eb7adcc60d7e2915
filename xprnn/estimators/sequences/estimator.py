"""What all estimators of sequences have in common: how they read, learn and say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import optional, probability, several, true_or_false, whole_number
from xprnn.backend import Array, Rng, backend_of, generator, namespace, to_numpy
from xprnn.data.bucketing import Buckets
from xprnn.data.padding import pad_sequences
from xprnn.data.series import StandardScaler
from xprnn.estimators.estimator import TRAINING, Estimator
from xprnn.estimators.labels import hold_out
from xprnn.estimators.portions import STEPS_AT_ONCE, portions
from xprnn.estimators.sequences.input import Sequences, as_sequences
from xprnn.estimators.sequences.network import SequenceNetwork
from xprnn.storage import HostArrays
from xprnn.tape import no_grad
from xprnn.tensor import Tensor
from xprnn.train import Adam, Callback, EarlyStopping, History, fit
from xprnn.train.run import Run
from xprnn.train.weighted import Mean

Host = np.ndarray[Any, Any]
Loss = Callable[[Any, tuple[Array, ...]], Tensor]
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

    @property
    def n_features_in_(self) -> int:
        """The columns of the table that it was fitted on; of other sequences the values of a step."""
        return self._width or int(self._of_fit("n_features_in_").recurrent.input_size)

    def _owner(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _read(self, method: str, X: Any) -> Sequences:
        """Sequences as those fitted on. Raises RuntimeError before ``fit``, ValueError for others."""
        network, owner = self._fitted(self._network), self._owner(method)
        given = as_sequences(owner, X, self.settings["steps"])
        came, expected = given.features, network.recurrent.input_size
        if self._width and given.width:
            came, expected = given.width, self._width
        if came != expected:
            name = type(self).__name__
            raise ValueError(f"{owner}: X has {came} features, but {name} is expecting {expected} features as input")
        return given

    def _scaled(self, rows: Sequence[Host], scaler: StandardScaler) -> list[Host]:
        """In the network's dtype. What is FAR off stays so, and finite: sums of infinities would be NaN."""
        return [np.clip(scaler.transform(row), -FAR, FAR).astype(self.settings["dtype"]) for row in rows]

    def _said(self, rows: Sequence[Host]) -> list[Host]:
        """What the fitted network says of each sequence, for rows that have been read."""
        return outputs(self._fitted(self._network), self._scaled(rows, self._scaler))

    def _part(self, target: Host) -> Host:
        """Which rows are held out for validation, in each class the same share."""
        return hold_out(target, self.settings["validation"], generator(self.settings["seed"]))

    def _scaler_of(self, rows: Sequence[Host], held: Host) -> StandardScaler:
        return StandardScaler().fit(np.concatenate([row for row, out in zip(rows, held, strict=True) if not out]))

    def _learn(
        self,
        network: SequenceNetwork,
        data: tuple[Any, ...],
        held: Host,
        loss: Loss,
        watch: Watch | None,
        callbacks: Sequence[Callback],
        rng: Rng,
    ) -> History:
        """Train on sequences and what belongs to them, lists or arrays (N, ...), but for those held out."""
        options, home = self.settings, self._home()
        batch_size = options["batch_size"] or min(64, max(4, len(held) // 20))

        def buckets(rows: Host, size: int, shuffle: bool) -> Buckets | None:
            chosen = np.flatnonzero(rows)
            if not chosen.size:
                return None
            parts = [part[chosen] if hasattr(part, "shape") else [part[k] for k in chosen] for part in data]
            return Buckets(*parts, batch_size=size, shuffle=shuffle, rng=generator(rng))

        def moved(model: Any, batch: tuple[Array, ...]) -> Tensor:
            return loss(model, (home.asarray(batch[0]), batch[1], *map(home.asarray, batch[2:])))

        longest = max(len(row) for row in data[0])
        validation = buckets(held, max(1, STEPS_AT_ONCE // longest), False)
        train = buckets(~held, batch_size, True)
        assert train is not None
        watched: list[Callback] = []
        if validation is not None:
            monitor = None if watch is None else watch.name
            watched = [EarlyStopping(options["patience"], monitor=monitor, mode="min" if watch is None else watch.mode)]
            watched[:0] = [watch] if watch is not None else []
        history = fit(
            network,
            train,
            moved,
            Adam(network.parameters(), lr=options["learning_rate"]),
            epochs=options["epochs"],
            validation=validation,
            clip_norm=options["clip_norm"],
            callbacks=[*watched, *several(type(self).__name__, "callbacks", callbacks)],
            progress=self.progress,
        )
        network.eval()
        return history

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
        return {"scaler.mean": self._scaler.mean, "scaler.std": self._scaler.std}, {"width": self._width}

    def _restored_common(self, arrays: HostArrays, metadata: dict[str, Any]) -> dict[str, Any]:
        mean, std, width = arrays["scaler.mean"], arrays["scaler.std"], metadata["width"]
        if not len(mean) or len(std) != len(mean):
            raise ValueError(f"scaler.std has {len(std)} numbers; expected {max(len(mean), 1)}, one a feature")
        if width < 0 or (std < 0.0).any():
            raise ValueError(f"width is {width}, or a deviation is below 0")
        steps = self.settings["steps"]
        if width != ((steps or width) * len(mean) if steps or width else 0):
            raise ValueError(f"width is {width}; expected {steps or 'as many'} steps of {len(mean)} features")
        return {"_scaler": StandardScaler(mean, std), "_width": width}

    def _filled(
        self, weights: Mapping[str, Host], features: int, said: int, kind: type[SequenceNetwork] = SequenceNetwork
    ) -> SequenceNetwork:
        """The network of a file."""
        shapes = kind.shapes(features, said, **self._sizes())
        return self._read_network(weights, shapes, lambda: self._build(features, said, 0))


class Watch(Callback):
    """Records a measure of the whole validation part after each epoch, for early stopping."""

    def __init__(self, name: str, mode: str, rows: Sequence[Host], measure: Callable[[list[Host]], float]) -> None:
        self.name, self.mode, self.rows, self.measure = f"validation_{name}", mode, rows, measure

    def on_fit_start(self, run: Run) -> None:
        run.recorded = (*run.recorded, self.name)

    def on_epoch_end(self, run: Run) -> None:
        run.history.epochs[-1][self.name] = self.measure(outputs(run.model, self.rows))


def check_monitor(owner: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError for something to watch and nothing to watch it on."""
    if settings["monitor"] != "loss" and not settings["validation"]:
        raise ValueError(f"{owner}: monitor is {settings['monitor']!r}, but validation is 0; expected a share to watch")


def outputs(network: Any, rows: Sequence[Host]) -> list[Host]:
    """What the head says of scaled sequences, (O,) or (T_n, O) each, in float64.

    The loops of the recurrent kernels give a row the same bits in any batch. Products outside them may round otherwise
    beside other rows: the head's, which is therefore taken in float64, and those of linear cells and of attention.
    """
    home = backend_of(network.head.weight.data)
    weight, bias = (to_numpy(p.data).astype(np.float64) for p in (network.head.weight, network.head.bias))
    found: list[Host] = [np.zeros(0)] * len(rows)
    with no_grad(), network.mode(False):
        for part in portions([len(row) for row in rows]):
            x, lengths = pad_sequences([rows[k] for k in part])
            said = network.seen(home.asarray(x), lengths).numpy().astype(np.float64) @ weight.T + bias
            for place, k in enumerate(part):
                found[k] = said[place] if said.ndim == 2 else said[: len(rows[k]), place]
    return found


def weighted_mean(losses: Tensor, weight: Array | float, count: float | None = None) -> Tensor:
    """sum of w l / count, by default the number of losses. Over all batches w has the mean 1."""
    count = float(losses.size) if count is None else count
    return Mean(ops.sum(losses * weight) * (1.0 / max(count, 1.0)), count)


def mean_one(weight: Host, dtype: str) -> Host:
    """Weights over their mean."""
    return (weight / weight.mean()).astype(dtype)


def spread_over_steps(weight: Array, steps: int) -> Array:
    """(B,) to (T, B)."""
    xp = namespace(weight)
    return xp.broadcast_to(xp.expand_dims(weight, axis=0), (steps, *weight.shape))
