import copy
import functools
import itertools
import pickle
from collections import UserList, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import Parameter, Tensor, nn, ops
from xprnn.train import SGD


class Model(nn.Module):
    def __init__(self, rng=0):
        draws = np.random.default_rng(rng)
        self.embedding = nn.Embedding(5, 3, rng=draws)
        self.stack = [nn.Linear(3, 4, rng=draws), nn.Dropout(0.5, rng=draws)]
        self.lstm = nn.LSTM(4, 2, rng=draws)
        self.scale = Parameter(np.ones(2, "float32"))
        self.name = "model"

    def forward(self, x):
        x = self.embedding(x)
        for layer in self.stack:
            x = layer(x)
        return self.lstm(x)[0] * self.scale


NAMES = [
    "scale",
    "embedding.weight",
    "stack.0.weight",
    "stack.0.bias",
    "lstm.weight_ih_l0",
    "lstm.weight_hh_l0",
    "lstm.bias_ih_l0",
    "lstm.bias_hh_l0",
]


def test_parameters_are_found_by_name():
    model = Model()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert model.parameters() == [parameter for _, parameter in model.named_parameters()]
    assert list(model.state_dict()) == NAMES
    assert {name for name, _ in model.named_modules()} >= {
        "",
        "embedding",
        "stack.0",
        "stack.1",
        "lstm",
        "lstm.dropout",
    }


def test_a_shared_parameter_counts_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]


def test_generators_are_found_by_name():
    model = Model()
    assert set(model.generators()) == {"stack.1.rng", "lstm.rng", "lstm.dropout.rng"}
    assert len({id(generator) for generator in model.generators().values()}) == 1


def test_train_and_eval_reach_every_part():
    model = Model()
    assert model.training
    assert model.eval() is model
    assert not any(module.training for _, module in model.named_modules())
    assert all(module.training for _, module in model.train().named_modules())


def test_zero_grad():
    model = Model()
    model(np.array([[0, 1]])).sum().backward()
    assert model.scale.grad is not None
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_to_moves_parameters_and_gradients(home):
    model = Model().eval()
    x = np.array([[0, 1, 4], [2, 2, 3]])
    expected = model(x)
    expected.sum().backward()
    gradients = [host(parameter.grad) for parameter in model.parameters()]
    assert model.to(home) is model
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert type(parameter.data) is type(parameter.grad.data) is type(home.zeros((1,), "float32"))
        assert_close(parameter.grad, gradient, 0.0)
    assert_close(model(home.asarray(x)), expected, 1e-6)


def test_state_dict_is_a_copy(home):
    layer = nn.Linear(2, 3, rng=0).to(home)
    state = layer.state_dict()
    before = host(layer.weight).copy()
    state["weight"][...] = 0.0
    assert_close(layer.weight, before, 0.0)


def test_state_dict_goes_round(home):
    first, second = Model(rng=0).to(home), Model(rng=1)
    second.load_state_dict(first.state_dict())
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert isinstance(other.data, np.ndarray)
        assert_close(other, host(one), 0.0)


def test_loading_takes_copies_and_casts():
    layer = nn.Linear(2, 3, dtype="float32")
    state = {"weight": np.ones((3, 2), "float32"), "bias": np.zeros(3, "int64")}
    layer.load_state_dict(state)
    state["weight"][...] = 5.0  # the same dtype, and still no alias
    assert_close(layer.weight, np.ones((3, 2), "float32"), 0.0)
    assert layer.bias.dtype == np.float32
    assert layer.weight.requires_grad


def changed(**changes):
    state = Model(rng=1).state_dict()
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    return state


BAD_STATES = {
    "missing": (changed(scale=None, stack__0__bias=None), KeyError, "Model: .*missing: scale, stack.0.bias"),
    "unexpected": (changed(extra=np.ones(1), more=np.ones(1)), KeyError, "Model: .*unexpected: extra, more"),
    "both": (changed(scale=None, extra=np.ones(1)), KeyError, "missing: scale; unexpected: extra"),
    "shapes": (
        changed(scale=np.ones(3), lstm__bias_hh_l0=np.ones((8, 1))),
        ValueError,
        r"scale has shape \(3,\), expected \(2,\); lstm.bias_hh_l0 has shape \(8, 1\), expected \(8,\)",
    ),
    "no array": (changed(scale="text"), (TypeError, ValueError), "scale"),
    "not to be cast": (changed(scale=np.array(["a", "b"])), (TypeError, ValueError), "scale|could not convert"),
}


@pytest.mark.parametrize(("state", "error", "message"), BAD_STATES.values(), ids=BAD_STATES.keys())
def test_a_state_that_does_not_fit_changes_nothing(state, error, message):
    model = Model()
    before = model.state_dict()
    with pytest.raises(error, match=message):
        model.load_state_dict(state)
    for name, value in model.state_dict().items():
        assert_close(value, before[name], 0.0)


def in_torch(change):
    """What torch.nn.Linear(2, 3) gives, changed, and the values it should be loaded as."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(6).reshape(3, 2) * 0.25)  # exact in bfloat16
        layer.bias.copy_(torch.ones(3))
    return {name: change(value) for name, value in layer.named_parameters()}


BFLOAT16 = {
    "torch parameters": lambda: in_torch(lambda p: p),
    "torch bfloat16": lambda: in_torch(lambda p: p.detach().bfloat16()),
    "torch bfloat16 parameters": lambda: in_torch(lambda p: p.bfloat16()),
    "torch computed": lambda: in_torch(lambda p: (p * 2.0) / 2.0),
    "torch bfloat16 strided": lambda: in_torch(lambda p: p.detach().bfloat16().repeat_interleave(2, 0)[::2]),
    "ml_dtypes": lambda: {
        name: np.asarray(array, "float32").astype(pytest.importorskip("ml_dtypes").bfloat16)
        for name, array in STATE.items()
    },
    "jax": lambda: {
        name: pytest.importorskip("jax.numpy").asarray(array, pytest.importorskip("jax.numpy").bfloat16)
        for name, array in STATE.items()
    },
    "Tensors": lambda: {name: Tensor(array, requires_grad=True) * 1.0 for name, array in STATE.items()},
    "float16": lambda: {name: array.astype("float16") for name, array in STATE.items()},
    "big-endian": lambda: {name: array.astype(">f8") for name, array in STATE.items()},
}
STATE = {"weight": np.arange(6.0).reshape(3, 2) * 0.25, "bias": np.ones(3)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", BFLOAT16.values(), ids=BFLOAT16.keys())
def test_loading_takes_arrays_of_every_kind(make, dtype):
    layer = nn.Linear(2, 3, dtype=dtype)
    layer.load_state_dict(make())
    for name, array in STATE.items():
        assert_close(layer.state_dict()[name], array.astype(dtype), 0.0)
        assert layer.state_dict()[name].dtype.isnative


class Broken:
    shape, dtype = (3,), "float32"

    def __array__(self, dtype=None, copy=None):
        raise ZeroDivisionError("its file is gone")


class Lazy:
    @property
    def shape(self):
        raise RuntimeError("not made yet")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Lazy(), "bias .a Lazy. cannot be read: not made yet"),
        (Broken(), "bias .a Broken. cannot be read: .*its file is gone"),
        (np.ones(3, "complex64"), "bias .* complex64"),
        (np.array(["1", "2", "3"]), "bias .*<U1"),
        (np.array(["2020", "2021", "2022"], "datetime64[D]"), "bias .*datetime64"),
        (np.array([None, {}, 1], object), "bias .* cannot be read"),
        (np.ma.masked_array(np.ones(3), [True, False, False]), "bias .*masked"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named_and_nothing_is_loaded(value, message):
    layer = nn.Linear(2, 3, rng=0)
    before = layer.state_dict()
    with pytest.raises(TypeError, match=rf"Linear: state_dict does not fit; {message}"):
        layer.load_state_dict({"weight": np.zeros((3, 2)), "bias": value})
    assert_close(list(layer.state_dict().values()), list(before.values()), 0.0)


def interrupted(monkeypatch, at):
    """Let Ctrl-C come when a Parameter is given data for the ``at``-th time."""
    setter, count = Parameter.data.fset, itertools.count()

    def assign(self, value):
        if next(count) == at:
            raise KeyboardInterrupt
        setter(self, value)

    monkeypatch.setattr(Parameter, "data", Parameter.data.setter(assign))


@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_interrupted_load_changes_nothing(at, monkeypatch):
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    before = model.state_dict()
    with monkeypatch.context() as patch:
        interrupted(patch, at)
        with pytest.raises(KeyboardInterrupt):
            model.load_state_dict({name: array + 1.0 for name, array in before.items()})
    assert_close(list(model.state_dict().values()), list(before.values()), 0.0)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_interrupted_move_moves_nothing(at, monkeypatch):
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    model(np.ones((1, 2), "float32")).sum().backward()
    with monkeypatch.context() as patch:
        interrupted(patch, at)
        with pytest.raises(KeyboardInterrupt):
            model.to("array_api_strict")
    assert {type(array) for p in model.parameters() for array in (p.data, p.grad.data)} == {np.ndarray}


def test_loading_what_fits():
    model = Model()
    before = model.state_dict()
    found = model.load_state_dict(changed(scale=None, extra=np.ones(1), more=np.ones(1)), strict=False)
    assert found.missing_keys == ["scale"]
    assert found.unexpected_keys == ["extra", "more"]
    expected = Model(rng=1).state_dict() | {"scale": before["scale"]}
    assert_close(list(model.state_dict().values()), list(expected.values()), 0.0)
    assert model.load_state_dict(before) == ([], [])
    assert model.load_state_dict({}, strict=False).missing_keys == NAMES
    with pytest.raises(ValueError, match="scale has shape"):
        model.load_state_dict({"scale": np.ones(5), "extra": 1}, strict=False)
    assert_close(list(model.state_dict().values()), list(before.values()), 0.0)


def test_loading_after_use_stops_an_older_graph():
    layer = nn.Linear(2, 3)
    loss = ops.sum(layer(np.ones((1, 2), "float32")) * layer.bias)
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="was given new data"):
        loss.backward()


def test_repr_shows_the_parts():
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.25))).splitlines() == [
        "Sequential(",
        "  0: Linear(2, 3, bias=True)",
        "  1: Dropout(0.25)",
        ")",
    ]


def test_a_module_without_forward():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines no forward"):
        Empty()(1)


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


def test_a_state_with_tied_weights_under_both_names():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    state = {"0.weight": np.eye(2), "0.bias": np.ones(2), "1.weight": np.eye(2), "1.bias": np.ones(2)}
    model.load_state_dict(state)
    assert_close(model[1].weight, np.eye(2, dtype="float32"), 0.0)
    model.load_state_dict({name: 2.0 * a for name, a in state.items() if name != "0.weight"})
    assert_close(model[0].weight, 2.0 * np.eye(2, dtype="float32"), 0.0)
    with pytest.raises(ValueError, match=r"1.weight has shape \(3, 2\), expected \(2, 2\)"):
        model.load_state_dict({**state, "1.weight": np.ones((3, 2))})
    with pytest.raises(KeyError, match="unexpected: 1.weights, 2.weight"):
        model.load_state_dict({**state, "1.weights": np.eye(2), "2.weight": np.eye(2)})


# --- modes ----------------------------------------------------------------------------------------------------------


def modes(model):
    return {name for name, part in model.named_modules() if not part.training}


def test_a_block_has_its_mode_and_changes_no_modules():
    model, other = Model(), nn.Dropout()
    with model.mode(training=False):
        assert len(modes(model)) == 6
        assert other.training
        with model.lstm.mode(training=True):
            assert modes(model) == {"", "embedding", "stack.0", "stack.1"}
        assert len(modes(model)) == 6
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(modes, model).result() == set()
        assert modes(copy.deepcopy(model)) == set()
    assert modes(model) == set()
    model.eval()
    with pytest.raises(ZeroDivisionError), model.mode(training=True):
        1 / (len(modes(model)))
    assert len(modes(model)) == 6


def test_a_part_in_evaluation_by_itself_stays_there():
    model = Model()
    model.lstm.eval()
    with model.mode(training=True):
        assert modes(model) == {"lstm", "lstm.dropout"}
    model.eval()
    assert len(modes(model)) == 6
    with model.mode(training=True):
        assert modes(model) == {"lstm", "lstm.dropout"}
    with model.lstm.mode(training=True):
        assert "lstm" not in modes(model)
    model.lstm.dropout.train()
    with model.mode(training=True):
        assert modes(model) == {"lstm"}
    model.lstm.train()
    with model.mode(training=True):
        assert modes(model) == set()
    model.stack[1].training = False
    with model.mode(training=True):
        assert modes(model) == {"stack.1"}
    model.train()
    model.eval()
    with model.mode(training=True):
        assert modes(model) == set()


def test_a_mode_chosen_inside_a_block_counts_there_and_after_it():
    model = Model()
    with model.mode(training=True):
        model.lstm.eval()
        assert modes(model) == {"lstm", "lstm.dropout"}
        with model.mode(training=False):
            assert len(modes(model)) == 6
        assert modes(model) == {"lstm", "lstm.dropout"}
    assert modes(model) == {"lstm", "lstm.dropout"}


# --- a module loses no part -----------------------------------------------------------------------------------------


def a_step_by_hand(layer):
    layer.weight -= 0.1 * ops.ones_like(layer.weight)


@pytest.mark.parametrize(
    ("assign", "came"),
    [
        (a_step_by_hand, "Tensor"),
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


HIDDEN = {
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
    "make", [lambda parts: (part for part in parts), iter, functools.partial(map, None), reversed, zip]
)
def test_what_gives_its_parts_once_is_refused(make):
    with pytest.raises(TypeError, match=r"Holder: layers is a \w+, which .*expected a list"):
        Holder(layers=make([nn.Linear(1, 1)])).parameters()


def test_a_part_of_the_class_is_refused():
    with pytest.raises(TypeError, match=r"Net: layers is a Linear of the class, .* expected self.layers = "):

        class Net(nn.Module):
            layers = [nn.Linear(1, 1)]


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


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_modules_can_be_copied_and_pickled(duplicate):
    model = Model().eval()
    model.embedding.train()
    other = duplicate(model)
    assert_close(list(other.state_dict().values()), list(model.state_dict().values()), 0.0)
    assert [part.training for _, part in other.named_modules()] == [part.training for _, part in model.named_modules()]
