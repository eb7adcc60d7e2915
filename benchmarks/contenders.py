"""One recurrent layer in each library, and in lower precision: the same weights in, a function that runs it out.

Each contender is ``make(kind, arrays, training) -> run``: kind is "RNN", "LSTM" or "GRU"; arrays holds x (T, B, I), the
cotangent dy (T, B, H) and weights by PyTorch's names, in float32. ``run()`` computes the output (T, B, H), in training
also all gradients, and returns the output and, in training, the gradient of weight_hh_l0, as that library's arrays. It
is None where the library has no such thing.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import history
import numpy as np

NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def xprnn(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """This library."""
    import xprnn as library

    layer = _xprnn_layer(kind, arrays)

    def train() -> Any:
        x = library.Tensor(arrays["x"], requires_grad=True)
        layer.zero_grad()
        output = layer(x)[0]
        output.backward(arrays["dy"])
        return output.data, layer.weight_hh_l0.grad.data

    return train if training else _xprnn_inference(layer, arrays)


def xprnn_bf16(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """The same with operands of products rounded to bfloat16."""
    import xprnn as library

    exact = xprnn(kind, arrays, training)

    def rounded() -> Any:
        with library.use_precision("bf16"):
            return exact()

    return rounded


def xprnn_int8(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """The same with weights of 8 bits; inference only."""
    import xprnn as library

    return None if training else _xprnn_inference(library.nn.quantize(_xprnn_layer(kind, arrays)), arrays)


def _xprnn_layer(kind: str, arrays: dict[str, np.ndarray]) -> Any:
    import xprnn as library

    layer = getattr(library.nn, kind)(arrays["x"].shape[2], arrays["dy"].shape[2])
    layer.load_state_dict({name: arrays[name] for name in NAMES})
    return layer


def _xprnn_inference(layer: Any, arrays: dict[str, np.ndarray]) -> Any:
    import xprnn as library

    def infer() -> Any:
        with library.no_grad():
            return (layer(arrays["x"])[0].data,)

    return infer


def torch(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """PyTorch, eager."""
    return _torch_run(_torch_layer(kind, arrays), arrays, training)


def torch_bf16(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """The same layer in bfloat16: weights, inputs, outputs, states and gradients."""
    return _torch_run(_torch_layer(kind, arrays).bfloat16(), arrays, training)


def torch_int8(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """The same layer, quantized dynamically; inference only."""
    import torch as library

    if training or not hasattr(library.ao.quantization, "quantize_dynamic"):  # which is announced to leave PyTorch
        return None
    layer = _torch_layer(kind, arrays)
    (coded,) = library.ao.quantization.quantize_dynamic(
        library.nn.Sequential(layer), {type(layer)}
    )  # what is given itself stays as it is
    return _torch_run(coded, arrays, training)


def _torch_layer(kind: str, arrays: dict[str, np.ndarray]) -> Any:
    import torch as library

    library.set_num_threads(int(os.environ["BENCH_THREADS"]))
    layer = getattr(library.nn, kind)(arrays["x"].shape[2], arrays["dy"].shape[2])
    layer.load_state_dict({name: library.from_numpy(arrays[name]) for name in NAMES})
    return layer


def _torch_run(layer: Any, arrays: dict[str, np.ndarray], training: bool) -> Any:
    import torch as library

    dtype = next(
        (parameter.dtype for parameter in layer.parameters()), library.float32
    )  # of one in int8 there are none
    x, dy = (library.from_numpy(arrays[name]).to(dtype) for name in ("x", "dy"))

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
    return None if training else _onnxruntime_run(_onnx_model(kind, arrays).SerializeToString(), arrays)


def onnxruntime_int8(kind: str, arrays: dict[str, np.ndarray], training: bool) -> Any:
    """The same layer, quantized dynamically: an LSTM only, since it leaves a GRU as it is."""
    if training or kind != "LSTM":
        return None
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        # Its products of bytes overflow 16 bits where the processor has no instruction for sums of four; its manual
        # says to leave a bit of the weights unused there.
        spare = history.flags().isdisjoint({"avx512_vnni", "avx_vnni", "asimddp"})
        quantize_dynamic(_onnx_model(kind, arrays), path, op_types_to_quantize=["LSTM"], reduce_range=spare)
        return _onnxruntime_run(path.read_bytes(), arrays)


def _onnx_model(kind: str, arrays: dict[str, np.ndarray]) -> Any:
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
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def _onnxruntime_run(model: bytes, arrays: dict[str, np.ndarray]) -> Any:
    import onnxruntime as library

    options = library.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
    session = library.InferenceSession(model, options, providers=["CPUExecutionProvider"])
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


CONTENDERS = {
    "xprnn": xprnn,
    "xprnn bf16": xprnn_bf16,
    "xprnn int8": xprnn_int8,
    "torch": torch,
    "torch bf16": torch_bf16,
    "torch int8": torch_int8,
    "onnxruntime": onnxruntime,
    "onnxruntime int8": onnxruntime_int8,
    "jax": jax,
}
"""By library and, where it is not float32, precision."""
