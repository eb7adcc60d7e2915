"""A graph of ONNX's, built node by node."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.interop.extras import needed
from xprnn.nn.loading import host_copy
from xprnn.tensor import Tensor

OPSET, IR_VERSION = 22, 10


class Graph:
    """Nodes, constants, inputs and outputs. Names are those of our parts, with what they are behind them."""

    def __init__(self) -> None:
        self._onnx = needed("onnx", "xprnn.interop.onnx")
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray[Any, Any]] = {}
        self._parameters: dict[tuple[str, ...], list[str]] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def node(self, operator: str, inputs: list[str], path: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node; the name of its result, or the names of its results."""
        name = f"{path}{operator}_{len(self._nodes)}"
        results = [name if outputs == 1 else f"{name}_{k}" for k in range(outputs)]
        while inputs[-1] == "":
            inputs = inputs[:-1]
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, results, name, **attributes))
        return results[0] if outputs == 1 else results

    def constant(self, name: str, values: Any) -> str:
        """A constant, in the dtype that it has."""
        if name not in self._constants:
            self._constants[name] = np.asarray(values)
        return name

    def weights(self, path: str, name: str, parameters: list[Tensor], pack: Any) -> str:
        """A constant packed from parameters as float32, and the same one for the same parameters packed likewise."""
        packed: np.ndarray[Any, Any] = pack([host_copy(parameter, "float32") for parameter in parameters])
        known = self._parameters.setdefault((name, *(str(id(parameter)) for parameter in parameters)), [])
        for one in known:
            if self._constants[one].shape == packed.shape and self._constants[one].tobytes() == packed.tobytes():
                return one
        known.append(self.constant(path + name, packed))
        return known[-1]

    def input(self, name: str, dtype: str, shape: list[str | int]) -> str:
        """An input; axes with a word may be of any length."""
        if name not in [one.name for one in self._inputs]:
            self._inputs.append(self._value(name, dtype, shape))
        return name

    def output(self, name: str, result: str, shape: list[str | int]) -> None:
        """An output of float32 numbers under a name of its own."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [result], [name], f"{name}/Identity"))
        self._outputs.append(self._value(name, "float32", shape))

    def model(self) -> Any:
        """The model, checked."""
        from xprnn import __version__

        helper, numpy_helper = self._onnx.helper, self._onnx.numpy_helper
        constants = [numpy_helper.from_array(array, name) for name, array in self._constants.items()]
        graph = helper.make_graph(self._nodes, "xprnn", self._inputs, self._outputs, constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="xprnn", producer_version=__version__
        )
        self._onnx.checker.check_model(model)
        return model

    def _value(self, name: str, dtype: str, shape: list[str | int]) -> Any:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, shape)
