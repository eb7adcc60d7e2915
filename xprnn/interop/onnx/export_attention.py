"""Attention, and the Transformer's encoder, as products and a softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xprnn import nn
from xprnn.interop.naming import called
from xprnn.interop.onnx.exported import Exported


def attention(model: Exported, path: str, layer: Any, x: str) -> str:
    if not layer.packed:
        raise ValueError(f"to_model: {called(path[:-1], layer)} has kdim or vdim; expected queries, keys and values")
    x = model.turned(path, layer, x)
    return model.turned(path, layer, _attended(model, path, layer, x))


def _attended(model: Exported, path: str, layer: Any, x: str) -> str:
    """Attention of a sequence (T, B, E) to itself."""
    features, heads = layer.embed_dim, layer.num_heads
    size, seen = features // heads, model.where_real(path, x)

    def projected(k: int, source: str, perm: list[int]) -> str:
        rows = slice(k * features, (k + 1) * features)
        weight = model.graph.weights(path, f"in_proj_weight_{k}", [layer.in_proj_weight], lambda w: w[0][rows].T.copy())
        y = model.node("MatMul", [source, weight], path)
        if layer.in_proj_bias is not None:
            bias = model.graph.weights(path, f"in_proj_bias_{k}", [layer.in_proj_bias], lambda b: b[0][rows])
            y = model.node("Add", [y, bias], path)
        split = model.node("Reshape", [y, model.integers(0, 0, heads, size)], path)
        turned: str = model.node("Transpose", [split], path, perm=perm)
        return turned

    q, k, v = projected(0, seen, [1, 2, 0, 3]), projected(1, seen, [1, 2, 3, 0]), projected(2, seen, [1, 2, 0, 3])
    scaled = model.node("Mul", [q, model.number(1.0 / math.sqrt(size))], path)
    scores = model.node("MatMul", [scaled, k], path)  # (B, N, T, S)
    if model.lengths:
        there = model.node("Transpose", [model.real()], path, perm=[1, 2, 0])  # (B, 1, S)
        there = model.node("Unsqueeze", [there, model.integers(1)], path)
        scores = model.node("Where", [there, scores, model.number(-float(np.finfo(np.float32).max))], path)
    weights = model.node("Softmax", [scores], path, axis=-1)
    context = model.node("Transpose", [model.node("MatMul", [weights, v], path)], path, perm=[2, 0, 1, 3])
    joined = model.node("Reshape", [context, model.integers(0, 0, features)], path)
    return model.emit(f"{path}out_proj", layer.out_proj, joined)


def encoder(model: Exported, path: str, layer: Any, x: str) -> str:
    """A layer of the Transformer's encoder, or all of it."""
    x = model.where_real(path, model.turned(path, layer, x))
    x = _encoded(model, path, layer, x)
    return model.turned(path, layer, model.where_real(path, x))


def _encoded(model: Exported, path: str, layer: Any, x: str) -> str:
    if isinstance(layer, nn.TransformerEncoder):
        for number, part in enumerate(layer.layers):
            x = _encoded(model, f"{path}layers.{number}.", part, x)
        return x if layer.norm is None else model.emit(f"{path}norm", layer.norm, x)

    def attend(h: str) -> str:
        return _attended(model, f"{path}self_attn.", layer.self_attn, h)

    def feed(h: str) -> str:
        inner = model.emit(f"{path}linear1", layer.linear1, h)
        active = model.node(layer.activation.capitalize(), [inner], path)
        return model.emit(f"{path}linear2", layer.linear2, active)

    def norm(k: int, h: str) -> str:
        return model.emit(f"{path}norm{k}", getattr(layer, f"norm{k}"), h)

    if layer.norm_first:
        x = model.node("Add", [x, attend(norm(1, x))], path)
        return str(model.node("Add", [x, feed(norm(2, x))], path))
    x = norm(1, model.node("Add", [x, attend(x)], path))
    return norm(2, model.node("Add", [x, feed(x)], path))
