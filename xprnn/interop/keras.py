"""Models of Keras 3 and 2, read without Keras: ``.keras``, ``.weights.h5`` and ``.h5``, with h5py (``xprnn[keras]``).

Known are LSTM, GRU with and without ``reset_after``, SimpleRNN, Bidirectional around them, Dense, TimeDistributed
around Dense, Embedding, LayerNormalization over the last axis, Masking and Activation, in a Sequential or one after
the other in a functional model. Dropout, SpatialDropout1D, GaussianNoise and GaussianDropout do nothing after training
and are left out. Activations are by name: of recurrent layers linear, tanh, relu, sigmoid, hard_sigmoid, softplus,
softsign, elu, silu, gelu and exponential, of a Dense linear, tanh, relu, sigmoid or softmax. No code in a file is run:
a Lambda, or anything else that is not known, is refused by its name.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xprnn.arguments import float_dtype
from xprnn.interop.hdf5_files import Hdf5
from xprnn.interop.json_files import entry, opened, parsed
from xprnn.interop.keras_layers import FUNCTIONS, OLD_FUNCTIONS, RECURRENT, Slot, built, slots
from xprnn.interop.keras_model import KerasModel
from xprnn.nn.module import Module
from xprnn.storage import Path_
from xprnn.tensor import Parameter

__all__ = ["KerasModel", "load", "load_weights", "set_weights"]

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


def load(path: Path_, *, dtype: str = "float32") -> KerasModel:
    """The model in a ``.keras`` file of Keras 3, or in a ``.h5`` file that Keras 2 or 3 wrote with ``model.save``.

    Returns a :class:`KerasModel`, which takes and gives what Keras' does, batch first; ``sequential()`` of it can be
    streamed. A hard sigmoid is that of the version which wrote the file: max(0, min(1, x/5 + 1/2)) until Keras 2, with
    x/6 since Keras 3, which a ``.keras`` file is of that does not say.

    Raises OSError where the file cannot be read, ImportError without h5py; ValueError, naming the file, where it is
    damaged, has layers or settings that are not known (stateful ones too: open a stream instead), holds no model but
    weights alone, or would take more memory than its size.
    """
    dtype = float_dtype("keras.load", dtype)
    with opened("keras.load", path) as content:
        if content.startswith(b"PK"):
            config, weights, version = _unzipped(content)
            file = Hdf5(weights)
        else:
            file = Hdf5(content)
            version = file.text(file.root, "keras_version") or "2"
            text = file.text(file.root, "model_config")
            if text is None:
                raise ValueError("it holds weights and no model; expected one by model.save, or keras.load_weights")
            config = parsed(text)
        layers = _in_a_row(config)
        stored = _by_group(file, layers) if content.startswith(b"PK") else _by_name(file, layers)
        functions = OLD_FUNCTIONS if version.split(".")[0] in ("1", "2") else FUNCTIONS
        return _model(layers, stored, dtype, functions)


def load_weights(model: Module, path: Path_) -> None:
    """Give a model the weights in a file by ``model.save_weights`` or ``model.save`` of a Keras model like it.

    ``model`` is what :func:`load` gives, or a Sequential of layers in Keras' order, a stacked layer for several; its
    activations and settings are not looked at.

    Raises as :func:`load` does, and ValueError for other layers or shapes; after an error nothing has been loaded.
    """
    with opened("keras.load_weights", path) as content:
        zipped = content.startswith(b"PK")
        file = Hdf5(_unzipped(content)[1] if zipped else content)
        wanted = list(slots("keras.load_weights", model))
        if file.find(file.root, "layers") is not None:
            stored = list(_by_kind(file, wanted))
        else:
            root = file.find(file.root, "model_weights")
            root = file.root if root is None else root
            names = file.words(root, "layer_names")
            if names is None:
                raise ValueError("it has neither layers nor layer_names; expected weights of a Sequential model")
            stored = [found for name in names if (found := _legacy(file, root, name))]
        _assign(model, wanted, stored)


def set_weights(keras_model: Any, model: Module) -> None:
    """Give a Keras model, of the same layers in the same order, the weights of a model from here.

    A stacked layer stands for several of Keras; the two biases of an LSTM, which Keras has as one, become their sum.
    Dropout and Masking count nothing. Raises ValueError where layers or shapes differ; nothing has then been set.
    """
    if not hasattr(keras_model, "layers"):
        raise TypeError(f"keras.set_weights: keras_model is a {type(keras_model).__name__}; expected a model of Keras")
    layers = [layer for layer in keras_model.layers if layer.get_weights()]
    given = [slot.arrays() for slot in slots("keras.set_weights", model)]
    if len(layers) != len(given):
        raise ValueError(
            f"keras.set_weights: there are {len(given)} layers with weights; Keras' model has {len(layers)}"
        )
    for layer, arrays in zip(layers, given, strict=True):
        expected = [tuple(a.shape) for a in layer.get_weights()]
        if [a.shape for a in arrays] != expected:
            came = [a.shape for a in arrays]
            raise ValueError(f"keras.set_weights: {layer.name} has arrays of shapes {expected}, and is given {came}")
    for layer, arrays in zip(layers, given, strict=True):
        layer.set_weights(arrays)


def _unzipped(content: bytes) -> tuple[dict[str, Any], bytes, str]:
    """The config and the weights of a ``.keras`` file, no part larger than the file, and the version that wrote it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = ["config.json", "model.weights.h5", *{"metadata.json"}.intersection(archive.namelist())]
            if any(archive.getinfo(name).file_size > len(content) for name in names):
                raise ValueError("it is compressed, which Keras' files are not")
            config, weights, *metadata = (archive.read(name) for name in names)
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"truncated, corrupt or no file of Keras: {error}") from None
    version = parsed(metadata[0]).get("keras_version") if metadata else None
    return parsed(config), weights, version if isinstance(version, str) else "3"


def _in_a_row(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a model, each of which takes what the one before it gives. Raises ValueError for others."""
    kind, inner = entry(config, "class_name", str), config.get("config")
    if isinstance(inner, list):  # as early versions of Keras 2 wrote a Sequential
        inner = {"layers": inner}
    layers = entry(inner, "layers", list)
    if kind not in ("Sequential", "Functional", "Model"):
        raise ValueError(f"its class is {kind[:60]!r}; expected a Sequential or a functional model")
    for number, layer in enumerate(layers):
        where = f"layer {number}: "
        entry(layer, "class_name", str, where)
        entry(entry(layer, "config", dict, where), "name", str, where)
    if kind == "Sequential":
        return layers
    found: list[dict[str, Any]] = []
    before, masks = set[str](), set[str]()
    for number, layer in enumerate(layers):
        name = layer["config"]["name"]
        if layer["class_name"] in ("NotEqual", "Any") and _makes_mask(layer, layers):
            masks.add(name)
        else:
            nodes = layer.get("inbound_nodes")
            taken, beside = (list(_sources(nodes, place)) for place in ("args", "kwargs"))
            if set(taken) != before or len(taken) > 1 or not masks.issuperset(beside):
                raise ValueError(
                    f"layer {number} ({name[:60]}) does not take what the layer before it gives, and that alone"
                )
            found.append(layer)
            before = {name}
    outputs = inner.get("output_layers", [*before]) if isinstance(inner, dict) else None
    if {*_outputs(outputs)} != before:
        raise ValueError("its outputs are others than what its last layer gives; expected that alone")
    return found


def _outputs(given: Any) -> Iterator[str]:
    """The names of the layers whose outputs a model gives: [name, 0, 0], or several, or several by name."""
    if isinstance(given, list) and given and isinstance(given[0], str):
        yield given[0]
    elif isinstance(given, (list, dict)):
        for each in given.values() if isinstance(given, dict) else given:
            yield from _outputs(each)


def _makes_mask(layer: dict[str, Any], layers: Sequence[Any]) -> bool:
    """Whether an operation of a functional model is part of the mask that an Embedding or a Masking of it makes."""
    if layer["class_name"] == "Any":  # of what NotEqual says
        return True
    values = [0 for each in layers if each["class_name"] == "Embedding" and each["config"].get("mask_zero")]
    values += [each["config"].get("mask_value") for each in layers if each["class_name"] == "Masking"]
    nodes = layer.get("inbound_nodes")
    node = nodes[0] if isinstance(nodes, list) and nodes else {}
    given = node.get("args") if isinstance(node, dict) else None
    return isinstance(given, list) and given[-1] in values


def _sources(nodes: Any, place: str) -> Iterator[str]:
    """The names of the layers whose outputs a layer takes: of Keras 3, "keras_history"; of 2, [name, 0, 0, {}]."""
    if isinstance(nodes, dict):
        history = nodes.get("keras_history")
        if isinstance(history, list) and history:
            yield str(history[0])
        if nodes.keys() >= {"args", "kwargs"}:
            nodes = {place: nodes[place]}
        nodes = [value for key, value in nodes.items() if key != "keras_history"]
    if isinstance(nodes, list):
        if place == "args" and len(nodes) >= 3 and isinstance(nodes[0], str) and nodes[1:3] == [0, 0]:
            yield nodes[0]
        for each in nodes:
            yield from _sources(each, place)


def _by_group(file: Hdf5, layers: Sequence[dict[str, Any]]) -> Iterator[list[Host]]:
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


def _by_kind(file: Hdf5, wanted: Sequence[Slot]) -> Iterator[list[Host]]:
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


def _by_name(file: Hdf5, layers: Sequence[dict[str, Any]]) -> Iterator[list[Host]]:
    """The arrays of each layer in a ``.h5`` file, whose groups are named like the layers."""
    root = file.find(file.root, "model_weights")
    if root is None:
        raise ValueError("model_weights is missing")
    return (_legacy(file, root, layer["config"]["name"]) for layer in layers)


def _legacy(file: Hdf5, root: Any, name: str) -> list[Host]:
    group = file.find(root, name)
    names = [] if group is None else file.words(group, "weight_names") or []
    return [file.array(file.find(group, *name.split("/"))) for name in names]


def _model(
    layers: Sequence[dict[str, Any]], stored: Iterator[list[Host]], dtype: str, functions: Mapping[str, str]
) -> KerasModel:
    modules: list[Module] = []
    arrays: list[list[Host]] = []
    rank: int | None = None
    for number, (layer, held) in enumerate(zip(layers, stored, strict=True)):
        kind, config = layer["class_name"], layer["config"]
        shape = config.get("batch_shape") or config.get("batch_input_shape")
        rank = len(shape) if isinstance(shape, list) else rank
        try:
            modules += built(kind, config, held, dtype, rank, functions)
        except ValueError as error:
            raise ValueError(f"layer {number} ({config['name'][:60]}): {error}") from None
        arrays += [held] if held else []
        recurrent = config.get("layer", {}).get("config", config) if kind == "Bidirectional" else config
        if rank is not None and kind in (*RECURRENT, "Bidirectional", "Embedding"):
            rank = 3 if kind == "Embedding" or recurrent.get("return_sequences") else 2
    model = KerasModel(*modules)
    _assign(model, list(slots("keras.load", model)), arrays)
    model.eval()
    return model


def _assign(model: Module, wanted: Sequence[Slot], stored: Sequence[Sequence[Host]]) -> None:
    if len(stored) != len(wanted):
        raise ValueError(f"it has {len(stored)} layers with weights; the model has {len(wanted)}")
    values: dict[Parameter, Host] = {}
    for number, (slot, arrays) in enumerate(zip(wanted, stored, strict=True)):
        values |= slot.values(f"layer {number} with weights", arrays)
    model.load_state_dict({name: values[parameter] for name, parameter in model.named_parameters()})
