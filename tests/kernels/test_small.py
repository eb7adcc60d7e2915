"""Small plain layers in one call each way: the bits of all others, and nothing is taken that does not fit."""

import copy
import pickle
import threading
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import pytest
from helpers import sequence_call

pytest.importorskip("numba")

from xprnn.kernels.cpu import equations, small, threads, ways
from xprnn.kernels.cpu.desk import TAKEN, new_desk
from xprnn.kernels.kinds import TANH

from xprnn import nn, no_grad, use_kernels
from xprnn.backend import get_backend
from xprnn.engine import cpu
from xprnn.nn.module import Parameter
from xprnn.tape import grad
from xprnn.tensor import Tensor

LAYERS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
SIZES = [(1, 1, 3, 5), (2, 2, 9, 16), (9, 1, 1, 17), (9, 1, 4, 8), (30, 40, 1, 20)]  # at once, alone, around


@pytest.fixture
def taken(monkeypatch):
    """The ways of the calls that were small, there and back."""
    ways = []

    def watched(name):
        run = getattr(small, name)

        def call(*given):
            found = run(*given)
            ways.extend([name] * (found is not None))
            return found

        return call

    for name in ("forward", "backward"):
        monkeypatch.setattr(small, name, watched(name))
    return ways


@pytest.fixture
def shared(monkeypatch):
    """Small calls are as large ones, which threads share."""
    monkeypatch.setattr(threads, "SERIAL_BELOW", 1e3)
    monkeypatch.setattr(small, "plan_of", lru_cache(small.plan_of.__wrapped__))  # of such plans nothing is kept


def bits(layer, x, state, flows, need_dx):
    """All that a call gives, there and back, with these cotangents of its output and of its final state."""
    layer.zero_grad()
    given = Tensor(x, requires_grad=need_dx)
    start = [Tensor(part, requires_grad=True) for part in state]
    asked = None if not state else tuple(start) if len(start) > 1 else start[0]
    output, final = layer(given, asked)
    parts = final if isinstance(final, tuple) else (final,)
    sum([(y * g).sum() for y, g in zip((output, *parts), flows, strict=False) if g is not None]).backward()
    with no_grad():
        again, last = layer(given, asked)
    ends = last if isinstance(last, tuple) else (last,)
    leaves = [*layer.parameters(), *start, *[given] * need_dx]
    results = [output, *parts, again, *ends, *[leaf.grad for leaf in leaves if leaf.grad is not None]]
    return [result.data.tobytes() for result in results]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_bits_are_those_of_all_other_calls(name, dtype, taken, monkeypatch):
    draws = np.random.default_rng(0)
    for number, (steps, batch, inputs, hidden) in enumerate(SIZES):
        for reverse in (False, True):
            layer = LAYERS[name](inputs, hidden, bias=number != 1, reverse=reverse, dtype=dtype, rng=0)
            x = draws.standard_normal((steps, batch, inputs)).astype(dtype)
            parts = [draws.standard_normal((1, batch, hidden)).astype(dtype) for _ in layer.state_names]
            output = draws.standard_normal((steps, batch, hidden)).astype(dtype)
            for state, flows, need_dx in (([], (output,), False), (parts, (None, *parts), True), ([], parts, True)):
                flows = (output[::-1], *flows[1:]) if need_dx and flows[0] is not None else flows  # of other strides
                found = bits(layer, x, state, flows, need_dx)
                assert taken == ["forward", "backward", "forward"]
                with monkeypatch.context() as patch:
                    patch.setattr(small, "plan_of", lambda *call: None)
                    assert found == bits(layer, x, state, flows, need_dx)
                assert taken == ["forward", "backward", "forward"]
                taken.clear()


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.usefixtures("shared")
def test_bits_are_those_of_one_thread_where_several_share_a_call(name, dtype, workers, taken, monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda: workers)
    desks, desk_for = [], threads.desk_for
    monkeypatch.setattr(threads, "desk_for", lambda parts: desks.append(parts) or desk_for(parts))
    draws = np.random.default_rng(0)
    for batch, biased, reverse in ((1, True, False), (3, False, False), (16, True, True)):
        layer = LAYERS[name](2, 9, bias=biased, reverse=reverse, dtype=dtype, rng=0)
        x, output = (draws.standard_normal((7, batch, size)).astype(dtype) for size in (2, 9))
        parts = [draws.standard_normal((1, batch, 9)).astype(dtype) for _ in layer.state_names]
        flows = (output, *parts)
        found = bits(layer, x, parts, flows, True)
        kept = 1 if batch > 1 or name == "RNN" else 0  # a sequence that is alone is shared on no way
        back = batch > 1
        assert desks == [min(workers, batch), *[workers] * (back and workers > 1), *[min(workers, batch)] * kept]
        assert taken == ["forward", *["backward"] * back, *["forward"] * kept]
        with monkeypatch.context() as patch:
            patch.setattr(threads, "SERIAL_BELOW", np.inf)
            patch.setattr(small, "plan_of", lambda *call: None)
            assert found == bits(layer, x, parts, flows, True)
        taken.clear()
        desks.clear()


ODD = {
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "of another dtype": lambda a: a.astype("float64"),
    "of another order of bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "shorter": lambda a: a[..., :-1].copy(),
    "with an axis more": lambda a: a[None],
    "turned": lambda a: np.ascontiguousarray(a.T) if len(set(a.shape)) > 1 else a[None],
    "empty": lambda a: a[:0],
}


@pytest.mark.parametrize("name", LAYERS)
def test_arrays_that_do_not_fit_are_declined(name):
    """Each of those that compiled code reads, on either way."""
    cell = LAYERS[name](4, 8).cell
    call = sequence_call(cell, get_backend("numpy"), T=3, B=2, H=8, dtype="float32")
    call = replace(call, keep=True)
    number, weights, state = cpu.number_of(cell), tuple(call.weights.values()), call.state
    given = [*weights, call.x, *state]

    def ahead(arrays):
        w, (x, *parts) = tuple(arrays[: len(weights)]), arrays[len(weights) :]
        return small.forward(number, w, x, tuple(parts), False, True, True)

    sequences, final, saved = ahead(given)
    there = [*weights, call.x, *saved[0].initial, *saved[0].after, saved[0].z, *sequences, *final]

    def back(arrays):
        w, (x, h, c, hs, cs, z, *flows) = arrays[: len(weights)], arrays[len(weights) :]
        kept = saved[0]._replace(initial=(h, c), after=(hs, cs), z=z), None
        names = dict(zip(call.weights, w, strict=True))
        parts = len(state)
        return small.backward(number, names, x, kept, False, tuple(flows[:parts]), tuple(flows[parts:]), True, True)

    assert back(there) is not None
    unread = {2, 3}  # biases, of whose gradients only the shapes are
    for way, arrays, passed in ((ahead, given, set()), (back, there, unread)):
        for k, array in enumerate(arrays):
            for what, odd in ODD.items():
                flow = way is back and k >= len(there) - 2 * len(state)
                if k in passed or array.size == 0 or (flow and what in ("strided", "empty")):
                    continue  # cotangents of other strides are copied, and empty ones are zero
                assert way([*arrays[:k], odd(array), *arrays[k + 1 :]]) is None, (way, k, what)


def test_nothing_is_remembered_of_arrays(taken):
    """Weights that were replaced or written to, other dtypes and sizes: a plan knows sizes alone."""
    layer, x = nn.LSTM(3, 7, rng=0), np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")
    first = layer(x)[0].data.tobytes()
    before = layer.weight_hh_l0.data.copy()
    layer.weight_hh_l0.data[...] *= 2.0
    second = layer(x)[0].data.tobytes()
    layer.weight_hh_l0.data = before
    assert layer(x)[0].data.tobytes() == first != second
    layer.weight_hh_l0 = Parameter(2.0 * before)
    assert layer(x)[0].data.tobytes() == second
    assert taken == ["forward"] * 4
    with pytest.raises(TypeError, match="x has dtype float64"):
        layer(x.astype("float64"))
    layer.weight_hh_l0 = Parameter(before[:, :-1].copy())
    with pytest.raises(ValueError, match="weight_hh_l0 has shape"):
        layer(x)


def test_a_graph_that_is_walked_twice_gives_the_same_twice():
    layer, x = nn.GRU(3, 7, rng=0), np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")
    loss = (layer(x)[0] ** 2).sum()
    loss.backward(retain_graph=True)
    once = [p.grad.data.tobytes() for p in layer.parameters()]
    layer.zero_grad()
    nn.GRU(3, 7)(x)[0].sum().backward()  # in the same scratch memory
    loss.backward()
    assert once == [p.grad.data.tobytes() for p in layer.parameters()]


@pytest.mark.parametrize("most", [1, 3])  # with three for each call, the calls meet at a desk
def test_threads_share_a_layer_and_no_memory(most, request, monkeypatch):
    if most > 1:
        request.getfixturevalue("shared")
        monkeypatch.setattr(threads, "workers", lambda: most)
    layer, draws = nn.LSTM(3, 16, rng=0), np.random.default_rng(0)
    inputs = [draws.standard_normal((12, 4, 3)).astype("float32") for _ in range(4)]

    def gradients(x):
        given = Tensor(x, requires_grad=True)
        y = layer(given)[0]
        (y * y).sum().backward()
        return y.data.tobytes(), given.grad.data.tobytes()

    expected, found = [gradients(x) for x in inputs], {}

    def work(k):
        found[k] = {gradients(inputs[k]) for _ in range(20)}

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [found[k] for k in range(4)] == [{one} for one in expected]


def test_gradients_of_gradients_are_the_references(taken):
    """What is recorded for them is run by primitives, beside the plan."""
    layer, x = nn.LSTM(3, 7, dtype="float64", rng=0), np.random.default_rng(0).standard_normal((4, 5, 3))

    def second():
        given = Tensor(x, requires_grad=True)
        first = grad((layer(given)[0] ** 2).sum(), [given, *layer.parameters()], create_graph=True)
        return grad(sum((d * d).sum() for d in first), [given, *layer.parameters()])

    found = second()
    assert taken == ["forward", "backward"]
    with use_kernels("reference"):
        expected = second()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("way", ["forward", "back"])
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_call_that_is_interrupted_leaves_nothing_behind(way, error, taken, monkeypatch):
    """Before its compiled function and after it: memory of its results, cotangents of others, what is recorded."""
    layer, draws = nn.GRU(3, 7, rng=0), np.random.default_rng(0)
    x, g = (draws.standard_normal(shape).astype("float32") for shape in ((4, 5, 3), (4, 5, 7)))
    expected, plan_of = bits(layer, x, [], (g,), True), small.plan_of
    for after in (False, True):

        def stopped(*call, after=after):
            plan = plan_of(*call)

            def run(*given):
                if after:
                    (plan.forward if way == "forward" else plan.back(False))(*given)
                raise error

            return plan._replace(**{way: run if way == "forward" else lambda shared: run})

        kept = [p.data.tobytes() for p in layer.parameters()]
        with monkeypatch.context() as patch:
            patch.setattr(small, "plan_of", stopped)
            with pytest.raises(error):
                bits(layer, x, [], (g,), True)
        assert kept == [p.data.tobytes() for p in layer.parameters()]
        assert all(p.grad is None for p in layer.parameters())
        assert bits(layer, x, [], (g,), True) == expected
    assert taken[-3:] == ["forward", "backward", "forward"]


@pytest.mark.usefixtures("shared")
def test_no_memory_for_a_part_is_an_error(monkeypatch):
    """Of whoever does it; and the desk is free for the next call."""
    monkeypatch.setattr(threads, "workers", lambda: 2)
    layer, x = nn.LSTM(3, 7, rng=0), np.random.default_rng(0).standard_normal((9, 5, 3)).astype("float32")
    expected, plan_of = layer(x)[0].data.tobytes(), small.plan_of

    def huge(*call):
        """A plan whose rows of z have so many columns that there is no memory for a block of them."""
        plan = plan_of(*call)
        numbers = plan.forward.args[0].copy()
        numbers[[ways.COLUMNS, ways.KEPT]] = 1 << 55, 0
        return plan._replace(forward=partial(plan.forward.func, numbers))

    with monkeypatch.context() as patch, no_grad():
        patch.setattr(small, "plan_of", huge)
        with pytest.raises(MemoryError):
            layer(x)
    assert layer(x)[0].data.tobytes() == expected


def test_no_memory_for_a_part_of_the_way_back_is_an_error():
    """Of packed weights of so many columns that there is no memory for a row of them."""
    flow, rows, flags = np.zeros((1, 2, 4), "float32"), np.zeros((2, 4), "float32"), np.zeros((1, 0), np.uint8)
    empty, none, desk = np.zeros((0, 1 << 55), "float32"), np.zeros(0, "float32"), new_desk()
    states, ends = ((rows, rows), (flow, flow), flow[:0]), (rows.copy(), rows.copy())
    cotangents = (True, False), (flow, flow), ends, flow.copy(), flow.copy(), flow[:0], 1, 1
    walk = TANH, equations.back(TANH, 4), empty, states, cotangents, (False, flags, False, flags), False, True, 2
    sums = rows, rows, rows[:0], rows[:0], rows[:0], none, False, rows, rows, rows, False, rows[:0], none
    with pytest.raises(MemoryError):
        ways._share_back(desk, walk, (sums, 2))
    assert desk[TAKEN] == 0


def test_calls_without_a_graph_between_change_nothing():
    layer, x = nn.LSTM(3, 7, rng=0), np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")

    def gradients(between):
        layer.zero_grad()
        output, _ = layer(x)
        with no_grad():
            between()
        (output**2).sum().backward()
        return [p.grad.data.tobytes() for p in layer.parameters()]

    def calls():
        for given in (x[:2], 2.0 * x):
            layer(given)

    assert gradients(calls) == gradients(lambda: None)


def test_a_layer_is_copied_and_kept_after_its_calls():
    layer, x = nn.LSTM(3, 7, rng=0), np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")
    g = np.ones((4, 5, 7), "float32")
    expected = bits(layer, x, [], (g,), True)
    layer.zero_grad()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert bits(twin, x, [], (g,), True) == expected
        twin.weight_hh_l0.data[...] = 0.0
        assert bits(layer, x, [], (g,), True) == expected
