"""each: the same results whoever does the work, and errors that say which piece of it."""

import os
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from xprnn import nn, no_grad, use_kernels, use_precision
from xprnn.data import Batches
from xprnn.distributed import each
from xprnn.grad_mode import is_grad_enabled
from xprnn.settings import KERNELS, PRECISION
from xprnn.train import Adam, fit, mse


def trained(seed):
    """The bytes of a small model after two epochs."""
    draws = np.random.default_rng(seed)
    x, y = draws.normal(size=(20, 64, 3)).astype("float32"), draws.normal(size=(64, 8)).astype("float32")
    model = nn.LSTM(3, 8, rng=seed)
    batches = Batches(x, y, batch_size=32, axis=(1, 0), shuffle=True, rng=seed)
    loss = lambda m, b: mse(m(b[0])[0][-1], b[1])
    fit(model, batches, loss, Adam(model.parameters(), 0.01), epochs=2, progress=False)
    return b"".join(p.numpy().tobytes() for p in model.parameters())


def threads_of_kernels(_):
    from xprnn.kernels.cpu.threads import workers

    return workers()


def choices(_):
    return PRECISION.get(), KERNELS.get(), is_grad_enabled()


def fails_at_two(number):
    if number >= 2:
        raise ValueError("no good")
    return number


def dies_at_two(number):
    if number == 2:
        os._exit(1)
    return number


def test_threads_work_in_the_blocks_of_the_caller():
    with ThreadPoolExecutor(2) as executor:
        with use_precision("bf16"), use_kernels("reference"), no_grad():
            assert each(choices, range(3), executor) == each(choices, range(3)) == [("bf16", "reference", False)] * 3
        assert each(choices, range(3), executor) == [(None, None, True)] * 3


def pools():
    yield "threads", lambda: ThreadPoolExecutor(2)
    yield "processes", lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    yield "loky", lambda: pytest.importorskip("joblib").externals.loky.ProcessPoolExecutor(2)


@pytest.mark.parametrize("pool", [pytest.param(make, id=name) for name, make in pools()])
def test_the_same_bits_whoever_does_it(pool):
    seen = []
    with pool() as executor:
        found = each(trained, range(3), executor, progress=lambda done, of: seen.append((done, of)))
        assert each(threads_of_kernels, range(2), executor) == [1, 1]
    assert found == each(trained, range(3))
    assert len(set(found)) == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_dask():
    dask = pytest.importorskip("dask.distributed", reason="needs dask.distributed")
    cluster = dask.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with cluster, dask.Client(cluster) as client:
        assert each(trained, range(2), client.get_executor()) == each(trained, range(2))
        with pytest.raises(TypeError, match=r"backtest: executor is a Client; expected .*client.get_executor\(\)"):
            each(trained, range(2), client, owner="backtest")


def test_the_callers_threads_are_as_before():
    from xprnn.kernels.cpu.threads import workers

    before = workers()
    each(threads_of_kernels, range(2))
    with ThreadPoolExecutor(1) as executor:
        each(threads_of_kernels, range(2), executor)
    assert workers() == before


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(1)], ids=["here", "threads"])
def test_an_error_names_its_work(executor):
    with pytest.raises(ValueError, match="no good") as caught:
        each(fails_at_two, range(5), executor, owner="seeds", name=lambda k: f"seed {k}")
    notes = getattr(caught.value, "__notes__", None)  # Python 3.10 has none
    assert notes in (None, ["seeds: this was in the work on seed 2."])


def test_a_lost_worker_names_its_work():
    said = r"seeds: a worker was lost .* not done: seed 2, seed 3, seed 4$"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor, pytest.raises(BrokenExecutor, match=said):
        each(dies_at_two, range(5), executor, owner="seeds", name=lambda k: f"seed {k}")


class Held(Executor):
    """Does the first piece when the third has come, and no other."""

    def __init__(self):
        self.futures = []

    def submit(self, function, /, *arguments):
        self.futures.append(Future())
        if len(self.futures) == 3:
            self.futures[0].set_running_or_notify_cancel()
            self.futures[0].set_result(None)
        return self.futures[-1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_work_that_nobody_has_begun_is_cancelled(error):
    held = Held()

    def stop(done, of):
        raise error

    with pytest.raises(error):
        each(len, ["a", "b", "c"], held, progress=stop)
    assert [future.cancelled() for future in held.futures] == [False, True, True]


def test_no_work():
    assert each(len, []) == each(len, [], Held()) == []
