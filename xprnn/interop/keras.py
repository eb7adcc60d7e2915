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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xprnn.arguments import float_dtype
from xprnn.interop.hdf5_files import Hdf5
from xprnn.interop.json_files import opened, parsed
from xprnn.interop.keras_arrays import by_group, by_kind, by_name, legacy
from xprnn.interop.keras_config import layers_in_a_row
from xprnn.interop.keras_layers import FUNCTIONS, OLD_FUNCTIONS, RECURRENT, Slot, built, slots
from xprnn.interop.keras_model import KerasModel
from xprnn.nn.module import Module
from xprnn.tensor import Parameter
from xprnn.whole_files import Path_

__all__ = ["KerasModel", "load", "load_weights", "set_weights"]

Host = np.ndarray[Any, Any]


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
        layers = layers_in_a_row(config)
        stored = by_group(file, layers) if content.startswith(b"PK") else by_name(file, layers)
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
            stored = list(by_kind(file, wanted))
        else:
            root = file.find(file.root, "model_weights")
            root = file.root if root is None else root
            names = file.words(root, "layer_names")
            if names is None:
                raise ValueError("it has neither layers nor layer_names; expected weights of a Sequential model")
            stored = [found for name in names if (found := legacy(file, root, name))]
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
