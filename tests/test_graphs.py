"""Graphs die with their last result, and several threads may walk theirs."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import assert_close, host

import xprnn
from xprnn import Tensor, ops
from xprnn.tape import record


@pytest.fixture
def x():
    return Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)


@pytest.fixture
def no_garbage_collection(small_heap):
    gc.disable()
    yield
    gc.enable()


def of_primitives(x):
    return ops.logsumexp(ops.concat([ops.tanh(x) @ ops.matrix_transpose(x), x * x], -1))


def of_reductions(x):
    return ops.take(x, np.array([0, 0])).sum() + ops.max(x) + ops.vector_norm(x)


def of_layers(x):
    layer = xprnn.nn.LSTM(3, 2, num_layers=2, bidirectional=True, dtype="float64", rng=0)
    return layer(x, lengths=[0, 1])[0].sum()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize("build", [of_primitives, of_reductions, of_layers])
@pytest.mark.parametrize("walked", [False, True])
def test_a_graph_dies_with_its_last_result(build, walked):
    x = Tensor(np.linspace(0.1, 1.0, 6).reshape(1, 2, 3), requires_grad=True)
    build(
        x
    ).backward()  # the first call may compile kernels, and a compiler leaves cycles that hold its callers' frames
    gc.collect()
    loss = build(x)
    nodes, results = [loss.node], []
    while nodes:
        between = [tensor for tensor in nodes.pop().inputs if tensor.node is not None]
        results += [weakref.ref(tensor) for tensor in between]
        nodes += [tensor.node for tensor in between]
    assert results
    if walked:
        loss.backward()
    del loss, between
    assert [reference for reference in results if reference() is not None] == []


class Slow(Tensor):
    """A gradient whose sum takes long enough for another thread to read it too."""

    __slots__ = ()

    def __add__(self, other):
        total = Slow(ops.add(self, other))
        time.sleep(0.002)
        return total


def in_threads(work, count=4):
    """Run work(k) in so many threads at once; what any of them raised is raised here."""
    start = threading.Barrier(count)

    def run(k):
        start.wait()
        return work(k)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_several_threads_add_up(create_graph):
    shared = Tensor(np.zeros(3), requires_grad=True)
    shared.grad = Slow(np.zeros(3))

    def work(k):
        for _ in range(5):
            (shared * float(k + 1)).sum().backward(create_graph=create_graph)

    in_threads(work)
    assert host(shared.grad).tolist() == [5.0 * (1 + 2 + 3 + 4)] * 3


def test_first_gradients_of_several_threads_add_up():
    class Leaf(Tensor):
        __slots__ = ("kept",)

        @property
        def grad(self):
            kept = getattr(self, "kept", None)
            time.sleep(0.002)
            return kept

        @grad.setter
        def grad(self, value):
            self.kept = value

    shared = Leaf(np.zeros(3), requires_grad=True)
    in_threads(lambda k: (shared * float(k + 1)).sum().backward())
    assert host(shared.grad).tolist() == [10.0] * 3


def test_a_graph_that_another_thread_releases_is_refused(x):
    shared = ops.exp(x)
    other = shared.sum()

    def rule(g, y):
        other.backward()  # what another thread may do at any time
        return g

    with pytest.raises(RuntimeError, match=r"released by an earlier backward \(at exp\)"):
        record("watched", shared.data, [shared], [rule]).sum().backward()
    assert_close(x.grad, np.exp(x.data))
