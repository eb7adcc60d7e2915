"""What an optimizer keeps for its parameters, and the state that holds it in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from xprnn.arguments import checked_state, whole_number
from xprnn.backend import Array, backend_of, dtype_name, zeros_beside
from xprnn.nn.loading import host_copy
from xprnn.tensor import Parameter
from xprnn.together import Change, new_attribute, new_items
from xprnn.train.joined import Joined, Places, part

Slots = dict[str, Array]
"""The arrays that an optimizer keeps for one parameter, each of its shape, or for several that are joined."""


class Kept(NamedTuple):
    """What an optimizer keeps for parameters that were moved together, joined as they were; few ask for one's own."""

    slots: Slots
    places: Places

    def of(self, position: int) -> Slots:
        """The slots of one of the parameters."""
        return {name: part(array, self.places, position) for name, array in self.slots.items()}


NOTHING = Kept({}, ())


def state_of(optimizer: Any) -> dict[str, Any]:
    """The state of an optimizer: see :meth:`Optimizer.state_dict`."""
    views = optimizer._views()
    groups = [
        {**{name: getattr(view, name) for name in optimizer.settings}, "params": optimizer._positions(k)}
        for k, view in enumerate(views)
    ]
    names = [view.slots() for view in views]
    if len(groups) == 1:
        del groups[0]["params"]
    return {
        "optimizer": type(optimizer).__name__,
        "settings": groups if len(groups) > 1 else groups[0],
        "parameters": {
            str(k): {"step": step, **_own(optimizer, k, names[optimizer._group_of[k]])}
            for k, step in enumerate(optimizer._steps)
            if step
        },
    }


def _own(optimizer: Any, k: int, names: Sequence[str]) -> Slots:
    """What is kept for one parameter, as the settings are now; zeros where there is nothing yet."""
    (kept, position), data = optimizer._kept[k], optimizer.parameters[k].data
    slots = kept.of(position)
    return {name: slots[name] if name in slots else zeros_beside(data, data.shape) for name in names}


def loading(optimizer: Any, state: Mapping[str, Any]) -> list[Change]:
    """What gives an optimizer a state. Raises ValueError where that does not fit."""
    owner = type(optimizer).__name__
    if isinstance(state, Mapping) and state.get("optimizer", owner) != owner:
        raise ValueError(f"{owner}: the state is of {state['optimizer']}; expected {owner}")
    entries = checked_state(owner, state, ("optimizer", "settings", "parameters"))["parameters"]
    if not isinstance(entries, Mapping):
        raise ValueError(f"{owner}: the state's parameters are a {type(entries).__name__}; expected dict")
    fresh = _fresh(optimizer, state["settings"])
    places = {str(k): k for k in range(len(optimizer.parameters))}
    for name, entry in entries.items():
        if name not in places:
            raise ValueError(f"{owner}: the state has parameter {name!r}; expected 0 to {len(places) - 1}")
        _take(fresh, places[name], entry)
    changes = [
        new_items(group, {**new, "params": group["params"]})
        for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True)
    ]
    others = [name for name in optimizer.settings if name not in optimizer._declared()]
    changes += [new_attribute(optimizer, name, getattr(fresh, name)) for name in (*others, "_steps", "_kept")]
    return changes


def _fresh(optimizer: Any, settings: Any) -> Any:
    """An optimizer in the same groups, with the settings of a state.

    Its parameters are stand-ins with the same arrays, since all of the optimizer's may be frozen by now.
    """
    owner = type(optimizer).__name__
    given = settings if isinstance(settings, (list, tuple)) else [settings]
    if wrong := [type(group).__name__ for group in given if not isinstance(group, Mapping)]:
        raise ValueError(f"{owner}: the state's settings are a {wrong[0]}; expected dict")
    if given is not settings:
        given = [{**settings, "params": [*range(len(optimizer.parameters))]}]
    expected = [optimizer._positions(k) for k in range(len(optimizer.param_groups))]
    if (came := [group.get("params") for group in given]) != expected:
        sizes = [[len(group) if isinstance(group, list) else 0 for group in some] for some in (came, expected)]
        raise ValueError(f"{owner}: the state has groups of {sizes[0]} parameters; expected {sizes[1]}, in order")
    stand_ins = [Parameter(parameter.data) for parameter in optimizer.parameters]
    try:
        if len(given) == 1:
            only = {name: value for name, value in given[0].items() if name != "params"}
            return type(optimizer)(stand_ins, **only)
        declared = optimizer._declared()
        groups = [
            {"params": [stand_ins[k] for k in own], **{name: new[name] for name in declared if name in new}}
            for new, own in zip(given, expected, strict=True)
        ]
        others = {name: value for name, value in given[0].items() if name not in {"params", *declared}}
        return type(optimizer)(groups, lr=given[0]["lr"], **others)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{owner}: the state's settings do not fit: {error}") from error


def _take(fresh: Any, k: int, entry: Mapping[str, Any]) -> None:
    """Give a fresh optimizer what a state has of one parameter."""
    names = fresh._views()[fresh._group_of[k]].slots()
    where, expected = f"{type(fresh).__name__}: the state of parameter {k}", {"step", *names}
    checked_state(where, entry, expected)
    slots: Slots = {}
    step, data = whole_number(where, "step", entry["step"]), fresh.parameters[k].data
    for name in names:
        if not hasattr(entry[name], "shape"):
            raise ValueError(f"{where} has a {type(entry[name]).__name__} as {name}; expected an array")
        try:
            array = host_copy(entry[name], dtype_name(data))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} has {name} that cannot be read: {error}") from error
        if array.shape != tuple(data.shape):
            raise ValueError(f"{where} has {name} of shape {array.shape}; expected {tuple(data.shape)}")
        if name in fresh.squares and (array < 0.0).any():
            raise ValueError(f"{where} has {name} below 0; a mean of squares is not")
        slots[name] = backend_of(data).asarray(array)
    fresh._steps[k], fresh._kept[k] = step, (Kept(slots, Joined([data]).places), 0)
