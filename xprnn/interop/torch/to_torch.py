"""Layers of ours to PyTorch's modules. What cannot be said raises, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn import nn
from xprnn.backend import to_numpy
from xprnn.cells import GRU as GRUSpec
from xprnn.cells import LSTM as LSTMSpec
from xprnn.cells import Cell, Elman, Projected
from xprnn.interop.extras import needed
from xprnn.interop.naming import called
from xprnn.interop.torch.places import Convert, every_parameter
from xprnn.nn.module import Module
from xprnn.nn.recurrent.single_steps import CellModule


def to_module(layer: Module) -> Any:
    """A module of PyTorch's with the weights, copied to its CPU, and the settings of a layer of ours.

    The other way of ``from_module``, for the same layers; nothing is drawn from PyTorch's generators. A Sequential
    with layers that return a tuple is an ``xprnn.interop.torch.Sequential``, since PyTorch's hands the tuple on.

    Raises TypeError, naming the layer, for any other; ValueError, naming layer and setting, for what PyTorch's modules
    do not have, such as peepholes.
    """
    torch = needed("torch", "to_module")
    made = dict[int, Any]()

    def convert(path: str, part: Any) -> Any:
        if id(part) not in made:
            made[id(part)] = _module(torch, path, part, convert)
        return made[id(part)]

    module, first = convert("", layer), dict[int, Any]()
    for path, (holder, name) in every_parameter(layer):
        *parents, attribute = path.split(".")
        target = module.get_submodule(".".join(parents))
        ours = getattr(holder, name)
        if id(ours) not in first:
            values = torch.from_numpy(np.array(to_numpy(ours.data)))
            first[id(ours)] = torch.nn.Parameter(values, requires_grad=ours.requires_grad)
        setattr(target, attribute, first[id(ours)])
    for _, part in layer.named_modules():
        if (theirs := made.get(id(part))) is not None and theirs.training != part.training:
            theirs.train(part.training)
    return module


def _module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    """The module of one layer, without its weights."""
    name = type(part).__name__
    if name not in TO or type(part) is not getattr(nn, name):
        raise TypeError(f"to_module: {called(path, part)} is a {name}; expected one of {', '.join(TO)}")
    with torch.device("meta"):  # nothing is drawn, and nothing takes memory
        return TO[name](torch, path, part, convert)


def _recurrent_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    others = {"reverse": part.reverse, "zero_masked": part.zero_masked, "another cell in reverse": part.reverse_cell}
    others |= {"zoneout or dropout between steps": part.regularisation}
    if given := [name for name, there in others.items() if there]:
        raise ValueError(f"to_module: {called(path, part)} has {', '.join(given)}, which PyTorch does not have")
    return getattr(torch.nn, type(part).__name__)(
        part.input_size, part.hidden_size, part.num_layers, bias=part.bias, batch_first=part.batch_first,
        dropout=part.dropout.p, bidirectional=part.bidirectional, **_special(path, part),
    )  # fmt: skip


def _step_module(torch: Any, path: str, part: CellModule, convert: Convert) -> Any:
    bias, special = hasattr(part, "bias_ih"), _special(path, part)
    return getattr(torch.nn, type(part).__name__)(part.input_size, part.hidden_size, bias, **special)


def _special(path: str, part: Any) -> dict[str, Any]:
    """What the cell of a layer asks of the module. Raises ValueError for a cell that PyTorch has not."""
    cell: Cell = part.cell
    if type(cell) is Projected and _plain(cell.cell):
        return {"proj_size": cell.proj_size}
    if not _plain(cell):
        raise ValueError(f"to_module: {called(path, part)} is made of {cell.name}, which PyTorch does not have")
    return {"nonlinearity": cell.nonlinearity} if isinstance(cell, Elman) else {}


def _plain(cell: Cell) -> bool:
    """Whether it is one of PyTorch's. By exact type and settings: others compute something else."""
    return type(cell) in (LSTMSpec, GRUSpec, Elman) and set(vars(cell)) <= {"nonlinearity"}


def _linear_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    return torch.nn.Linear(part.in_features, part.out_features, part.bias is not None)


def _embedding_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    return torch.nn.Embedding(part.num_embeddings, part.embedding_dim, part.padding_idx)


def _layer_norm_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    return torch.nn.LayerNorm(part.normalized_shape, part.eps, bias=part.bias is not None)


def _dropout_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    return torch.nn.Dropout(part.p)


def _function_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    axis = {"dim": -1} if isinstance(part, nn.Softmax) else {}
    return getattr(torch.nn, type(part).__name__)(**axis)


def _attention_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    return torch.nn.MultiheadAttention(
        part.embed_dim, part.num_heads, part.dropout.p, part.in_proj_bias is not None,
        kdim=part.kdim, vdim=part.vdim, batch_first=part.batch_first,
    )  # fmt: skip


def _encoder_layer_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    return torch.nn.TransformerEncoderLayer(
        part.d_model, part.nhead, part.linear1.out_features, part.dropout.p, part.activation, part.norm1.eps,
        part.batch_first, part.norm_first, part.linear1.bias is not None,
    )  # fmt: skip


def _encoder_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    layers = [convert(f"{path}.layers.{k}".lstrip("."), each) for k, each in enumerate(part.layers)]
    norm = None if part.norm is None else convert(f"{path}.norm".lstrip("."), part.norm)
    encoder = torch.nn.TransformerEncoder(layers[0], 1, norm, enable_nested_tensor=False)
    encoder.layers, encoder.num_layers = torch.nn.ModuleList(layers), len(layers)
    return encoder


def _sequential_module(torch: Any, path: str, part: Any, convert: Convert) -> Any:
    parts = [convert(f"{path}.{k}".lstrip("."), each) for k, each in enumerate(part)]
    if not any(isinstance(each, (torch.nn.RNNBase, torch.nn.MultiheadAttention)) for each in parts):
        return torch.nn.Sequential(*parts)
    from xprnn.interop.torch.layers import Sequential

    return Sequential(*parts)


TO: dict[str, Callable[[Any, str, Any, Convert], Any]] = {
    "RNN": _recurrent_module, "LSTM": _recurrent_module, "GRU": _recurrent_module, "RNNCell": _step_module,
    "LSTMCell": _step_module, "GRUCell": _step_module, "Linear": _linear_module, "Embedding": _embedding_module,
    "LayerNorm": _layer_norm_module, "Dropout": _dropout_module, "Tanh": _function_module, "Sigmoid": _function_module,
    "ReLU": _function_module, "Softmax": _function_module, "MultiheadAttention": _attention_module,
    "TransformerEncoderLayer": _encoder_layer_module, "TransformerEncoder": _encoder_module,
    "Sequential": _sequential_module,
}  # fmt: skip
"""By the names of our classes."""
