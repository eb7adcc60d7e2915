"""What all optimizers are: groups of parameters, and steps that are made whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from itertools import repeat
from operator import attrgetter, is_
from typing import Any

import numpy as np

from xprnn.arguments import several, whole_number
from xprnn.backend import Array, backend_of, dtype_name, namespace
from xprnn.tensor import Parameter, Tensor
from xprnn.together import Change, make, new_data, new_gradients, new_items
from xprnn.train.joined import Joined, Known, are_together, kind_of
from xprnn.train.optimizer_state import NOTHING, Kept, Slots, loading, state_of
from xprnn.train.parameter_groups import Group, Setting, grouped, number

SMALL = 2**14
"""Numbers of a parameter that is moved as one array with others: where it has more, what it costs is its numbers."""

Together = tuple[list[int], list[Array], list[Array]]
"""Parameters that are moved together: their positions, their arrays and those of their gradients."""

_moves, _data_of, _shape_of, _dtype_of = map(attrgetter, ("requires_grad", "data", "shape", "dtype"))


class Optimizer:
    """Base of all optimizers. A subclass says what it keeps (``slots``) and how it moves one parameter (``update``).

    The parameters may come in groups with settings of their own, as dicts: ``[{"params": [...], "lr": 0.1}, ...]``;
    what a dict does not say is as in the constructor. ``param_groups`` has these dicts, filled up, and checks what is
    assigned to them; which there are, and whose parameters, stays as it was made, and is in tuples. To read
    ``optimizer.lr`` gives the first group's rate, to assign it sets all; and so for the other settings. A subclass
    hands its settings to ``super().__init__`` and declares each as a
    :class:`xprnn.train.parameter_groups.Setting`.

    Where a class declares ``elementwise``, small parameters may come to its ``update`` joined, as one array.

    ``step`` computes every new value before it assigns all of them at once, so a step that fails or is interrupted
    changes nothing; ``.data`` gets a new array and the old one is never written to. What is kept follows its parameter
    when ``module.to`` has moved it. Frozen Parameters (``requires_grad`` False) are kept in place and left alone.

    Raises ValueError for settings out of range, no parameters or frozen ones only, or one given twice; TypeError for
    things that are none.

    Threads must not share an optimizer: of two steps at once the later one takes back what the other did.
    """

    settings: tuple[str, ...] = ("lr",)
    """The constructor's arguments besides the parameters, each also an attribute; state_dict keeps them."""

    squares: tuple[str, ...] = ()
    """Those of the slots that are never below 0."""

    elementwise = False
    """Whether this class's ``update`` treats each number by itself: small parameters come to it as one array then. It
    counts for the class that declares it, and not for those derived from that one."""

    lr = Setting(number())

    def __init__(self, parameters: Iterable[Any], lr: float, **settings: Any) -> None:
        owner, groups = type(self).__name__, grouped(type(self).__name__, parameters)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        if not self.parameters:
            raise ValueError(f"{owner}: no parameters; expected at least one, as from module.parameters()")
        for position, parameter in enumerate(self.parameters):
            leaf = isinstance(parameter, Tensor) and parameter.node is None
            if not leaf or not (parameter.requires_grad or isinstance(parameter, Parameter)):
                raise TypeError(
                    f"{owner}: parameter {position} is a {type(parameter).__name__}; "
                    "expected a Parameter, or a Tensor with requires_grad that was not computed from others"
                )
        if not any(parameter.requires_grad for parameter in self.parameters):
            raise ValueError(f"{owner}: no parameter requires a gradient; expected at least one that is not frozen")
        if len({id(parameter) for parameter in self.parameters}) < len(self.parameters):
            raise ValueError(f"{owner}: a parameter was given twice; it would be moved twice in each step")
        shared = {"lr": lr, **settings}
        self.param_groups = tuple([self._checked(k, {**shared, **group}) for k, group in enumerate(groups)])
        self.group = self.param_groups[0]
        self._group_of = [k for k, group in enumerate(groups) for _ in group["params"]]
        self._steps = [0] * len(self.parameters)
        self._kept = [(NOTHING, 0) for _ in self.parameters]  # for each, and the which of those moved together it is
        self._known: Known = {}

    def _checked(self, k: int, group: Mapping[str, Any]) -> Group:
        """A group whose settings are in range."""
        owner, checked, declared = type(self).__name__, {"params": tuple(group["params"])}, self._declared()
        if unknown := group.keys() - declared - {"params"}:
            raise ValueError(f"{owner}: group {k} has {min(unknown)}; expected params, {', '.join(declared)}")
        checked.update({name: each.check(owner, name, group[name]) for name, each in declared.items()})
        self.agree(checked)
        return Group(type(self), declared, checked)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_known": {}}  # the arrays of a copy lie elsewhere

    @classmethod
    def _declared(cls) -> dict[str, Setting]:
        """The settings that groups can have of their own."""
        settings = {name: getattr(cls, name, None) for name in cls.settings}
        return {name: setting for name, setting in settings.items() if isinstance(setting, Setting)}

    def agree(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError where the settings of a group do not go together."""

    def slots(self) -> tuple[str, ...]:
        """The names of the arrays kept for each parameter; they start as zeros."""
        return ()

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        """The new value of a parameter and its new slots, in new arrays. ``step`` counts from 1."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    @property
    def counts(self) -> list[int]:
        """How many steps each parameter has made. Assign it to take back steps in which ``where`` was False."""
        return list(self._steps)

    @counts.setter
    def counts(self, counts: Iterable[int]) -> None:
        owner = type(self).__name__
        counts = several(owner, "counts", counts)
        if len(counts) != len(self.parameters):
            raise ValueError(f"{owner}: counts has {len(counts)} numbers; expected {len(self.parameters)}")
        self._steps = [whole_number(owner, f"counts[{k}]", count, 0) for k, count in enumerate(counts)]

    def step(self, where: Array | None = None) -> None:
        """Move every parameter that has a gradient.

        Parameters
        ----------
        where
            A boolean array without axes, best beside the parameters. Where it is False, they and all that is kept for
            them stay as they are, though the step is counted: nobody has to wait for a GPU to know which it is. ``fit``
            gives it on a GPU; a ``step`` of your own must take it there.

        Raises ValueError or TypeError for a gradient of another shape, dtype, library or device than its parameter, and
        for another ``where``.
        """
        if where is not None and not hasattr(where, "shape"):
            raise TypeError(f"{type(self).__name__}.step: where is a {type(where).__name__}; expected a boolean array")
        if where is not None and (tuple(where.shape), dtype_name(where)) != ((), "bool"):
            came = f"shape {tuple(where.shape)} and dtype {dtype_name(where)}"
            raise ValueError(f"{type(self).__name__}: where has {came}; expected a boolean without axes")
        steps, kept_of = [*self._steps], [*self._kept]
        groups = [(view, view.slots()) for view in self._views()]
        changes: list[Change] = []
        known: Known = {}
        for together, arrays, gradients in self._moved_together():
            first, joined = together[0], Joined(arrays, self._known)
            data, (view, names), step = joined.array, groups[self._group_of[first]], steps[first] + 1
            gradient = joined.beside(gradients)
            slots = self._slots_of(together, names, joined)
            new, kept = view.update(data, gradient, slots, step)
            if where is not None:
                where = where if are_together(where, data) else backend_of(data).asarray(where)
                xp = namespace(data)
                new = xp.where(where, new, data)
                kept = {name: xp.where(where, array, slots[name]) for name, array in kept.items()}
            if new.shape != data.shape or new.dtype != data.dtype:
                came, expected = [f"shape {tuple(a.shape)} and dtype {dtype_name(a)}" for a in (new, data)]
                raise ValueError(f"{type(self).__name__}: update gave parameter {first} {came}; expected {expected}")
            changes += new_data([self.parameters[k] for k in together], joined.apart(new, known))
            own_slots = Kept(kept, joined.places)
            for position, k in enumerate(together):
                steps[k], kept_of[k] = step, (own_slots, position)
        make([*changes, new_items(vars(self), {"_steps": steps, "_kept": kept_of, "_known": known})])

    def _moved_together(self) -> Iterable[Together]:
        """Which parameters are moved: small ones together that are alike in all that ``update`` sees as one array."""
        if (whole := self._as_before()) is not None:
            return [whole]
        sets: dict[Any, Together] = {}
        most = SMALL if vars(type(self)).get("elementwise", False) else -1
        for k, (parameter, group, step) in enumerate(zip(self.parameters, self._group_of, self._steps, strict=True)):
            gradient = parameter.grad
            if gradient is None or not parameter.requires_grad:
                continue
            data, array = parameter.data, gradient.data if isinstance(gradient, Tensor) else None
            kind = kind_of(data)
            if array is None or array.shape != data.shape or kind_of(array) != kind:
                raise self._misfit(k, gradient)
            alike = k if data.size > most else (group, step, kind)
            for listed, one in zip(sets.setdefault(alike, ([], [], [])), (k, data, array), strict=True):
                listed.append(one)
        return sets.values()

    def _as_before(self) -> Together | None:
        """All parameters, where the last step left them together and they have gradients like them: a short look.

        Which of them go together depends on what does not change by steps, and on how many each has made.
        """
        parameters, gradients = self.parameters, [parameter.grad for parameter in self.parameters]
        if set(map(type, gradients)) != {Tensor} or not all(map(_moves, parameters)):
            return None
        arrays, given = [*map(_data_of, parameters)], [*map(_data_of, gradients)]
        whole = self._known.get(id(arrays[0]))
        if whole is None or len(whole.parts) != len(arrays) or not all(map(is_, arrays, whole.parts)):
            return None
        if type(whole.array) is not np.ndarray or set(map(type, given)) != {np.ndarray} or len({*self._steps}) > 1:
            return None
        alike = [*map(_shape_of, given)] == [*map(_shape_of, arrays)] and {*map(_dtype_of, given)} == {
            whole.array.dtype
        }
        return ([*range(len(arrays))], arrays, given) if alike else None

    def _slots_of(self, together: Sequence[int], names: Sequence[str], joined: Joined) -> Slots:
        """What is kept for some parameters, joined as these are; zeros where there is nothing yet."""
        each = [self._kept[k] for k in together]
        first, _ = each[0]
        if len(first.places) == len(each) and all([kept is first for kept, _ in each]):  # noqa: C419 - takes longer
            return {name: joined.moved(first.slots.get(name)) for name in names}
        own = [kept.of(position) for kept, position in each]
        return {name: joined.beside([slots.get(name) for slots in own]) for name in names}

    def _views(self) -> list[Any]:
        """The optimizer as each group sees it: with that one's settings."""
        views: list[Any] = [self]
        for group in self.param_groups[1:]:
            view = copy(self)
            view.group = group
            views.append(view)
        return views

    def new_rates(self, rates: Sequence[Any]) -> list[Change]:
        """What gives each group its learning rate. Raises ValueError for one that is out of range."""
        owner = type(self).__name__
        checked = [type(self).lr.check(owner, "lr", rate) for rate in rates]
        return [new_items(group, {"lr": rate}) for group, rate in zip(self.param_groups, checked, strict=True)]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        make([new_gradients(self.parameters, repeat(None))])

    def state_dict(self) -> dict[str, Any]:
        """The kind, the settings, and by each moved parameter's position its step count and slots.

        The settings are those of the only group, or a list with those of each group and, as "params", the positions of
        its parameters.
        """
        return state_of(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave, arrays cast and moved to where each parameter is.

        Raises ValueError where it does not fit this optimizer, its groups or its parameters; nothing has been loaded
        then, nor after an interrupt.
        """
        make(loading(self, state))

    def _positions(self, k: int) -> list[int]:
        """Which of the parameters are in a group."""
        return [position for position, group in enumerate(self._group_of) if group == k]

    def _misfit(self, k: int, gradient: Any) -> Exception:
        """What is wrong with a gradient that is not of its parameter's shape, dtype, library and device."""
        parameter, what = self.parameters[k], f"{type(self).__name__}: the gradient of parameter {k}"
        if not isinstance(gradient, Tensor):
            return TypeError(f"{what} is a {type(gradient).__name__}; expected a Tensor")
        if gradient.shape != parameter.shape:
            return ValueError(f"{what} has shape {gradient.shape}; expected {parameter.shape}")
        if not are_together(gradient.data, parameter.data):
            namespace(**{f"parameter {k}": parameter.data, what: gradient.data})
        return TypeError(f"{what} has dtype {dtype_name(gradient.data)}; expected {dtype_name(parameter.data)}")

    def __repr__(self) -> str:
        values = {name: [getattr(view, name) for view in self._views()] for name in self.settings}
        settings = ", ".join(f"{name}={v[0] if v.count(v[0]) == len(v) else v}" for name, v in values.items())
        groups = f" in {len(self.param_groups)} groups" if len(self.param_groups) > 1 else ""
        return f"{type(self).__name__}({len(self.parameters)} parameters{groups}, {settings})"
