"""Ctrl-C inside fit: the estimator is as it was, or fully new, wherever it comes."""

import sys

import numpy as np
import pytest

from xprnn.estimators import CharacterModel, Forecaster, NaiveBayes, SequenceClassifier, TextClassifier
from xprnn.train import Callback

SERIES = np.sin(np.arange(60.0))
TEXT = "the cat sat on the mat. " * 8
CASES = {
    "forecaster": (
        lambda: Forecaster(hidden=4, window=5, epochs=1, members=1, transforms="none"),
        [(SERIES,), (np.ones((70, 2)).cumsum(axis=0),)],
        {"_network", "_model", "_common", "_training", "_recent", "_settings", "_kind"},
    ),
    "texts": (
        lambda: TextClassifier(hidden=4, embedding=3, epochs=1, min_count=1),
        [(["good", "bad"], [1, 0]), (["up", "down", "left"], ["a", "b", "c"])],
        {"_network", "vocabulary", "_training", "_prior", "_labels", "_settings"},
    ),
    "characters": (
        lambda: CharacterModel(hidden=4, embedding=3, epochs=1, batch_size=4, chunk=8),
        [(TEXT,), (TEXT[::-1] + "dog" * 9,)],
        {"_network", "alphabet", "_settings", "_training"},
    ),
    "sequences": (
        lambda: SequenceClassifier(hidden=4, epochs=1),
        [(np.eye(6), [0, 1] * 3), (np.ones((6, 3)).cumsum(axis=0), list("abcabc"))],
        {"_network", "_training", "_scaler", "_width", "_classes", "_settings"},
    ),
    "naive Bayes": (
        NaiveBayes,
        [(["good", "bad"], [1, 0]), (["up", "down", "left"], ["a", "b", "c"])],
        {"classes", "_labels", "_logs", "_prior"},
    ),
}


def interrupted(call, function, at):
    """Call, with Ctrl-C before a function's instruction of this number; whether it came, and how many there were."""
    count = 0

    def trace(frame, event, _):
        if frame.f_code is not function.__code__:
            return None
        frame.f_trace_opcodes = True

        def each(frame, event, _):
            nonlocal count
            if event == "opcode":
                count += 1
                if count == at:
                    raise KeyboardInterrupt
            return each

        return each

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True, count
    finally:
        sys.settrace(before)
    return False, count


@pytest.mark.parametrize("name", CASES)
def test_the_fit_is_the_old_one_or_the_new_one(name):
    make, (old, new), parts = CASES[name]
    model = make().fit(*old)
    _, total = interrupted(lambda: make().fit(*new), type(model).fit, 0)
    if total < 100:
        pytest.skip("this Python does not tell of each instruction")
    found = set()
    for at in range(total - 60, total + 1):  # from before the first part is put in its place to the end
        before = dict(vars(model))
        stopped, _ = interrupted(lambda: model.fit(*new), type(model).fit, at)
        changed = {part for part, value in vars(model).items() if value is not before[part]}
        assert stopped
        assert changed in (set(), parts), at
        found.add(bool(changed))
        vars(model).update(before)
    assert found == {True, False}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("name", ["forecaster", "texts", "characters", "sequences"])
def test_ctrl_c_while_training(name, again):
    class Stop(Callback):
        def on_batch_end(self, run):
            raise KeyboardInterrupt

    make, (old, new), _ = CASES[name]
    model = make().fit(*old) if again else make()
    before = dict(vars(model))
    weights = model.network.state_dict() if again else {}
    with pytest.raises(KeyboardInterrupt):
        model.fit(*new, callbacks=[Stop()])
    assert vars(model).keys() == before.keys()
    assert all(value is before[part] for part, value in vars(model).items())
    for part, array in weights.items():
        np.testing.assert_array_equal(model.network.state_dict()[part], array)
    assert not again or not model.network.training
