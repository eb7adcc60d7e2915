from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import assert_close, host

import xprnn
from xprnn import nn, use_seed
from xprnn.data import Batches
from xprnn.randomness import generator
from xprnn.train import SGD, fit, mse


def built():
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))


def trained(model):
    x = np.ones((20, 3), "float32")
    batches = Batches(x, x[:, :1] + np.arange(20, dtype="float32")[:, None], batch_size=3, shuffle=True)
    fit(model, batches, lambda m, b: mse(m(b[0]), b[1]), SGD(model.parameters(), 1e-3), epochs=2, progress=False)
    return host(tuple(model.parameters()))


def test_one_seed_for_weights_dropout_and_order(home):
    runs = []
    for seed in (0, 0, 1):
        with use_seed(seed):
            runs.append(trained(built()))
    assert_close(runs[0], runs[1], 0.0)
    assert not np.array_equal(runs[0][0], runs[2][0])


def test_a_statement_is_for_the_process():
    use_seed(3)
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(lambda: host(nn.Linear(2, 2).weight)).result()
    use_seed(3)
    assert_close(nn.Linear(2, 2).weight, elsewhere, 0.0)
    xprnn.settings.SEED.process = None
    assert not np.array_equal(host(nn.Linear(2, 2).weight), elsewhere)


def test_each_has_a_generator_of_its_own():
    """What one of them draws changes nothing for the next."""
    with use_seed(0):
        first, second = generator(), generator()
        numbers = first.random(3), second.random(3)
    with use_seed(0):
        first = generator()
        first.random(100)
        assert_close(generator().random(3), numbers[1], 0.0)
    assert not np.array_equal(*numbers)


def test_what_has_a_seed_of_its_own_keeps_it():
    expected = host(nn.Linear(2, 2, rng=7).weight)
    with use_seed(0):
        first = host(nn.Linear(2, 2).weight)
    with use_seed(0):
        assert_close(nn.Linear(2, 2, rng=7).weight, expected, 0.0)
        assert_close(nn.Linear(2, 2).weight, first, 0.0)


def test_without_a_seed_every_generator_is_another():
    assert not np.array_equal(generator().random(4), generator().random(4))


def test_generators_that_threads_ask_for_differ():
    use_seed(0)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: generator().random(), range(100)))) == 100


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (1.0, TypeError), (None, TypeError), (True, TypeError), ("a", TypeError)]
)
def test_what_is_no_seed(seed, error):
    with pytest.raises(error, match="use_seed: seed is .*; expected an integer of at least 0"):
        use_seed(seed)
    assert xprnn.settings.SEED.get() is None


def test_it_says_what_it_is():
    assert repr(use_seed(np.int64(5))) == "use_seed(5)"


def test_generators_from_seeds():
    first, second = generator(3), generator(np.int64(3))
    assert first.random() == second.random()
    assert generator(first) is first
    assert generator().random() != generator().random()


@pytest.mark.parametrize("rng", [True, 1.5, "seed", np.random.RandomState(0)])
def test_what_gives_no_generator(rng):
    with pytest.raises(TypeError, match=r"rng is a \w+; expected an int seed, a numpy.random.Generator or None"):
        generator(rng)
