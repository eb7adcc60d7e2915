"""Poolings: from a vector at each step to one, of the steps that are not past the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn import nn
from xprnn.interop.naming import called
from xprnn.interop.onnx.exported import Exported


def pooling(model: Exported, path: str, layer: Any, x: str) -> str:
    """y (B, F) for x (T, B, F); zero of a sequence without steps."""
    if model.batch_first or model.pooled:
        raise ValueError(f"to_model: {called(path[:-1], layer)} takes (T, B, F); expected layers that are time-major")
    y = KINDS[type(layer)](model, path, layer, x)
    model.pooled = True
    return model.where_some(path, y, model.number(0.0))


def _last(model: Exported, path: str, layer: Any, x: str) -> str:
    if model.lengths:
        last = model.node("Sub", [model.lengths, model.graph.constant("one_step", np.int32(1))], path)
        whole = model.node("Unsqueeze", [model.node("Cast", [last], path, to=7), model.integers(0, 2)], path)
        at = model.node("Equal", [model.steps(), whole], path)
        y = _sum(model, path, model.node("Where", [at, x, model.number(0.0)], path))
    else:
        y = _step(model, path, x, -1)
    if not layer.bidirectional:
        return y
    halves = [model.node("Split", [one], path, 2, axis=-1, num_outputs=2) for one in (y, _step(model, path, x, 0))]
    both: str = model.node("Concat", [halves[0][0], halves[1][1]], path, axis=-1)
    return both


def _step(model: Exported, path: str, x: str, number: int) -> str:
    step: str = model.node("Gather", [x, model.graph.constant(f"step_{number}", np.int64(number))], path, axis=0)
    return step


def _sum(model: Exported, path: str, x: str) -> str:
    total: str = model.node("ReduceSum", [x, model.integers(0)], path, keepdims=0)
    return total


def _mean(model: Exported, path: str, layer: Any, x: str) -> str:
    if not model.lengths:
        return str(model.node("ReduceMean", [x, model.integers(0)], path, keepdims=0))
    one = model.graph.constant("one_step", np.int32(1))
    count = model.node("Cast", [model.node("Max", [model.lengths, one], path)], path, to=1)
    total, by = _sum(model, path, model.where_real(path, x)), model.node("Unsqueeze", [count, model.integers(1)], path)
    return str(model.node("Div", [total, by], path))


def _max(model: Exported, path: str, layer: Any, x: str) -> str:
    return str(model.node("ReduceMax", [model.where_real(path, x, -np.inf), model.integers(0)], path, keepdims=0))


def _attention(model: Exported, path: str, layer: Any, x: str) -> str:
    present = model.where_real(path, x)
    hidden = model.node("Tanh", [model.emit(f"{path}hidden", layer.hidden, present)], path)
    scores = model.where_real(path, model.emit(f"{path}score", layer.score, hidden), -float(np.finfo(np.float32).max))
    weights = model.where_real(path, model.node("Softmax", [scores], path, axis=0))
    return _sum(model, path, model.node("Mul", [present, weights], path))


KINDS = {
    nn.LastPooling: _last,
    nn.MeanPooling: _mean,
    nn.MaxPooling: _max,
    nn.AttentionPooling: _attention,
}
