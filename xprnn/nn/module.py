"""Module: a thing with parameters, and the names of those parameters."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xprnn.arguments import true_or_false
from xprnn.backend import Array, Backend, copied, get_backend
from xprnn.nn.modes import chosen_mode, modes_within, set_modes
from xprnn.nn.parts import BARE, LEAVES, hollow, is_object, opener, slots
from xprnn.nn.watching import tell_watchers
from xprnn.tensor import Parameter, Tensor

if TYPE_CHECKING:
    from xprnn.nn.loading import Unmatched


class Module:
    """Base of all layers. Parameters and Modules assigned as attributes, also in lists and tuples, are found by name.

    Those of a list are "name.0", "name.1", ... No part is lost in silence: one that stands only in another container (a
    dict, set, object array, dataclass, partial function, method of another module, attribute of an object) raises
    TypeError where parts are looked for; assigning anything but a Parameter, Module or None in place of a Parameter, or
    but a Module or None in place of a Module, raises it at once. What a list is given later, and what functions close
    over, is not checked. Subclasses define ``forward``; call the module itself.
    """

    _fixed: ClassVar[frozenset[str]] = frozenset()
    """Attributes that its parts were made by: to assign another value raises AttributeError."""

    _training, _by_itself = True, False  # the module's own mode, and whether it was set to evaluation by itself

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        kind: Any = cls
        if names := slots(kind):
            raise TypeError(f"{cls.__name__}: __slots__ has {names[0]}, in which no part would be found")
        for name, value in vars(cls).items():
            for _, part in _parts_of(cls.__name__, name, value, []):
                raise TypeError(
                    f"{cls.__name__}: {name} is a {type(part).__name__} of the class, which all its objects would "
                    f"share and none would train; expected self.{name} = ... in __init__"
                )

    def __setattr__(self, name: str, value: Any) -> None:
        held = vars(self).get(name)
        if name in type(self)._fixed and name in vars(self) and value != held:
            kind = type(self).__name__
            raise AttributeError(
                f"{kind}: {name} is {held!r} and was given {value!r}, which nothing that was made by it would follow: "
                f"make another {kind}"
            )
        if not isinstance(held, LEAVES):
            self._check_that_no_part_is_lost(name, held, value)
        object.__setattr__(self, name, value)
        tell_watchers(self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        tell_watchers(self)

    def _check_that_no_part_is_lost(self, name: str, held: Any, value: Any) -> None:
        if value is None or isinstance(value, (Module, Parameter)):
            return
        direct = isinstance(held, (Module, Parameter))
        if isinstance(value, (list, tuple)) and (not direct or any(_parts_of("", name, value, []))):
            return
        for _, part in _parts_of("", name, held, []) if direct or isinstance(held, (list, tuple)) else ():
            kind, way = type(part).__name__, "give it a Module or None"
            if isinstance(part, Parameter):
                way = f"change its value with {name}.data = array, or give it a Parameter or None"
            raise TypeError(
                f"{type(self).__name__}: {name} {'is' if direct else 'holds'} a {kind} and was given a "
                f"{type(value).__name__}, so that the {kind} would no longer be trained, moved or saved: {way}"
            )

    @property
    def training(self) -> bool:
        """Whether it behaves as in training, so that dropout acts: until :meth:`eval`, or as :meth:`mode` says."""
        chosen = chosen_mode(self)
        return self._training if chosen is None else chosen

    @training.setter
    def training(self, mode: bool) -> None:
        set_modes(self, [self], true_or_false(type(self).__name__, "training", mode))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for each direct part."""
        return ((name, part) for name, part in self._parts() if isinstance(part, Module))

    def _parts(self, hidden: list[tuple[str, Any, Any]] | None = None) -> list[tuple[str, Module | Parameter]]:
        """(name, part) for each Module and Parameter in this module's attributes.

        Those in other containers are put on the list where one is given, else they must be found elsewhere too.
        """
        parts: list[tuple[str, Module | Parameter]] = []
        found: list[tuple[str, Any, Any]] = [] if hidden is None else hidden
        for name, value in vars(self).items():
            kind = type(value)
            if kind in BARE or (kind is tuple and BARE.issuperset(map(type, value))):
                continue
            if isinstance(value, (Module, Parameter)):
                parts.append((name, value))
            elif not hollow(value):
                parts += _parts_of(type(self).__name__, name, value, found)
        if found and hidden is None:
            known = self._known()
            for place, holder, part in found:
                if id(part) not in known:
                    raise TypeError(
                        f"{type(self).__name__}: {place} holds a {type(part).__name__}, which would not be trained, "
                        f"moved or saved from a {type(holder).__name__}; expected an attribute of its own, or a list"
                    )
        return parts

    def _known(self) -> set[int]:
        """The ids of this module and all parts in it."""
        known = set[int]()
        waiting: list[Module | Parameter] = [self]
        while waiting:
            part = waiting.pop()
            if id(part) not in known and isinstance(part, Module):
                waiting.extend(each for _, each in part._parts([]))
            known.add(id(part))
        return known

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(dotted name, module) for this module and everything inside it, each once, under its first name."""
        return _modules_in("", self, set())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), a shared parameter once, under its first name."""
        return iter(_parameters_in("", self, {id(self)}))

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
        mode = true_or_false(type(self).__name__, "mode", mode)
        set_modes(self, [module for _, module in self.named_modules()], mode)
        return self

    def eval(self) -> Module:
        """Switch to evaluation behaviour. Returns the module.

        A part that was switched by itself, as in ``model.encoder.eval()``, is frozen: ``fit`` leaves it so.
        """
        return self.train(False)

    def mode(self, training: bool) -> AbstractContextManager[None]:
        """Train or evaluate inside the block, in this thread or task only; no module changes its own mode.

        To train leaves parts in evaluation that were set to it by themselves, and all that is in them as it is.
        """
        return modes_within(self, true_or_false(type(self).__name__, "training", training))

    def to(self, backend: str | Backend, device: Any = None) -> Module:
        """Move all parameters, and their gradients, to a backend. Returns the module.

        Everything is moved before anything is replaced, so running out of memory leaves the module where it was.
        """
        from xprnn.nn.loading import assign  # most programs move and load nothing

        backend = backend if isinstance(backend, Backend) else get_backend(backend, device)
        parameters = self.parameters()
        arrays = [backend.asarray(p.data) for p in parameters]
        gradients = [None if p.grad is None else Tensor(backend.asarray(p.grad.data)) for p in parameters]
        assign(parameters, arrays, gradients)
        return self

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter's array, by dotted name."""
        return {name: copied(p.data) for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> Unmatched:
        """Take values by name, cast to each parameter's dtype and moved to its device.

        Accepts what :meth:`state_dict` gives, and a PyTorch state_dict, with NumPy arrays or tensors of any floating
        dtype, bfloat16 too, as values. A shared parameter may come under several of its names, as PyTorch has it; the
        first one counts. ``strict=False`` takes what fits by name. Returns the names that had no partner, as
        ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        KeyError
            Names are missing or unexpected, with ``strict``.
        TypeError
            No names and values, or values are not arrays, or one cannot be read as real numbers of the dtype.
        ValueError
            Shapes differ. Every wrong one is listed.

        After an error or an interrupt, nothing has been loaded.
        """
        from xprnn.nn.loading import load

        return load(self, state, true_or_false(type(self).__name__, "strict", strict))

    @reprlib.recursive_repr()  # a module may refer to the one that holds it
    def __repr__(self) -> str:
        inside = "".join(f"\n  {name}: " + repr(child).replace("\n", "\n  ") for name, child in self.children())
        return f"{type(self).__name__}({self.describe()}{inside}{chr(10) * bool(inside)})"

    def describe(self) -> str:
        """What ``repr`` shows of this module's own settings."""
        return ""


# Within another function they would hold themselves, and all parameters.


def _modules_in(prefix: str, module: Module, seen: set[int]) -> Iterator[tuple[str, Module]]:
    """A module, and all inside it, that was not seen yet."""
    if id(module) not in seen:
        seen.add(id(module))
        yield prefix, module
        for name, child in module.children():
            yield from _modules_in(_joined(prefix, name), child, seen)


def _parameters_in(prefix: str, module: Module, seen: set[int]) -> list[tuple[str, Parameter]]:
    """The parameters of a module, then of those inside it."""
    found, below = list[tuple[str, Parameter]](), list[tuple[str, Module]]()
    for name, part in module._parts():
        if isinstance(part, Module):
            below.append((name, part))
        elif id(part) not in seen:
            seen.add(id(part))
            found.append((_joined(prefix, name), part))
    for name, part in below:
        if id(part) not in seen:
            seen.add(id(part))
            found += _parameters_in(_joined(prefix, name), part, seen)
    return found


def _parts_of(
    owner: str, name: str, value: Any, hidden: list[tuple[str, Any, Any]], around: tuple[Any, ...] = ()
) -> Iterator[tuple[str, Module | Parameter]]:
    """The Modules and Parameters in an attribute: itself, or those in a list, with their positions in their names.

    Those in other containers are put on the list of (place, container, part). ``around`` are containers that it is in.
    """
    if isinstance(value, (Module, Parameter)):
        yield name, value
        return
    if isinstance(value, (list, tuple)):
        for k, each in enumerate(value):
            if not isinstance(each, LEAVES) and not any(each is container for container in (*around, value)):
                yield from _parts_of(owner, f"{name}.{k}", each, hidden, (*around, value))
        return
    opened, other = opener(value), is_object(value)
    # Of other objects only what they hold themselves or in lists: what lies further could be the whole program.
    if opened is None or (other and any(map(is_object, around))):
        return
    try:
        inside = opened(value)
    except TypeError as error:
        raise TypeError(f"{owner}: {name} {error}") from None
    for place, each in inside:
        if isinstance(each, LEAVES) or any(each is container for container in (*around, value)):
            continue
        if other and not isinstance(each, (Module, Parameter, list, tuple)):
            continue
        for _, part in _parts_of(owner, name, each, hidden, (*around, value)):
            hidden.append((name + place, value, part))


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
