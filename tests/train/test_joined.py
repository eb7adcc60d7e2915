"""Small parameters moved as one array: the same bits as one by one, for each optimizer that says it may be so."""

import copy

import numpy as np
import pytest
from helpers import exported
from hypothesis import given
from hypothesis import strategies as st

from xprnn import Parameter, Tensor, host_kernels, train, use_kernels
from xprnn.backend import get_backend
from xprnn.train import SGD, Adam, AdamW, RMSprop
from xprnn.train.optimizer import SMALL, Optimizer

DRAWN = {
    SGD: st.fixed_dictionaries({"momentum": st.sampled_from([0.0, 0.9]), "weight_decay": st.sampled_from([0.0, 0.1])}),
    Adam: st.fixed_dictionaries({"weight_decay": st.sampled_from([0.0, 0.1]), "amsgrad": st.booleans()}),
    AdamW: st.fixed_dictionaries({"weight_decay": st.sampled_from([0.0, 0.1]), "amsgrad": st.booleans()}),
    RMSprop: st.fixed_dictionaries({"momentum": st.sampled_from([0.0, 0.9]), "centered": st.booleans()}),
}
KINDS = {kind: DRAWN.get(kind, st.just({})) for kind in exported(train, Optimizer) if kind.elementwise}
SHAPES = ((), (3,), (5, 7), (2, 0), (1, 33), (SMALL + 1,))


def one_by_one(kind):
    """The same optimizer, derived, which declares nothing."""
    return type(kind.__name__, (kind,), {})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_as_one_by_one(kind, data):
    settings, seed = data.draw(KINDS[kind]), data.draw(st.integers(0, 2**32 - 1))
    shapes = data.draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=6))
    dtypes = [data.draw(st.sampled_from(["float32", "float64"])) for _ in shapes]
    in_first = [data.draw(st.booleans()) for _ in shapes]
    without = [data.draw(st.sets(st.integers(0, len(shapes) - 1))) for _ in range(3)]

    def trained(make):
        draws = np.random.default_rng(seed)
        params = [Parameter(draws.normal(size=s).astype(d)) for s, d in zip(shapes, dtypes, strict=True)]
        groups = [[p for p, first in zip(params, in_first, strict=True) if first is which] for which in (True, False)]
        given_groups = [{"params": some, "lr": 0.1 * (k + 1)} for k, some in enumerate(groups) if some]
        optimizer = make(given_groups, **settings)
        for skipped in without:
            for k, (p, d) in enumerate(zip(params, dtypes, strict=True)):
                gradient = draws.normal(size=p.shape).astype(d)
                p.grad = None if k in skipped else Tensor(gradient)
            optimizer.step(where=np.asarray(draws.random() < 0.8))
        return [p.data for p in params], optimizer.state_dict()

    (found, state), (expected, right) = trained(kind), trained(one_by_one(kind))
    for a, b in zip(found, expected, strict=True):
        assert (a.tobytes(), a.shape, a.dtype) == (b.tobytes(), b.shape, b.dtype)
    assert state["parameters"].keys() == right["parameters"].keys()
    for k, slots in state["parameters"].items():
        for name, array in slots.items():
            assert np.asarray(array).tobytes() == np.asarray(right["parameters"][k][name]).tobytes()


def seen_by(make, home):
    """The shapes that update is given, of three parameters of which one is large."""
    shapes = []

    class Seeing(make):
        elementwise = make.elementwise

        def update(self, data, gradient, slots, step):
            shapes.append(tuple(data.shape))
            return super().update(data, gradient, slots, step)

    params = [Parameter(home.asarray(np.ones(shape))) for shape in ((2, 3), (SMALL + 1,), (4,))]
    for p in params:
        p.grad = Tensor(p.data)
    Seeing(params, lr=0.1).step()
    return shapes


def test_what_comes_to_update(home):
    assert seen_by(SGD, home) == [(10,), (SMALL + 1,)]


class Normed(Adam):
    """A step whose length is the parameter's: no number is moved by itself."""

    def update(self, data, gradient, slots, step):
        return data - self.lr * np.linalg.norm(data) * gradient, slots


def test_a_class_that_does_not_say_so_is_given_one_parameter_at_a_time():
    assert not Optimizer.elementwise
    params = [Parameter(np.full(3, 2.0)), Parameter(np.full(4, 1.0))]
    for p in params:
        p.grad = Tensor(np.ones(p.shape))
    Normed(params, lr=0.5).step()
    np.testing.assert_allclose(params[0].data, 2.0 - 0.5 * np.sqrt(12.0))
    np.testing.assert_allclose(params[1].data, 0.0)


def test_parameters_of_several_libraries():
    homes = get_backend("numpy"), get_backend("array_api_strict"), get_backend("numpy")
    params = [Parameter(home.asarray(np.ones(3))) for home in homes]
    for p in params:
        p.grad = Tensor(p.data)
    SGD(params, lr=0.5).step()
    assert [type(p.data).__name__ for p in params] == ["ndarray", "Array", "ndarray"]
    assert all(p.numpy().tolist() == [0.5] * 3 for p in params)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_one_pass_has_the_bits_of_arrays(kind, dtype):
    """The compiled update of all numbers, which takes over where kernels are loaded; and what is copied in between."""
    pytest.importorskip("numba")
    host_kernels.kernels()

    def trained(kernels):
        draws = np.random.default_rng(0)
        params = [Parameter(draws.normal(size=shape).astype(dtype)) for shape in ((), (5, 7), (2, 0), (5000,))]
        optimizer = kind(params, weight_decay=0.1)
        with use_kernels(kernels):
            for step in range(4):
                for p in params:
                    spread = 10.0 ** draws.integers(-30, 10, size=p.shape)
                    p.grad = Tensor(np.asarray(draws.normal(size=p.shape) * spread, dtype))
                optimizer.step()
                if step == 1:
                    optimizer = copy.deepcopy(optimizer)
                    params = optimizer.parameters
        return [p.data.tobytes() for p in params], optimizer.state_dict()["parameters"]

    (found, state), (expected, right) = trained("auto"), trained("reference")
    assert found == expected
    for k, slots in right.items():
        assert [np.asarray(a).tobytes() for a in state[k].values()] == [np.asarray(a).tobytes() for a in slots.values()]


def test_what_was_written_to_or_assigned_is_seen_by_the_next_step():
    params = [Parameter(np.ones(3)), Parameter(np.ones(2))]
    optimizer = SGD(params, lr=1.0, momentum=0.5)
    for _ in range(2):
        for p in params:
            p.grad = Tensor(np.zeros(p.shape))
        optimizer.step()
        params[0].data[0] = 7.0
        params[1].data = np.full(2, 3.0)
    optimizer.step()
    assert params[0].data.tolist() == [7.0, 1.0, 1.0]
    assert params[1].data.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("shape", [(), (1,), (2,)])
def test_what_is_written_into_data_is_seen(kind, shape):
    written, assigned = (Parameter(np.zeros(shape)) for _ in range(2))
    optimizers = [kind([parameter], lr=0.1) for parameter in (written, assigned)]
    for number in range(3):
        for parameter, optimizer in zip((written, assigned), optimizers, strict=True):
            parameter.grad = Tensor(np.full(shape, 1.0 + number))
            optimizer.step()
        np.testing.assert_array_equal(written.data, assigned.data)
        written.data[...] = 0.25
        assigned.data = np.full(shape, 0.25)


CHANGES = {
    "no gradient": lambda optimizer: setattr(optimizer.parameters[1], "grad", None),
    "frozen": lambda optimizer: setattr(optimizer.parameters[1], "requires_grad", False),
    "other counts": lambda optimizer: setattr(optimizer, "counts", [2, 5, 2]),
    "other data": lambda optimizer: setattr(optimizer.parameters[1], "data", np.full(2, 3.0)),
    "another rate": lambda optimizer: setattr(optimizer, "lr", 0.5),
    "a gradient of other strides": lambda optimizer: setattr(
        optimizer.parameters[2], "grad", Tensor(np.arange(6.0).reshape(3, 2).T)
    ),
}


def stepped(make, times):
    """An optimizer of three parameters after some steps, with gradients for the next one."""
    draws = np.random.default_rng(0)
    optimizer = make([Parameter(draws.normal(size=shape)) for shape in ((3,), (2,), (2, 3))], lr=0.1)
    for number in range(times + 1):
        for parameter in optimizer.parameters:
            parameter.grad = Tensor(draws.normal(size=parameter.shape))
        if number < times:
            optimizer.step()
    return optimizer


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_step_unlike_the_one_before_is_seen(change):
    found = []
    for make in (Adam, one_by_one(Adam)):
        optimizer = stepped(make, 2)
        change(optimizer)
        optimizer.step()
        found.append([p.data.tobytes() for p in optimizer.parameters] + [optimizer.counts])
    assert found[0] == found[1]


WRONG = {
    "turned": (lambda: Tensor(np.ones((3, 2))), ValueError, r"gradient of parameter 2 has shape \(3, 2\)"),
    "of another dtype": (lambda: Tensor(np.ones((2, 3), "float32")), TypeError, "has dtype float32; expected float64"),
    "an array": (lambda: np.ones((2, 3)), TypeError, "is a ndarray; expected a Tensor"),
}


@pytest.mark.parametrize("times", [0, 2])
@pytest.mark.parametrize(("gradient", "error", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_gradient_is_named_at_any_step(times, gradient, error, message):
    optimizer = stepped(Adam, times)
    before, optimizer.parameters[2].grad = [p.data.tobytes() for p in optimizer.parameters], gradient()
    with pytest.raises(error, match=message):
        optimizer.step()
    assert before == [p.data.tobytes() for p in optimizer.parameters]
