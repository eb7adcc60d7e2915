"""Steps whose columns are shared among threads: the same bits on however many, whenever helpers come, or never."""

import threading

import numpy as np
import pytest
from helpers import draw_call, everything

pytest.importorskip("numba")

from xprnn.kernels.cpu import columns, small, threads, waiting

import xprnn
from xprnn import nn
from xprnn.cells import GatedAntisymmetric

LAYERS = {  # of all shapes that a step has: gates, parts of the state, products, elementwise weights
    "rnn": lambda **o: nn.RNN(**o),
    "relu": lambda **o: nn.RNN(nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTM(**o),
    "peephole": lambda **o: nn.LSTM(peephole="diagonal", **o),
    "gru": lambda **o: nn.GRU(**o),
    "ctrnn": lambda **o: nn.CTRNN(**o),
    "gated antisymmetric": lambda **o: nn.RecurrentLayer(GatedAntisymmetric(0.3), **o),
    "slstm": lambda **o: nn.SLSTM(**o),
}


def share(monkeypatch, workers):
    """Have each step shared among so many threads, however small it is."""
    monkeypatch.setattr(small, "plan_of", lambda *call: None)
    monkeypatch.setattr(columns, "STEP", 0.0)
    monkeypatch.setattr(columns, "CALL", 0.0)
    monkeypatch.setattr(columns, "BUSY", -np.inf)
    monkeypatch.setattr(columns._processors, "busy_until", -np.inf)
    monkeypatch.setattr(columns, "MOST_THREADS", workers)
    monkeypatch.setattr(columns, "BLOCK", 4)  # steps; there shall be several
    monkeypatch.setattr(threads, "workers", lambda: workers)


@pytest.fixture
def numbers_of_calls(monkeypatch):
    """How many parts the steps of each call are cut into."""
    counts, exchange = [], waiting.exchange
    monkeypatch.setattr(columns, "exchange", lambda parts: counts.append(parts) or exchange(parts))
    return counts


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LAYERS)
def test_bits_are_those_of_one_thread(name, dtype, monkeypatch, numbers_of_calls):
    draws = np.random.default_rng(0)
    flags = {"mask": draws.random((9, 2)) > 0.4, "reset": draws.random((9, 2)) > 0.7}
    for size, control in ((64, flags), (71, {"lengths": [9, 0]}), (71, {}), (40, flags)):
        layer = LAYERS[name](input_size=3, hidden_size=size, dtype=dtype, rng=0, bidirectional=True)
        x, state = draw_call(layer, 9, 2, 3, size, dtype, 0)
        whole = everything(layer, x, state, control, "compiled")
        assert not numbers_of_calls
        for workers in (2, 3):
            with monkeypatch.context() as patch:
                share(patch, workers)
                shared = everything(layer, x, state, control, "compiled")
            assert numbers_of_calls == [workers] * 4  # two directions, there and back
            numbers_of_calls.clear()
            for a, b in zip(whole, shared, strict=True):
                np.testing.assert_array_equal(a, b)


def test_bits_of_rounded_products_are_those_of_one_thread(monkeypatch, numbers_of_calls):
    layer, found = nn.GRU(5, 71, rng=0), []
    x, state = draw_call(layer, 9, 2, 5, 71, "float32", 0)
    for workers in (1, 3):
        with monkeypatch.context() as patch, xprnn.use_precision("bf16"):
            share(patch, workers)
            found.append(everything(layer, x, state, {}, "compiled"))
    assert numbers_of_calls == [3, 3]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_not_finite_stays_where_it_belongs(monkeypatch):
    """Products add zeros to columns beyond their own, which must not be those of another gate."""
    layer, draws = nn.GRU(3, 23, rng=0), np.random.default_rng(0)
    share(monkeypatch, 2)
    for odd in (np.inf, np.nan):
        x, h = draws.standard_normal((5, 2, 3)).astype("float32"), draws.standard_normal((1, 2, 23)).astype("float32")
        x[2, 0, 1], h[0, 1, 7] = odd, odd
        found = []
        for name in ("compiled", "reference"):
            with xprnn.no_grad(), xprnn.use_kernels(name), np.errstate(invalid="ignore"):
                found.append(np.isnan(layer(x, h)[0].data))
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("busy", [False, True])
def test_a_leader_alone_finishes_all_parts(busy, monkeypatch):
    """Since all helpers are busy, or no thread could be started."""
    layer, x = nn.GRU(3, 64, rng=0), np.random.default_rng(0).standard_normal((7, 1, 3)).astype("float32")
    expected = layer(x)[0].data
    share(monkeypatch, 2)
    begun, free, pool = threading.Event(), threading.Event(), threads.Pool(1 if busy else 0)
    pool.hand_out([threads.Part(lambda: (begun.set(), free.wait()))])
    if busy:
        begun.wait()
    monkeypatch.setattr(threads, "_pool_of", lambda process, helpers: pool)
    np.testing.assert_array_equal(layer(x)[0].data, expected)
    free.set()


def test_a_leader_that_is_interrupted_leaves_no_helper_waiting(monkeypatch):
    layer, x = nn.LSTM(3, 64, rng=0), np.random.default_rng(0).standard_normal((7, 1, 3)).astype("float32")
    expected = layer(x)[0].data
    share(monkeypatch, 2)
    pool, walk, caller = threads.Pool(1), columns.column_loops.walk, threading.get_ident()
    monkeypatch.setattr(threads, "_pool_of", lambda process, helpers: pool)
    np.testing.assert_array_equal(layer(x)[0].data, expected)
    helped, done = threading.Event(), threading.Event()

    def interrupted(*arguments):
        if threading.get_ident() == caller:
            helped.wait()  # until a helper is about to begin, or has begun
            raise KeyboardInterrupt
        helped.set()
        walk(*arguments)
        done.set()

    offer = threads.Pool.offer
    with monkeypatch.context() as patch:
        patch.setattr(columns.column_loops, "walk", interrupted)
        patch.setattr(threads.Pool, "offer", lambda self, parts: (offer(self, parts), self.calls.__iadd__(1)))
        with pytest.raises(KeyboardInterrupt):
            layer(x)
    done.wait()
    np.testing.assert_array_equal(layer(x)[0].data, expected)


def test_nothing_is_shared_for_a_while_after_helpers_came_too_late(monkeypatch):
    layer, x = nn.GRU(3, 64, rng=0), np.random.default_rng(0).standard_normal((7, 1, 3)).astype("float32")
    expected, moods = layer(x)[0].data, [waiting.AS_EVER, waiting.ALONE, waiting.AS_EVER]

    def exchange(parts):
        """Of a leader that has no helpers yet, or has dismissed them."""
        numbers = waiting.exchange(parts)
        numbers[0, waiting.MOOD] = moods.pop(0)
        return numbers

    share(monkeypatch, 2)
    monkeypatch.setattr(columns, "BUSY", np.inf)
    monkeypatch.setattr(columns, "exchange", exchange)
    monkeypatch.setattr(threads, "_pool_of", lambda process, helpers: threads.Pool(0))
    for left in (2, 1, 1, 1):
        np.testing.assert_array_equal(layer(x)[0].data, expected)
        assert len(moods) == left


# --- the exchange itself ---------------------------------------------------------------------------------------------


def walked(numbers, calls, own, steps, patience, log):
    """Take all turns, and note what is done in each: (step, part, whether it ends)."""
    turn = waiting.first_turn(numbers, own, calls)
    while turn >= 0:
        step, part = turn // waiting.MOST, own
        while part < len(numbers):
            log.append((step, part, False))
            log.append((step, part, True))
            part = max(part, turn % waiting.MOST) + 1 if own == 0 else len(numbers)
        turn = waiting.next_turn(numbers, own, turn, steps, patience)


def check_log(log, steps, parts):
    """Each part of each step was done once, and no step begun before all of the one before was done."""
    assert sorted(log) == sorted((s, p, e) for s in range(steps) for p in range(parts) for e in (False, True))
    order = [step for step, _, _ in log]
    assert order == sorted(order)


@pytest.mark.parametrize("patience", [0, 1 << 40])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_turns_are_taken_in_order_by_whoever_comes(parts, patience):
    """Helpers that are dismissed at once, with no patience, leave their parts to the leader."""
    for attempt in range(10):
        numbers, calls, log = waiting.exchange(parts), np.zeros(1, np.int64), []
        come = range(1, parts - attempt % 2)  # the last one may not come at all
        helpers = [threading.Thread(target=walked, args=(numbers, calls, own, 40, patience, log)) for own in come]
        begun = attempt % 3
        for helper in helpers[:begun]:  # too early
            helper.start()
            helper.join()
        assert not log
        leader = threading.Thread(target=walked, args=(numbers, calls, 0, 40, patience, log))
        leader.start()
        for helper in helpers[begun:]:
            helper.start()
        for thread in (leader, *helpers[begun:]):
            thread.join()
        check_log(log, 40, parts)
        assert calls[0] == 1


def test_a_helper_begins_where_the_leader_lets_it_in():
    numbers, calls = waiting.exchange(3), np.zeros(1, np.int64)
    assert waiting.first_turn(numbers, 1, calls) == -1  # nobody leads yet
    numbers[1, 0] = -1
    turn, many = waiting.first_turn(numbers, 0, calls), 1 << 40
    numbers[2, 0] = 0  # the second one comes before the first, and has to wait for it
    turn = waiting.next_turn(numbers, 0, turn, 9, many)
    assert divmod(turn, waiting.MOST) == (1, 0)
    numbers[1, 0] = 0
    turn = waiting.next_turn(numbers, 0, turn, 9, many)
    assert divmod(turn, waiting.MOST) == (2, 2)
    assert waiting.first_turn(numbers, 1, calls) == turn
    numbers[1:, 0] = 3  # both have done step 2
    turn = waiting.next_turn(numbers, 0, turn, 9, many)
    assert divmod(turn, waiting.MOST) == (3, 2)
    assert waiting.next_turn(numbers, 1, 2 * waiting.MOST + 2, 9, many) == turn
    numbers[0, waiting.MOOD] = waiting.ALONE  # as when it had to wait for long
    numbers[1:, 0] = 4
    turn = waiting.next_turn(numbers, 0, turn, 9, many)
    assert divmod(turn, waiting.MOST) == (4, 0)
    assert waiting.first_turn(numbers, 2, calls) == -1  # it would wait for the rest of the call
    assert waiting.next_turn(numbers, 1, 3 * waiting.MOST + 2, 9, many) == -1
    for step in range(5, 9):
        turn = waiting.next_turn(numbers, 0, turn, 9, many)
        assert divmod(turn, waiting.MOST) == (step, 0)
    assert waiting.next_turn(numbers, 0, turn, 9, many) == -1
    assert waiting.next_turn(numbers, 2, 3 * waiting.MOST + 2, 9, many) == -1  # long after it was dismissed
    assert waiting.first_turn(numbers, 2, calls) == -1
