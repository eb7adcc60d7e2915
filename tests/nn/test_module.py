import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import Parameter, nn, ops


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
