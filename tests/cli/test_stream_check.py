"""``xprnn stream-check`` says what a stream takes; nothing here depends on how long that is."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from xprnn.cli import main, stream_command
from xprnn.cli.stream_command import Run, measure, opened, report_of

FILES = Path(__file__).parents[1] / "interop" / "files"


def said(*arguments):
    return CliRunner().invoke(main, ["stream-check", *map(str, arguments)])


@pytest.mark.parametrize("model", ["lstm:1:5", "GRU:2:3:2", FILES / "nam-lstm.nam", FILES / "rtneural-gru.json"])
def test_files_and_kinds_are_measured(model):
    result = said(model, "--blocks", 20, "--block", 16, "--rate", 8000)
    assert result.exit_code == 0, result.output
    assert "20 blocks of 16 at 8000 Hz, 2000 us each" in result.output
    for word in ("median", "99.9th percentile", "worst", "late: ", "bytes at most", "page faults"):
        assert word in result.output
    assert re.search(r"stream\(batch=None", result.output)


def test_the_report_says_what_was_found():
    stream = opened("lstm:1:5")
    took = np.full(1000, 0.0005)
    took[7] = 0.003
    run = Run(took, 700, 0, {"page faults": 12, "of them from disk": 1})
    text = report_of("m", stream, run, 1000.0, 2)
    assert re.search(r"median +500.0 +25.00 %", text)
    assert re.search(r"worst +3000.0 +150.00 %", text)
    assert "late: 1 blocks" in text
    assert "allocates 700 bytes at most" in text
    assert "page faults: 12, of them from disk: 1" in text
    assert "not counted here" in report_of("m", stream, run._replace(system=None), 1000.0, 2)


def test_blocks_that_allocate_are_caught():
    class Wasteful:
        input_size, dtype, kept = 1, "float32", []

        def block(self, x, out=None):
            self.kept.append(bytearray(1000))
            bytearray(5000)
            return x

    run = measure(Wasteful(), 4, 3)
    assert run.seconds.shape == (3,)
    assert run.allocated > 5000
    assert run.kept >= 1000 * stream_command.TRACED


@pytest.mark.parametrize("model", ["lstm", "lstm:1", "lstm:1:x", "tcn:1:8", "lstm:1:2:3:4", "model.pt"])
def test_other_models_are_refused_in_one_line(model):
    result = said(model)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {model}: expected a file that ends in .nam or .json")
    assert "such as lstm:1:32" in result.output


def test_what_a_layer_refuses_and_files_that_are_none_end_in_one_line(tmp_path):
    (tmp_path / "odd.json").write_text("{}")
    for model in ("gru:1:0", tmp_path / "odd.json", tmp_path / "none.nam"):
        result = said(model)
        assert result.exit_code == 1
        assert result.output.count("\n") == 1


@pytest.mark.parametrize("option", ["block", "blocks"])
def test_more_than_memory_holds_is_refused_before_anything_is_measured(option):
    result = said("lstm:1:2", f"--{option}", 10**30)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: stream-check: {option} is {10**30}; expected an integer from 1 to 2^44")


@pytest.mark.parametrize("rate", ["nan", "inf"])
def test_a_rate_is_a_number(rate):
    result = said("lstm:1:4", "--rate", rate, "--blocks", "1")
    assert (result.exit_code, result.output) == (
        1,
        f"Error: stream-check: --rate is {rate}; expected a number above 0\n",
    )
