"""Layers of Keras and the modules here that are the same: one built from the other's config, and weights both ways."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.arguments import any_number
from xprnn.backend import to_numpy
from xprnn.cells import GRU as GRUSpec
from xprnn.cells import LSTM as LSTMSpec
from xprnn.cells import Cell, Elman, GeneralElman, GeneralGRU, GeneralLSTM, GeneralResetBeforeGRU, ResetBeforeGRU
from xprnn.interop.json_files import entry
from xprnn.interop.keras_model import MERGES, KerasEmbedding, KerasModel, KerasRecurrent, Masking
from xprnn.interop.keras_weights import from_keras, to_keras, weight_shapes
from xprnn.nn.activations import Activation, ReLU, Sigmoid, Softmax, Tanh
from xprnn.nn.dropout import Dropout
from xprnn.nn.embedding import Embedding
from xprnn.nn.layer_norm import LayerNorm
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.pooling import LastPooling, MaxPooling, MeanPooling
from xprnn.nn.recurrent.layers import GRU, LSTM, RNN
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.nn.sequential import Sequential
from xprnn.tensor import Parameter

Host = np.ndarray[Any, Any]
KINDS: dict[type, str] = {
    LSTMSpec: "LSTM", GeneralLSTM: "LSTM", Elman: "SimpleRNN", GeneralElman: "SimpleRNN",
    GRUSpec: "GRU", GeneralGRU: "GRU", ResetBeforeGRU: "GRU", GeneralResetBeforeGRU: "GRU",
}  # fmt: skip
RECURRENT = ("LSTM", "GRU", "SimpleRNN")
ACTIVATIONS: dict[str, type[Activation] | None] = {
    "linear": None, "tanh": Tanh, "relu": ReLU, "sigmoid": Sigmoid, "softmax": Softmax,
}  # fmt: skip
FUNCTIONS = {
    name: name for name in ("linear", "tanh", "relu", "sigmoid", "softplus", "softsign", "elu", "silu", "gelu")
} | {"swish": "silu", "exponential": "exp", "hard_sigmoid": "torch_hard_sigmoid"}
"""Those of recurrent layers, and what they are called here."""
OLD_FUNCTIONS = FUNCTIONS | {"hard_sigmoid": "hard_sigmoid"}
"""The same in Keras 1 and 2, where a hard sigmoid has the slope 0.2, not 1/6."""
IDLE = ("InputLayer", "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout")
"""What does nothing after training."""
WEIGHTLESS = (Activation, Dropout, Masking, LastPooling, MaxPooling, MeanPooling)
"""What has no weights, and stands in Keras' model too."""


@dataclass(frozen=True)
class Slot:
    """What one layer of Keras holds: its class, and the parameters here that are its arrays.

    ``parts`` are one for each direction of a recurrent layer, with its cell; else one.
    """

    kind: str
    cell: Cell | None
    parts: tuple[Mapping[str, Parameter], ...]

    def arrays(self) -> list[Host]:
        """Its arrays, as ``get_weights`` of Keras gives them."""
        found: list[Host] = []
        for part in self.parts:
            held = {name: to_numpy(parameter.data) for name, parameter in part.items()}
            if self.cell is None:
                found += [a.T if self.kind == "Dense" and a.ndim == 2 else a for a in held.values()]
            else:
                found += to_keras(self.cell, held, "bias_ih" in held)
        return found

    def values(self, where: str, arrays: Sequence[Host]) -> dict[Parameter, Host]:
        """What its parameters become. Raises ValueError for other shapes, or another number of arrays."""
        expected, came = [a.shape for a in self.arrays()], [a.shape for a in arrays]
        if came != expected:
            raise ValueError(f"{where}: {self.kind} has arrays of shapes {came}; expected {expected}")
        found: dict[Parameter, Host] = {}
        each = len(arrays) // len(self.parts)
        for k, part in enumerate(self.parts):
            own = arrays[k * each : (k + 1) * each]
            if self.cell is None:
                turned = [a.T if self.kind == "Dense" and a.ndim == 2 else a for a in own]
                found |= dict(zip(part.values(), turned, strict=True))
            else:
                found |= {part[name]: a for name, a in from_keras(self.cell, own).items()}
        return found


def slots(owner: str, model: Module) -> Iterator[Slot]:
    """The layers of Keras whose weights a model has, in order; a stacked layer is several.

    Raises ValueError for what Keras has no layer for.
    """
    if isinstance(model, (KerasModel, Sequential)):
        for layer in model.layers if isinstance(model, KerasModel) else model:
            yield from slots(owner, layer)
    elif isinstance(model, KerasRecurrent):
        yield from slots(owner, model.layer)
    elif isinstance(model, KerasEmbedding):
        yield from slots(owner, model.table)
    elif (
        isinstance(model, RecurrentLayer)
        and type(model.cell) in KINDS
        and not _has_more(model.cell)
        and type(model).forward is RecurrentLayer.forward
    ):
        if model.zoned or model.reverse:
            what = "zoneout" if model.zoned else "reverse"
            raise ValueError(f"{owner}: {type(model).__name__} has {what}, which Keras' layers do not have")
        weights = model.weights()
        for first in range(0, len(weights), model.directions):
            yield Slot(KINDS[type(model.cell)], model.cell, tuple(weights[first : first + model.directions]))
    elif kind := {Linear: "Dense", LayerNorm: "LayerNormalization", Embedding: "Embedding"}.get(type(model)):
        yield Slot(kind, None, (dict(model.named_parameters()),))
    elif not isinstance(model, WEIGHTLESS):
        raise ValueError(f"{owner}: Keras has no layer like {model!r}")


def _has_more(cell: Cell) -> bool:
    """Whether it clips, or is an LSTM with coupled gates or peepholes, as no layer of Keras is."""
    functions = getattr(cell, "activations", {}).values()
    return any(f.clip is not None for f in functions) or any(
        getattr(cell, name, False) for name in ("coupled", "peephole")
    )


def built(
    kind: str,
    config: dict[str, Any],
    arrays: Sequence[Host],
    dtype: str,
    rank: int | None,
    functions: Mapping[str, str],
) -> list[Module]:
    """The modules of one layer of Keras, of sizes as its arrays have them; weights are yet to be given.

    ``rank`` is how many axes its input has; None where that is not said. ``functions`` are those of recurrent layers.
    Raises ValueError for what is not known.
    """
    if kind in IDLE:
        return []
    if kind in RECURRENT:
        zeros = bool(config.get("zero_output_for_mask", False))
        if zeros and not _sequences(config):
            raise ValueError(f"{kind}: zero_output_for_mask is True; expected False without return_sequences")
        layer = _recurrent(kind, config, arrays, 1, dtype, functions)
        return [KerasRecurrent(layer, _sequences(config), zeros=zeros)]
    if kind == "Bidirectional":
        return [_bidirectional(config, arrays, dtype, functions)]
    if kind == "TimeDistributed":
        inner, config = _inner(config, "layer")
        if inner != "Dense":
            raise ValueError(f"TimeDistributed is around {inner!r}; expected Dense")
        kind = inner
    if kind == "Dense":
        bias = len(arrays) > 1
        inputs, outputs = _shape(arrays, 2)
        return [Linear(inputs, outputs, bias, dtype=dtype, rng=0), *_activation(config)]
    if kind == "Activation":
        return _activation(config)
    if kind == "Embedding":
        rows, columns = _shape(arrays, 2)
        table = Embedding(rows, columns, dtype=dtype, rng=0)
        return [KerasEmbedding(table) if config.get("mask_zero") else table]
    if kind == "Masking":
        return [Masking(any_number("Masking", "mask_value", config.get("mask_value", 0.0)))]
    if kind == "LayerNormalization":
        return [_layer_norm(config, arrays, dtype, rank)]
    known = (*RECURRENT, "Bidirectional", "Dense", "TimeDistributed", "Embedding", "LayerNormalization", "Masking")
    raise ValueError(f"its class is {kind[:60]!r}; expected one of {', '.join((*known, 'Activation', *IDLE))}")


def _shape(arrays: Sequence[Host], axes: int) -> tuple[int, ...]:
    """The shape of the first array, which has so many axes, none of them empty."""
    if not arrays or arrays[0].ndim != axes or 0 in arrays[0].shape:
        raise ValueError(f"its arrays have shapes {[a.shape for a in arrays]}; expected one of {axes} axes first")
    return arrays[0].shape


def _recurrent(
    kind: str,
    config: dict[str, Any],
    arrays: Sequence[Host],
    directions: int,
    dtype: str,
    functions: Mapping[str, str],
) -> RecurrentLayer:
    for name in ("go_backwards", "stateful", "return_state", "time_major"):
        if (came := config.get(name, False)) is not False:
            raise ValueError(f"{kind}: {name} is {reprlib.repr(came)}; expected False")
    activation = _function(kind, config, "activation", "tanh", functions)
    bias = bool(config.get("use_bias", True))
    inputs, _ = _shape(arrays, 2)
    hidden = arrays[1].shape[0] if len(arrays) > 1 and arrays[1].ndim else 0
    after = kind == "GRU" and bool(config.get("reset_after", False))
    cell = {"LSTM": LSTMSpec(), "SimpleRNN": Elman(), "GRU": GRUSpec() if after else ResetBeforeGRU()}[kind]
    expected = [*weight_shapes(cell, inputs, hidden, bias).values()] * directions
    if [a.shape for a in arrays] != expected or not hidden:
        raise ValueError(f"{kind}: arrays have shapes {[a.shape for a in arrays]}; expected {expected}")
    common: dict[str, Any] = {"bias": bias, "batch_first": True, "bidirectional": directions == 2}
    common |= {"dtype": dtype, "rng": 0}
    if kind == "SimpleRNN":
        return RNN(inputs, hidden, nonlinearity=activation, **common)
    gates = _function(kind, config, "recurrent_activation", "sigmoid", functions)
    common |= {"gate_activation": gates, "activation": activation}
    if kind == "LSTM":
        return LSTM(inputs, hidden, output_activation=activation, **common)
    return GRU(inputs, hidden, reset_after=after, **common)


def _function(kind: str, config: dict[str, Any], name: str, default: str, functions: Mapping[str, str]) -> str:
    came = config.get(name, default)
    came = "linear" if came is None else came
    if not isinstance(came, str) or came not in functions:
        raise ValueError(f"{kind}: {name} is {reprlib.repr(came)}; expected one of {', '.join(functions)}")
    return functions[came]


def _sequences(config: dict[str, Any]) -> bool:
    return bool(config.get("return_sequences", False))


def _bidirectional(
    config: dict[str, Any], arrays: Sequence[Host], dtype: str, functions: Mapping[str, str]
) -> KerasRecurrent:
    kind, inner = _inner(config, "layer")
    if kind not in RECURRENT:
        raise ValueError(f"Bidirectional is around {kind[:60]!r}; expected one of {', '.join(RECURRENT)}")
    merge = config.get("merge_mode", "concat")
    if not isinstance(merge, str) or merge not in MERGES:
        raise ValueError(f"Bidirectional: merge_mode is {reprlib.repr(merge)}; expected one of {', '.join(MERGES)}")
    if config.get("backward_layer") is not None:
        other, back = _inner(config, "backward_layer")
        same = ("activation", "recurrent_activation", "use_bias", "reset_after", "return_sequences")
        if other != kind or back.get("go_backwards") is not True or any(back.get(n) != inner.get(n) for n in same):
            raise ValueError("Bidirectional: its layers differ in more than their weights")
    return KerasRecurrent(_recurrent(kind, inner, arrays, 2, dtype, functions), _sequences(inner), merge)


def _inner(config: dict[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    layer = entry(config, name, dict)
    return entry(layer, "class_name", str), entry(layer, "config", dict)


def _activation(config: dict[str, Any]) -> list[Module]:
    name = config.get("activation") or "linear"
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"activation is {reprlib.repr(name)}; expected one of {', '.join(ACTIVATIONS)}")
    kind = ACTIVATIONS[name]
    return [] if kind is None else [kind()]


def _layer_norm(config: dict[str, Any], arrays: Sequence[Host], dtype: str, rank: int | None) -> LayerNorm:
    axis = config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    last = (-1,) if rank is None else (-1, rank - 1)
    if axis not in last or config.get("rms_scaling") or config.get("scale", True) is not True:
        raise ValueError(f"axis is {reprlib.repr(axis)}, or gains are left out; expected the last axis, scaled")
    (length,) = _shape(arrays, 1)
    epsilon = any_number("LayerNormalization", "epsilon", config.get("epsilon", 1e-3))
    return LayerNorm(length, epsilon, bias=bool(config.get("center", True)), dtype=dtype)
