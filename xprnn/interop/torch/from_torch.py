"""PyTorch's modules to layers of ours. What cannot be said raises, by name, and nothing is half done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xprnn import nn
from xprnn.interop.extras import needed
from xprnn.interop.naming import called
from xprnn.interop.torch.places import Convert, every_parameter
from xprnn.nn.module import Module
from xprnn.randomness import Rng, generator
from xprnn.tensor import Parameter


def from_module(module: Any, *, rng: Rng = None) -> Module:
    """A layer of ours with the weights, copied, and the settings of a module of PyTorch's.

    For RNN, LSTM, GRU, their cells, Linear, Embedding, LayerNorm, Dropout, Tanh, Sigmoid, ReLU, Softmax of the last
    axis, MultiheadAttention, TransformerEncoderLayer, TransformerEncoder, Sequential of them, and the modules of
    ``xprnn.interop.torch``. Weights that modules share are
    shared, frozen ones stay frozen, and parts in evaluation in evaluation. float64 stays, and float32; float16 and
    bfloat16 become float32, which holds each of their numbers. ``rng`` is what dropout draws from.

    Raises TypeError, naming the module, for any other, for subclasses, and for modules with hooks or parametrizations,
    since these compute something else; ValueError, naming module and setting, for one that layers of ours do not have.
    """
    torch = needed("torch", "from_module")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_module: module is a {type(module).__name__}; expected a torch.nn.Module")
    draws, made = generator(rng), dict[int, Module]()

    def convert(path: str, part: Any) -> Module:
        if id(part) not in made:
            made[id(part)] = _layer(torch, path, part, draws, convert)
        return made[id(part)]

    layer = convert("", module)
    ours, first = dict(every_parameter(layer)), dict[int, Parameter]()
    for path, theirs in module.named_parameters(remove_duplicate=False):
        holder, name = ours[path]
        shared = first.setdefault(id(theirs), getattr(holder, name))
        if shared is not getattr(holder, name):
            setattr(holder, name, shared)
        shared.requires_grad = theirs.requires_grad
    for theirs in module.modules():  # the outer ones first
        if (part := made.get(id(theirs))) is not None and part.training != theirs.training:
            part.train(theirs.training)
    return layer


def _refuse(path: str, part: Any, settings: Mapping[str, bool]) -> None:
    """Raise ValueError for settings that layers of ours do not have."""
    if given := [name for name, there in settings.items() if there]:
        raise ValueError(f"from_module: {called(path, part)} has {', '.join(given)}, which layers here do not have")


def _layer(torch: Any, path: str, part: Any, draws: np.random.Generator, convert: Convert) -> Module:
    """The layer of one module, with its weights."""
    name = type(part).__name__
    _check(torch, path, part, *(FROM if name not in FROM else [name]))
    layer, own = FROM[name](torch, path, part, draws, convert)
    if own:
        layer.load_state_dict(part.state_dict())
    return layer


def _check(torch: Any, path: str, part: Any, *names: str) -> None:
    """Raise TypeError for a module that is none of these classes of PyTorch's, or one with more to it."""
    kind = type(part)
    ours = kind.__module__ == "xprnn.interop.torch.layers"
    if not any(kind is getattr(torch.nn, name) or (ours and kind.__name__ == name) for name in names):
        came = f"{kind.__module__}.{kind.__name__}"
        raise TypeError(f"from_module: {called(path, part)} is a {came}; expected one of {', '.join(names)}")
    if part._forward_hooks or part._forward_pre_hooks:
        raise TypeError(f"from_module: {called(path, part)} has hooks, which compute something that a layer would not")


def _dtype(torch: Any, weight: Any) -> str:
    return "float64" if weight.dtype is torch.float64 else "float32"


def _recurrent(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    special = {"proj_size": part.proj_size} if part.mode == "LSTM" else {}
    if part.mode.startswith("RNN"):
        special = {"nonlinearity": part.nonlinearity}
    kind = getattr(nn, part.mode.split("_")[0])
    dropout = part.dropout if part.num_layers > 1 else 0.0  # where PyTorch warns, and has no effect
    layer: Module = kind(
        part.input_size, part.hidden_size, part.num_layers, bias=part.bias, batch_first=part.batch_first,
        dropout=dropout, bidirectional=part.bidirectional, dtype=_dtype(torch, part.weight_ih_l0), rng=draws, **special,
    )  # fmt: skip
    return layer, True


def _step(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    special = {"nonlinearity": part.nonlinearity} if isinstance(part, torch.nn.RNNCell) else {}
    kind, dtype = getattr(nn, type(part).__name__), _dtype(torch, part.weight_ih)
    return kind(part.input_size, part.hidden_size, part.bias, dtype=dtype, rng=draws, **special), True


def _linear(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    dtype = _dtype(torch, part.weight)
    return nn.Linear(part.in_features, part.out_features, part.bias is not None, dtype=dtype, rng=draws), True


def _embedding(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    settings = {"max_norm": part.max_norm is not None, "scale_grad_by_freq": part.scale_grad_by_freq,
                "sparse": part.sparse}  # fmt: skip
    _refuse(path, part, settings)
    dtype = _dtype(torch, part.weight)
    return nn.Embedding(part.num_embeddings, part.embedding_dim, part.padding_idx, dtype=dtype, rng=draws), True


def _layer_norm(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    _refuse(path, part, {"elementwise_affine=False": not part.elementwise_affine})
    dtype = _dtype(torch, part.weight)
    return nn.LayerNorm(tuple(part.normalized_shape), part.eps, bias=part.bias is not None, dtype=dtype), True


def _dropout(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    return nn.Dropout(part.p, rng=draws), False


def _function(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    axis = getattr(part, "dim", -1)
    _refuse(path, part, {f"dim={axis}": axis != -1})
    layer: Module = getattr(nn, type(part).__name__)()
    return layer, False


def _attention(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    settings = {"add_bias_kv": part.bias_k is not None, "add_zero_attn": part.add_zero_attn}
    _refuse(path, part, settings)
    layer = nn.MultiheadAttention(
        part.embed_dim, part.num_heads, part.dropout, part.in_proj_bias is not None, part.kdim, part.vdim,
        part.batch_first, dtype=_dtype(torch, part.out_proj.weight), rng=draws,
    )  # fmt: skip
    return layer, True


def _encoder_layer(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    names = {torch.nn.functional.relu: "relu", torch.nn.functional.gelu: "gelu"}
    activation = names.get(part.activation)
    if isinstance(part.activation, torch.nn.Module):
        exact = getattr(part.activation, "approximate", "none") == "none"
        activation = {torch.nn.ReLU: "relu", torch.nn.GELU: "gelu" if exact else None}.get(type(part.activation))
    if activation is None:
        raise ValueError(f"from_module: {called(path, part)} has activation {part.activation}; expected relu or gelu")
    parts = {"self_attn": "MultiheadAttention", "linear1": "Linear", "linear2": "Linear", "norm1": "LayerNorm"}
    for name, kind in {**parts, "norm2": "LayerNorm"}.items():  # which may have been replaced
        _check(torch, f"{path}.{name}".lstrip("."), getattr(part, name), kind)
    rates = {part.dropout.p, part.dropout1.p, part.dropout2.p, part.self_attn.dropout}
    _refuse(path, part, {"several rates of dropout": len(rates) > 1, "several eps": part.norm1.eps != part.norm2.eps})
    layer = nn.TransformerEncoderLayer(
        part.self_attn.embed_dim, part.self_attn.num_heads, part.linear1.out_features, part.dropout.p, activation,
        part.norm1.eps, part.self_attn.batch_first, part.norm_first, part.linear1.bias is not None,
        dtype=_dtype(torch, part.linear1.weight), rng=draws,
    )  # fmt: skip
    return layer, True


def _encoder(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    layers = [convert(f"{path}.layers.{k}".lstrip("."), each) for k, each in enumerate(part.layers)]
    norm = None if part.norm is None else convert(f"{path}.norm".lstrip("."), part.norm)
    if not layers:
        raise ValueError(f"from_module: {called(path, part)} has no layers; expected at least one")
    encoder = nn.TransformerEncoder(layers[0], 1, norm)
    encoder.layers = layers
    return encoder, False


def _sequential(torch: Any, path: str, part: Any, draws: Any, convert: Convert) -> tuple[Module, bool]:
    names = [name for name, _ in part.named_children()]
    if names != [str(k) for k in range(len(names))]:
        raise ValueError(f"from_module: {called(path, part)} names its modules {names}; expected numbers")
    return nn.Sequential(*(convert(f"{path}.{k}".lstrip("."), each) for k, each in enumerate(part))), False


FROM: dict[str, Callable[[Any, str, Any, Any, Convert], tuple[Module, bool]]] = {
    "RNN": _recurrent, "LSTM": _recurrent, "GRU": _recurrent, "RNNCell": _step, "LSTMCell": _step, "GRUCell": _step,
    "Linear": _linear, "Embedding": _embedding, "LayerNorm": _layer_norm, "Dropout": _dropout,
    "Tanh": _function, "Sigmoid": _function, "ReLU": _function, "Softmax": _function,
    "MultiheadAttention": _attention, "TransformerEncoderLayer": _encoder_layer, "TransformerEncoder": _encoder,
    "Sequential": _sequential,
}  # fmt: skip
"""By the names of PyTorch's classes: the layer, and whether its weights are to be loaded into it."""
