"""Checkpoints that somebody has changed, checksum and all: refused, with the file and the part, or they go on well."""

import copy
import json
import math
from functools import cache

import numpy as np
import pytest
from odd_values import ODD

from xprnn import Parameter, Tensor, nn
from xprnn.data import Batches
from xprnn.train import (
    SGD,
    Adam,
    Checkpoint,
    Cosine,
    EarlyStopping,
    Exponential,
    ModelFileError,
    ReduceOnPlateau,
    RMSprop,
    StepDecay,
    Warmup,
    fit,
    load_checkpoint,
    mse,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from xprnn.train.teacher_forcing import LinearRatio, TeacherForcing

pytestmark = pytest.mark.usefixtures("impatient")


class Model(nn.Module):
    def __init__(self, rng):
        self.dropout, self.out, self.ratio = nn.Dropout(0.5, rng=rng), nn.Linear(2, 1, dtype="float64", rng=rng), 1.0

    def forward(self, x):
        return self.out(self.dropout(x))


def in_groups(model):
    return [{"params": [model.out.weight], "lr": 0.2}, {"params": [model.out.bias]}]


RUNS = {
    "Adam": (lambda m: Adam(m.parameters(), lr=0.1, amsgrad=True), lambda o: Exponential(o, 0.9), "PCG64"),
    "SGD": (lambda m: SGD(in_groups(m), 0.1, 0.5, True), lambda o: ReduceOnPlateau(o, patience=0), "MT19937"),
    "RMSprop": (lambda m: RMSprop(m.parameters(), 0.1, centered=True), lambda o: Cosine(o, 9, 1), "Philox"),
    "groups": (lambda m: Adam(in_groups(m)), lambda o: StepDecay(o, 1, 2.0), "SFC64"),
    "Warmup": (lambda m: SGD(m.parameters(), 0.1), lambda o: Warmup(o, 2), "PCG64DXSM"),
}
X = np.random.default_rng(0).normal(size=(6, 2))


class Training:
    """All that a checkpoint of ``fit`` is about."""

    def __init__(self, name, seed):
        optimizer, schedule, kind = RUNS[name]
        self.model = Model(np.random.Generator(getattr(np.random, kind)(seed)))
        self.optimizer = optimizer(self.model)
        self.schedule = schedule(self.optimizer)
        rng = np.random.Generator(getattr(np.random, kind)(seed + 1))
        self.batches = Batches(X, batch_size=3, shuffle=True, rng=rng)
        self.callbacks = [EarlyStopping(9), TeacherForcing(LinearRatio(5))]

    def fit(self, epochs, *callbacks, resume=None):
        loss = lambda model, batch: mse(model(batch[0]), batch[0][:, :1])
        options = {"epochs": epochs, "schedule": self.schedule, "progress": False, "resume": resume}
        callbacks = [*self.callbacks, *callbacks]
        return fit(self.model, self.batches, loss, self.optimizer, callbacks=callbacks, **options)

    def snapshot(self):
        parts = [self.model, self.optimizer, self.schedule, self.batches, *self.callbacks]
        states = [part.state_dict() for part in parts]
        states.append([generator.bit_generator.state for generator in self.model.generators().values()])
        return json.dumps(states, default=lambda array: [array.dtype.str, array.shape, array.tobytes().hex()])


@cache
def at_first(name):
    return Training(name, 3).snapshot()


def goes_on_or_is_refused(name, path):
    """Whether the training goes on; if not, there was the one error, and nothing has been loaded."""
    training, message = Training(name, 3), ""
    try:
        with np.errstate(all="ignore"):
            training.fit(3, resume=path)
    except ModelFileError as error:
        message = str(error)
    except FloatingPointError:  # of numbers that an optimizer or a model can have, but not long
        pass
    assert not message or (path.name in message and training.snapshot() == at_first(name))
    return not message


def places(tree, path=()):
    """The way to everything in nested dicts and lists."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


@pytest.fixture(scope="module", params=RUNS)
def saved(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "odd.safetensors"
    Training(request.param, 0).fit(1, Checkpoint(path))
    return request.param, path, *read_tensors(path)


def test_every_value_of_every_part_changed(saved):
    name, path, arrays, metadata = saved
    write_tensors(path, arrays, metadata)
    assert goes_on_or_is_refused(name, path)
    taken = set()
    for k, place in enumerate(places(metadata)):
        owner, last, right = at(metadata, place[:-1]), place[-1], at(metadata, place)
        for value in ODD[k % 3 :: 3]:  # each place gets a third of the values, each value a third of the places
            if isinstance(right, type(value)) and right == value:
                continue
            owner[last] = value
            write_tensors(path, arrays, metadata)
            owner[last] = right
            if goes_on_or_is_refused(name, path):
                taken.add((place[1:], str(value)))
        if isinstance(owner, dict):
            other = copy.deepcopy(metadata)
            del at(other, place[:-1])[last]
            write_tensors(path, arrays, other)
            default = place[1:2] == ("optimizer",) and len(place) > 3  # of a setting; no steps, of a parameter
            assert not goes_on_or_is_refused(name, path) or default, place
    whole = {"optimizer", "settings", "parameters", "parts", "epochs", "generators", "weights"}
    begun_anew = {("epochs", "[]"), ("parameters", "{}"), ("settings", "{}")}
    assert {(place[-1], value) for place, value in taken if place[-1] in whole} <= begun_anew
    for place, value in taken:  # a count of batches and steps may be any, and so may a rate and a loss
        if place[-1] in ("step", "epoch", "waited", "batches", "best_epoch"):
            assert int(value) >= 0, place
        if (place[0] == "optimizer" and place[-1] == "lr") or "base_lr" in place:
            assert 0.0 <= float(value) < math.inf, place


def test_every_array_in_every_odd_form(saved):
    name, path, arrays, metadata = saved
    for key, array in arrays.items():
        flat = array.reshape(-1)
        other_shapes = [array[None], array[..., :0], np.float64(1.0), np.zeros((0, 5)), np.zeros((2**40, 0))]
        other_numbers = [np.full_like(array, np.nan)] if array.dtype.kind == "f" else []
        with np.errstate(all="ignore"):
            other_numbers += [array.astype("int32"), array.astype("float16"), array > 0.0, -1.0 - abs(array), flat[:1]]
        for other in map(np.asarray, other_shapes + other_numbers):
            if other.shape != array.shape or not np.array_equal(other, array):
                write_tensors(path, arrays | {key: other}, metadata)
                assert not (goes_on_or_is_refused(name, path) and other.shape != array.shape), (key, other)
        write_tensors(path, {k: a for k, a in arrays.items() if k != key}, metadata)
        assert not goes_on_or_is_refused(name, path), key


STEP = {"optimizer": "Adam", "settings": {"lr": 0.1, "betas": [0.9, 0.99], "eps": 0.1, "weight_decay": 0.0}}
STEP["settings"]["amsgrad"] = False


@pytest.mark.parametrize("step", [0, -1, 2**63, 10**400, 1.0, True, None, "1", [1]])
def test_steps_of_an_optimizer(step):
    optimizer = Adam([Parameter(np.ones(2))])
    state = STEP | {"parameters": {"0": {"step": step, "mean": np.ones(2), "square": np.ones(2)}}}
    with pytest.raises(ValueError, match=r"Adam: the state of parameter 0: step is .*; expected"):
        optimizer.load_state_dict(state)
    assert optimizer.lr == 1e-3
    assert optimizer.counts == [0]


@pytest.mark.parametrize(
    "square", [np.ma.masked_array(np.ones(2), [True, False]), np.ones(2, complex), 3, None, np.array(["a", "b"])]
)
def test_slots_that_are_no_plain_numbers(square):
    optimizer = Adam([Parameter(np.ones(2))])
    state = STEP | {"parameters": {"0": {"step": 1, "mean": np.ones(2), "square": square}}}
    with pytest.raises(ValueError, match="Adam: the state of parameter 0 has .*square"):
        optimizer.load_state_dict(state)
    assert optimizer.counts == [0]


def test_a_mean_of_squares_below_zero():
    optimizer = Adam([Parameter(np.ones(2))])
    state = STEP | {"parameters": {"0": {"step": 1, "mean": -np.ones(2), "square": np.array([1.0, -1e-9])}}}
    with pytest.raises(ValueError, match="Adam: the state of parameter 0 has square below 0; a mean of squares is not"):
        optimizer.load_state_dict(state)
    assert optimizer.counts == [0]


@pytest.mark.parametrize("name", ["epoch", "base_lr", "best", "waited"])
@pytest.mark.parametrize("value", [-1, math.nan, 10**400, True, None, "1", [], {}])
def test_states_of_schedules(name, value):
    if (name, value) == ("best", -1):
        return
    schedule = ReduceOnPlateau(SGD([Parameter([1.0])], lr=0.5))
    before = schedule.state_dict()
    with pytest.raises(ValueError, match=rf"ReduceOnPlateau: the state's {name} is .*; expected"):
        schedule.load_state_dict(before | {name: value})
    assert schedule.state_dict() == before


def test_a_rate_that_no_epoch_can_have():
    schedule = Exponential(SGD([Parameter([1.0])], lr=0.5), 2.0)
    with pytest.raises(ValueError, match=r"Exponential: the state's epoch 10000 has no learning rate"):
        schedule.load_state_dict({"epoch": 10000, "base_lr": 0.5})
    assert schedule.state_dict() == {"epoch": 0, "base_lr": 0.5}


@pytest.mark.parametrize("kind", ["MT19937", "Philox"])
@pytest.mark.parametrize("position", [-1, 625, 10**6, 2**40])
def test_generators_never_read_beside_their_numbers(kind, position, tmp_path):
    batches = Batches(X, batch_size=2, rng=np.random.Generator(getattr(np.random, kind)(0)))
    state = batches.state_dict()
    if kind == "MT19937":
        state["generator"]["state"]["pos"] = position
    else:
        state["generator"]["buffer_pos"] = position
    before = str(batches.state_dict())
    with pytest.raises(ValueError, match=f"Batches: the state does not fit a {kind} generator"):
        batches.load_state_dict(state)
    assert str(batches.state_dict()) == before


def test_what_is_no_state_at_all(tmp_path):
    path, training = tmp_path / "odd.safetensors", Training("Adam", 0)
    parts = {"model": training.model, "optimizer": training.optimizer, "schedule": training.schedule}
    parts |= {"batches": training.batches, "stopping": training.callbacks[0], "forcing": training.callbacks[1]}
    save_checkpoint(path, **parts)
    arrays, metadata = read_tensors(path)
    for name, part in parts.items():
        for value in ([], 3, None, "state", True, {}):
            write_tensors(path, arrays, {"parts": metadata["parts"] | {name: value}})
            before = training.snapshot()
            with pytest.raises(ModelFileError, match=rf"odd.safetensors: {name} refuses: \w+: .*expected"):
                load_checkpoint(path, **parts)
            assert training.snapshot() == before
            if name != "model":
                with pytest.raises(ValueError, match="expected"):
                    part.load_state_dict(value)


def test_the_best_weights_of_another_model(tmp_path):
    """What early stopping would put into the model at the end is held against it before anything begins."""
    path = tmp_path / "odd.safetensors"
    Training("Adam", 0).fit(2, Checkpoint(path))
    arrays, metadata = read_tensors(path)
    key = "EarlyStopping_0.weights.out.weight"
    write_tensors(path, arrays | {key: np.ones((5, 5))}, metadata)
    training = Training("Adam", 1)
    before = training.snapshot()
    with pytest.raises(ModelFileError, match=r"refuses: EarlyStopping: .*out.weight has shape \(5, 5\)"):
        training.fit(4, resume=path)
    assert training.snapshot() == before


def test_interrupted_states_of_callbacks_stay_whole():
    stopping = EarlyStopping(2)
    before = stopping.state_dict()
    for wrong in ({"waited": "x"}, {"best": math.nan}, {"weights": {"a": 3}}, {"best_epoch": -1}):
        with pytest.raises(ValueError, match="EarlyStopping: the state's"):
            stopping.load_state_dict(before | {"best": 0.5, "weights": {"a": Tensor(np.ones(1)).data}} | wrong)
        assert stopping.state_dict() == before
