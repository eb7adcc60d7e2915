"""Module: a thing with parameters, and the names of those parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from xprnn.backend import Array, Backend, backend_of, dtype_name, get_backend, namespace, to_numpy
from xprnn.tensor import Parameter, Tensor


class Module:
    """Base of all layers. Parameters and Modules assigned as attributes are found by name.

    Subclasses define ``forward``; call the module itself. ``training`` is True until :meth:`eval`.
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for each direct part; the modules of a list or tuple are "name.0", "name.1", ..."""
        for name, part in vars(self).items():
            if isinstance(part, Module):
                yield name, part
            elif isinstance(part, (list, tuple)):
                yield from ((f"{name}.{k}", each) for k, each in enumerate(part) if isinstance(each, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) for this module and everything inside it."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), a shared parameter once, under its first name."""
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{prefix}.{name}" if prefix else name, value

    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def generators(self) -> dict[str, np.random.Generator]:
        """The random generators of this module and its parts, by dotted name; a checkpoint keeps their states."""
        return {
            f"{prefix}.{name}" if prefix else name: value
            for prefix, module in self.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, np.random.Generator)
        }

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Module:
        """Switch to training behaviour (dropout acts), or away from it. Returns the module."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch to evaluation behaviour. Returns the module."""
        return self.train(False)

    def to(self, backend: str | Backend, device: Any = None) -> Module:
        """Move all parameters, and their gradients, to a backend. Returns the module.

        Everything is moved before anything is replaced, so running out of memory leaves the module where it was.
        """
        backend = backend if isinstance(backend, Backend) else get_backend(backend, device)
        parameters = self.parameters()
        moved = [
            (backend.asarray(p.data), None if p.grad is None else backend.asarray(p.grad.data)) for p in parameters
        ]
        for parameter, (data, gradient) in zip(parameters, moved, strict=True):
            parameter.data = data
            parameter.grad = None if gradient is None else Tensor(gradient)
        return self

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter's array, by dotted name."""
        return {name: namespace(p.data).asarray(p.data, copy=True) for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take values by name, cast to each parameter's dtype and moved to its device.

        Accepts what :meth:`state_dict` gives, and a PyTorch state_dict with NumPy arrays (or CPU tensors) as values.

        Raises
        ------
        KeyError
            Names are missing or unexpected.
        TypeError
            Values are not arrays.
        ValueError
            Shapes differ. Every wrong one is listed, and nothing has been loaded.
        """
        parameters = dict(self.named_parameters())
        missing = [name for name in parameters if name not in state]
        unexpected = [name for name in state if name not in parameters]
        if missing or unexpected:
            parts = [f"missing: {', '.join(missing)}"] * bool(missing)
            parts += [f"unexpected: {', '.join(unexpected)}"] * bool(unexpected)
            raise KeyError(f"{type(self).__name__}: state_dict does not fit; {'; '.join(parts)}")
        if no_arrays := [
            f"{name} is a {type(state[name]).__name__}" for name in parameters if not hasattr(state[name], "shape")
        ]:
            raise TypeError(f"{type(self).__name__}: state_dict does not fit; {'; '.join(no_arrays)}; expected arrays")
        wrong = [
            f"{name} has shape {np.shape(state[name])}, expected {parameter.shape}"
            for name, parameter in parameters.items()
            if np.shape(state[name]) != parameter.shape
        ]
        if wrong:
            raise ValueError(f"{type(self).__name__}: state_dict does not fit; {'; '.join(wrong)}")
        loaded = {}
        for name, parameter in parameters.items():
            home = backend_of(parameter.data)
            copy = np.array(to_numpy(state[name]), dtype=dtype_name(parameter.data), order="C")
            loaded[name] = home.asarray(copy)
        for name, array in loaded.items():
            parameters[name].data = array

    def __repr__(self) -> str:
        inside = "".join(f"\n  {name}: " + repr(child).replace("\n", "\n  ") for name, child in self.children())
        return f"{type(self).__name__}({self.describe()}{inside}{chr(10) * bool(inside)})"

    def describe(self) -> str:
        """What ``repr`` shows of this module's own settings."""
        return ""


def input_tensor(owner: str, name: str, x: Any, dtype: str | None = None) -> Tensor:
    """An argument as a Tensor, with its dtype checked. Raises TypeError naming the layer and the argument."""
    if not isinstance(x, Tensor):
        if not hasattr(x, "shape"):
            raise TypeError(f"{owner}: {name} is a {type(x).__name__}; expected an array or a Tensor")
        x = Tensor(x)
    if dtype is not None and dtype_name(x.data) != dtype:
        raise TypeError(
            f"{owner}: {name} has dtype {dtype_name(x.data)}; the layer has {dtype}: "
            f"cast {name}, or build the layer with dtype='float64'"
            if dtype_name(x.data) == "float64"
            else f"{owner}: {name} has dtype {dtype_name(x.data)}; expected {dtype}: cast it first"
        )
    return x
