"""Schedules: the rate of each epoch, in closed form and like PyTorch's."""

import math

import pytest

from xprnn import Parameter
from xprnn.train import SGD, Cosine, Exponential, ReduceOnPlateau, Schedule, StepDecay, Warmup


def optimizer(lr=1.0):
    return SGD([Parameter([1.0])], lr=lr)


def rates(schedule, epochs):
    found = []
    for _ in range(epochs):
        found.append(schedule.optimizer.lr)
        schedule.step()
    return found


def test_closed_forms():
    assert rates(Schedule(optimizer(0.5)), 2) == [0.5, 0.5]
    assert rates(StepDecay(optimizer(), every=2, gamma=0.5), 5) == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert rates(Exponential(optimizer(2.0), 0.5), 3) == [2.0, 1.0, 0.5]
    assert rates(Warmup(optimizer(), 3), 5) == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates(Cosine(optimizer(2.0), total=2, floor=0.1), 4) == pytest.approx([2.0, 1.1, 0.2, 0.2])
    assert rates(Cosine(optimizer(), total=4, warmup=2), 5) == pytest.approx([1 / 3, 2 / 3, 1.0, 0.5, 0.0])


def test_plateau():
    schedule = ReduceOnPlateau(optimizer(), gamma=0.5, patience=1, min_delta=0.1, floor=0.2)
    found = []
    for metric in (1.0, 0.95, math.nan, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5):
        schedule.step(metric)
        found.append(schedule.optimizer.lr)
    assert found == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
    with pytest.raises(ValueError, match="ReduceOnPlateau: step needs the metric"):
        schedule.step()


def test_like_pytorch():
    torch = pytest.importorskip("torch")
    library = torch.optim.lr_scheduler
    for ours, theirs in [
        (StepDecay(optimizer(0.3), 3, 0.2), lambda o: library.StepLR(o, 3, 0.2)),
        (Exponential(optimizer(0.3), 0.8), lambda o: library.ExponentialLR(o, 0.8)),
    ]:
        oracle = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        scheduler = theirs(oracle)
        for _ in range(8):
            assert ours.optimizer.lr == pytest.approx(oracle.param_groups[0]["lr"], rel=1e-14)
            oracle.step()
            scheduler.step()
            ours.step()


def test_state_continues():
    first = ReduceOnPlateau(optimizer(), patience=2)
    first.step(1.0)
    first.step(2.0)
    second = ReduceOnPlateau(optimizer(), patience=2)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == {"epoch": 2, "base_lr": 1.0, "best": 1.0, "waited": 1}
    with pytest.raises(ValueError, match=r"Warmup: the state has \['base_lr', 'best', 'epoch', 'waited'\]; expected"):
        Warmup(optimizer(), 2).load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="ReduceOnPlateau: the state's best is 'low'; expected a number"):
        second.load_state_dict({**first.state_dict(), "best": "low"})
    assert second.state_dict() == first.state_dict()


def test_several_schedules_of_one_optimizer_multiply():
    torch = pytest.importorskip("torch")
    library, ours = torch.optim.lr_scheduler, optimizer(0.3)
    oracle = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    mine = [Exponential(ours, 0.8), StepDecay(ours, 2, 0.5), Warmup(ours, 3)]
    theirs = [
        library.ExponentialLR(oracle, 0.8),
        library.StepLR(oracle, 2, 0.5),
        library.LinearLR(oracle, 0.25, 1.0, 3),
    ]
    for _ in range(6):
        assert ours.lr == pytest.approx(oracle.param_groups[0]["lr"], rel=1e-14)
        oracle.step()
        for schedule in (*mine, *theirs):
            schedule.step()


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_several_schedules_go_on_from_their_states(optimizer_first):
    def made():
        o = optimizer()
        return o, Warmup(o, 4), Exponential(o, 0.5)

    def steps(schedules, count):
        for _ in range(count):
            for schedule in schedules:
                schedule.step()

    first, *schedules = made()
    steps(schedules, 2)
    states = [part.state_dict() for part in (first, *schedules)]
    second, *resumed = made()
    order = list(zip((second, *resumed), states, strict=True))
    for part, state in order if optimizer_first else reversed(order):
        part.load_state_dict(state)
    assert second.lr == first.lr
    steps(schedules, 2)
    steps(resumed, 2)
    assert second.lr == first.lr == pytest.approx(0.5**4)


def test_a_rate_that_somebody_set_is_gone_on_from():
    schedule = Exponential(optimizer(), 0.5)
    schedule.optimizer.lr = 10.0
    assert rates(schedule, 3) == [10.0, 5.0, 2.5]
    schedule = Exponential(optimizer(), 0.5)
    plateau = ReduceOnPlateau(schedule.optimizer, gamma=0.1, patience=0)
    plateau.step(1.0)
    plateau.step(1.0)
    assert rates(schedule, 2) == [0.1, 0.05]
    ended = Cosine(optimizer(), total=1)
    assert rates(ended, 3) == [1.0, 0.0, 0.0]
    ended.optimizer.lr = 1.0
    assert rates(ended, 2) == [1.0, 0.0]


def test_a_state_alone_gives_its_rate_at_once():
    first = Exponential(optimizer(), 0.5)
    rates(first, 3)
    second = Exponential(optimizer(), 0.5)
    second.load_state_dict(first.state_dict())
    assert rates(second, 2) == [0.125, 0.0625]


def test_a_rate_beyond_all_numbers_is_refused_and_a_metric_is_a_number():
    schedule = Exponential(optimizer(), 1e200)
    schedule.step()
    with pytest.raises(ValueError, match="Exponential: epoch 2 has no learning rate"):
        schedule.step()
    assert (schedule.epoch, schedule.optimizer.lr) == (1, 1e200)
    plateau = ReduceOnPlateau(optimizer())
    plateau.step(Parameter(2.0))
    for metric in ("low", [1.0], None):
        with pytest.raises(ValueError, match="ReduceOnPlateau: step needs the metric .* as a number; it came as"):
            plateau.step(metric)
    assert (plateau.epoch, plateau.best) == (1, 2.0)


def test_errors_leave_the_rate_alone():
    o = optimizer()
    for make, message in [
        (lambda: StepDecay(o, 0), "StepDecay: every is 0; expected an integer of at least 1"),
        (lambda: StepDecay(o, 1, gamma=0.0), "StepDecay: gamma is 0.0; expected a number above 0"),
        (lambda: Exponential(o, math.nan), "Exponential: gamma is nan"),
        (lambda: Warmup(o, 2.5), "Warmup: epochs is 2.5; expected an integer"),
        (lambda: Cosine(o, total=3, warmup=3), "Cosine: total is 3; expected an integer of at least 4"),
        (lambda: Cosine(o, total=3, floor=2.0), "Cosine: floor is 2.0; expected a fraction"),
        (lambda: ReduceOnPlateau(o, patience=-1), "ReduceOnPlateau: patience is -1"),
        (lambda: ReduceOnPlateau(o, min_delta=-0.1), "ReduceOnPlateau: min_delta is -0.1; expected a number of at"),
        (lambda: ReduceOnPlateau(o, floor="low"), "ReduceOnPlateau: floor is 'low'; expected a number of at least 0"),
        (lambda: ReduceOnPlateau(o, floor=math.nan), "ReduceOnPlateau: floor is nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
    assert o.lr == 1.0
