"""What a module loads: arrays of every kind, whole or not at all."""

import numpy as np
import pytest
from helpers import assert_close
from modules import NAMES, Model

from xprnn import Tensor, nn, ops


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


class Disagreeing:
    shape, dtype = (3,), "float32"

    def __array__(self, dtype=None, copy=None):
        return np.ones(1, "float32")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Disagreeing(), r"bias .* its numbers have shape \(1,\)"),
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


@pytest.mark.parametrize("state", [nn.Linear(2, 3), [("weight", np.ones((3, 2)))], None, "model.safetensors"])
def test_what_is_no_state_is_refused_by_name(state):
    with pytest.raises(TypeError, match=rf"Linear: state_dict is a {type(state).__name__}; expected names and arrays"):
        nn.Linear(2, 3).load_state_dict(state)


@pytest.mark.filterwarnings("error")
def test_numbers_too_large_for_the_dtype_never_become_infinite():
    layer = nn.Linear(2, 3, dtype="float32")
    before = layer.state_dict()
    with pytest.raises(TypeError, match="bias .* cannot be read: it holds numbers too large for float32"):
        layer.load_state_dict({"weight": np.ones((3, 2)), "bias": np.array([1.0, 1e300, np.inf])})
    assert all(np.array_equal(value, before[name]) for name, value in layer.state_dict().items())
    layer.load_state_dict({"weight": np.ones((3, 2)), "bias": np.array([1.0, np.nan, np.inf])})
    assert np.isinf(layer.bias.data[2])
