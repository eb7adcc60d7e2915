"""Tensor and the tape: what was computed from what, and the walk back through it.

A Tensor wraps an array. While gradients are enabled, each primitive (ops.py) and each recurrent layer records one
Node that says how cotangents of its outputs become cotangents of its inputs. ``backward`` walks the nodes once, in
reverse topological order. A cotangent is itself a Tensor and the rules are written with the same primitives, so
``create_graph=True`` records the walk too, and gradients of gradients need nothing further.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from xprnn.backend import Array, default_backend, dtype_name, namespace, plain, to_numpy
from xprnn.witness import Witness, debug, debugging

_grad_enabled: ContextVar[bool] = ContextVar("xprnn_grad_enabled", default=True)

_adding = RLock()
"""Held while gradients are added to those of leaves, which several threads may share."""


def _let_go() -> None:
    """In a forked child, where the thread that held it is no more."""
    global _adding
    _adding = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded, in this thread or task."""
    return _grad_enabled.get()


@contextmanager
def set_grad_enabled(enabled: bool) -> Iterator[None]:
    """Record operations in this block, or do not."""
    before = _grad_enabled.get()
    try:  # begun first, so that an interrupt after the setting cannot leave it
        _grad_enabled.set(enabled)
        yield
    finally:
        _grad_enabled.set(before)


def no_grad() -> Any:
    """Record nothing inside: ``with no_grad(): ...``, or ``@no_grad()`` on a function. For inference and evaluation."""
    return set_grad_enabled(False)


class Node:
    """One recorded operation: its differentiable inputs and the rule back to them.

    ``pullback(cotangents, outputs)`` takes one cotangent for each output, None where nothing flowed back, and
    returns one for each input.
    """

    __slots__ = ("inputs", "name", "outputs", "pullback", "versions")

    def __init__(self, name: str, inputs: tuple[Tensor, ...], pullback: Pullback) -> None:
        self.name = name
        self.inputs = inputs
        self.versions = tuple(tensor.version for tensor in inputs)
        self.pullback: Pullback | None = pullback
        # Weak, because an output holds its node. A consumer's node holds its inputs, so what can be reached is alive.
        self.outputs: tuple[weakref.ref[Tensor], ...] = ()

    def rule(self) -> tuple[tuple[Tensor, ...], Pullback]:
        """The inputs and the pullback. Raises RuntimeError where they were released, maybe by another thread."""
        inputs, pullback = self.inputs, self.pullback  # in the order in which release does not tear them apart
        if pullback is None:
            raise RuntimeError(
                f"backward: the graph of this result was released by an earlier backward (at {self.name}); "
                "pass retain_graph=True to the first call to walk it twice"
            )
        return inputs, pullback

    def check(self) -> None:
        """Raise RuntimeError where this node can no longer give right gradients."""
        inputs, _ = self.rule()
        for position, (tensor, version) in enumerate(zip(inputs, self.versions, strict=False)):
            if tensor.version != version:
                raise RuntimeError(
                    f"backward: input {position} of {self.name} (shape {tensor.shape}) was given new data after the "
                    "forward pass used it, so its gradient would be wrong; run the forward pass again first"
                )
        for reference in self.outputs:
            output = reference()
            if output is not None and output.version != 0:
                raise RuntimeError(
                    f"backward: the result of {self.name} (shape {output.shape}) was given new data, so its gradient "
                    "would be wrong; run the forward pass again, or assign to a detached Tensor"
                )

    def release(self) -> None:
        """Drop what the forward pass saved."""
        self.pullback = None  # before the inputs, which another thread may be about to read
        self.inputs, self.versions = (), ()


Cotangents = Sequence["Tensor | None"]
Pullback = Callable[[Cotangents, Sequence["Tensor | None"]], Cotangents]
Reads = Sequence[Any]
"""Tensors and arrays, and numbers or None, which are passed over."""


class Tensor:
    """An array that remembers how it was computed.

    Parameters
    ----------
    data
        An array of any backend, kept as it is without a copy, so do not write to it before ``backward``; or numbers and
        nested lists of them, which become an array of the default backend. Raises TypeError for anything else, and for
        kinds of NumPy arrays that mean something else: np.matrix, masked arrays, arrays with units.
    requires_grad
        Whether ``backward`` shall fill ``.grad``. Needs a float32 or float64 array.

    ``.data`` is the array, ``.grad`` a Tensor of the same shape, or None. Single numbers are read with
    ``.item()``, host arrays with ``.numpy()``. Operators and indexing work as they do on arrays; comparisons give plain
    boolean arrays. Methods such as ``x.sum(axis)``, ``x.max(axis)``, ``x.exp()`` and ``x.softmax()`` are the functions
    of :mod:`xprnn.ops`; ``argmax`` and ``argmin`` give plain integers, ``max`` and ``min`` values only. As PyTorch's
    are ``reshape(*shape)``, ``permute(*axes)``, ``transpose(axis0, axis1)``, ``flatten``, ``squeeze``, ``unsqueeze``.
    There is no in-place arithmetic: assign ``.data`` to replace a value, outside the graph.
    """

    __slots__ = ("__weakref__", "_data", "grad", "node", "requires_grad", "slot", "version")

    # NumPy and CuPy arrays on the left of an operator leave it to us.
    __array_ufunc__ = None
    __array_priority__ = 1000

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self._data: Array = _as_array(data)
        self.requires_grad = False
        self.grad: Tensor | None = None
        self.node: Node | None = None
        self.slot = 0
        self.version = 0
        if requires_grad:
            self.require_grad()

    def require_grad(self) -> Tensor:
        """Let ``backward`` fill ``.grad`` from now on. Raises TypeError for data that is not floating-point."""
        if dtype_name(self._data) not in ("float32", "float64"):
            raise TypeError(f"requires_grad needs float32 or float64 data; this Tensor has {dtype_name(self._data)}")
        self.requires_grad = True
        return self

    @property
    def data(self) -> Array:
        """The array. Assigning it replaces the value; a graph that used the old value then refuses to go back.

        Writing into the array itself is noticed by its next call, and by a graph as far as :class:`xprnn.debug` says:
        assign a new one.
        """
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = _as_array(value)
        self.version += 1

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._data.shape)

    @property
    def ndim(self) -> int:
        return int(self._data.ndim)

    @property
    def size(self) -> int:
        return int(self._data.size)

    @property
    def dtype(self) -> Any:
        return self._data.dtype

    @property
    def device(self) -> Any:
        return self._data.device

    def item(self) -> float:
        """The only element as a Python number; on a GPU this waits for it."""
        if self.size != 1:
            raise ValueError(f"item() needs a tensor of one element; this one has shape {self.shape}")
        return float(to_numpy(self._data).reshape(()))

    def numpy(self) -> np.ndarray[Any, Any]:
        """The data as a NumPy array; from a GPU it is copied, on the host it is the same memory."""
        return to_numpy(self._data)

    def detach(self) -> Tensor:
        """The same data, cut off from the graph."""
        return Tensor(self._data)

    def backward(
        self, cotangent: Tensor | Array | None = None, *, create_graph: bool = False, retain_graph: bool | None = None
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
        gradients = _walk_back([self], [cotangent], None, create_graph, retain_graph)
        with set_grad_enabled(create_graph), _adding:
            for leaf, gradient in gradients:
                if leaf.grad is not None:
                    leaf.grad = leaf.grad + gradient
                elif create_graph:
                    leaf.grad = gradient
                else:  # an array of its own: rules may hand the same one, or a view, to several, or the caller's
                    leaf.grad = Tensor(namespace(gradient.data).asarray(gradient.data, copy=True))

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a Tensor without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(self.shape[0]))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return self.item()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        raise TypeError(
            "a Tensor is not converted to a NumPy array silently: use .data, or .numpy() to copy it to the host"
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            "Tensors do not change in place, since a gradient may need the old value: "
            "build a new one with where, concat or stack, or assign .data"
        )

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        if self.node is not None:
            raise TypeError(
                f"a Tensor that was computed (by {self.node.name}) cannot be pickled or copied, since it holds its "
                "graph: detach() it first"
            )
        return None, {name: getattr(self, name) for name in Tensor.__slots__ if name != "__weakref__"}

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        for name, value in state[1].items():
            setattr(self, name, value)
        self._data = _as_array(self._data)  # joblib maps large arrays from a file

    def __repr__(self) -> str:
        flag = ", requires_grad=True" if self.requires_grad and self.node is None else ""
        origin = f", from={self.node.name}" if self.node is not None else ""
        return f"{type(self).__name__}({self._data!r}{flag}{origin})"

    if TYPE_CHECKING:  # ops.py, which cannot be imported from here, gives Tensor these

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, exponent: float) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Any: ...
        def __le__(self, other: Any) -> Any: ...
        def __gt__(self, other: Any) -> Any: ...
        def __ge__(self, other: Any) -> Any: ...
        def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor: ...
        def logsumexp(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor: ...
        def softmax(self, axis: int = -1) -> Tensor: ...
        def log_softmax(self, axis: int = -1) -> Tensor: ...
        def argmax(self, axis: int | None = None) -> Any: ...
        def argmin(self, axis: int | None = None) -> Any: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def square(self) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def sin(self) -> Tensor: ...
        def cos(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def sigmoid(self) -> Tensor: ...
        def relu(self) -> Tensor: ...
        def clip(self, min: float | None = None, max: float | None = None) -> Tensor: ...  # noqa: A002
        def pow(self, exponent: float) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...
        def reshape(self, *shape: int | tuple[int, ...]) -> Tensor: ...
        def permute(self, *axes: int | tuple[int, ...]) -> Tensor: ...
        def transpose(self, axis0: int, axis1: int) -> Tensor: ...
        def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor: ...
        def squeeze(self, axis: int | tuple[int, ...] | None = None) -> Tensor: ...
        def unsqueeze(self, axis: int) -> Tensor: ...
        @property
        def T(self) -> Tensor: ...  # noqa: N802 - the array API's name


class Parameter(Tensor):
    """A Tensor that a Module registers and an optimizer updates. Its shape and dtype never change."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    @property
    def data(self) -> Array:
        """The array. Assigning it replaces the value, maybe on another device; shape and dtype must stay."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        value = _as_array(value)
        came, expected = [(tuple(array.shape), dtype_name(array)) for array in (value, self._data)]
        if came != expected:
            error = ValueError if came[0] != expected[0] else TypeError
            raise error(
                f"Parameter: data has shape {came[0]} and dtype {came[1]}; expected {expected[0]} and {expected[1]}: "
                "make a new Parameter to change them"
            )
        self._data = value
        self.version += 1


def _as_array(data: Any) -> Array:
    """What a Tensor may be made of, as an array."""
    if type(data) is np.ndarray:  # the most common, and nothing to check
        return data
    if isinstance(data, Tensor):
        data = data.data
    if isinstance(data, np.generic):  # what NumPy's reductions return instead of 0-dimensional arrays; some are floats
        data = np.asarray(data)
    elif isinstance(data, (bool, int, float, list, tuple)):
        data = default_backend().asarray(data)
    return plain("argument 0", data)


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
    if _grad_enabled.get():
        wanted = [k for k, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
        if wanted:
            rules = [vjps[k] for k in wanted]

            def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
                return [rule(cotangents[0], outputs[0]) for rule in rules]  # type: ignore[arg-type]

            rule: Pullback = pullback
            if debug.used or (reads and _callers(reads)):
                rule = _witnessed(name, [(labels[k], reads[k]) for k in wanted if reads], (data,), pullback)
            _attach(Node(name, tuple(inputs[k] for k in wanted), rule), (output,))
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
    outputs = tuple(Tensor(array) for array in data)
    if _grad_enabled.get() and any(tensor.requires_grad for tensor in inputs):
        if debug.used or (reads and _callers(reads)):
            pullback = _witnessed(name, list(zip(labels, reads, strict=True)), data, pullback)
        _attach(Node(name, tuple(inputs), pullback), outputs)
    return outputs


def _callers(reads: Reads) -> bool:
    """Whether there is something that a caller may have a hand on, unlike what was computed."""
    for x in reads:  # noqa: SIM110 - a generator takes several times as long, and every operation asks
        if (x.node is None) if x.__class__ is Tensor else (x.__class__ is np.ndarray):
            return True
    return False


def _witnessed(name: str, reads: list[tuple[str, Any]], results: Sequence[Array], pullback: Pullback) -> Pullback:
    """A pullback that first looks whether anything that it reads was written to."""
    if debugging():
        reads = [*reads, *(("the result", array) for array in results)]
        seen = [(label, x, Witness(_array(x), whole=True)) for label, x in reads if hasattr(x, "shape")]
    else:
        seen = []  # a loop with nothing called in it, since every operation comes here
        for label, x in reads:
            array = x._data if x.__class__ is Tensor and x.node is None else x
            if array.__class__ is np.ndarray:
                seen.append((label, x, Witness(array)))
    if not seen:
        return pullback

    def checked(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        for label, x, witness in seen:
            if not witness.saw(_array(x)):
                raise RuntimeError(
                    f"backward: {label} of {name} (shape {witness.shape}) was written to after the forward pass, so "
                    "gradients would be wrong; give the forward pass a copy, or run it again first"
                )
        return pullback(cotangents, outputs)

    return checked


def _array(x: Any) -> Array:
    return x._data if isinstance(x, Tensor) else x


def _attach(node: Node, outputs: tuple[Tensor, ...]) -> None:
    node.outputs = tuple(weakref.ref(output) for output in outputs)
    for slot, output in enumerate(outputs):
        output.requires_grad, output.node, output.slot = True, node, slot


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
    Arguments and errors otherwise as in :meth:`Tensor.backward`; TypeError for outputs or inputs that are no Tensors.
    """
    outputs, inputs = _listed("outputs", outputs), _listed("inputs", inputs)
    if cotangents is None:
        cotangents = [None] * len(outputs)
    elif len(cotangents) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs but {len(cotangents)} cotangents")
    found = {
        id(tensor): gradient for tensor, gradient in _walk_back(outputs, cotangents, inputs, create_graph, retain_graph)
    }
    return [found.get(id(tensor)) for tensor in inputs]


def replayed(outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Cotangents) -> Cotangents:
    """What a pullback returns that will itself be differentiated, from its operation composed anew of primitives.

    The gradients, as :func:`grad` gives them; but of an input that stands in several places, such as a shared weight,
    all of it in the first, since the walk adds up what it is given.
    """
    found, first = grad(outputs, inputs, cotangents, create_graph=True), dict[int, int]()
    return [g if first.setdefault(id(x), k) == k else None for k, (x, g) in enumerate(zip(inputs, found, strict=True))]


def _listed(name: str, tensors: Any) -> list[Tensor]:
    """One Tensor, or several, as a list."""
    if not isinstance(tensors, Iterable):
        raise TypeError(f"grad: {name} is a {type(tensors).__name__}; expected a Tensor or several")
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    for position, tensor in enumerate(listed):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"grad: {name}[{position}] is a {type(tensor).__name__}; expected a Tensor")
    return listed


def _initial_cotangent(output: Tensor, cotangent: Any) -> Tensor:
    if not output.requires_grad:
        raise RuntimeError(
            "backward: this Tensor does not depend on anything that requires a gradient "
            "(was it computed under no_grad, or from plain arrays only?)"
        )
    if cotangent is None:
        if output.size != 1:
            raise RuntimeError(
                f"backward: a Tensor of shape {output.shape} has no single gradient; reduce it to a scalar "
                "with .sum() or .mean(), or pass a cotangent of the same shape"
            )
        return Tensor(namespace(output.data).ones_like(output.data))
    cotangent = cotangent if isinstance(cotangent, Tensor) else Tensor(cotangent)
    if cotangent.shape != output.shape:
        raise ValueError(f"backward: the cotangent has shape {cotangent.shape}; expected {output.shape}, as the output")
    if cotangent.dtype != output.dtype:
        raise TypeError(f"backward: the cotangent has dtype {cotangent.dtype}; expected {output.dtype}, as the output")
    return cotangent


def _walk_back(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Any],
    inputs: Sequence[Tensor] | None,
    create_graph: bool,
    retain_graph: bool | None,
) -> list[tuple[Tensor, Tensor]]:
    """(tensor, gradient) pairs, for the given inputs or, where inputs is None, for all leaves."""
    release = not (create_graph if retain_graph is None else retain_graph)
    stops = {_key(tensor): tensor for tensor in (() if inputs is None else inputs)}
    gradients: dict[tuple[int, int], Tensor] = {}
    leaves: dict[tuple[int, int], Tensor] = dict(stops)
    sums: set[tuple[int, int]] = set()  # keys of gradients whose arrays are made here, and may be written to
    with set_grad_enabled(create_graph):

        def accumulate(tensor: Tensor, cotangent: Tensor) -> None:
            key = _key(tensor)
            if key not in gradients:
                gradients[key] = cotangent
            elif create_graph:
                gradients[key] = gradients[key] + cotangent
            elif key in sums:  # a weight that many steps share: no new array for each of them
                total = gradients[key].data
                total += cotangent.data
            else:
                gradients[key] = Tensor(gradients[key].data + cotangent.data)
                sums.add(key)
            if inputs is None and tensor.node is None:
                leaves[key] = tensor

        # With explicit inputs and explicit cotangents, an output without a cotangent is one that nothing flows into.
        given = [c is not None for c in cotangents]
        for output, cotangent in zip(outputs, cotangents, strict=True):
            if cotangent is not None or not any(given):
                accumulate(output, _initial_cotangent(output, cotangent))
        order = _topological([o.node for o in outputs if o.node is not None and _key(o) not in stops], stops)
        for node in order:
            node.check()
        for node in reversed(order):
            incoming = [
                None if (id(node), slot) in stops else gradients.pop((id(node), slot), None)
                for slot in range(len(node.outputs))
            ]
            if all(cotangent is None for cotangent in incoming):
                continue
            sources, pullback = node.rule()
            results = pullback(incoming, [reference() for reference in node.outputs])
            for tensor, result in zip(sources, results, strict=True):
                if result is not None and tensor.requires_grad:
                    accumulate(tensor, result)
        if release:
            for node in order:
                node.release()
    return [(tensor, gradients[key]) for key, tensor in leaves.items() if key in gradients]


def _key(tensor: Tensor) -> tuple[int, int]:
    """Names a value on the tape: an output of a node, or a leaf."""
    return (id(tensor), -1) if tensor.node is None else (id(tensor.node), tensor.slot)


def _topological(roots: Sequence[Node], stops: dict[tuple[int, int], Tensor]) -> list[Node]:
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
            stack.extend(
                (t.node, False)
                for t in node.inputs
                if t.node is not None and id(t.node) not in seen and _key(t) not in stops
            )
    return order
