"""Module: a thing with parameters, and the names of those parameters."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from xprnn.backend import Array, Backend, backend_of, dtype_name, get_backend, namespace, to_numpy
from xprnn.tensor import Parameter, Tensor


class Module:
    """Base of all layers. Parameters and Modules assigned as attributes, also in lists and tuples, are found by name.

    Those of a list are "name.0", "name.1", ...; a dict of them raises TypeError, since nothing in it would be trained.
    Subclasses define ``forward``; call the module itself. ``training`` is True until :meth:`eval`.
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for each direct part."""
        return ((name, part) for name, part in self._parts() if isinstance(part, Module))

    def _parts(self) -> Iterator[tuple[str, Module | Parameter]]:
        """(name, part) for each Module and Parameter in this module's attributes."""
        for name, value in vars(self).items():
            if not isinstance(value, _LEAVES):
                yield from _parts_of(type(self).__name__, name, value)

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(dotted name, module) for this module and everything inside it, each once, under its first name."""
        seen: set[int] = set()

        def walk(prefix: str, module: Module) -> Iterator[tuple[str, Module]]:
            if id(module) not in seen:
                seen.add(id(module))
                yield prefix, module
                for name, child in module.children():
                    yield from walk(_joined(prefix, name), child)

        return walk("", self)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), a shared parameter once, under its first name."""
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for name, part in module._parts():
                if isinstance(part, Parameter) and id(part) not in seen:
                    seen.add(id(part))
                    yield _joined(prefix, name), part

    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def generators(self) -> dict[str, np.random.Generator]:
        """The random generators of this module and its parts, by dotted name; a checkpoint keeps their states."""
        return {
            _joined(prefix, name): value
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

    @contextmanager
    def mode(self, training: bool) -> Iterator[None]:
        """Train or evaluate inside the block; each module gets its own mode back after it."""
        before = [(module, module.training) for _, module in self.named_modules()]
        self.train(training)
        try:
            yield
        finally:
            for module, was in before:
                module.training = was

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
        A shared parameter may come under several of its names, as PyTorch has it; the first one counts.

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
        names = {id(parameter): name for name, parameter in parameters.items()}
        # What the state calls it -> what we call it.
        targets = {name: name if name in parameters else names.get(id(self._at(name))) for name in state}
        missing = [name for name in parameters if name not in targets.values()]
        unexpected = [name for name, target in targets.items() if target is None]
        if missing or unexpected:
            parts = [f"missing: {', '.join(missing)}"] * bool(missing)
            parts += [f"unexpected: {', '.join(unexpected)}"] * bool(unexpected)
            raise KeyError(f"{type(self).__name__}: state_dict does not fit; {'; '.join(parts)}")
        if no_arrays := [
            f"{name} is a {type(array).__name__}" for name, array in state.items() if not hasattr(array, "shape")
        ]:
            raise TypeError(f"{type(self).__name__}: state_dict does not fit; {'; '.join(no_arrays)}; expected arrays")
        wrong = [
            f"{name} has shape {tuple(state[name].shape)}, expected {parameters[target].shape}"
            for name, target in targets.items()
            if target is not None and tuple(state[name].shape) != parameters[target].shape
        ]
        if wrong:
            raise ValueError(f"{type(self).__name__}: state_dict does not fit; {'; '.join(wrong)}")
        sources = {target: name for name, target in reversed(targets.items())}
        loaded = {}
        for name, parameter in parameters.items():
            home = backend_of(parameter.data)
            copy = np.array(to_numpy(state[sources[name]]), dtype=dtype_name(parameter.data), order="C")
            loaded[name] = home.asarray(copy)
        for name, array in loaded.items():
            parameters[name].data = array

    def _at(self, name: str) -> Any:
        """What stands under a dotted name, or None."""
        found: Any = self
        for key in str(name).split("."):
            if isinstance(found, (list, tuple)):
                found = dict(enumerate(found)).get(int(key)) if key.isdecimal() else None
            else:
                found = vars(found).get(key) if isinstance(found, Module) else None
        return found

    @reprlib.recursive_repr()  # a module may refer to the one that holds it
    def __repr__(self) -> str:
        inside = "".join(f"\n  {name}: " + repr(child).replace("\n", "\n  ") for name, child in self.children())
        return f"{type(self).__name__}({self.describe()}{inside}{chr(10) * bool(inside)})"

    def describe(self) -> str:
        """What ``repr`` shows of this module's own settings."""
        return ""


_LEAVES = (str, int, float, type(None))  # most attributes are: they are passed by before a generator is made for them


def _parts_of(owner: str, name: str, value: Any) -> Iterator[tuple[str, Module | Parameter]]:
    """The Modules and Parameters in an attribute: itself, or those in a list, with their positions in their names."""
    if isinstance(value, (Module, Parameter)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for k, each in enumerate(value):
            if not isinstance(each, _LEAVES):
                yield from _parts_of(owner, f"{name}.{k}", each)
    elif isinstance(value, (dict, Mapping)):
        for key, each in value.items():
            for _, part in () if isinstance(each, _LEAVES) else _parts_of(owner, name, each):
                raise TypeError(
                    f"{owner}: {name}[{key!r}] holds a {type(part).__name__}, which would not be trained, moved or "
                    f"saved from a {type(value).__name__}; expected an attribute of its own, or a list"
                )


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
