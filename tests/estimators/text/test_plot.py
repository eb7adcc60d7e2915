"""The picture of explanations."""

import io
import sys

import numpy as np
import pytest

from xprnn.estimators import Explanation
from xprnn.estimators.text.plot import draw_explanations

SURE = Explanation(
    ("not", "good", "$x_{$", "zzt"), (True, True, True, False), "negative", 0.93, np.array([3, -1, 0, 0.1]), None
)
BLANK = Explanation((), (), None, 0.5, np.zeros(0), None)


def texts_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_words_and_labels_are_there():
    pytest.importorskip("matplotlib")
    attended = Explanation(("a",) * 100, (True,) * 100, "positive", 0.6, np.ones(100), np.full(100, 0.01))
    figure = draw_explanations([SURE, BLANK, attended])
    written = texts_of(figure)
    assert written[:6] == ["negative, 93%", "not", "good", "$x_{$", "zzt", "no evidence"]
    assert written.count("a") == 100
    out = io.BytesIO()
    figure.savefig(out, format="png")
    assert out.getvalue().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error:.*layout not applied")
def test_a_word_that_is_too_long_is_cut():
    pytest.importorskip("matplotlib")
    long = Explanation(("x" * 500, "\ud800"), (True, False), "positive", 0.6, np.ones(2), None)
    figure = draw_explanations([long])
    figure.savefig(io.BytesIO(), format="png")
    cut, half = texts_of(figure)[1:]
    assert (cut, half) == ("x" * (len(cut) - 1) + "\u2026", "?")
    assert len(cut) <= 84


def test_colours_say_for_and_against():
    pytest.importorskip("matplotlib")
    boxes = draw_explanations([SURE]).axes[0].patches
    red, _, blue, _ = boxes[0].get_facecolor()
    assert blue > red  # "not" speaks for the label
    red, _, blue, _ = boxes[1].get_facecolor()
    assert red > blue


def test_nothing_to_draw(monkeypatch):
    with pytest.raises(ValueError, match="there are no explanations"):
        draw_explanations([])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'xprnn\[plot\]'"):
        draw_explanations([SURE])
