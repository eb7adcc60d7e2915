"""Optimizers: trajectories like PyTorch's, closed forms, states, and steps that fail as a whole."""

import numpy as np
import pytest
from helpers import exported

from xprnn import Parameter, Tensor, nn, train
from xprnn.backend import get_backend
from xprnn.train import SGD, Adadelta, Adagrad, Adam, AdamW, Exponential, RAdam, RMSprop, StepDecay, clip_grad_norm

VARIANTS = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (Adam, {"lr": 0.02}),
    (Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    (AdamW, {"lr": 0.02}),
    (AdamW, {"lr": 0.02, "weight_decay": 0.2}),
    (RMSprop, {"lr": 0.01}),
    (RMSprop, {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1}),
    (RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.5}),
    (Adagrad, {"lr": 0.1}),
    (Adagrad, {"lr": 0.1, "lr_decay": 0.3, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    (Adadelta, {"lr": 1.0}),
    (Adadelta, {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    (RAdam, {"lr": 0.02}),  # whose sixth step is the first with a variance
    (RAdam, {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    (RAdam, {"lr": 0.02, "eps": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": True}),
]
variants = pytest.mark.parametrize(("kind", "settings"), VARIANTS, ids=lambda value: str(value))


def test_every_optimizer_is_asked():
    missing = {*exported(train, train.Optimizer)} - {kind for kind, _ in VARIANTS}
    assert not missing, "give these rows in VARIANTS"


def parameters(home, dtype="float64"):
    rng = np.random.default_rng(3)
    return [Parameter(home.asarray(rng.normal(size=shape), dtype)) for shape in ((2, 3), (4,), ())]


def give_gradients(params, step, skip=()):
    """The gradients of sum(w**2 / 2) + noise, the same in every call."""
    rng = np.random.default_rng(step)
    for k, p in enumerate(params):
        noise = np.asarray(rng.normal(size=p.shape)).astype(str(p.dtype).rsplit(".", 1)[-1])
        p.grad = None if k in skip else Tensor(p.data + type_like(noise, p.data))


def type_like(values, array):
    from xprnn.backend import backend_of

    return backend_of(array).asarray(values)


def run(optimizer, steps, first=0):
    for step in range(first, first + steps):
        give_gradients(optimizer.parameters, step, skip=(1,) if step == 2 else ())
        optimizer.step()
    return [p.numpy().copy() for p in optimizer.parameters]


@variants
def test_like_pytorch(kind, settings):
    torch = pytest.importorskip("torch")
    ours = kind(parameters(get_backend("numpy")), **settings)
    theirs = [torch.tensor(p.numpy().copy(), requires_grad=True) for p in ours.parameters]
    oracle = getattr(torch.optim, kind.__name__)(theirs, **settings)
    for step in range(10):
        give_gradients(ours.parameters, step, skip=(1,) if step == 2 else ())
        for p, t in zip(ours.parameters, theirs, strict=True):
            t.grad = None if p.grad is None else torch.tensor(p.grad.numpy().copy())
        ours.step()
        oracle.step()
        for p, t in zip(ours.parameters, theirs, strict=True):
            np.testing.assert_allclose(p.numpy(), t.detach().numpy(), rtol=1e-12, atol=1e-12)


@variants
def test_any_library_same_trajectory(home, kind, settings):
    expected = run(kind(parameters(get_backend("numpy")), **settings), 5)
    for found, right in zip(run(kind(parameters(home), **settings), 5), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-14)


def one_step(kind, gradient=2.0, start=1.0, **settings):
    p = Parameter(np.array([start]))
    optimizer = kind([p], **settings)
    values = []
    for _ in range(2):
        p.grad = Tensor(np.array([gradient]))
        optimizer.step()
        values.append(float(p.data[0]))
    return values


def test_closed_forms():
    assert one_step(SGD, lr=0.1) == pytest.approx([0.8, 0.6])
    assert one_step(SGD, lr=0.1, momentum=0.5) == pytest.approx([0.8, 0.5])
    assert one_step(SGD, lr=0.1, momentum=0.5, nesterov=True) == pytest.approx([0.7, 0.35])
    assert one_step(SGD, lr=0.1, weight_decay=1.0) == pytest.approx([0.7, 0.43])
    # With a constant gradient the corrected moments are g and g^2, so each step is lr long.
    assert one_step(Adam, lr=0.1) == pytest.approx([0.9, 0.8], abs=1e-7)
    assert one_step(AdamW, lr=0.1, weight_decay=1.0) == pytest.approx([0.8, 0.62], abs=1e-7)
    assert one_step(RMSprop, lr=0.1, alpha=0.75, eps=0.0)[0] == pytest.approx(0.8)
    # sqrt(4), then sqrt(8), of which half the rate is taken; sqrt(4 + 12) where 12 were there before.
    assert one_step(Adagrad, lr=0.1, eps=0.0, lr_decay=1.0) == pytest.approx([0.9, 0.9 - 0.1 / 8**0.5])
    assert one_step(Adagrad, lr=0.1, eps=0.0, initial_accumulator_value=12.0)[0] == pytest.approx(0.95)
    # u is 0 at first, so that the step is lr sqrt(eps / (v + eps)) g.
    assert one_step(Adadelta, lr=0.5, rho=0.25, eps=1.0)[0] == pytest.approx(0.5)
    assert one_step(RAdam, lr=0.1) == pytest.approx([0.8, 0.6])


def test_centered_variance_never_goes_below_zero():
    constant = np.random.default_rng(0).random(200)  # mean of squares - square of mean is 0, give or take a rounding
    p = Parameter(np.zeros(200))
    optimizer = RMSprop([p], centered=True, alpha=0.5)
    for _ in range(60):
        p.grad = Tensor(constant)
        optimizer.step()
    assert np.isfinite(p.data).all()


@variants
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_old_arrays_survive(home, kind, settings, dtype):
    optimizer = kind(parameters(home, dtype), **settings)
    old = [(p.data, p.numpy().copy(), p.version) for p in optimizer.parameters]
    run(optimizer, 2)
    for p, (data, values, version) in zip(optimizer.parameters, old, strict=True):
        assert p.dtype == data.dtype
        assert type(p.data) is type(data)
        assert p.version == version + 2
        np.testing.assert_array_equal(Tensor(data).numpy(), values)


@variants
def test_state_continues_with_the_same_bits(home, kind, settings):
    whole = run(kind(parameters(home), **settings), 6)
    first = kind(parameters(home), **settings)
    run(first, 3)
    state = first.state_dict()
    second = kind([Parameter(p.data) for p in first.parameters], lr=7.0)
    second.load_state_dict(state)
    assert second.lr == settings["lr"]
    for found, right in zip(run(second, 3, first=3), whole, strict=True):
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [(SGD, "momentum", (0.0, 0.9)), (Adam, "amsgrad", (False, True)), (RMSprop, "centered", (True, False))],
)
def test_a_state_is_of_the_settings_that_it_says(home, kind, name, values):
    """What is kept for another setting, and what is not yet kept for this one, is no part of it."""
    for first, then in (values, values[::-1]):
        optimizer = kind(parameters(home), lr=0.1, **{name: first})
        run(optimizer, 2)
        setattr(optimizer, name, then)
        again = kind([Parameter(p.data) for p in optimizer.parameters], lr=0.1)
        again.load_state_dict(optimizer.state_dict())
        for found, right in zip(run(again, 3, first=2), run(optimizer, 3, first=2), strict=True):
            np.testing.assert_array_equal(found, right)


def test_a_state_is_loaded_while_all_is_frozen():
    optimizer = Adam(parameters(get_backend("numpy")), lr=0.5)
    run(optimizer, 1)
    state, before = optimizer.state_dict(), optimizer.param_groups[0]["params"]
    for p in before:
        p.requires_grad = False
    optimizer.lr = 0.1
    optimizer.load_state_dict(state)
    assert optimizer.lr == 0.5
    assert all(a is b for a, b in zip(optimizer.param_groups[0]["params"], before, strict=True))


def test_bad_states_are_refused_whole():
    optimizer = Adam(parameters(get_backend("numpy")), lr=0.5)
    run(optimizer, 1)
    good = optimizer.state_dict()

    def entry(**changes):
        return {**good, "parameters": {"0": {**good["parameters"]["0"], **changes}}}

    bad = [
        (SGD([Parameter([1.0])]).state_dict(), "Adam: the state is of SGD; expected Adam"),
        ({}, r"Adam: the state has \[\]; expected"),
        ({**good, "settings": {"lr": -1.0}}, "Adam: the state's settings do not fit: Adam: lr is -1.0"),
        ({**good, "settings": {"speed": 1.0}}, "Adam: the state's settings do not fit"),
        ({**good, "parameters": {"9": {}}}, "Adam: the state has parameter '9'; expected 0 to 2"),
        (
            {**good, "parameters": {"0": {"step": 1}}},
            r"parameter 0: the state has \['step'\]; expected \['mean', 'square', 'step'\]",
        ),
        (entry(step=0), "parameter 0: step is 0; expected an integer of at least 1"),
        (entry(mean=np.zeros(5)), r"parameter 0 has mean of shape \(5,\); expected \(2, 3\)"),
    ]
    for state, message in bad:
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict({**state, "settings": state.get("settings", {})} if state else state)
    assert optimizer.lr == 0.5
    for name, slots in good["parameters"].items():
        for key, array in slots.items():
            np.testing.assert_array_equal(optimizer.state_dict()["parameters"][name][key], array)


def test_a_failing_step_changes_nothing():
    optimizer = Adam(parameters(get_backend("numpy")), lr=0.5)
    run(optimizer, 1)
    before, state = [p.data for p in optimizer.parameters], optimizer.state_dict()
    p = optimizer.parameters[1]
    strict = get_backend("array_api_strict")
    for gradient, error, message in [
        (
            Tensor(np.zeros((4, 1))),
            ValueError,
            r"Adam: the gradient of parameter 1 has shape \(4, 1\); expected \(4,\)",
        ),
        (
            Tensor(np.zeros(4, dtype=np.float32)),
            TypeError,
            "gradient of parameter 1 has dtype float32; expected float64",
        ),
        (np.zeros(4), TypeError, "gradient of parameter 1 is a ndarray; expected a Tensor"),
        (
            Tensor(strict.zeros((4,), "float64")),
            TypeError,
            "parameter 1 is .* but Adam: the gradient of parameter 1 is",
        ),
    ]:
        give_gradients(optimizer.parameters, 0)
        p.grad = gradient
        with pytest.raises(error, match=message):
            optimizer.step()
    assert all(p.data is array for p, array in zip(optimizer.parameters, before, strict=True))
    after = optimizer.state_dict()["parameters"]
    for k, slots in state["parameters"].items():
        assert after[k]["step"] == 1
        assert np.shares_memory(after[k]["mean"], slots["mean"])  # neither written to nor replaced


def test_slots_follow_a_module_that_moves():
    model = nn.Linear(3, 2, dtype="float64", rng=0)
    optimizer = Adam(model.parameters(), lr=0.1)
    expected = nn.Linear(3, 2, dtype="float64", rng=0)
    staying = Adam(expected.parameters(), lr=0.1)
    run(optimizer, 3)
    model.to("array_api_strict")
    run(optimizer, 3, first=3)
    for found, right in zip(model.parameters(), [Tensor(a) for a in run(staying, 6)], strict=True):
        np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-14)


@variants
def test_a_step_that_is_not_allowed_moves_nothing(home, kind, settings):
    optimizer, expected = (kind(parameters(home), **settings) for _ in range(2))
    yes, no = (home.asarray(np.array(allowed)) for allowed in (True, False))
    for first, allowed in enumerate((no, yes, no, no, yes)):
        before, counts = [p.numpy().copy() for p in optimizer.parameters], optimizer.counts
        give_gradients(optimizer.parameters, first)
        optimizer.step(where=allowed)
        assert optimizer.counts == [n + 1 for n in counts]
        if allowed is no:
            for p, values in zip(optimizer.parameters, before, strict=True):
                np.testing.assert_array_equal(p.numpy(), values)
            optimizer.counts = counts
            continue
        give_gradients(expected.parameters, first)
        expected.step()
    for p, right in zip(optimizer.parameters, expected.parameters, strict=True):
        np.testing.assert_array_equal(p.numpy(), right.numpy())
    found, right = (each.state_dict()["parameters"] for each in (optimizer, expected))
    for name, slots in right.items():
        for key, value in slots.items():
            np.testing.assert_array_equal(*(Tensor(v).numpy() for v in (found[name][key], value)))


@pytest.mark.parametrize("where", [np.array([True]), np.array(1.0), np.array([[True, False]])])
def test_a_wrong_where_changes_nothing(where):
    optimizer = SGD([Parameter(np.ones(2)), Parameter(np.ones(()))], 0.5, momentum=0.9)
    give_gradients(optimizer.parameters, 0)
    with pytest.raises(ValueError, match="SGD: where has shape .* and dtype .*; expected a boolean without axes"):
        optimizer.step(where=where)
    assert optimizer.counts == [0, 0]
    assert [p.data.tolist() for p in optimizer.parameters] == [[1.0, 1.0], 1.0]


@pytest.mark.parametrize(
    ("counts", "message"), [([1], "counts has 1 numbers; expected 3"), ([1, -1, 2], "counts.1. is")]
)
def test_wrong_counts_change_nothing(counts, message):
    optimizer = SGD(parameters(get_backend("numpy")))
    with pytest.raises(ValueError, match=f"SGD: {message}"):
        optimizer.counts = counts
    assert optimizer.counts == [0, 0, 0]


def test_zero_grad():
    optimizer = SGD(parameters(get_backend("numpy")))
    give_gradients(optimizer.parameters, 0)
    optimizer.zero_grad()
    assert all(p.grad is None for p in optimizer.parameters)
    assert repr(optimizer) == "SGD(3 parameters, lr=0.001, momentum=0.0, nesterov=False, weight_decay=0.0)"


def test_constructor_errors():
    p = Parameter([1.0])
    for make, error, message in [
        (lambda: SGD([]), ValueError, "SGD: no parameters"),
        (lambda: SGD([p, p]), ValueError, "SGD: a parameter was given twice"),
        (lambda: SGD([np.zeros(2)]), TypeError, "SGD: parameter 0 is a ndarray; expected a Parameter"),
        (lambda: SGD([p, p * 2.0]), TypeError, "SGD: parameter 1 is a Tensor"),
        (lambda: SGD([p], lr=-0.1), ValueError, "SGD: lr is -0.1; expected a finite number, at least 0"),
        (lambda: SGD([p], lr=float("nan")), ValueError, "SGD: lr is nan"),
        (lambda: SGD([p], nesterov=True), ValueError, "SGD: nesterov needs a momentum"),
        (lambda: Adam([p], betas=0.9), ValueError, "Adam: betas is 0.9; expected two numbers"),
        (lambda: AdamW([p], betas=(0.9, 1.0)), ValueError, r"AdamW: betas\[1\] is 1.0; expected a number below 1"),
        (lambda: RMSprop([p], eps="small"), ValueError, "RMSprop: eps is 'small'"),
    ]:
        with pytest.raises(error, match=message):
            make()


def test_frozen_parameters_stay_as_they_are():
    frozen, moving = Parameter(np.ones(2), requires_grad=False), Parameter(np.ones(2))
    optimizer = SGD([frozen, moving], 0.5, momentum=0.9)
    moving.grad = frozen.grad = Tensor(np.ones(2))
    optimizer.step()
    assert (frozen.data.tolist(), moving.data.tolist()) == ([1.0, 1.0], [0.5, 0.5])
    with pytest.raises(ValueError, match="SGD: no parameter requires a gradient"):
        SGD([frozen], 0.5)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.int64])
def test_numbers_of_numpy_do_not_widen(number):
    p = Parameter(np.ones(2, "float32"))
    optimizer = Adam([p], lr=number(1))
    schedule = Exponential(optimizer, gamma=number(1))
    for _ in range(2):
        p.grad = Tensor(np.ones(2, "float32"))
        clip_grad_norm([p], number(1))
        optimizer.step()
        schedule.step()
        optimizer.lr = number(1)
    assert p.dtype == p.grad.dtype == np.float32
    assert type(optimizer.lr) is float
    assert StepDecay(optimizer, every=np.int64(2)).every == 2
    with pytest.raises(ValueError, match="Adam: lr is -1; expected a finite number, at least 0"):
        optimizer.lr = -1
