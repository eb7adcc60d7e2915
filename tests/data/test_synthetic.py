"""Made-up tasks: what they claim of themselves is what they are."""

import numpy as np
import pytest

from xprnn import use_backend
from xprnn.backend import dtype_name, library, namespace, to_numpy
from xprnn.data import (
    Drawn,
    adding_problem,
    copy_memory,
    first_element_recall,
    memoryless_copy_loss,
    spike_delays,
    sum_sign,
    timed_spikes,
)
from xprnn.data.synthetic import noisy_sine

TASKS = {
    "recall": lambda **options: first_element_recall(7, 5, **options),
    "sum": lambda **options: sum_sign(7, 5, **options),
    "adding": lambda **options: adding_problem(7, 5, **options),
    "copy": lambda **options: copy_memory(7, 5, **options),
    "spikes": lambda **options: timed_spikes(30, 5, shortest=3, **options),
    "delays": lambda **options: spike_delays(30, 5, shortest=3, **options),
}
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@each_task
def test_same_seed_same_bits_on_every_backend(task):
    here, again, other = (task(rng=seed) for seed in (3, 3, 4))
    with use_backend("array_api_strict"):
        there = task(rng=3)
    for a, b, c in zip(here, again, there, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, to_numpy(c))
        assert library(namespace(c)) == "array_api_strict"
        assert dtype_name(a) == dtype_name(c)
    assert not all(np.array_equal(a, b) for a, b in zip(here, other, strict=True))


@each_task
def test_a_generator_goes_on(task):
    draws = np.random.default_rng(0)
    assert not np.array_equal(task(rng=draws)[0], task(rng=draws)[0])


def test_recall():
    x, y = first_element_recall(50, 1000, rng=0)
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((50, 1000, 1), (1000, 1), "float32", "float32")
    assert set(np.unique(x)) == {-1.0, 1.0}
    np.testing.assert_array_equal(y, x[0] > 0)
    assert abs(y.mean() - 0.5) < 0.05
    for t in range(1, 50):  # no later step tells anything
        assert abs(np.corrcoef(x[t, :, 0], y[:, 0])[0, 1]) < 0.15


def test_sum_sign():
    x, y = sum_sign(50, 1000, rng=0, dtype="float64")
    assert (x.shape, y.shape, x.dtype) == ((50, 1000, 1), (1000, 1), "float64")
    np.testing.assert_array_equal(y, x.sum(axis=0) > 0)
    assert abs(y.mean() - 0.5) < 0.05


@pytest.mark.parametrize("steps", [2, 3, 100])
def test_adding(steps):
    x, y = adding_problem(steps, 2000, rng=0, dtype="float64")
    numbers, markers = x[..., 0], x[..., 1]
    np.testing.assert_array_equal(markers[: steps // 2].sum(axis=0), 1)
    np.testing.assert_array_equal(markers[steps // 2 :].sum(axis=0), 1)
    assert set(np.unique(markers)) <= {0.0, 1.0}
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_allclose(y[:, 0], (numbers * markers).sum(axis=0), rtol=1e-15)
    assert np.mean((y - 1.0) ** 2) == pytest.approx(1 / 6, rel=0.08)
    assert markers[:, :].any(axis=1).all()  # every step is marked somewhere


def test_copy():
    x, y = copy_memory(5, 300, rng=0)
    assert x.shape == y.shape == (25, 300)
    assert dtype_name(x) == dtype_name(y) == "int64"
    assert set(np.unique(x[:10])) == set(range(8))
    np.testing.assert_array_equal(x[10:14], 8)
    np.testing.assert_array_equal(x[14], 9)
    np.testing.assert_array_equal(x[15:], 8)
    np.testing.assert_array_equal(y[:15], 8)
    np.testing.assert_array_equal(y[15:], x[:10])
    assert copy_memory(1, 2, rng=0)[0][10].tolist() == [9, 9]


def test_the_memoryless_loss_of_copy_is_what_a_guess_costs():
    """Certain of the blanks, even odds for each of the eight symbols: the mean cross-entropy over all steps."""
    _, y = copy_memory(30, 100, rng=0)
    p = np.where(y == 8, 1.0, 1 / 8)
    assert memoryless_copy_loss(30) == pytest.approx(-np.log(p).mean(), rel=1e-12)


@pytest.mark.parametrize(("shortest", "choices"), [(1, 2), (3, 2), (10, 4)])
def test_spike_delays(shortest, choices):
    x, y, mask = spike_delays(60, 200, shortest=shortest, choices=choices, rng=0)
    assert (x.shape, y.shape, mask.shape) == ((60, 200, 1), (60, 200), (60, 200))
    assert (dtype_name(x), dtype_name(y), dtype_name(mask)) == ("float32", "int64", "bool")
    for b in range(200):
        at = np.flatnonzero(x[:, b, 0])
        assert at[0] < shortest
        np.testing.assert_array_equal(np.flatnonzero(mask[:, b]), at[1:])
        np.testing.assert_array_equal(y[at[1:], b], np.diff(at) - shortest)
        assert 60 - at[-1] <= shortest + choices - 1  # spikes go on to the end
    assert set(np.unique(y[mask])) == set(range(choices))
    assert not y[~mask].any()


@pytest.mark.parametrize(("shortest", "choices"), [(2, 2), (3, 5), (10, 10)])
def test_timed_spikes(shortest, choices):
    x, y = timed_spikes(80, 300, shortest=shortest, choices=choices, rng=0)
    assert (x.shape, y.shape, dtype_name(x), dtype_name(y)) == ((80, 300, 2), (80, 300, 1), "float32", "float32")
    seen = set()
    for b in range(300):
        requests, spikes = np.flatnonzero(x[:, b, 0]), np.flatnonzero(y[:, b, 0])
        assert requests[0] < shortest - 1
        assert len(requests) - len(spikes) in (0, 1)  # the last one may fall behind the end
        k = spikes - requests[: len(spikes)] - shortest
        seen |= set(k)
        np.testing.assert_allclose(x[requests[: len(k)], b, 1], k / (choices - 1), rtol=1e-6)
        pauses = requests[1:] - spikes[: len(requests) - 1]
        assert ((pauses >= 1) & (pauses < shortest)).all()
        assert 80 - max(requests[-1], *spikes, 0) <= shortest + choices  # they go on to the end
    assert seen == set(range(choices))
    assert not x[..., 1][x[..., 0] == 0].any()


def test_noisy_sine():
    series, sine = noisy_sine(5000, period=20, noise=0.1, rng=0)
    np.testing.assert_allclose(sine[:40], np.sin(2 * np.pi * np.arange(40) / 20))
    assert np.std(series - sine) == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(*noisy_sine(10, noise=0.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: first_element_recall(0, 1), "first_element_recall: steps is 0"),
        (lambda: sum_sign(5, 1.5), "sum_sign: batch is 1.5"),
        (lambda: adding_problem(1, 3), "adding_problem: steps is 1; expected an integer of at least 2"),
        (lambda: adding_problem(2, 3, dtype="int64"), "adding_problem: dtype is 'int64'"),
        (lambda: copy_memory(0, 3), "copy_memory: delay is 0"),
        (lambda: spike_delays(10, 3, shortest=0), "spike_delays: shortest is 0"),
        (lambda: spike_delays(10, 3, choices=1), "spike_delays: choices is 1"),
        (lambda: timed_spikes(10, 3, shortest=1), "timed_spikes: shortest is 1"),
        (lambda: noisy_sine(0), "noisy_sine: steps is 0"),
        (lambda: noisy_sine(9, period=2), "noisy_sine: period is 2; expected a number of steps above 2"),
        (lambda: noisy_sine(9, noise=-1), "noisy_sine: noise is -1; expected a standard deviation"),
        (lambda: Drawn(sum_sign, updates=0), "Drawn: updates is 0"),
        (lambda: Drawn(sum_sign, updates=1).load_state_dict({}), r"Drawn: the state has \[\]; expected"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_drawn_batches_are_new_each_time_and_resume():
    def batches(seed):
        return Drawn(lambda rng: rng.integers(0, 1 << 30), updates=3, rng=seed)

    first = batches(0)
    assert len(first) == 3
    epochs = [list(first) for _ in range(2)]
    assert len(set(epochs[0] + epochs[1])) == 6
    assert list(batches(0)) == epochs[0]
    second = batches(1)
    second.load_state_dict(first.state_dict())
    assert list(second) == list(first)
    with pytest.raises(TypeError, match="Drawn: draw is a int"):
        Drawn(3, updates=1)
