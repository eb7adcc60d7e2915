"""Models of ONNX's as modules of ours, which can be trained on."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from xprnn.arguments import input_tensor
from xprnn.backend import backend_of, default_backend, dtype_name, to_numpy
from xprnn.interop.extras import needed
from xprnn.interop.onnx import recurrent
from xprnn.interop.onnx.external import Beside
from xprnn.interop.onnx.operations import OPERATIONS
from xprnn.interop.onnx.parsed import Node, Parsed, Value, parsed
from xprnn.nn.module import Module
from xprnn.storage import ModelFileError
from xprnn.tensor import Parameter, Tensor
from xprnn.whole_files import Path_, checked_path


class Model(Module):
    """A graph of ONNX's: ``y = model(x)``, ``model(x, lengths)``, or by the names of its inputs.

    ``inputs`` and ``outputs`` are the names in order; several outputs come as a tuple. Its nodes LSTM, GRU and RNN are
    layers of ours, ``layer_NAME``, and constants of float32 or float64 with an axis at least are Parameters,
    ``weight_NAME``, where NAME is that in the graph with _ for what Python's names cannot hold.
    Raises TypeError and ValueError, naming the input or the node, for what does not fit.
    """

    def __init__(self, graph: Parsed) -> None:
        self.inputs, self.outputs = [value.name for value in graph.inputs], graph.outputs
        self._values, self._nodes, self._declared = graph.inputs, graph.nodes, graph.declared
        self._attributes: dict[str, str] = {}  # by the name of a constant or node
        self._constants: dict[str, Any] = {}
        used = {name for node in graph.nodes if node.operator not in recurrent.OPTIONS for name in node.inputs}
        used |= {*graph.outputs}
        layers: dict[Any, str] = {}  # which one has which weights: nodes that share them share it
        for node in graph.nodes:
            if node.operator in recurrent.OPTIONS:
                used |= {*recurrent.reads(node)}
                weights = recurrent.weights_of(node)
                if weights not in layers:
                    layers[weights] = self._name("layer", node.name, recurrent.layer_of(node, graph.constants))
                self._attributes[f"layer {node.outputs}"] = layers[weights]
            elif node.operator not in OPERATIONS:
                raise node.error("has no counterpart here")
        home = default_backend()
        for name in sorted(used & {*graph.constants}):
            array = graph.constants[name]
            if array.dtype.kind != "f":
                self._constants[name] = array
            elif array.ndim == 0:
                self._constants[name] = Tensor(array)
            else:
                self._attributes[f"weight {(name,)}"] = self._name("weight", name, Parameter(home.asarray(array)))

    def _name(self, kind: str, name: str, part: Module | Parameter) -> str:
        """Give a part a name, and return that."""
        attribute = f"{kind}_{re.sub(r'[^0-9A-Za-z]+', '_', name).strip('_')}"
        while attribute in vars(self):
            attribute += "_"
        setattr(self, attribute, part)
        return attribute

    def forward(self, *values: Any, **named: Any) -> Any:
        given = dict(zip(self.inputs, values, strict=False)) | named
        if len(values) + len(named) != len(self.inputs) or {*given} != {*self.inputs}:
            came = [*self.inputs[: len(values)], *named]
            raise TypeError(f"Model: the inputs are {', '.join(came)}; expected {', '.join(self.inputs)}")
        known: dict[str, Any] = {"": None, **self._constants}
        known |= {value.name: _checked(value, given[value.name]) for value in self._values}
        lengths = _lengths(self._values, known)
        for node in self._nodes:
            names = recurrent.reads(node) if node.operator in recurrent.OPTIONS else node.inputs
            reads = [known[name] if name in known else self._part("weight", (name,)) for name in names]
            results = self._run(node, reads)
            if node.operator == "Reshape":
                self._check_shape(node, results[0].shape, lengths)
            known |= {name: result for name, result in zip(node.outputs, results, strict=False) if name}
        found = tuple(known[name] if name in known else self._part("weight", (name,)) for name in self.outputs)
        return found[0] if len(found) == 1 else found

    def _part(self, kind: str, keys: tuple[str, ...]) -> Any:
        return getattr(self, self._attributes[f"{kind} {keys}"])

    def _run(self, node: Node, reads: list[Any]) -> tuple[Any, ...]:
        try:
            if node.operator in recurrent.OPTIONS:
                layer = self._part("layer", node.outputs)
                return recurrent.run(node, layer, *reads)
            while reads and reads[-1] is None:
                reads.pop()
            results = OPERATIONS[node.operator](node, *_beside_each_other(reads))
        except MemoryError as error:
            raise MemoryError(str(node.error(f"takes more memory than there is: {error}"))) from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            if str(error).startswith("node "):
                raise
            raise node.error(f"cannot be run: {error}") from error
        if not isinstance(results, tuple):
            results = (results,)
        if len([name for name in node.outputs if name]) > len(results):
            raise node.error(f"has {len(node.outputs)} outputs; expected {len(results)}")
        return results

    def _check_shape(self, node: Node, shape: tuple[int, ...], lengths: dict[str, int]) -> None:
        """Raises ValueError where an exporter wrote down its example's number of steps, though steps are of any number.

        Such a node would mix steps and sequences, and say nothing where the numbers happen to divide each other.
        """
        declared = self._declared.get(node.outputs[0])
        if declared is None:
            return
        said = tuple(lengths.get(axis, axis) if isinstance(axis, str) else axis for axis in declared)
        if len(said) != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(said, shape, strict=True)):
            words = ", ".join(f"{axis} = {n}" if axis != n else f"{n}" for axis, n in zip(declared, said, strict=True))
            raise node.error(
                f"gives shape {shape}, where the model declares ({words}): its exporter fixed the lengths of its "
                "example; call it with those, or export it again"
            )

    def describe(self) -> str:
        return f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"


def from_model(model: Any) -> Model:
    """A :class:`Model` of an onnx.ModelProto, opset 13 to 26.

    Nodes LSTM, GRU and RNN, with any of ONNX's activations, clip, direction, layout, input_forget and
    linear_before_reset, become layers; their weights must be constants. Around them may stand what is usual there: Add,
    Attention, Cast, Concat, Conv (of one axis), Einsum (of two), Gather, Gemm, LayerNormalization, MatMul, Pad, Relu,
    Reshape, Slice, Softmax, Split, Squeeze, Transpose and about eighty in all. Numbers are float32 and float64.

    Raises ValueError that names the node or constant for any other operator, and for what is damaged.
    """
    onnx = needed("onnx", "from_model")
    if not isinstance(model, onnx.ModelProto):
        raise TypeError(f"from_model: model is a {type(model).__name__}; expected an onnx.ModelProto")
    try:
        return Model(parsed(onnx, model, Beside()))
    except ValueError as error:
        raise ValueError(f"from_model: {error}") from error


def load(path: Path_) -> Model:
    """:func:`from_model` of a file; nothing in it is run when it is loaded.

    Weights may lie in plain files beside it, as PyTorch's exporter puts them into ``NAME.onnx.data``; no file
    elsewhere is read, and no more memory taken than these files are long.

    Raises FileNotFoundError or another OSError where it cannot be read; ModelFileError, a ValueError that names the
    file, and the node or constant, as :func:`from_model` does.
    """
    onnx = needed("onnx", "load")
    with open(checked_path(path), "rb") as file:
        content = file.read()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of the protocol's parser
        raise ModelFileError(f"load: {path} is truncated, corrupt or no ONNX model: {error}") from error
    try:
        return Model(parsed(onnx, model, Beside(os.path.dirname(os.path.abspath(path)))))
    except ValueError as error:
        raise ModelFileError(f"load: {path}: {error}") from error


def _beside_each_other(values: list[Any]) -> list[Any]:
    """Whole numbers, constants and what was made of them, brought from the host to where other Tensors are."""
    tensors = [one for one in values if isinstance(one, Tensor)]
    home = next((backend_of(one.data) for one in tensors if type(one.data) is not np.ndarray), None)
    if home is None:
        return values

    def beside(one: Any) -> Any:
        if isinstance(one, Tensor):
            return one if type(one.data) is not np.ndarray or one.requires_grad else Tensor(home.asarray(one.data))
        return home.asarray(one) if isinstance(one, np.ndarray) else one

    return [beside(one) for one in values]


def _lengths(values: list[Value], known: dict[str, Any]) -> dict[str, int]:
    """The lengths of axes that inputs declare by a word."""
    return {
        axis: length
        for value in values
        for axis, length in zip(value.shape or (), known[value.name].shape, strict=False)
        if isinstance(axis, str) and axis
    }


def _checked(value: Value, x: Any) -> Any:
    """An input, with the type and shape that the graph declares."""
    tensor = input_tensor("Model", value.name, np.asarray(x) if isinstance(x, (list, tuple)) else x)
    if dtype_name(tensor.data) != value.dtype:
        raise TypeError(f"Model: {value.name} has dtype {dtype_name(tensor.data)}; expected {value.dtype}")
    shape = value.shape
    if shape is not None and (
        len(shape) != tensor.ndim
        or any(isinstance(n, int) and n != m for n, m in zip(shape, tensor.shape, strict=True))
    ):
        words = ", ".join(str(axis) or "?" for axis in shape)
        raise ValueError(f"Model: {value.name} has shape {tensor.shape}; expected ({words})")
    return tensor if value.dtype.startswith("float") else to_numpy(tensor.data)  # as shapes and axes are
