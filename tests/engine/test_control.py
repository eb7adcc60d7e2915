import numpy as np
import pytest
from helpers import host

from xprnn.backend import get_backend
from xprnn.engine.control import Control

X = np.zeros((4, 2, 3))


def flags(array):
    return None if array is None else host(array)[..., 0].astype(int).tolist()


def build(home, **control):
    return Control.build("Layer", home.asarray(X), **control)


def test_nothing_given_is_nothing_kept(home):
    assert build(home) == Control(None, None, None)
    assert Control().reversed() == Control()


@pytest.mark.parametrize(
    "kind", [list, tuple, np.asarray, lambda v: np.asarray(v, "int8"), lambda v: np.asarray(v, "uint8")]
)
def test_lengths_of_any_integer_kind(home, kind):
    control = build(home, lengths=kind([3, 0]))
    assert flags(control.inside) == flags(control.advance) == [[1, 0], [1, 0], [1, 0], [0, 0]]
    assert control.restart is None


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_narrow_lengths_of_a_long_batch(dtype):
    control = Control.build("Layer", np.zeros((300, 2, 1)), np.array([100, 0], dtype))
    assert host(control.inside)[..., 0].sum(axis=0).tolist() == [100, 0]


def test_lengths_may_be_on_the_device_already(home):
    assert flags(build(home, lengths=home.asarray(np.array([1, 4]))).inside) == [[1, 1], [0, 1], [0, 1], [0, 1]]


def test_mask_holds_and_lengths_end(home):
    mask = np.array([[1, 0], [0, 1], [1, 1], [1, 1]], bool)
    control = build(home, lengths=[3, 4], mask=mask, reset=np.ones((4, 2), bool))
    assert flags(control.advance) == [[1, 0], [0, 1], [1, 1], [0, 1]]
    assert flags(control.inside) == [[1, 1], [1, 1], [1, 1], [0, 1]]
    assert flags(control.restart) == [[1, 1], [1, 1], [1, 1], [0, 1]]


def test_restarts_move_by_one_when_walking_back(home):
    reset = np.array([[1, 0], [0, 1], [1, 0], [0, 0]], bool)
    assert flags(build(home, reset=reset).reversed().restart) == [[0, 1], [1, 0], [0, 0], [0, 0]]


def test_no_steps_at_all():
    x, none = np.zeros((0, 2, 3)), np.zeros((0, 2), bool)
    control = Control.build("Layer", x, lengths=[0, 0], mask=none, reset=none).reversed()
    assert control.restart.shape == control.inside.shape == (0, 2, 1)
    assert Control.build("Layer", np.zeros((3, 0, 1)), lengths=[]).inside.shape == (3, 0, 1)


BAD = {
    "too long": (ValueError, "lengths contains 5; expected values from 0 to T = 4", {"lengths": [1, 5]}),
    "negative": (ValueError, "lengths contains -1; expected values from 0 to T = 4", {"lengths": [-1, 4]}),
    "too many": (ValueError, r"lengths has shape \(3,\); expected \(B,\) = \(2,\)", {"lengths": [1, 1, 1]}),
    "two axes": (
        ValueError,
        r"lengths has shape \(2, 1\); expected \(B,\) = \(2,\)",
        {"lengths": np.ones((2, 1), int)},
    ),
    "no axis": (ValueError, r"lengths has shape \(\); expected \(B,\) = \(2,\)", {"lengths": np.array(3)}),
    "a number": (TypeError, "lengths is a int; expected a list or an array of integers", {"lengths": 3}),
    "floats": (TypeError, "lengths has dtype float64; expected integers", {"lengths": [1.0, 2.0]}),
    "booleans": (TypeError, "lengths has dtype bool; expected integers", {"lengths": [True, False]}),
    "a mask of another library": (
        TypeError,
        "Layer: x is a numpy .* Layer: mask is a array_api_strict",
        {"mask": get_backend("array_api_strict").asarray(np.ones((4, 2), dtype=bool))},
    ),
    "mask of numbers": (TypeError, "mask has dtype float64; expected bool", {"mask": np.ones((4, 2))}),
    "mask of integers": (TypeError, "mask has dtype int64; expected bool", {"mask": np.ones((4, 2), "int64")}),
    "mask turned": (
        ValueError,
        r"mask has shape \(2, 4\); expected \(T, B\) = \(4, 2\)",
        {"mask": np.ones((2, 4), bool)},
    ),
    "mask of one axis": (ValueError, r"mask has shape \(4,\); expected \(T, B\)", {"mask": np.ones(4, bool)}),
    "mask elsewhere": (
        TypeError,
        "Layer: x is a numpy .* Layer: mask is a array_api_strict",
        {"mask": get_backend("array_api_strict").asarray(np.ones((4, 2), bool))},
    ),
    "reset of numbers": (TypeError, "reset has dtype int64; expected bool", {"reset": np.ones((4, 2), "int64")}),
    "reset turned": (ValueError, r"reset has shape \(2, 4\); expected \(T, B\)", {"reset": np.ones((2, 4), bool)}),
}


@pytest.mark.parametrize(("error", "message", "control"), BAD.values(), ids=BAD.keys())
def test_bad_control(error, message, control):
    with pytest.raises(error, match=message) as caught:
        Control.build("Layer", X, **control)
    assert str(caught.value).startswith("Layer: ")
