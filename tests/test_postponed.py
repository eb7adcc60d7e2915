"""Checks at once and checks postponed: what they say, who hears of them, and what is computed meanwhile."""

import threading

import array_api_strict
import numpy as np
import pytest
from helpers import host
from host_copies import counted

from xprnn import nn
from xprnn import postponed as module
from xprnn.backend import get_backend
from xprnn.data import lengths_to_mask
from xprnn.engine.control import Control
from xprnn.postponed import all_within, postponed, require, within
from xprnn.train import cross_entropy

DEVICE = get_backend("array_api_strict", array_api_strict.Device("device1"))
HOST = get_backend("numpy")


def flag(home, value):
    return home.asarray(np.array(value))


def outside(number):
    return ValueError(f"found {number}")


def test_at_once_on_the_host_and_outside_of_blocks(home):
    for wrong in (flag(home, False), False, np.False_):
        assert require(wrong, ZeroDivisionError) is False
    for wrong in (flag(home, True), True, np.True_):
        with pytest.raises(ZeroDivisionError):
            require(wrong, ZeroDivisionError)
    for wrong in (flag(HOST, True), True, np.True_):  # the host never waits
        with postponed() as checks, pytest.raises(ZeroDivisionError):
            require(wrong, ZeroDivisionError)
        assert checks == []


def test_postponed_nothing_is_read_and_everything_is_kept():
    with counted(DEVICE) as log, postponed() as checks:
        assert require(flag(DEVICE, True), ZeroDivisionError) is True
        assert require(flag(DEVICE, False), KeyError) is True
    assert log == []
    assert [(bool(check.wrong), type(check.error())) for check in checks] == [
        (True, ZeroDivisionError),
        (False, KeyError),
    ]
    with pytest.raises(ZeroDivisionError):  # the block is over
        require(flag(DEVICE, True), ZeroDivisionError)


def test_blocks_nest_and_go_on():
    one, two, three = (flag(DEVICE, False) for _ in range(3))
    with postponed() as outer:
        require(one, KeyError)
        with postponed() as inner:
            require(two, KeyError)
        require(three, KeyError)
    assert [check.wrong for check in inner] == [two]
    assert [check.wrong for check in outer] == [one, three]
    with postponed(inner) as again:
        require(three, KeyError)
    assert again is inner
    assert [check.wrong for check in inner] == [two, three]


def in_a_block(flags, error):
    with postponed():
        for number, wrong in enumerate(flags):
            require(flag(DEVICE, wrong), lambda number=number: ZeroDivisionError(number))
        raise error


def test_an_error_ends_the_block():
    with postponed() as outer:
        with pytest.raises(RuntimeError):
            in_a_block([False], RuntimeError())
        require(flag(DEVICE, True), ZeroDivisionError)
    assert len(outer) == 1
    with pytest.raises(RuntimeError), postponed():
        raise RuntimeError
    with pytest.raises(ZeroDivisionError):
        require(flag(DEVICE, True), ZeroDivisionError)


def test_what_was_wrong_before_another_error_comes_first():
    with pytest.raises(ZeroDivisionError, match="1") as caught:
        in_a_block([False, True, True], RuntimeError("because of it"))
    assert str(caught.value.__context__) == "because of it"
    with pytest.raises(KeyboardInterrupt):  # who is in a hurry does not wait
        in_a_block([True], KeyboardInterrupt())


def test_an_interrupt_while_a_block_opens_leaves_none_open(monkeypatch):
    """Else all checks of a notebook would be postponed from then on, with nobody to look at them."""
    kept = module._kept

    class Interrupted:
        get = kept.get

        def set(self, value):
            kept.set(value)
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_kept", Interrupted())
    with pytest.raises(KeyboardInterrupt), postponed():
        pass
    left, _ = kept.get(), kept.set(None)
    assert left is None


def test_threads_do_not_see_each_other():
    found = []

    def other():
        try:
            require(flag(DEVICE, True), ZeroDivisionError)
        except ZeroDivisionError:
            found.append("raised")

    with postponed() as checks:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == ["raised"]
    assert checks == []


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
@pytest.mark.parametrize("stop", [5, 1000])
def test_numbers_within(home, dtype, stop):
    good = home.asarray(np.array([[0, 4], [2, 1]], dtype))
    assert within(good, stop, outside) is good
    nothing = good[:0, :]
    assert within(nothing, stop, outside) is nothing
    bad = [9] if dtype.startswith("u") else [9, -3]
    for number in bad if stop == 5 else bad[1:]:
        with pytest.raises(ValueError, match=f"found {number}"):
            within(home.asarray(np.array([1, number], dtype)), stop, outside)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int64"])
def test_one_look_tells_which_numbers_of_the_host_are_within(dtype):
    numbers = np.array([[0, 4], [2, 1]], dtype)
    assert all_within(numbers, 5)
    assert all_within(numbers.T[::-1], 1000)
    for others in (numbers - 1, numbers + 1, numbers[:0]):
        assert not all_within(others, 5)
    assert not all_within(numbers - 1, 1000)
    if dtype != "int8":
        foreign = numbers.astype(numbers.dtype.newbyteorder())
        assert not all_within(foreign, 5)  # though they are
        assert within(foreign, 5, outside) is foreign


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_numbers_postponed_are_brought_inside(dtype):
    with counted(DEVICE) as log, postponed() as checks:
        bad = [200, 4, 0] if dtype.startswith("u") else [7, -2, 3]
        for values, stop in ((bad, 5), ([3, 0, 4], 5), ([3, 0, 4], 1000), ([], 5)):
            found = within(DEVICE.asarray(np.array(values, dtype)), stop, outside)
            assert str(found.dtype).endswith(dtype)
            inside = host(found).tolist()
            assert inside == [min(max(n, 0), stop - 1) for n in values]
            log.clear()  # of what this test looked at
    assert [bool(check.wrong) for check in checks] == [True, False, False]
    assert str(checks[0].error()) == f"found {min(bad) if min(bad) < 0 else max(bad)}"


CASES = {
    "embedding": lambda home: nn.Embedding(7, 3, rng=0).to(home)(home.asarray(np.array([1, 7]))),
    "classes": lambda home: cross_entropy(home.zeros((2, 3), "float32"), home.asarray(np.array([0, -1]))),
    "lengths": lambda home: Control.build("LSTM", home.zeros((4, 2, 1), "float32"), home.asarray(np.array([5, 0]))),
    "tokens": lambda home: nn.Encoder(7, 3, embedding_dim=2, rng=0).to(home)(home.asarray(np.array([[1], [9]]))),
    "mask": lambda home: lengths_to_mask(home.asarray(np.array([5, 0])), 4),
    "mask below": lambda home: lengths_to_mask(home.asarray(np.array([-5, 0])), 4),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_library_says_the_same_late(case):
    with pytest.raises(ValueError, match="contains") as expected:
        case(HOST)
    with pytest.raises(ValueError, match="contains") as at_once:
        case(DEVICE)
    with counted(DEVICE) as log, postponed() as checks:
        case(DEVICE)
    assert log == []
    (error,) = [check.error() for check in checks if check.wrong]
    assert str(error) == str(at_once.value) == str(expected.value)
    assert type(error) is type(expected.value)


def test_where_classes_do_not_count_they_may_be_anything():
    target, mask = DEVICE.asarray(np.array([99, -100, 1])), DEVICE.asarray(np.array([False, True, True]))
    with postponed() as checks:
        loss = cross_entropy(DEVICE.zeros((3, 2), "float32"), target, mask=mask)
    assert not any(check.wrong for check in checks)
    assert loss.item() == pytest.approx(np.log(2.0))
