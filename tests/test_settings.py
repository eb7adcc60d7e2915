import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import xprnn
from xprnn import no_grad
from xprnn.grad_mode import is_grad_enabled
from xprnn.settings import BACKEND, Choice, Setting


@pytest.fixture
def setting():
    return Setting("test")


def chosen_in_a_new_thread(setting):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(setting.get).result()


def test_a_statement_is_for_the_process_and_a_block_for_itself(setting):
    assert setting.get() is None
    Choice(setting, "statement")
    assert chosen_in_a_new_thread(setting) == "statement"
    with Choice(setting, "block") as value:
        assert value == setting.get() == "block"
        assert chosen_in_a_new_thread(setting) == "statement"
        with Choice(setting, "inner"):
            assert setting.get() == "inner"
        assert setting.get() == "block"
        Choice(setting, "another statement")
        assert setting.get() == "block"
    assert setting.get() == "another statement"


def test_choices_made_before_their_blocks_leave_those_of_others(setting):
    first, second = Choice(setting, "first"), Choice(setting, "second")
    assert setting.get() == "second"
    with second:
        assert chosen_in_a_new_thread(setting) == "first"
        with first:
            assert chosen_in_a_new_thread(setting) is None
            assert setting.get() == "first"
    assert setting.get() is None


def test_until_a_block_is_entered_it_is_a_statement_to_threads_in_no_block(setting):
    """What the docstring of use_backend says, one thing after the other."""
    held, go = threading.Barrier(2), threading.Barrier(2)
    seen = []

    def in_a_block_of_its_own():
        with Choice(setting, "its own"):
            held.wait()
            go.wait()
            seen.append(setting.get())

    worker = threading.Thread(target=in_a_block_of_its_own)
    worker.start()
    held.wait()
    block = Choice(setting, "block")
    assert chosen_in_a_new_thread(setting) == "block"
    go.wait()
    worker.join()
    assert seen == ["its own"]
    with block:
        assert chosen_in_a_new_thread(setting) is None
    assert chosen_in_a_new_thread(setting) is None


def test_what_a_statement_gives_may_be_kept(setting):
    kept = Choice(setting, "statement")  # as an interactive session does
    assert chosen_in_a_new_thread(setting) == "statement"
    del kept
    assert chosen_in_a_new_thread(setting) == "statement"


def test_a_block_withdraws_its_own_choice_only(setting):
    block = Choice(setting, "block")
    Choice(setting, "a later statement")
    with block:
        assert chosen_in_a_new_thread(setting) == "a later statement"
    assert setting.get() == "a later statement"


def test_a_block_can_be_entered_again_and_within_itself(setting):
    block = Choice(setting, "block")
    for _ in range(2):
        with block, block:
            assert setting.get() == "block"
        assert setting.get() is None


def test_a_choice_may_be_entered_by_several_threads_at_once(setting):
    block, both = Choice(setting, "block"), threading.Barrier(2)

    def enter(_):
        with block:
            both.wait()
            inside = setting.get()
            both.wait()
        return inside, setting.get()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(enter, range(2))) == [("block", None)] * 2


def test_statements_do_not_pile_up(setting):
    for k in range(100):
        Choice(setting, k)
        with Choice(setting, "block"):
            assert setting.get() == "block"
        gc.collect(0)
        assert setting.get() == k
        assert len(setting._standing) <= 2


@pytest.mark.usefixtures("small_heap")
def test_use_backend_as_a_statement_does_not_pile_up():
    for _ in range(50):
        xprnn.use_backend("numpy")
    gc.collect()
    assert len(BACKEND._standing) <= 2


def test_what_the_process_is_given_counts_until_the_next_choice(setting):
    Choice(setting, "statement")
    setting.process = "given"
    assert setting.get() == "given"
    with Choice(setting, "block"):
        pass
    assert setting.get() == "given"
    Choice(setting, "another")
    assert setting.get() == "another"
    setting.process = None
    assert setting.get() is None


def test_what_is_chosen_while_the_default_is_looked_for_stays(monkeypatch):
    find = xprnn.backend.get_backend

    def slow(name, device=None):
        found = find(name, device)
        if name == "numpy":  # meanwhile, in another thread
            xprnn.use_backend("array_api_strict")
        return found

    BACKEND.process = None
    monkeypatch.setattr(xprnn.backend.places, "get_backend", slow)
    monkeypatch.delenv("XPRNN_BACKEND", raising=False)
    assert xprnn.backend.default_backend().name == "array_api_strict"
    assert BACKEND.process.name == "array_api_strict"


def left_in_the_middle(*blocks):
    """Generators that are each inside a block, as readers of data are that somebody takes turns at."""

    def inside(block):
        with block:
            yield
            yield

    found = [inside(block) for block in blocks]
    for each in found:
        next(each)
    return found


def test_blocks_of_generators_end_in_any_order(setting):
    first, second = left_in_the_middle(Choice(setting, "first"), Choice(setting, "second"))
    first.close()
    assert setting.get() == "second"
    second.close()
    assert setting.get() is None
    first, second = left_in_the_middle(no_grad(), no_grad())
    first.close(), second.close()
    assert is_grad_enabled()


def test_blocks_of_generators_end_in_any_thread(setting):
    """As they do that are collected there, and those of tasks, which the loop closes in another."""
    left = left_in_the_middle(Choice(setting, "left"), no_grad())
    thread = threading.Thread(target=lambda: [each.close() for each in left])
    thread.start(), thread.join()
    assert setting.get() is None
    assert is_grad_enabled()

    async def steps():
        with no_grad(), Choice(setting, "left"):
            yield
            yield

    async def task():
        async for _ in steps():
            break
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return setting.get(), is_grad_enabled()

    assert asyncio.run(task()) == (None, True)
