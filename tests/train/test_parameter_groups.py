"""Groups of parameters with settings of their own, and the schedules and states that know them."""

import copy
import pickle

import numpy as np
import pytest
from helpers import exported

from xprnn import Parameter, Tensor, nn, train
from xprnn.data import Batches
from xprnn.train import (
    SGD,
    Adam,
    AdamW,
    Checkpoint,
    Exponential,
    Optimizer,
    ReduceOnPlateau,
    RMSprop,
    Warmup,
    fit,
    load_checkpoint,
    mse,
    save_checkpoint,
)


def two(kind=SGD, **second):
    a, b = Parameter(np.ones(2)), Parameter(np.ones(3))
    optimizer = kind([{"params": [a]}, {"params": b, **second}], lr=0.1)
    a.grad, b.grad = Tensor(np.ones(2)), Tensor(np.ones(3))
    return optimizer, a, b


def test_each_group_moves_by_its_own_settings():
    optimizer, a, b = two(lr=0.5, weight_decay=1.0)
    optimizer.step()
    np.testing.assert_allclose(a.data, 0.9)
    np.testing.assert_allclose(b.data, 1 - 0.5 * 2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    assert optimizer.param_groups[1]["params"][0] is b
    assert optimizer.lr == 0.1
    assert repr(optimizer) == (
        "SGD(2 parameters in 2 groups, lr=[0.1, 0.5], momentum=0.0, nesterov=False, weight_decay=[0.0, 1.0])"
    )


@pytest.mark.parametrize("kind", exported(train, train.Optimizer))
def test_groups_with_the_same_settings_are_as_none(kind):
    grouped, *_ = two(kind)
    plain = kind([Parameter(np.ones(2)), Parameter(np.ones(3))], lr=0.1)
    for optimizer in (grouped, plain):
        for step in range(3):
            for p in optimizer.parameters:
                p.grad = Tensor(p.data + step)
            optimizer.step()
    for p, q in zip(grouped.parameters, plain.parameters, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_what_is_kept_depends_on_the_group():
    optimizer, *_ = two(SGD, momentum=0.9)
    optimizer.step()
    assert optimizer.state_dict()["parameters"].keys() == {"0", "1"}
    assert [sorted(slots) for slots in optimizer.state_dict()["parameters"].values()] == [
        ["step"],
        ["momentum", "step"],
    ]


def test_assigning_a_setting_sets_it_in_all_groups():
    optimizer, a, b = two(momentum=0.5)
    optimizer.lr, optimizer.momentum = 0.2, 0.25
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [(0.2, 0.25)] * 2
    optimizer.param_groups[1]["lr"] = 0.0
    optimizer.step()
    np.testing.assert_allclose(a.data, 0.8)
    np.testing.assert_allclose(b.data, 1.0)
    with pytest.raises(ValueError, match="SGD: momentum is -1; expected a finite number, at least 0"):
        optimizer.momentum = -1


def test_wrong_groups():
    p, q = Parameter(np.ones(2)), Parameter(np.ones(2))
    for groups, error, message in [
        ([{"lr": 0.1}], ValueError, "Adam: group 0 has lr; expected params in it"),
        ([{"params": [p]}, q], TypeError, "Adam: the parameters are dicts and others"),
        (
            [{"params": [p], "speed": 1}],
            ValueError,
            "Adam: group 0 has speed; expected params, lr, betas, eps, weight_d",
        ),
        ([{"params": [p]}, {"params": [q], "lr": -1}], ValueError, "Adam: lr is -1; expected"),
        ([{"params": [p]}, {"params": [q], "betas": (0.9, 1.0)}], ValueError, r"Adam: betas\[1\] is 1.0"),
        ([{"params": [p]}, {"params": [p]}], ValueError, "Adam: a parameter was given twice"),
        ([{"params": []}], ValueError, "Adam: no parameters"),
        ([{"params": [p]}, {"params": [3]}], TypeError, "Adam: parameter 1 is a int"),
    ]:
        with pytest.raises(error, match=message):
            Adam(groups)
    with pytest.raises(ValueError, match="SGD: nesterov needs a momentum above 0"):
        SGD([{"params": [p], "momentum": 0.9}, {"params": [q]}], nesterov=True)


def test_groups_are_not_the_callers():
    group = {"params": iter([Parameter(np.ones(2))]), "lr": 0.5}
    optimizer = SGD([group])
    optimizer.lr = 7.0
    assert group["lr"] == 0.5


def test_states_keep_groups(tmp_path):
    optimizer, *_ = two(Adam, lr=0.5, betas=(0.5, 0.5), amsgrad=True)
    optimizer.step()
    other, *_ = two(Adam)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert str(other.state_dict()) == str(optimizer.state_dict())
    save_checkpoint(tmp_path / "c", optimizer=optimizer)
    third, *_ = two(Adam)
    load_checkpoint(tmp_path / "c", optimizer=third)
    assert str(third.state_dict()) == str(optimizer.state_dict())
    assert third.param_groups[1]["betas"] == (0.5, 0.5)
    state = optimizer.state_dict()
    for wrong, message in [
        (
            Adam([Parameter(np.ones(2)), Parameter(np.ones(3))]),
            r"groups of \[1, 1\] parameters; expected \[2\], in order",
        ),
        (Adam([{"params": [Parameter(np.ones(2)), Parameter(np.ones(3))]}, {"params": []}]), r"expected \[2, 0\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong.load_state_dict(state)
    with pytest.raises(ValueError, match=r"Adam: the state has groups of \[2\] parameters; expected \[1, 1\]"):
        other.load_state_dict(Adam(optimizer.parameters).state_dict())
    with pytest.raises(ValueError, match="the state's settings do not fit"):
        other.load_state_dict({**state, "settings": [{"params": [0]}, {"params": [1]}]})


def test_schedules_change_the_rate_of_each_group():
    optimizer, *_ = two(lr=0.4)
    schedule = Warmup(optimizer, 3)
    rates = lambda: [group["lr"] for group in optimizer.param_groups]
    assert rates() == pytest.approx([0.025, 0.1])
    schedule.step()
    assert rates() == pytest.approx([0.05, 0.2])
    state = schedule.state_dict()
    assert state == {"epoch": 1, "base_lr": [0.1, 0.4]}
    schedule.step()
    schedule.load_state_dict(state)
    schedule.step()
    assert rates() == pytest.approx([0.075, 0.3])
    for wrong in (
        {"epoch": 1, "base_lr": 0.1},
        {"epoch": 1, "base_lr": [0.1]},
        {"epoch": [1, 2], "base_lr": [1.0, 2.0]},
    ):
        with pytest.raises(ValueError, match="Warmup: the state's .* is .*; expected"):
            schedule.load_state_dict(wrong)
    assert schedule.state_dict() == {"epoch": 2, "base_lr": [0.1, 0.4]}
    optimizer, *_ = two(lr=0.4)
    plateau = ReduceOnPlateau(optimizer, gamma=0.5, patience=0, floor=0.06)
    for metric in (1.0, 1.0):
        plateau.step(metric)
    assert rates() == [0.06, 0.2]


def test_a_schedule_that_leaves_the_range_changes_nothing():
    class Down(Exponential):
        def factor(self, epoch):
            return 1.0 - epoch

    optimizer, *_ = two()
    schedule = Down(optimizer, 1.0)
    schedule.step()
    with pytest.raises(ValueError, match="SGD: lr is -0.1; expected a finite number, at least 0"):
        schedule.step()
    assert (schedule.epoch, optimizer.lr) == (1, 0.0)


def test_a_subclass_has_groups_of_its_own_settings():
    class Signs(Optimizer):
        settings = ("lr", "shrink")

        def __init__(self, parameters, lr=0.1, shrink=1.0):
            super().__init__(parameters, lr)
            self.shrink = shrink

        def update(self, data, gradient, slots, step):
            return self.shrink * data - self.lr * np.sign(gradient), slots

    p, q = Parameter(np.ones(2)), Parameter(np.ones(2))
    optimizer = Signs([{"params": [p]}, {"params": [q], "lr": 0.5}], shrink=0.5)
    p.grad = q.grad = Tensor(np.ones(2))
    optimizer.step()
    assert (p.data.tolist(), q.data.tolist()) == ([0.4] * 2, [0.0] * 2)
    other = Signs([{"params": [p]}, {"params": [q]}])
    other.load_state_dict(optimizer.state_dict())
    assert (other.shrink, other.param_groups[1]["lr"]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="Signs: group 0 has shrink; expected params, lr"):
        Signs([{"params": [p], "shrink": 2.0}])  # it declared no Setting, so a group cannot have its own


def test_fit_continues_with_groups_to_the_same_bits(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 2))

    def trained(epochs, resume=None):
        model = nn.Sequential(nn.Linear(2, 3, dtype="float64", rng=0), nn.Linear(3, 1, dtype="float64", rng=0))
        first, second = [list(layer.parameters()) for layer in (model[0], model[1])]
        optimizer = AdamW([{"params": first}, {"params": second, "lr": 0.1, "amsgrad": True}], lr=0.01)
        fit(
            model,
            Batches(x, batch_size=5),
            lambda m, batch: mse(m(batch[0]), batch[0][:, :1]),
            optimizer,
            epochs=epochs,
            schedule=Exponential(optimizer, 0.5),
            callbacks=[Checkpoint(tmp_path / "c")],
            resume=resume,
            progress=False,
        )
        return [p.data for p in model.parameters()]

    whole = trained(4)
    trained(2)
    for found, expected in zip(trained(4, tmp_path / "c"), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "name"), [(SGD, "nesterov"), (Adam, "amsgrad"), (AdamW, "amsgrad"), (RMSprop, "centered")]
)
def test_a_flag_is_true_or_false_and_no_word(kind, name):
    p = Parameter(np.zeros(2))
    for group in ([p], [{"params": [p], name: "false"}]):
        given = {} if isinstance(group[0], dict) else {name: "false"}
        with pytest.raises(ValueError, match=f"{kind.__name__}: {name} is 'false'; expected True or False"):
            kind(group, lr=0.1, **given)
    assert getattr(kind([p], lr=0.1, **{name: np.False_}), name) is False


def test_groups_take_no_more_parameters_which_would_not_be_moved():
    one, other = Parameter(np.ones(2)), Parameter(np.ones(2))
    optimizer = SGD([{"params": [one]}, {"params": []}], lr=0.1)
    for grow in (
        lambda: optimizer.param_groups[0]["params"].append(other),
        lambda: optimizer.param_groups.append({"params": [other]}),
    ):
        with pytest.raises(AttributeError, match="tuple"):
            grow()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", -1.0, "SGD: lr is -1.0; expected a finite number, at least 0"),
        ("lr", "0.1", "SGD: lr is '0.1'; expected a finite number"),
        ("lr", Tensor(np.array(0.1)), "SGD: lr is .*; expected a finite number"),
        ("nesterov", "no", "SGD: nesterov is 'no'; expected True or False"),
        ("weigth_decay", 0.1, "SGD: a group was given 'weigth_decay'; expected one of lr, momentum"),
        ("params", [], "SGD: a group was given 'params'; expected one of lr"),
    ],
)
def test_what_is_assigned_to_a_group_is_checked(name, value, message):
    optimizer = SGD([Parameter(np.ones(2))], lr=0.1, momentum=0.5)
    for group in (optimizer.param_groups[0], copy.deepcopy(optimizer).param_groups[0]):
        before = dict(group)
        for assign in (group.__setitem__, lambda n, v, g=group: g.update({"lr": 0.2, n: v})):
            with pytest.raises(ValueError, match=message):
                assign(name, value)
        with pytest.raises(ValueError, match=message):
            group |= {name: value}
        assert group == before


def test_a_rate_of_numpy_is_a_number():
    """As of a schedule by hand: its dtype would widen parameters."""
    p = Parameter(np.ones(2, "float32"))
    optimizer = pickle.loads(pickle.dumps(SGD([p], lr=0.1)))
    optimizer.param_groups[0]["lr"] = 0.5 * np.cos(0.0)
    assert type(optimizer.param_groups[0]["lr"]) is float
    (moved,) = optimizer.parameters
    moved.grad = Tensor(np.ones(2, "float32"))
    optimizer.step()
    assert (moved.dtype, moved.data.tolist()) == (np.float32, [0.5, 0.5])
