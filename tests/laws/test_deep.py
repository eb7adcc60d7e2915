"""The command that checks laws for hours counts what it has checked, and goes on past a law that is broken."""

from pathlib import Path

import pytest

from xprnn.testing import LAWS


@pytest.fixture
def deep(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import deep

    return deep


def test_every_law_gets_its_number(deep, monkeypatch, capsys):
    monkeypatch.setattr(deep, "LAYERS", {"lstm": deep.LAYERS["lstm"]})
    monkeypatch.setattr("sys.argv", ["deep.py", "--examples", "3", "--round", "2"])
    with pytest.raises(SystemExit, match="False"):
        deep.main()
    last = capsys.readouterr().out.split("\n\n")[-1].splitlines()[1:]
    assert [line.split() for line in last] == [["4", law] for law in LAWS]


def test_broken_laws_are_told(deep, monkeypatch, capsys):
    def broken(layer, example):
        assert example.x.shape[0] < 5, "more than four steps"

    monkeypatch.setattr(
        deep, "pairs", lambda layers: [("nan_is_not_hidden", "lstm"), ("first_step_gets_a_gradient", "rnn")]
    )
    monkeypatch.setitem(LAWS, "nan_is_not_hidden", broken)
    *_, (counts, failures) = deep.run(30, 20, 0, ["lstm", "rnn"])
    assert failures["nan_is_not_hidden", "lstm"] == 3
    assert counts["first_step_gets_a_gradient"] == 40
    assert "nan_is_not_hidden, lstm, seed 0:" in capsys.readouterr().out
