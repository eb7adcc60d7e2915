"""Layers of ours as models of ONNX's. What cannot be said raises, by name, before anything is written."""

from __future__ import annotations

from typing import Any

from xprnn import nn
from xprnn.arguments import each_true_or_false
from xprnn.interop.naming import called
from xprnn.interop.onnx.export_attention import attention, encoder
from xprnn.interop.onnx.export_pooling import pooling
from xprnn.interop.onnx.export_recurrent import recurrent
from xprnn.interop.onnx.exported import Emitter, Exported, emitter_of
from xprnn.nn.activations import Activation
from xprnn.nn.module import Module
from xprnn.whole_files import Path_, write_atomically


def to_model(layer: Module, *, lengths: bool = False, states: bool = False) -> Any:
    """An onnx.ModelProto of a layer, for any number of steps and sequences (opset 22, IR version 10).

    For RNN, LSTM and GRU with all their options but ``proj_size`` and full peepholes, Linear, Embedding, LayerNorm,
    Tanh, Sigmoid, ReLU, Softmax, Dropout (which does nothing), MultiheadAttention of a sequence to itself,
    TransformerEncoderLayer, TransformerEncoder, the poolings, and Sequential of them. It evaluates, and never trains.

    ===============  ===============================================================================================
    input x          float32 (T, B, I), (B, T, I) with ``batch_first``; int64 without I where an Embedding comes first
    input lengths    int32 (B,), where ``lengths``: recurrent layers, attention and poolings see no step beyond
    inputs h_0 c_0   float32 (L*D, B, H), where ``states``; of the parts of a Sequential "0.h_0", ...
    output y         float32, axes as in x; (B, F) of a pooling
    outputs h_n c_n  the final states, likewise
    ===============  ===============================================================================================

    Weights are written as float32, since ONNX Runtime knows no other LSTM, and axes are turned by Transpose, since it
    knows no ``layout``. Past a sequence's end y of recurrent layers and of encoders is zero.

    Raises TypeError, naming the layer, for any other; ValueError, naming it, for what ONNX cannot say, and for weights
    too large for float32.
    """
    lengths, states = each_true_or_false("to_model", lengths=lengths, states=states)
    return Exported(layer, _input_size("", layer), EMITTERS, lengths, states).model


def save(layer: Module, path: Path_, *, lengths: bool = False, states: bool = False) -> None:
    """Write :func:`to_model` to a file, whole or not at all. Raises as that does, and OSError."""
    write_atomically(path, to_model(layer, lengths=lengths, states=states).SerializeToString())


def _input_size(path: str, layer: Any) -> int | None:
    """The length of x's last axis; None where x is numbers of rows."""
    emitter_of(EMITTERS, path, layer)
    if isinstance(layer, nn.Sequential):
        parts = ((name, part) for name, part in layer.children() if not isinstance(part, KEEPING))
        if (first := next(parts, None)) is not None:
            return _input_size(f"{path}.{first[0]}".lstrip("."), first[1])
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[-1]
    for name in ("input_size", "in_features", "embed_dim", "d_model"):
        if hasattr(layer, name):
            return int(getattr(layer, name))
    if isinstance(layer, nn.Embedding):
        return None
    raise ValueError(f"to_model: {called(path, layer)} does not say how many features x has")


def _linear(model: Exported, path: str, layer: Any, x: str) -> str:
    y = model.node("MatMul", [x, model.graph.weights(path, "weight", [layer.weight], lambda w: w[0].T.copy())], path)
    return y if layer.bias is None else model.node("Add", [y, _vector(model, path, "bias", layer.bias)], path)


def _vector(model: Exported, path: str, name: str, parameter: Any) -> str:
    return model.graph.weights(path, name, [parameter], lambda arrays: arrays[0])


def _embedding(model: Exported, path: str, layer: Any, x: str) -> str:
    table: str = model.node("Gather", [_vector(model, path, "weight", layer.weight), x], path)
    return table


def _layer_norm(model: Exported, path: str, layer: Any, x: str) -> str:
    inputs = [x, _vector(model, path, "weight", layer.weight)]
    inputs += [] if layer.bias is None else [_vector(model, path, "bias", layer.bias)]
    axis = -len(layer.normalized_shape)
    y: str = model.node("LayerNormalization", inputs, path, axis=axis, epsilon=layer.eps)
    return y


def _dropout(model: Exported, path: str, layer: Any, x: str) -> str:
    return x


def _function(operator: str, **attributes: Any) -> Emitter:
    def emitter(model: Exported, path: str, layer: Any, x: str) -> str:
        y: str = model.node(operator, [x], path, **attributes)
        return y

    return emitter


def _sequential(model: Exported, path: str, layer: Any, x: str) -> str:
    for name, part in layer.children():
        x = model.emit(path + name, part, x)
    return x


KEEPING = (nn.Dropout, Activation)
"""What gives as many features as it takes, however many these are."""

EMITTERS: dict[type, Emitter] = {
    nn.RNN: recurrent, nn.LSTM: recurrent, nn.GRU: recurrent, nn.IndRNN: recurrent, nn.RecurrentLayer: recurrent,
    nn.Linear: _linear, nn.Embedding: _embedding, nn.LayerNorm: _layer_norm, nn.Dropout: _dropout,
    nn.Tanh: _function("Tanh"), nn.Sigmoid: _function("Sigmoid"), nn.ReLU: _function("Relu"),
    nn.Softmax: _function("Softmax", axis=-1),
    nn.Sequential: _sequential, nn.MultiheadAttention: attention, nn.TransformerEncoderLayer: encoder,
    nn.TransformerEncoder: encoder, nn.LastPooling: pooling, nn.MeanPooling: pooling, nn.MaxPooling: pooling,
    nn.AttentionPooling: pooling,
}  # fmt: skip
