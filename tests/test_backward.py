"""backward and grad: what they add up, what they refuse, and what is recorded."""

import asyncio
import threading

import numpy as np
import pytest
from helpers import assert_close, host, leaf

from xprnn import Parameter, Tensor, grad, grad_mode, nn, no_grad, ops
from xprnn.grad_mode import is_grad_enabled, set_grad_enabled
from xprnn.tape import backward_telling, record


@pytest.fixture
def x():
    return Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)


# --- backward -------------------------------------------------------------------------------------------------------


def test_gradients_add_up_over_calls(x):
    for times in (1, 2, 3):
        ops.sum(x * x).backward()
        assert_close(x.grad, times * 2.0 * x.data)


def test_backward_of_a_leaf(x):
    x.backward(np.array([1.0, 0.0, 2.0]))
    assert host(x.grad).tolist() == [1.0, 0.0, 2.0]


def test_non_scalar_needs_a_cotangent(x):
    y = x * 2.0
    with pytest.raises(RuntimeError, match=r"shape \(3,\) has no single gradient; reduce it.*or pass a cotangent"):
        y.backward()
    y.backward(np.array([1.0, 10.0, 100.0]))
    assert host(x.grad).tolist() == [2.0, 20.0, 200.0]


@pytest.mark.parametrize("cotangent", [np.ones((1, 3)), np.ones(2)])
def test_cotangent_of_wrong_shape(x, cotangent):
    with pytest.raises(ValueError, match=r"cotangent has shape .*; expected \(3,\), as the output"):
        (x * 2.0).backward(cotangent)


def test_cotangent_of_wrong_dtype(x):
    with pytest.raises(TypeError, match="cotangent has dtype float32; expected float64, as the output"):
        (x * 2.0).backward(np.ones(3, "float32"))


def test_nothing_to_differentiate():
    with pytest.raises(RuntimeError, match="does not depend on anything that requires a gradient"):
        Tensor(np.ones(())).backward()


def test_released_graph(x):
    y = ops.exp(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert_close(x.grad, 2.0 * np.exp(x.data))
    with pytest.raises(RuntimeError, match=r"released by an earlier backward \(at (sum|exp)\).*retain_graph=True"):
        y.backward()
    assert_close(x.grad, 2.0 * np.exp(x.data))


def test_part_of_a_graph_that_was_released(x):
    inner = ops.exp(x)
    inner.sum().backward()
    with pytest.raises(RuntimeError, match="released"):
        (inner * 2.0).sum().backward()


@pytest.mark.parametrize("assign", ["input", "middle"])
def test_data_assigned_after_use(x, assign):
    middle = ops.exp(x)
    y = (middle * x).sum()
    (x if assign == "input" else middle).data = np.zeros(3)
    with pytest.raises(RuntimeError, match=r"of (exp|multiply) \(shape \(3,\)\) was given new data"):
        y.backward()
    assert x.grad is None


def test_data_of_a_result_assigned_before_its_use(x):
    y = ops.exp(x)
    y.data = np.zeros(3)  # exp's gradient is made of its result
    with pytest.raises(RuntimeError, match="new data"):
        y.sum().backward()


def test_data_assigned_before_use_is_the_value(x):
    x.data = np.full(3, 5.0)
    (x * x).sum().backward()
    assert host(x.grad).tolist() == [10.0, 10.0, 10.0]


def test_shared_subgraphs_count_once_for_each_path(x):
    y = x * 2.0
    z = y + y * y  # a diamond
    (z * y).sum().backward()
    y0 = 2.0 * x.data
    assert_close(x.grad, 2.0 * (2.0 * y0 + 3.0 * y0 * y0))


def test_each_node_is_walked_once(x):
    calls = []

    def counted(t):
        return record("counted", t.data, (t,), [lambda g, y: calls.append(1) or g])

    y = x
    for _ in range(20):  # 2 ** 20 paths
        y = counted(y + y)
    y.sum().backward()
    assert len(calls) == 20
    assert host(x.grad).tolist() == [2.0**20] * 3


def test_leaves_do_not_share_one_gradient_object():
    a, b = Tensor(np.ones(2), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    (a + b).sum().backward()
    a.grad.data = np.zeros(2)  # as clipping does
    assert host(b.grad).tolist() == [1.0, 1.0]


def test_a_callers_cotangent_is_not_taken_over(x):
    cotangent = Tensor(np.ones(3))
    x.backward(cotangent)
    x.grad.data = np.zeros(3)
    assert host(cotangent).tolist() == [1.0, 1.0, 1.0]


def test_long_chains_need_no_recursion(x):
    y = x
    for _ in range(10_000):  # ten times as deep as Python goes by itself
        y = y + 1.0
    y.sum().backward()
    assert host(x.grad).tolist() == [1.0, 1.0, 1.0]
    y = x * 1.0
    for _ in range(50_000):  # frees in C, which goes deeper before it fails
        y = -y
    del y  # never walked back, so this frees the whole chain at once


# --- recording or not -----------------------------------------------------------------------------------------------


def test_no_grad_as_block_and_as_decorator(x):
    with no_grad():
        assert not is_grad_enabled()
        assert not (x * 2.0).requires_grad
        with set_grad_enabled(True):
            assert (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad

    @no_grad()
    def double(t):
        return t * 2.0

    assert not double(x).requires_grad
    assert not double(x).requires_grad
    assert is_grad_enabled()


def test_what_cannot_have_a_gradient_is_told_of(x):
    constant, whole = Tensor(np.ones(3)), Tensor(np.array([1, 2, 3]))
    with pytest.raises(RuntimeError, match=r"grad: inputs\[1\] does not require a gradient, so what was computed"):
        grad((x * constant).sum(), [x, constant])
    whole.requires_grad = True
    for result in ((whole * 0.5).sum(), whole.mean(), (whole * whole).sum()):
        with pytest.raises(TypeError, match=r"backward: a Tensor of int64 and shape \(3,\) requires a gradient"):
            result.backward()
    assert whole.grad is None
    with pytest.raises(TypeError, match="this result was computed"):
        Tensor(x * 2.0)
    with pytest.raises(TypeError, match="this result was computed"):
        Parameter((x * 2.0).sum())
    assert not Tensor(x).requires_grad


def test_frozen_weights_are_passed_over_in_gradients_of_gradients():
    layer = nn.LSTM(2, 3, dtype="float64", rng=0)
    a = Tensor(np.ones((4, 1, 2)), requires_grad=True)
    found = []
    for frozen in (False, True):
        layer.weight_hh_l0.requires_grad = not frozen
        (g,) = grad(layer(a)[0].sum(), [a], create_graph=True)
        found.append(grad((g * g).sum(), [a])[0])
    assert_close(found[0], host(found[1]), 0.0)


def test_no_grad_decorates_functions_of_every_kind(x):
    def recorded():
        return (x * 2.0).requires_grad

    @no_grad
    def plain():
        return recorded()

    @no_grad()
    def generator():
        """Its text."""
        first = yield recorded()
        try:
            yield first, recorded()
        except KeyError:
            yield recorded()
        finally:
            ended.append(recorded())
        return recorded()

    @no_grad()
    async def coroutine():
        await asyncio.sleep(0)
        return recorded()

    ended = []
    assert plain() is False
    steps = generator()
    assert (next(steps), recorded(), steps.send("sent"), recorded()) == (False, True, ("sent", False), True)
    assert steps.throw(KeyError()) is False
    with pytest.raises(StopIteration) as end:
        next(steps)
    left = generator()
    next(left), left.send(None), left.close()
    assert (end.value.value, ended, generator.__doc__) == (False, [False, False], "Its text.")

    async def beside():
        found = [recorded()]
        await asyncio.sleep(0)
        return [*found, recorded()]

    async def together():
        return await asyncio.gather(coroutine(), beside())

    assert asyncio.run(together()) == [False, [True, True]]
    assert recorded()
    with pytest.raises(TypeError, match="a bool cannot be decorated"):
        no_grad(True)


def test_a_block_may_stand_within_itself():
    block = no_grad()
    with block:
        with block, set_grad_enabled(True):
            assert is_grad_enabled()
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_an_interrupt_as_a_block_begins_leaves_what_held_before(monkeypatch):
    class Last:
        get = grad_mode.blocks.last.get

        @staticmethod
        def set(entered, variable=grad_mode.blocks.last):
            variable.set(entered)
            if entered is not None:
                raise KeyboardInterrupt

    monkeypatch.setattr(grad_mode.blocks, "last", Last)
    with pytest.raises(KeyboardInterrupt), no_grad():
        raise AssertionError("the block was entered")
    assert is_grad_enabled()


def test_an_interrupt_as_a_block_ends_leaves_what_held_before():
    class Interrupted(set_grad_enabled):
        def __exit__(self, *error):
            raise KeyboardInterrupt

    try:
        with Interrupted(False):
            pass
    except KeyboardInterrupt:
        pass
    assert is_grad_enabled()


def test_no_grad_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert is_grad_enabled()


def test_no_grad_is_for_this_thread_only():
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_cuts(x):
    y = (x * 2.0).detach()
    assert not y.requires_grad
    (y * x).sum().backward()
    assert_close(x.grad, 2.0 * x.data)


# --- gradients of gradients -----------------------------------------------------------------------------------------


def test_third_derivative(home):
    x = leaf(home, [0.3, -1.2])
    y = ops.sin(x)
    for _ in range(3):
        (y,) = grad(y.sum(), [x], create_graph=True)
    assert_close(y, -np.cos(host(x)))


def test_backward_with_create_graph(x):
    (x * x * x).sum().backward(create_graph=True)
    first, x.grad = x.grad, None
    assert_close(first, 3.0 * x.data**2)
    first.sum().backward()
    assert_close(x.grad, 6.0 * x.data)


def test_gradients_are_constants_by_default(x):
    assert not grad((x * x).sum(), [x])[0].requires_grad


# --- grad() ---------------------------------------------------------------------------------------------------------


def test_grad_leaves_every_grad_alone(x):
    y = Tensor(np.ones(3), requires_grad=True)
    gx, gy = grad((x * y).sum(), [x, y])
    assert_close((gx, gy), (y.data, x.data))
    assert x.grad is None
    assert y.grad is None


def test_grad_takes_inputs_as_independent(x):
    y = x * x
    z = (x * y).sum()
    gx, gy = grad(z, [x, y], retain_graph=True)
    assert_close((gx, gy), (y.data, x.data))
    assert_close(grad(z, [x], retain_graph=True)[0], 3.0 * x.data**2)
    assert_close(grad(z, [y])[0], x.data)


def test_grad_of_an_unrelated_input_is_none(x):
    other = Tensor(np.ones(2), requires_grad=True)
    gx, g_other = grad((x * 2.0).sum(), [x, other])
    assert g_other is None
    assert host(gx).tolist() == [2.0, 2.0, 2.0]


def test_grad_of_several_outputs(x):
    a, b = x * 2.0, ops.square(x)
    cotangents = [np.ones(3), np.array([0.0, 1.0, 0.0])]
    assert_close(grad([a, b], [x], cotangents, retain_graph=True)[0], np.array([2.0, 6.0, 2.0]))
    assert_close(grad([a, b], [x], [None, cotangents[1]], retain_graph=True)[0], np.array([0.0, 4.0, 0.0]))
    assert_close(grad([a.sum(), b.sum()], [x])[0], 2.0 + 2.0 * x.data)
    with pytest.raises(ValueError, match="2 outputs but 1 cotangents"):
        grad([a, b], [x], [None])


def test_grad_of_one_of_several_results_of_an_operation(x):
    """What flows into the one that is asked for stays there; what flows into the other goes on."""
    first, second, _ = ops.unstack(x * x)
    found = grad(first * 2.0 + second * 10.0, [first, x])
    assert [host(g).tolist() for g in found] == [2.0, [0.0, 40.0, 0.0]]


def test_grad_of_an_input_that_is_an_output(x):
    assert_close(grad(x, [x], [np.ones(3)])[0], np.ones(3))
    y = x * 2.0
    assert_close(grad(y, [y], [np.ones(3)])[0], np.ones(3))


# --- what was found by hostile use ----------------------------------------------------------------------------------


def test_grad_of_one_tensor_or_any_iterable(x):
    assert_close(grad((x * x).sum(), x), [2.0 * x.data])
    assert_close(grad((t for t in [(x * x).sum()]), (t for t in [x])), [2.0 * x.data])
    assert grad((x * x).sum(), []) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: grad(x, 1.0), "inputs is a float; expected a list"),
        (lambda x: grad(x, [x, np.ones(2)]), r"inputs\[1\] is a ndarray; expected a Tensor"),
        (lambda x: grad([x, None], x), r"outputs\[1\] is a NoneType; expected a Tensor"),
    ],
)
def test_grad_names_what_is_no_tensor(call, message, x):
    with pytest.raises(TypeError, match=message):
        call(x)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_second_backward_adds(create_graph, x):
    for _ in range(2):
        (x * x).sum().backward(create_graph=create_graph)
    assert_close(x.grad, 4.0 * x.data)


def test_each_leaf_owns_the_array_of_its_gradient(home):
    p, q = leaf(home, np.ones(3)), leaf(home, np.ones(3))
    cotangent = home.asarray(np.ones(3))
    (p + q).backward(cotangent)
    p.grad.data[...] = 5.0
    assert host(q.grad).tolist() == host(cotangent).tolist() == [1.0, 1.0, 1.0]
    r = leaf(home, np.ones(3))
    r.sum().backward()  # the cotangent of a sum is one number, seen three times
    r.grad.data[0] = 5.0
    assert host(r.grad).tolist() == [5.0, 1.0, 1.0]


def test_sums_of_gradients_overwrite_nothing_but_themselves():
    """A value used many times: its sum grows in place, beside the arrays that rules and callers handed in."""
    x, g = Tensor(np.arange(3.0), requires_grad=True), np.array([1.0, 10.0, 100.0])
    given, seen = g.copy(), []
    y = x * 1.0
    total = record("spy", y.data, (y,), [lambda g, _: seen.append(g.data.copy()) or g])
    for _ in range(4):
        total = total + y
    total.backward(g, retain_graph=True)
    np.testing.assert_array_equal(x.grad.data, 5 * given)
    np.testing.assert_array_equal(g, given)
    np.testing.assert_array_equal(seen, [given])
    first = x.grad
    (y * 2.0 + y + y + y).backward(g)
    np.testing.assert_array_equal(x.grad.data, 10 * given)
    np.testing.assert_array_equal(first.data, 5 * given)


def test_a_leaf_is_told_of_as_soon_as_its_gradient_is_whole():
    draws = np.random.default_rng(0)
    first, last, shared = (Tensor(draws.normal(size=3), requires_grad=True) for _ in range(3))
    unread = Tensor(np.ones(3), requires_grad=True)

    def loss():
        return (((first * shared).tanh() * shared).exp() * last + 0.0 * unread).sum()

    loss().backward()
    expected, told = [each.grad.numpy().copy() for each in (first, last, shared)], []
    for each in (first, last, shared, unread):
        each.grad = None
    coming = []
    tell = lambda one: told.append((id(one), one.grad.numpy().copy(), first.grad is None))
    backward_telling(loss(), None, lambda leaves: coming.extend(map(id, leaves)), tell)
    assert set(coming) >= {name for name, _, _ in told}
    found = {name: (gradient, early) for name, gradient, early in told}
    for each, gradient in zip((first, last, shared), expected, strict=True):
        np.testing.assert_array_equal(found[id(each)][0], gradient)
    assert found[id(last)][1]  # before the walk came to the first
    assert len(told) == 4
    backward_telling(first * first, np.ones(3), len, id)  # added, as backward does
    np.testing.assert_allclose(first.grad.numpy(), expected[0] + 2 * first.numpy())


def test_gradients_of_a_linear_map_are_memory_of_their_own():
    """They are handed over without a copy: neither another leaf nor a later walk may have them."""
    draws = np.random.default_rng(0)
    leaves = [Tensor(draws.standard_normal(shape), requires_grad=True) for shape in ((5, 3), (4, 3), (4,))]
    flow, y, memory = draws.standard_normal((5, 4)), ops.linear(*leaves), [one.data for one in leaves]
    y.backward(flow, retain_graph=True)
    once = [one.grad.data.copy() for one in leaves]
    for one in leaves:
        found = one.grad
        assert type(found) is Tensor
        assert not any(np.shares_memory(found.data, other) for other in (flow, *memory))
        memory.append(found.data)
    for one in leaves:
        one.grad.data[...] = np.nan
        one.grad = None
    (y + ops.linear(*leaves)).backward(flow)
    for one, expected in zip(leaves, once, strict=True):
        np.testing.assert_array_equal(one.grad.data, 2.0 * expected)
