"""One recurrent layer in each library: the same weights in, a function that runs it out.

Each contender is ``make(kind, arrays, training) -> run``: kind is "RNN", "LSTM" or "GRU"; arrays holds x (T, B, I), the
cotangent dy (T, B, H) and weights by PyTorch's names, in float32. ``run()`` computes the output (T, B, H), in training
also all gradients, and returns the output and, in training, the gradient of weight_hh_l0, as that library's arrays.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def xprnn(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """This library."""
    import xprnn as library

    layer = getattr(library.nn, kind)(arrays["x"].shape[2], arrays["dy"].shape[2])
    layer.load_state_dict({name: arrays[name] for name in NAMES})

    def infer() -> Any:
        with library.no_grad():
            return (layer(arrays["x"])[0].data,)

    def train() -> Any:
        x = library.Tensor(arrays["x"], requires_grad=True)
        layer.zero_grad()
        output = layer(x)[0]
        output.backward(arrays["dy"])
        return output.data, layer.weight_hh_l0.grad.data

    return train if training else infer


def torch(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """PyTorch, eager."""
    import torch as library

    library.set_num_threads(int(os.environ["BENCH_THREADS"]))
    layer = getattr(library.nn, kind)(arrays["x"].shape[2], arrays["dy"].shape[2])
    layer.load_state_dict({name: library.from_numpy(arrays[name]) for name in NAMES})
    x, dy = library.from_numpy(arrays["x"]), library.from_numpy(arrays["dy"])

    def infer() -> Any:
        with library.inference_mode():
            return (layer(x)[0],)

    def train() -> Any:
        given = x.detach().requires_grad_()
        layer.zero_grad()
        output = layer(given)[0]
        output.backward(dy)
        return output.detach(), layer.weight_hh_l0.grad

    return train if training else infer


def onnxruntime(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """ONNX Runtime; inference only."""
    if training:
        return None
    import onnxruntime as library
    from onnx import TensorProto, helper, numpy_helper

    hidden = arrays["dy"].shape[2]
    order = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}[kind]  # ONNX: i o f c, and z r h

    def blocks(a: np.ndarray) -> np.ndarray:
        return np.concatenate([a[k * hidden : (k + 1) * hidden] for k in order])

    constants = {
        "W": blocks(arrays["weight_ih_l0"])[None],
        "R": blocks(arrays["weight_hh_l0"])[None],
        "B": np.concatenate([blocks(arrays["bias_ih_l0"]), blocks(arrays["bias_hh_l0"])])[None],
    }
    form = {"linear_before_reset": 1} if kind == "GRU" else {}
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "W", "R", "B"], ["y"], hidden_size=hidden, **form)],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, arrays["x"].shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = library.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
    session = library.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: (session.run(None, {"x": arrays["x"]})[0][:, 0],)


def jax(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """JAX: a scan over steps, compiled, with the input product hoisted out of it."""
    import jax as library
    import jax.numpy as jnp

    hidden, batch = arrays["dy"].shape[2], arrays["x"].shape[1]

    def step(w: Any, state: Any, zx: Any) -> Any:
        h, c = state
        zh = h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        if kind == "RNN":
            h = jnp.tanh(zx + zh)
        elif kind == "LSTM":
            i, f, g, o = jnp.split(zx + zh, 4, axis=-1)
            c = library.nn.sigmoid(f) * c + library.nn.sigmoid(i) * jnp.tanh(g)
            h = library.nn.sigmoid(o) * jnp.tanh(c)
        else:
            (xr, xz, xn), (hr, hz, hn) = jnp.split(zx, 3, axis=-1), jnp.split(zh, 3, axis=-1)
            z = library.nn.sigmoid(xz + hz)
            h = (1 - z) * jnp.tanh(xn + library.nn.sigmoid(xr + hr) * hn) + z * h
        return (h, c), h

    def layer(w: Any, x: Any) -> Any:
        zero = jnp.zeros((batch, hidden), x.dtype)
        zx = x @ w["weight_ih_l0"].T + w["bias_ih_l0"]
        return library.lax.scan(lambda state, z: step(w, state, z), (zero, zero), zx)[1]

    weights = {name: jnp.asarray(arrays[name]) for name in NAMES}
    x, dy = jnp.asarray(arrays["x"]), jnp.asarray(arrays["dy"])
    forward = library.jit(layer)

    @library.jit
    def both(w: Any, x: Any) -> Any:
        output, pullback = library.vjp(layer, w, x)
        return output, pullback(dy)

    def train() -> Any:
        output, (gradients, _) = both(weights, x)
        return output.block_until_ready(), gradients["weight_hh_l0"].block_until_ready()

    return train if training else lambda: (forward(weights, x).block_until_ready(),)


CONTENDERS = {"xprnn": xprnn, "torch": torch, "onnxruntime": onnxruntime, "jax": jax}
