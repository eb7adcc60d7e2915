"""Where the arrays of each layer lie in Keras' HDF5 files: by kind and number in Keras 3, by names of layers before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xprnn.interop.hdf5_files import Hdf5
from xprnn.interop.keras_layers import RECURRENT, Slot

Host = np.ndarray[Any, Any]
GROUPS = {
    "InputLayer": "input_layer",
    "LSTM": "lstm",
    "GRU": "gru",
    "SimpleRNN": "simple_rnn",
    "Bidirectional": "bidirectional",
    "Dense": "dense",
    "TimeDistributed": "time_distributed",
    "Embedding": "embedding",
    "LayerNormalization": "layer_normalization",
}
"""How Keras 3 calls the groups of its layers' weights; of several the second ends in _1."""


def by_group(file: Hdf5, layers: Sequence[dict[str, Any]]) -> Iterator[list[Host]]:
    """The arrays of each layer in weights of Keras 3, whose groups are named by class and number."""
    count: Counter[str] = Counter()
    for layer in layers:
        kind = layer["class_name"]
        yield _of_group(file, kind, count[kind]) if kind in GROUPS else []
        count[kind] += 1


def _of_group(file: Hdf5, kind: str, number: int) -> list[Host]:
    group = file.find(file.root, "layers", GROUPS[kind] + (f"_{number}" if number else ""))
    places = [["vars"]]
    if kind in RECURRENT:
        places = [["cell", "vars"]]
    elif kind == "Bidirectional":
        places = [["forward_layer", "cell", "vars"], ["backward_layer", "cell", "vars"]]
    elif kind == "TimeDistributed":
        places = [["layer", "vars"]]
    return [a for place in places for a in (file.arrays(file.find(group, *place)) if group is not None else [])]


def by_kind(file: Hdf5, wanted: Sequence[Slot]) -> Iterator[list[Host]]:
    """The arrays for each slot in weights of Keras 3; raises ValueError where there are layers left over."""
    count: Counter[str] = Counter()
    both = [kind for kind in ("Dense", "TimeDistributed") if file.find(file.root, "layers", GROUPS[kind]) is not None]
    if len(both) == 2:
        raise ValueError(
            "it does not say in which order its Dense and TimeDistributed layers come; expected a .keras file"
        )
    for slot in wanted:
        kind = "Bidirectional" if len(slot.parts) == 2 else slot.kind
        kind = both[0] if kind == "Dense" and both else kind
        yield _of_group(file, kind, count[kind])
        count[kind] += 1
    left = [kind for kind in GROUPS if kind != "InputLayer" and _of_group(file, kind, count[kind])]
    if left:
        raise ValueError(f"it has more layers of {', '.join(left)} than the model")


def by_name(file: Hdf5, layers: Sequence[dict[str, Any]]) -> Iterator[list[Host]]:
    """The arrays of each layer in a ``.h5`` file, whose groups are named like the layers."""
    root = file.find(file.root, "model_weights")
    if root is None:
        raise ValueError("model_weights is missing")
    return (legacy(file, root, layer["config"]["name"]) for layer in layers)


def legacy(file: Hdf5, root: Any, name: str) -> list[Host]:
    group = file.find(root, name)
    names = [] if group is None else file.words(group, "weight_names") or []
    return [file.array(file.find(group, *name.split("/"))) for name in names]
