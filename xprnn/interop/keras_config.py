"""The layers in the configuration of a Keras model, where each takes what the one before it gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xprnn.interop.json_files import entry


def layers_in_a_row(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a model, each of which takes what the one before it gives. Raises ValueError for others."""
    kind, inner = entry(config, "class_name", str), config.get("config")
    if isinstance(inner, list):  # as early versions of Keras 2 wrote a Sequential
        inner = {"layers": inner}
    layers = entry(inner, "layers", list)
    if kind not in ("Sequential", "Functional", "Model"):
        raise ValueError(f"its class is {kind[:60]!r}; expected a Sequential or a functional model")
    for number, layer in enumerate(layers):
        where = f"layer {number}: "
        entry(layer, "class_name", str, where)
        entry(entry(layer, "config", dict, where), "name", str, where)
    if kind == "Sequential":
        return layers
    found: list[dict[str, Any]] = []
    before, masks = set[str](), set[str]()
    for number, layer in enumerate(layers):
        name = layer["config"]["name"]
        if layer["class_name"] in ("NotEqual", "Any") and _makes_mask(layer, layers):
            masks.add(name)
        else:
            nodes = layer.get("inbound_nodes")
            taken, beside = (list(_sources(nodes, place)) for place in ("args", "kwargs"))
            if set(taken) != before or len(taken) > 1 or not masks.issuperset(beside):
                raise ValueError(
                    f"layer {number} ({name[:60]}) does not take what the layer before it gives, and that alone; "
                    "expected layers in a row, without branches"
                )
            found.append(layer)
            before = {name}
    outputs = inner.get("output_layers", [*before]) if isinstance(inner, dict) else None
    if {*_outputs(outputs)} != before:
        raise ValueError("its outputs are others than what its last layer gives; expected that alone")
    return found


def _outputs(given: Any) -> Iterator[str]:
    """The names of the layers whose outputs a model gives: [name, 0, 0], or several, or several by name."""
    if isinstance(given, list) and given and isinstance(given[0], str):
        yield given[0]
    elif isinstance(given, (list, dict)):
        for each in given.values() if isinstance(given, dict) else given:
            yield from _outputs(each)


def _makes_mask(layer: dict[str, Any], layers: Sequence[Any]) -> bool:
    """Whether an operation of a functional model is part of the mask that an Embedding or a Masking of it makes."""
    if layer["class_name"] == "Any":  # of what NotEqual says
        return True
    values = [0 for each in layers if each["class_name"] == "Embedding" and each["config"].get("mask_zero")]
    values += [each["config"].get("mask_value") for each in layers if each["class_name"] == "Masking"]
    nodes = layer.get("inbound_nodes")
    node = nodes[0] if isinstance(nodes, list) and nodes else {}
    given = node.get("args") if isinstance(node, dict) else None
    return isinstance(given, list) and any(value in values for value in given[-1:])


def _sources(nodes: Any, place: str) -> Iterator[str]:
    """The names of the layers whose outputs a layer takes: of Keras 3, "keras_history"; of 2, [name, 0, 0, {}]."""
    if isinstance(nodes, dict):
        history = nodes.get("keras_history")
        if isinstance(history, list) and history:
            yield str(history[0])
        if nodes.keys() >= {"args", "kwargs"}:
            nodes = {place: nodes[place]}
        nodes = [value for key, value in nodes.items() if key != "keras_history"]
    if isinstance(nodes, list):
        if place == "args" and len(nodes) >= 3 and isinstance(nodes[0], str) and nodes[1:3] == [0, 0]:
            yield nodes[0]
        for each in nodes:
            yield from _sources(each, place)
