"""The walk back through the nodes of a tape: each once, in reverse topological order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from xprnn.backend import ones_like
from xprnn.tensor import Node, Tensor

Key = int | tuple[int, int]
Listener = tuple[Callable[[Iterable[Tensor]], object], Callable[[Tensor, Tensor | None], None]]
"""What wants to know of a walk back before it ends: all leaves, and then one after the other."""


def walk_back(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Any],
    inputs: Sequence[Tensor] | None,
    create_graph: bool,
    retain_graph: bool | None,
    listener: Listener | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """(tensor, gradient) pairs, for the given inputs or, where inputs is None, for all leaves.

    A listener gets the leaves before the walk, and then each as soon as nothing more can flow into it, with its
    gradient or, where nothing has, None; what is returned is the rest.
    """
    release = not (create_graph if retain_graph is None else retain_graph)
    stops = {_key(tensor): tensor for tensor in (() if inputs is None else inputs)}
    leaves = {**stops}
    ends: dict[Key, Tensor] = {}  # what has flowed so far into each leaf and stop
    flows: dict[Key, Tensor] = {}  # and into each other output of a node
    sums: set[Key] = set()  # those whose arrays were made here, and may be written to

    def accumulate(tensor: Tensor, cotangent: Tensor) -> None:
        node = tensor.node
        key: Key = id(tensor) if node is None else (id(node), tensor.slot)  # as _key, which every gradient would call
        into = ends if node is None or key in stops else flows
        before = into.get(key)
        if before is None:
            into[key] = cotangent
            if node is None:
                if getattr(tensor._data.dtype, "kind", "f") != "f":
                    raise _without_gradient(tensor)
                if inputs is None:
                    leaves[key] = tensor
        elif create_graph:
            into[key] = before + cotangent
        elif key in sums:  # a weight that many steps share: no new array for each of them
            total = before.data
            total += cotangent.data
        else:
            into[key] = Tensor(before.data + cotangent.data)
            sums.add(key)

    # With explicit inputs and explicit cotangents, an output without a cotangent is one that nothing flows into.
    given = [cotangent is not None for cotangent in cotangents]
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None or True not in given:
            accumulate(output, _initial_cotangent(output, cotangent))
    order = _topological([o.node for o in outputs if o.node is not None and _key(o) not in stops], stops)
    for node in order:
        node.check()
    last: dict[int, list[Tensor]] = {}
    if listener is not None:
        expect, whole = listener
        last = _last_read(order)
        expect([*leaves.values(), *chain.from_iterable(last.values())])
    for node in reversed(order):
        name, waiting = id(node), len(flows)
        incoming = [flows.pop((name, slot), None) for slot in range(len(node.outputs))]
        if len(flows) < waiting:
            sources, pullback = node.rule()
            results = pullback(incoming, [reference() for reference in node.outputs])
            for tensor, result in zip(sources, results, strict=True):
                if result is not None and tensor.requires_grad:
                    accumulate(tensor, result)
        if last:
            for leaf in last.get(id(node), ()):
                whole(leaf, ends.pop(_key(leaf), None))
    if release:
        for node in order:
            node.release()
    return [(leaf, ends[key]) for key, leaf in leaves.items() if key in ends]


def _without_gradient(leaf: Tensor) -> TypeError:
    """Of a leaf whose requires_grad was set without asking: its numbers cannot hold a gradient."""
    return TypeError(
        f"backward: a Tensor of {leaf.dtype} and shape {leaf.shape} requires a gradient, which its dtype cannot hold; "
        "expected float32 or float64: astype() makes a Tensor of these"
    )


def _initial_cotangent(output: Tensor, cotangent: Any) -> Tensor:
    if not output.requires_grad:
        raise RuntimeError(
            "backward: this Tensor does not depend on anything that requires a gradient "
            "(was it computed under no_grad, or from plain arrays only?)"
        )
    if cotangent is None:
        if output.data.size != 1:
            raise RuntimeError(
                f"backward: a Tensor of shape {output.shape} has no single gradient; reduce it to a scalar "
                "with .sum() or .mean(), or pass a cotangent of the same shape"
            )
        return Tensor(ones_like(output.data))
    cotangent = cotangent if isinstance(cotangent, Tensor) else Tensor(cotangent)
    if cotangent.shape != output.shape:
        raise ValueError(f"backward: the cotangent has shape {cotangent.shape}; expected {output.shape}, as the output")
    if cotangent.dtype != output.dtype:
        raise TypeError(f"backward: the cotangent has dtype {cotangent.dtype}; expected {output.dtype}, as the output")
    return cotangent


def _last_read(order: Sequence[Node]) -> dict[int, list[Tensor]]:
    """The leaves that each node is the last to send something to, on the walk back through an order, by its id."""
    last: dict[int, list[Tensor]] = {}
    seen: set[int] = set()
    for node in order:
        for tensor in node.inputs:
            if tensor.node is None and id(tensor) not in seen:
                seen.add(id(tensor))
                last.setdefault(id(node), []).append(tensor)
    return last


def _key(tensor: Tensor) -> Key:
    """Names a value on the tape: an output of a node, or a leaf."""
    return id(tensor) if tensor.node is None else (id(tensor.node), tensor.slot)


def _topological(roots: Sequence[Node], stops: dict[Key, Tensor]) -> list[Node]:
    """Nodes behind the roots, inputs first. A stack of its own instead of recursion: chains can be very long."""
    order: list[Node] = []
    seen: set[int] = set()
    stack = [(root, False) for root in roots]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            for tensor in node.inputs:
                behind = tensor.node
                if behind is not None and id(behind) not in seen and (id(behind), tensor.slot) not in stops:
                    stack.append((behind, False))
    return order
