"""The tape: what was computed from what, and what is asked of the walk back through it.

While gradients are enabled, ``record`` makes one Node of each operation, and ``backward`` walks them. A cotangent is
itself a Tensor and the rules are written with the same primitives, so ``create_graph=True`` records the walk too, and
gradients of gradients need nothing further.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from operator import attrgetter
from threading import RLock
from typing import Any

import numpy as np

from xprnn.backend import Array, copied
from xprnn.flags import several, true_or_false
from xprnn.grad_mode import is_grad_enabled, last_block, with_grad_enabled
from xprnn.tensor import Cotangents, Node, Pullback, Tensor
from xprnn.walk import walk_back
from xprnn.witness import debug, debugging, sample, whole

_wants_gradient = attrgetter("requires_grad")

_adding = RLock()
"""Held while gradients are added to those of leaves, which several threads may share."""


def _let_go() -> None:
    """In a forked child, where the thread that held it is no more."""
    global _adding
    _adding = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def is_recorded(inputs: Iterable[Tensor]) -> bool:
    """Whether an operation on these has its way back recorded, in this thread or task."""
    return is_grad_enabled() and any(map(_wants_gradient, inputs))


Reads = Sequence[Any]
"""Tensors and arrays, and numbers or None, which are passed over."""


def record(
    name: str,
    data: Array,
    inputs: Sequence[Any],
    vjps: Sequence[Callable[[Tensor, Tensor], Tensor]],
    reads: Reads = (),
    labels: Sequence[str] = (),
) -> Tensor:
    """Wrap the result of a primitive, with one rule for each input.

    ``vjps[k](g, y)`` gives the cotangent of input k from the cotangent g of the output y. Inputs that are not Tensors,
    or need no gradient, are forgotten together with their rules, so that nothing is computed for them. ``reads[k]`` is
    what rule k reads beside g and y, which nobody must write to in between, and ``labels[k]`` what errors call it.
    """
    output = Tensor(data)
    if last_block() is None or is_grad_enabled():
        wanted = [isinstance(x, Tensor) and x.requires_grad for x in inputs]
        if True in wanted:
            rules = vjps
            if False in wanted:
                inputs, rules = tuple(compress(inputs, wanted)), tuple(compress(vjps, wanted))

            def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
                return [rule(cotangents[0], outputs[0]) for rule in rules]  # type: ignore[arg-type]

            rule: Pullback = pullback
            if reads or debug.used:
                rule = _witnessed(name, compress(zip(labels, reads, strict=False), wanted), (data,), pullback)
            Node(name, tuple(inputs), (output,), rule)
    return output


def record_joint(
    name: str,
    data: Sequence[Array],
    inputs: Sequence[Tensor],
    pullback: Pullback,
    reads: Reads = (),
    labels: Sequence[str] = (),
) -> tuple[Tensor, ...]:
    """Wrap the results of an operation with several outputs and one rule for all inputs: a whole recurrent layer."""
    outputs = tuple(map(Tensor, data))
    if is_recorded(inputs):
        if reads or debug.used:
            pullback = _witnessed(name, zip(labels, reads, strict=True), data, pullback)
        Node(name, tuple(inputs), outputs, pullback)
    return outputs


def _witnessed(name: str, reads: Iterable[tuple[str, Any]], results: Sequence[Array], pullback: Pullback) -> Pullback:
    """A pullback that first looks whether anything that it reads was written to."""
    seen = []
    if debug.used and debugging():
        look: Callable[[Array], Any] = whole
        for label, x in [*reads, *(("the result", array) for array in results)]:
            if hasattr(x, "shape"):
                seen.append((label, x, x.shape, look(_array(x))))
    else:
        look = sample
        for label, x in reads:
            array = x._data if x.__class__ is Tensor and x.node is None else x
            if array.__class__ is np.ndarray:
                seen.append((label, x, array.shape, look(array)))
    if not seen:
        return pullback

    def checked(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        for label, x, shape, saw in seen:
            array = _array(x)
            if array.shape != shape or look(array) != saw:
                raise RuntimeError(
                    f"backward: {label} of {name} (shape {tuple(shape)}) was written to after the forward pass, so "
                    "gradients would be wrong; give the forward pass a copy, or run it again first"
                )
        return pullback(cotangents, outputs)

    return checked


def _array(x: Any) -> Array:
    return x._data if isinstance(x, Tensor) else x


def backward(
    self: Tensor,
    cotangent: Tensor | Array | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> None:
    """Add d(self)/d(leaf) to ``.grad`` of every leaf that requires it.

    Threads may share leaves: each adds its gradients whole. A graph that threads share must be retained by each.

    Parameters
    ----------
    cotangent
        dL/d(self), of self's shape. May be left out for a single element, where it is 1.
    create_graph
        Record the walk, so that the gradients can themselves be differentiated.
    retain_graph
        Keep what the forward pass saved, so that the graph can be walked again. Default: ``create_graph``.

    Raises
    ------
    RuntimeError
        Nothing to differentiate, no cotangent for a non-scalar, a graph already released, or an input whose
        ``.data`` was assigned since.
    """
    _check_flags("backward", create_graph, retain_graph)
    with_grad_enabled(create_graph, _add_gradients, self, cotangent, create_graph, retain_graph)


Tensor.backward = backward  # type: ignore[method-assign] # tensor.py cannot import it


def _add_gradients(
    output: Tensor, cotangent: Tensor | Array | None, create_graph: bool, retain_graph: bool | None
) -> None:
    gradients = walk_back([output], [cotangent], None, create_graph, retain_graph)
    with _adding:
        for leaf, gradient in gradients:
            _add(leaf, gradient, create_graph)


class Owned(Tensor):
    """A leaf's gradient whose array was made for it, and that nobody else holds: it need not be copied."""

    __slots__ = ()

    def given_away(self) -> Tensor:
        """The leaf's from now on: a plain Tensor, which is copied as any other is."""
        self.__class__ = Tensor  # type: ignore[assignment]
        return self


def handed(leaf: Tensor, array: Array) -> Tensor:
    """The gradient of an input, of an array that a pullback made and lets go of."""
    owned = leaf.node is None and type(array) is np.ndarray and array.base is None
    return Owned(array) if owned else Tensor(array)


def _add(leaf: Tensor, gradient: Tensor, create_graph: bool) -> None:
    if leaf.grad is not None:
        leaf.grad = leaf.grad + gradient
    elif create_graph:
        leaf.grad = gradient
    elif type(gradient) is Owned:
        leaf.grad = gradient.given_away()
    else:  # an array of its own: rules may hand the same one, or a view, to several, or the caller's
        leaf.grad = Tensor(copied(gradient.data))


def backward_telling(
    output: Tensor,
    cotangent: Tensor | Array | None,
    expect: Callable[[Iterable[Tensor]], object],
    told: Callable[[Tensor], object],
) -> None:
    """:meth:`Tensor.backward`, which calls ``told(leaf)`` for each leaf as soon as all of its gradient is in ``.grad``.

    The walk goes on behind it: what is told of may be read, or summed with that of others. ``expect(leaves)`` comes
    before, with all that will be told of; a leaf that nothing flows into is among them. A walk that fails has given
    some leaves their gradients.
    """

    def whole(leaf: Tensor, gradient: Tensor | None) -> None:
        if gradient is not None:
            with _adding:
                _add(leaf, gradient, False)
        told(leaf)

    def walk() -> None:
        for leaf, gradient in walk_back([output], [cotangent], None, False, None, (expect, whole)):
            whole(leaf, gradient)

    with_grad_enabled(False, walk)


def grad(
    outputs: Tensor | Iterable[Tensor],
    inputs: Tensor | Iterable[Tensor],
    cotangents: Sequence[Tensor | Array | None] | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> list[Tensor | None]:
    """The gradients of outputs in the given inputs, leaving every ``.grad`` as it is.

    Each input counts as an independent variable: a path that leads from one input into another is not followed.
    An input that the outputs do not depend on gets None. ``cotangents`` may hold None for an output without one.
    Arguments and errors otherwise as in :meth:`Tensor.backward`; TypeError for outputs or inputs that are no Tensors,
    RuntimeError for an input that does not require a gradient.
    """
    inputs = tensors_of("grad", "inputs", inputs)
    for position, tensor in enumerate(inputs):
        if not tensor.requires_grad:
            raise RuntimeError(
                f"grad: inputs[{position}] does not require a gradient, so what was computed from it was not recorded; "
                "expected Tensor(array, requires_grad=True), made before"
            )
    return gradients_in(outputs, inputs, cotangents, create_graph=create_graph, retain_graph=retain_graph)


def gradients_in(
    outputs: Tensor | Iterable[Tensor],
    inputs: Tensor | Iterable[Tensor],
    cotangents: Sequence[Tensor | Array | None] | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> list[Tensor | None]:
    """:func:`grad`, where inputs that require none, as frozen weights, get None."""
    _check_flags("grad", create_graph, retain_graph)
    outputs, inputs = tensors_of("grad", "outputs", outputs), tensors_of("grad", "inputs", inputs)
    if cotangents is None:
        cotangents = [None] * len(outputs)
    elif not hasattr(cotangents, "__len__"):
        raise TypeError(f"grad: cotangents is a {type(cotangents).__name__}; expected a list, one for each output")
    elif len(cotangents) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs but {len(cotangents)} cotangents")
    pairs = with_grad_enabled(create_graph, walk_back, outputs, cotangents, inputs, create_graph, retain_graph)
    found = {id(tensor): g.given_away() if type(g) is Owned else g for tensor, g in pairs}
    return [found.get(id(tensor)) for tensor in inputs]


def replayed(outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Cotangents) -> Cotangents:
    """What a pullback returns that will itself be differentiated, from its operation composed anew of primitives.

    The gradients, as :func:`grad` gives them; but of an input that stands in several places, such as a shared weight,
    all of it in the first, since the walk adds up what it is given.
    """
    found, first = gradients_in(outputs, inputs, cotangents, create_graph=True), dict[int, int]()
    return [g if first.setdefault(id(x), k) == k else None for k, (x, g) in enumerate(zip(inputs, found, strict=True))]


def _check_flags(owner: str, create_graph: Any, retain_graph: Any) -> None:
    true_or_false(owner, "create_graph", create_graph)
    if retain_graph is not None:
        true_or_false(owner, "retain_graph", retain_graph)


def tensors_of(owner: str, name: str, tensors: Any) -> list[Tensor]:
    """One Tensor, or several, as a list. Raises TypeError for anything else."""
    if isinstance(tensors, Tensor):
        return [tensors]
    listed = several(owner, name, tensors)
    for position, tensor in enumerate(listed):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{owner}: {name}[{position}] is a {type(tensor).__name__}; expected a Tensor")
    return listed
