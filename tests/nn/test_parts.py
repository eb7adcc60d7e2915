"""A module loses no part: what is replaced, what stands in containers, and what cannot be found there."""

import functools
import itertools
from collections import UserList, deque
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import Parameter, Tensor, nn, ops
from xprnn.train import SGD


class Holder(nn.Module):
    def __init__(self, **attributes):
        vars(self).update(attributes)


def test_parameters_and_modules_in_nested_lists_are_found():
    gains = [Parameter(np.ones(1)), (Parameter(np.ones(2)), 3, "text")]
    model = Holder(gains=gains, blocks=[[nn.Linear(1, 1, bias=False)], []], sizes={"a": 1})
    names = [name for name, _ in model.named_parameters()]
    assert names == ["gains.0", "gains.1.0", "blocks.0.0.weight"]
    model.load_state_dict({name: 5.0 + a for name, a in model.state_dict().items()})
    assert host(gains[1][0]).tolist() == [6.0, 6.0]


@pytest.mark.parametrize("part", [nn.Linear(1, 1), [Parameter(np.ones(1))]])
def test_a_dict_of_parts_is_refused(part):
    with pytest.raises(TypeError, match=r"Holder: layers\['a'\] holds a (Linear|Parameter), .* expected an attribute"):
        Holder(layers={"a": part}).parameters()


def test_a_cycle_of_modules_ends():
    parent = Holder(child=Holder(weight=Parameter(np.ones(1))))
    parent.child.parent = parent
    assert [name for name, _ in parent.named_modules()] == ["", "child"]
    assert [name for name, _ in parent.named_parameters()] == ["child.weight"]
    assert not parent.eval().child.training
    assert repr(parent).count("...") == 1


# --- a module loses no part -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assign", "came"),
    [
        (lambda layer: setattr(layer, "weight", layer.weight - 0.1 * ops.ones_like(layer.weight)), "Tensor"),
        (lambda layer: setattr(layer, "weight", Tensor(np.ones((3, 2), "float32"), requires_grad=True)), "Tensor"),
        (lambda layer: setattr(layer, "weight", layer.weight.data), "ndarray"),
        (lambda layer: setattr(layer, "weight", layer.weight.detach()), "Tensor"),
        (lambda layer: setattr(layer, "weight", 0.0), "float"),
        (lambda layer: setattr(layer, "weight", [layer.weight.data]), "list"),
    ],
)
def test_a_parameter_is_replaced_by_a_parameter_only(assign, came):
    layer = nn.Linear(2, 3, rng=0)
    before = layer.weight
    with pytest.raises(TypeError, match=rf"Linear: weight is a Parameter and was given a {came}, .*weight.data = "):
        assign(layer)
    assert layer.weight is before
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]


def test_a_step_by_hand_that_would_change_nothing_is_refused():
    layer = nn.Linear(2, 3, rng=0)
    before = layer.state_dict()
    with pytest.raises(TypeError, match=r"a Parameter does not change in place, and -= would .*p.data = p.data - lr"):
        layer.weight -= 0.1 * ops.ones_like(layer.weight)
    for parameter in layer.parameters():
        with pytest.raises(TypeError, match="a Parameter does not change in place"):
            parameter -= 0.1 * ops.ones_like(parameter)
    assert all(np.array_equal(array, before[name]) for name, array in layer.state_dict().items())


def test_the_way_that_the_error_shows_is_a_step():
    layer, x = nn.Linear(2, 1, rng=0), np.ones((4, 2), "float32")
    loss = layer(x).sum()
    loss.backward(retain_graph=True)
    before = host(layer.weight).copy()
    layer.weight.data = layer.weight.data - 0.1 * layer.weight.grad.data
    assert_close(layer.weight, before - np.float32(0.1) * np.full((1, 2), 4.0, "float32"), 1e-6)
    with pytest.raises(RuntimeError, match="was given new data"):
        loss.backward()


@pytest.mark.parametrize("value", [np.tanh, [1, 2], "linear", Tensor([1.0]), 0])
def test_a_module_is_replaced_by_a_module_only(value):
    model = Holder(head=nn.Linear(2, 3), body=[nn.Linear(2, 2), 1])
    for name in ("head", "body")[: 1 if isinstance(value, list) else 2]:
        with pytest.raises(TypeError, match=rf"Holder: {name} (is a Linear|holds a Linear) and was given a"):
            setattr(model, name, value)
    assert len(model.parameters()) == 4


def test_what_replaces_a_part_and_keeps_it_a_part():
    model = Holder(head=nn.Linear(2, 3), gain=Parameter(np.ones(2)), body=[nn.Linear(2, 2)], size=3)
    model.gain = Parameter(np.zeros(5))  # of another shape
    model.head, model.body, model.size = nn.LSTM(2, 3), [nn.Linear(1, 1), nn.Linear(1, 1)], 4
    model.body = (*model.body, nn.Linear(1, 1))
    assert len(model.parameters()) == 1 + 4 + 6
    model.gain = nn.Linear(1, 1)
    model.head = None
    model.body = None
    assert [name for name, _ in model.named_parameters()] == ["gain.weight", "gain.bias"]
    model.head = nn.Linear(1, 1)
    del model.gain
    assert [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]


@dataclass
class Parts:
    first: object
    second: object = 1


def object_array(values):
    array = np.empty((1, len(values)), object)
    for k, value in enumerate(values):
        array[0, k] = value
    return array


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("__layer", "unset")

    def __init__(self, layer):
        self.__layer = layer


HIDDEN = {
    "object without a dict": Slotted,
    "object without a dict, of a list": lambda part: [Slotted([part])],
    "dict": lambda part: {"a": part},
    "mapping": lambda part: MappingProxyType({"a": [1, part]}),
    "deque": lambda part: deque([part]),
    "set": lambda part: {part},
    "frozenset": lambda part: frozenset([part]),
    "object array": lambda part: object_array([None, part]),
    "dict values": lambda part: {"a": part}.values(),
    "user list": lambda part: UserList([part]),
    "dataclass": lambda part: Parts(part),
    "dataclass in a list": lambda part: [0, Parts(1, [part])],
    "namespace": lambda part: SimpleNamespace(layer=part),
    "object": lambda part: Plain(layer=part),
    "object with a list": lambda part: [Plain(layers=[1, part])],
    "partial": lambda part: functools.partial(print, part),
    "partial with keywords": lambda part: functools.partial(print, end=part),
}


@pytest.mark.parametrize("part", [nn.Linear(1, 1), Parameter(np.ones(1))], ids=["Linear", "Parameter"])
@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN.keys())
def test_parts_in_other_containers_are_refused(hide, part):
    model = Holder(layers=hide(part))
    for call in (model.parameters, model.state_dict, model.eval, lambda: model.to("numpy"), model.zero_grad):
        with pytest.raises(
            TypeError, match=rf"Holder: layers.* holds a {type(part).__name__}, .* expected an attribute"
        ):
            call()


@pytest.mark.parametrize(
    "hide", [lambda part: part.forward, lambda part: functools.partial(part), lambda part: [part.forward]]
)
def test_methods_of_other_modules_are_refused(hide):
    with pytest.raises(TypeError, match=r"Holder: layers.* holds a Linear, .* expected an attribute"):
        Holder(layers=hide(nn.Linear(1, 1))).parameters()


@pytest.mark.parametrize(
    "make", [lambda parts: (part for part in parts), iter, functools.partial(map, None), reversed, zip, itertools.cycle]
)
def test_what_gives_its_parts_once_is_refused(make):
    with pytest.raises(TypeError, match=r"Holder: layers is a \w+, which .*expected a list"):
        Holder(layers=make([nn.Linear(1, 1)])).parameters()


def test_a_part_of_the_class_is_refused():
    with pytest.raises(TypeError, match=r"Net: layers is a Linear of the class, .* expected self.layers = "):

        class Net(nn.Module):
            layers = [nn.Linear(1, 1)]


def test_slots_of_a_module_are_refused():
    with pytest.raises(TypeError, match="Net: __slots__ has weight, in which no part would be found"):

        class Net(nn.Module):
            __slots__ = ("weight",)


def test_a_part_that_is_found_may_stand_in_other_containers_too():
    model = Holder(child=Holder(first=nn.Linear(1, 1)), gain=Parameter(np.ones(1)))
    model.by_name = {"first": model.child.first}
    model.rates, model.seen = {model.gain: 0.1}, {model.child.first.weight}
    model.apply = model.child.first.forward
    model.own = model.forward
    model.optimizer, model.stream = SGD(model.parameters()), Plain(layer=model.child.first, of=model)
    assert [name for name, _ in model.named_parameters()] == ["gain", "child.first.weight", "child.first.bias"]
    model.child.parent = model
    assert len(model.parameters()) == 3
    model.by_name["second"] = nn.Linear(1, 1)
    with pytest.raises(TypeError, match=r"Holder: by_name\['second'\] holds a Linear"):
        model.parameters()


def test_a_module_with_a_lost_part_changes_no_mode():
    model = Holder(first=nn.Linear(1, 1), others={"a": nn.Linear(1, 1)})
    with pytest.raises(TypeError, match="others"):
        model.eval()
    assert model.first.training


def test_other_values_in_containers_are_passed_over():
    cyclic = [1]
    cyclic.append([{"a": cyclic}])
    model = Holder(
        sizes={1, 2},
        names=deque(["a"]),
        table=np.array([None, "a"], object),
        parts=Parts(1, {"a": 2}),
        cyclic=cyclic,
        function=functools.partial(print, 1),
        method="text".upper,
        shape=Tensor(np.ones(2), requires_grad=True),
        kind=Parts,
        library=np,
        plain=Plain(size=2, far=Plain(layer=nn.Linear(1, 1)), others=[Plain(layer=nn.Linear(1, 1))]),
        count=itertools.count(),
        layer=nn.Linear(1, 1),
    )
    model.own = model.forward
    assert [name for name, _ in model.named_parameters()] == ["layer.weight", "layer.bias"]
