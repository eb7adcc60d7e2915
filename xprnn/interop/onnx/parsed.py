"""A graph of ONNX's, read into plain values: nothing of the file is kept but what was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xprnn.interop.onnx.external import Beside

OPSETS = (13, 26)  # before, axes were attributes
REQUIRED: Any = object()
Host = np.ndarray[Any, Any]
Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Node:
    """An operation: the names of what it reads and gives, "" for what is left out, and its attributes."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    def error(self, problem: str) -> ValueError:
        """What is wrong with it."""
        return ValueError(f"node {self.name} ({self.operator}) {problem}")

    def place(self, axis: int, rank: int) -> int:
        """An axis, counted from the front. Raises ValueError for one that there is not among so many."""
        if not -rank <= axis < rank:
            raise self.error(f"has axis {axis} of {rank} axes")
        return axis % rank

    def attribute(self, name: str, kind: type, default: Any = REQUIRED) -> Any:
        """An attribute, or a default. Raises ValueError for one of another type, and where there must be one."""
        value = self.attributes.get(name, default)
        if value is REQUIRED:
            raise self.error(f"has no attribute {name}")
        if name in self.attributes and not isinstance(value, kind):
            raise self.error(f"has {name} = {str(value)[:40]!r}; expected {kind.__name__}")
        return value


@dataclass(frozen=True)
class Value:
    """An input: its name, the name of its dtype, and its axes: a length, or a word for any."""

    name: str
    dtype: str
    shape: Shape | None


@dataclass(frozen=True)
class Parsed:
    """A graph: inputs, names of outputs, constants by name, nodes in an order in which they can be run."""

    inputs: list[Value]
    outputs: list[str]
    constants: dict[str, Host]
    nodes: list[Node]
    declared: dict[str, Shape]
    """Shapes of what nodes Reshape give, where the graph has them."""


def parsed(onnx: Any, model: Any, beside: Beside) -> Parsed:
    """The graph of a model. Raises ValueError for what is damaged, cyclic or not supported."""
    versions = {one.domain or "ai.onnx": one.version for one in model.opset_import}
    version = versions.get("ai.onnx")
    if version is None or not OPSETS[0] <= version <= OPSETS[1]:
        raise ValueError(f"its opset is {version}; expected one from {OPSETS[0]} to {OPSETS[1]}")
    graph = model.graph
    if own := [f.name for f in model.functions if f.domain in ("", "ai.onnx")]:
        raise ValueError(f"it has a function of its own called {own[0]}, in the place of ONNX's operator")
    if graph.sparse_initializer:
        raise ValueError("it has sparse constants, which are not supported")
    constants = {_text(one.name): array_of(onnx, one.name, one, beside) for one in graph.initializer}
    inputs = [_value(onnx, one) for one in graph.input if one.name not in constants]
    known = {"", *constants, *(one.name for one in inputs)}
    if len(known) != 1 + len(graph.initializer) + len(inputs):
        raise ValueError("two constants or inputs have one name")
    outputs = [_text(one.name) for one in graph.output]
    wanted = {*outputs, *(name for node in graph.node for name in node.input)}
    same: dict[str, str] = {}  # other names of constants, which exporters give to weights that are used again
    nodes: list[Node] = []
    for number, proto in enumerate(graph.node):
        node = _node(onnx, number, proto, version, wanted)
        for name in node.inputs:
            if name not in known:
                raise node.error(f"reads {name}, which nothing before it gives")
        for name in filter(None, node.outputs):
            if name in known:
                raise node.error(f"gives {name}, which is there already")
            known.add(name)
        if node.operator == "Constant":
            if not (len(node.outputs) == 1 and node.outputs[0]):
                raise node.error(f"gives {len(node.outputs)} values; expected one, with a name")
            constants[node.outputs[0]] = _constant(node)
            continue
        node = replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
        if _renames(node, constants) and node.outputs[0] not in outputs:
            same[node.outputs[0]] = node.inputs[0]
        elif any(node.outputs):
            nodes.append(node)
    if lost := [name for name in outputs if name not in known or not name]:
        raise ValueError(f"nothing gives its output {lost[0]}")
    if not outputs:
        raise ValueError("it has no outputs")
    reshaped = {name for node in nodes if node.operator == "Reshape" for name in node.outputs}
    values = [one for one in (*graph.value_info, *graph.output) if one.name in reshaped]
    declared = {one.name: shape for one in values if (shape := _shape_of(one)) is not None}
    return Parsed(inputs, outputs, constants, nodes, declared)


def _renames(node: Node, constants: Mapping[str, Host]) -> bool:
    """Whether a node does no more than give a constant another name."""
    single = len(node.inputs) == len(node.outputs) == 1 and node.outputs[0] != ""
    return node.operator == "Identity" and single and node.inputs[0] in constants


def array_of(onnx: Any, name: str, tensor: Any, beside: Beside) -> Host:
    """A constant. Raises ValueError for one whose numbers are not those it declares."""
    if any(length < 0 for length in tensor.dims) or len(tensor.dims) > 32:
        raise ValueError(f"constant {name} has shape {[*tensor.dims][:8]}")
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        return beside.array(name, tensor, _checked_dtype(name, _dtype_of(onnx, f"constant {name}", tensor.data_type)))
    try:
        array: Host = np.array(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # of ONNX and NumPy, for sizes and types
        raise ValueError(f"constant {name} of shape {[*tensor.dims]} cannot be read: {error}") from error
    _checked_dtype(name, array.dtype)
    return array


def _checked_dtype(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.name not in ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"):
        raise ValueError(f"constant {name} has dtype {dtype.name}; expected float32, float64 or whole numbers")
    return dtype


def _dtype_of(onnx: Any, what: str, kind: int) -> np.dtype[Any]:
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    except KeyError as error:
        raise ValueError(f"{what} has type {kind}") from error


def _value(onnx: Any, proto: Any) -> Value:
    if not proto.type.HasField("tensor_type"):
        raise ValueError(f"input {_text(proto.name)} is no tensor")
    kind = proto.type.tensor_type
    dtype = _dtype_of(onnx, f"input {proto.name}", kind.elem_type).name
    return Value(_text(proto.name), dtype, _shape_of(proto))


def _shape_of(proto: Any) -> Shape | None:
    """What a graph declares of a value; None where it does not say."""
    kind = proto.type.tensor_type
    if not kind.HasField("shape"):
        return None
    axes = (axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in kind.shape.dim)
    return tuple(axis if isinstance(axis, int) else _text(axis) for axis in axes)


def _text(name: Any) -> str:
    """A name. Raises ValueError for bytes, which is what the parser gives where they are no text."""
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name")
    return name


def _node(onnx: Any, number: int, proto: Any, version: int, wanted: set[str]) -> Node:
    """A node; of its outputs but the first those that nothing wants are left out."""
    name, outputs = _text(proto.name) or f"{number}", [*map(_text, proto.output)]
    outputs[1:] = [one if one in wanted else "" for one in outputs[1:]]
    node = Node(_text(proto.op_type), name, tuple(map(_text, proto.input)), tuple(outputs), {})
    if proto.domain not in ("", "ai.onnx"):
        raise node.error(f"is of the domain {proto.domain}, whose operators are not supported")
    known = _attributes(onnx, node.operator, version)
    for attribute in proto.attribute:
        if _text(attribute.name) in node.attributes:
            raise node.error(f"has an attribute {attribute.name} twice")
        if known is not None and attribute.name not in known:
            raise node.error(f"has an attribute {attribute.name[:40]}, which is none of this operator's")
        kinds = onnx.AttributeProto
        if attribute.type == kinds.TENSOR:
            node.attributes[attribute.name] = array_of(onnx, f"{attribute.name} of node {name}", attribute.t, Beside())
        elif attribute.type in (kinds.FLOAT, kinds.INT, kinds.STRING):
            node.attributes[attribute.name] = onnx.helper.get_attribute_value(attribute)
        elif attribute.type in (kinds.FLOATS, kinds.INTS, kinds.STRINGS):
            node.attributes[attribute.name] = [*onnx.helper.get_attribute_value(attribute)]
        else:
            raise node.error(f"has an attribute {attribute.name} of type {attribute.type}, which is not supported")
    return node


def _attributes(onnx: Any, operator: str, version: int) -> set[str] | None:
    """The names of an operator's attributes; None where there is no such operator."""
    try:
        return {*onnx.defs.get_schema(operator, version).attributes}
    except onnx.defs.SchemaError:
        return None


def _constant(node: Node) -> Host:
    for name, kind in (("value_int", int), ("value_float", float), ("value_ints", list), ("value_floats", list)):
        if name in node.attributes:
            dtype = np.int64 if "int" in name else np.float32
            return np.array(node.attribute(name, kind), dtype)
    value: Host = node.attribute("value", np.ndarray)
    return value
