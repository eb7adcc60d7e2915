"""Tensor, and the node that remembers what it was computed from.

A Tensor wraps an array. While gradients are enabled, each primitive (ops/) and each recurrent layer records one
Node that says how cotangents of its outputs become cotangents of its inputs; tape.py records them and walks back.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from xprnn.backend import NATIVE, Array, default_backend, dtype_name, plain, to_numpy
from xprnn.flags import true_or_false

_version = attrgetter("version")


class _Changes:
    """``latest`` becomes another object whenever any Tensor's data is assigned: until then nothing changed."""

    __slots__ = ("latest",)
    latest: object


CHANGES = _Changes()
CHANGES.latest = object()


class Node:
    """One recorded operation: its differentiable inputs and the rule back to them.

    ``pullback(cotangents, outputs)`` takes one cotangent for each output, None where nothing flowed back, and
    returns one for each input. The outputs, new Tensors, are made this node's.
    """

    __slots__ = ("inputs", "name", "outputs", "pullback", "versions")

    def __init__(self, name: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], pullback: Pullback) -> None:
        self.name = name
        self.inputs = inputs
        self.versions = tuple(map(_version, inputs))
        self.pullback: Pullback | None = pullback
        # Weak, because an output holds its node. A consumer's node holds its inputs, so what can be reached is alive.
        self.outputs: tuple[weakref.ref[Tensor], ...] = tuple(map(weakref.ref, outputs))
        for slot, output in enumerate(outputs):
            output.requires_grad, output.node, output.slot = True, self, slot

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
        versions = self.versions
        if tuple(map(_version, inputs)) != versions:
            for position, (tensor, version) in enumerate(zip(inputs, versions, strict=False)):
                if tensor.version != version:
                    raise RuntimeError(
                        f"backward: input {position} of {self.name} (shape {tensor.shape}) was given new data after "
                        "the forward pass used it, so its gradient would be wrong; run the forward pass again first"
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
    are ``reshape(*shape)``, ``permute(*axes)``, ``transpose(axis0, axis1)``, ``flatten``, ``unsqueeze``, and
    ``squeeze``, which leaves axes that are longer than 1.
    There is no in-place arithmetic: assign ``.data`` to replace a value, outside the graph. ``x += y`` makes another
    Tensor, and so is refused for a Parameter and a leaf that requires a gradient.
    """

    __slots__ = ("__weakref__", "_data", "grad", "node", "requires_grad", "slot", "version")

    # NumPy and CuPy arrays on the left of an operator leave it to us.
    __array_ufunc__ = None
    __array_priority__ = 1000

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self._data: Array = data if type(data) is np.ndarray else _given(type(self).__name__, data)
        self.requires_grad = False
        self.grad: Tensor | None = None
        self.node: Node | None = None
        self.slot = 0
        self.version = 0
        if requires_grad is not False and true_or_false(type(self).__name__, "requires_grad", requires_grad):
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

        The next call sees what was written into the array itself, but a graph notices it only as far as
        :class:`xprnn.debug` says: assign a new array instead.
        """
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = _as_array(value)
        self.version += 1
        CHANGES.latest = object()

    def _read(self) -> Array:
        """The array, for an operation. Codes of weights, with which nothing can be computed, refuse here."""
        return self._data

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
        """The only element as Python's float, int or bool, as its dtype is; on a GPU this waits for it."""
        if self.size != 1:
            raise ValueError(f"item() needs a tensor of one element; this one has shape {self.shape}")
        found = to_numpy(self._data).item()
        return float(found) if isinstance(found, np.floating) else found  # long doubles stay NumPy's

    def numpy(self) -> np.ndarray[Any, Any]:
        """The data as a NumPy array; from a GPU it is copied, on the host it is the same memory."""
        return to_numpy(self._data)

    def detach(self) -> Tensor:
        """The same data, cut off from the graph."""
        return Tensor(self._data)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a Tensor without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("a Tensor without axes has nothing to iterate over")
        return (self[i] for i in range(self.shape[0]))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __format__(self, spec: str) -> str:
        """A single number as NumPy's, as in f"{loss:.3f}"."""
        return format(self.numpy(), spec) if self.ndim == 0 and spec else super().__format__(spec)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if type(self._data) is not np.ndarray:
            raise TypeError(f"a Tensor of {type(self._data)} is not copied to the host silently: use .numpy()")
        if self.requires_grad:
            raise TypeError(
                "a Tensor that requires a gradient is not converted to a NumPy array silently: use .data or .detach()"
            )
        return np.array(self._data, dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise BufferError("a Tensor that requires a gradient is not handed on silently: use .data or .detach()")
        return self._data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> Any:
        if not hasattr(type(self._data), "__cuda_array_interface__"):
            raise AttributeError(f"a Tensor of {type(self._data)} has no __cuda_array_interface__, as it is on no GPU")
        if self.requires_grad:
            raise RuntimeError("a Tensor that requires a gradient is not handed on silently: use .data or .detach()")
        return self._data.__cuda_array_interface__

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
        if self.grad is not None and self.grad.node is not None:
            raise TypeError(
                "a Tensor whose gradient was computed with create_graph=True cannot be copied: zero_grad() first"
            )
        return None, {name: getattr(self, name) for name in Tensor.__slots__ if name != "__weakref__"}

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        for name, value in state[1].items():
            setattr(self, name, value)
        data = _as_array(self._data)  # joblib maps large arrays from a file
        # An unpickled array has a dtype object of its own, not the one by which kernels know theirs.
        known = NATIVE.get(dtype_name(data)) if type(data) is np.ndarray else None
        self._data = data if known is None or data.dtype != known else data.view(known)

    def __repr__(self) -> str:
        flag = ", requires_grad=True" if self.requires_grad and self.node is None else ""
        origin = f", from={self.node.name}" if self.node is not None else ""
        return f"{type(self).__name__}({self._data!r}{flag}{origin})"

    if TYPE_CHECKING:  # tape.py and ops/, which cannot be imported from here, give Tensor these

        def backward(
            self,
            cotangent: Tensor | Array | None = None,
            *,
            create_graph: bool = False,
            retain_graph: bool | None = None,
        ) -> None: ...
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
        CHANGES.latest = object()


def _given(kind: str, data: Any) -> Array:
    """What a new Tensor is made of, as an array. Refuses the result of an operation, whose graph would be lost."""
    if isinstance(data, Tensor) and data.node is not None:
        raise TypeError(
            f"{kind}: this result was computed (by {data.node.name}), and what is made of it would have lost its "
            "graph: use it as it is, or its .data or .detach()"
        )
    return _as_array(data)


def _as_array(data: Any) -> Array:
    """What a Tensor may be made of, as an array."""
    if isinstance(data, Tensor):
        data = data.data
    if isinstance(data, np.generic):  # what NumPy's reductions return instead of 0-dimensional arrays; some are floats
        data = np.asarray(data)
    elif isinstance(data, (bool, int, float, list, tuple)):
        kind = type(data).__name__
        data = default_backend().asarray(data)
        if getattr(data.dtype, "kind", "f") not in "biuf":
            raise TypeError(f"argument 0 is a {kind} that holds {data.dtype}; expected numbers")
    return plain("argument 0", data)
