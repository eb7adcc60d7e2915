"""What the estimators whose answers are labels have in common: their measures, and what a file holds of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from xprnn.arguments import among, true_or_false
from xprnn.estimators.metrics import accuracy, balanced_accuracy, macro_f1
from xprnn.estimators.sequences.calibration import restored_temperature
from xprnn.estimators.sequences.estimator import SequenceEstimator
from xprnn.estimators.sequences.targets import Classes, class_weight
from xprnn.storage import HostArrays

Host = np.ndarray[Any, Any]
MEASURES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "f1": macro_f1}
LABELLED = {"class_weight": class_weight, "monitor": among(("loss", *MEASURES)), "calibrate": true_or_false}
"""The settings that they have beside those of all estimators of sequences."""


class LabelledEstimator(SequenceEstimator):
    """Base of those that say which label a sequence, or a step, has: classes, and a temperature for probabilities."""

    METADATA: ClassVar = {"classes": list, "several": int, "width": int}
    ARRAYS: ClassVar = {"scaler.mean": 1, "scaler.std": 1, "temperature": 1}

    _classes: Classes
    _temperature = 1.0

    def _described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        (arrays, metadata), (own, labels) = self._common(), self._classes.described()
        return arrays | own | {"temperature": np.array([self._temperature])}, metadata | labels

    def _restored(self, arrays: HostArrays, metadata: dict[str, Any], weights: Mapping[str, Host]) -> dict[str, Any]:
        common, classes = self._restored_common(arrays, metadata), Classes.restored(arrays, metadata)
        self._check_restored(classes)
        network = self._filled(weights, len(arrays["scaler.mean"]), classes.count)
        return common | {"_network": network, "_classes": classes, "_temperature": restored_temperature(arrays)}

    def _check_restored(self, classes: Classes) -> None:
        """Raise ValueError for classes of a file that are none of this estimator's."""
