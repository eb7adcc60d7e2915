"""tests/interop/files/nam-lstm.nam is by neural-amp-modeler's own LSTM, whose PyTorch played what stands beside it."""

import json
from pathlib import Path

import numpy as np
import pytest
from hostile_files import check_broken_files, check_wrong

from xprnn import nn
from xprnn.interop import nam

FILE = Path(__file__).parent / "files" / "nam-lstm.nam"


@pytest.fixture
def played():
    expected = json.loads((FILE.parent / "nam-lstm.expected.json").read_text())
    return np.array(expected["x"], "float32")[:, None], np.array(expected["y"])[:, None]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_file_of_the_format_plays_as_there(dtype, played):
    x, y = played
    capture = nam.load(FILE, dtype=dtype)
    np.testing.assert_allclose(capture.stream().block(x.astype(dtype)), y, atol=2e-7)
    assert capture.sample_rate == 44100.0
    assert capture.metadata["gear_type"] == "amp"
    assert capture.state[0].shape == capture.state[1].shape == (2, 3)
    assert all(np.all(part != 0.0) for part in capture.state)


def test_what_was_read_is_written_again(tmp_path):
    nam.save(nam.load(FILE), tmp_path / "again.nam")
    assert json.loads((tmp_path / "again.nam").read_text()) == json.loads(FILE.read_text())


def test_there_and_back(tmp_path, rng):
    lstm, head = nn.LSTM(2, 3, 2, bias=False, rng=0), nn.Linear(3, 2, bias=False, rng=0)
    stream = lstm.stream(head=head)
    stream.block(rng.standard_normal((9, 1, 2)).astype("float32"))
    capture = nam.Capture(lstm, head, stream.state, 48000)
    nam.save(capture, tmp_path / "capture.nam")
    again, x = nam.load(tmp_path / "capture.nam"), rng.standard_normal((7, 2)).astype("float32")
    np.testing.assert_array_equal(again.stream().block(x), capture.stream().block(x))
    np.testing.assert_array_equal(again.stream().block(x), stream.block(x[:, None])[:, 0])
    config = json.loads((tmp_path / "capture.nam").read_text())["config"]
    assert (config["in_channels"], config["out_channels"]) == (2, 2)
    assert (again.sample_rate, again.metadata) == (48000.0, {})


def test_without_a_state_it_begins_with_zeros():
    capture = nam.Capture(nn.LSTM(1, 2, rng=0), nn.Linear(2, 1, rng=0))
    assert not np.any(capture.state)
    x = np.ones((3, 1), "float32")
    np.testing.assert_allclose(capture.stream().block(x), capture.model(x).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((nn.GRU(1, 2), nn.Linear(2, 1)), TypeError, "lstm is a GRU; expected LSTM"),
        ((nn.LSTM(1, 2), nn.Tanh()), TypeError, "head is a Tanh; expected Linear"),
        (
            (nn.LSTM(1, 2, peephole="diagonal"), nn.Linear(2, 1)),
            ValueError,
            "lstm is of PeepholeLSTM; expected an LSTM",
        ),
        ((nn.LSTM(1, 3, proj_size=2), nn.Linear(2, 1)), ValueError, "lstm is of LSTM projected to 2; expected an LSTM"),
        ((nn.LSTM(1, 2, bidirectional=True), nn.Linear(4, 1)), ValueError, "lstm is bidirectional; expected an LSTM"),
        ((nn.LSTM(1, 2, reverse=True), nn.Linear(2, 1)), ValueError, "lstm is reverse; expected an LSTM"),
        ((nn.LSTM(1, 2, zoneout=0.1), nn.Linear(2, 1)), ValueError, "lstm is with zoneout; expected an LSTM"),
        ((nn.LSTM(1, 2), nn.Linear(3, 1)), ValueError, "head takes 3 inputs; expected 2"),
        ((nn.LSTM(1, 2), nn.Linear(2, 1), np.zeros((1, 2))), ValueError, "state is .*; expected a pair"),
        (
            (nn.LSTM(1, 2), nn.Linear(2, 1), [np.zeros((1, 2)), np.zeros(2)]),
            ValueError,
            r"state has shapes \(1, 2\) and \(2,\)",
        ),
        ((nn.LSTM(1, 2), nn.Linear(2, 1), None, -1), ValueError, "sample_rate is -1; expected a number above 0"),
    ],
)
def test_captures_that_the_format_has_no_place_for(arguments, kind, message):
    with pytest.raises(kind, match=f"Capture: {message}"):
        nam.Capture(*arguments)


def test_only_captures_are_written_and_only_json(tmp_path):
    lstm, head = nn.LSTM(1, 2), nn.Linear(2, 1)
    with pytest.raises(TypeError, match=r"nam\.save: the capture is a LSTM; expected a Capture"):
        nam.save(lstm, tmp_path / "a.nam")
    for metadata in ({"gain": float("nan")}, {"date": object()}):
        with pytest.raises((ValueError, TypeError), match=r"nam\.save: this cannot be written as JSON"):
            nam.save(nam.Capture(lstm, head, metadata=metadata), tmp_path / "a.nam")
    assert not [*tmp_path.iterdir()]


WRONG = {
    "a version to come": (["version"], "0.8.0", "version is '0.8.0'; expected 0.5.0 to 0.7"),
    "a version before": (["version"], "0.4.9", "version is '0.4.9'"),
    "a version of words": (["version"], "new", "version is 'new'"),
    "an endless version": (["version"], "0." + "7" * 5000 + ".0", "version is '0.777"),
    "another architecture": (["architecture"], "WaveNet", "architecture is 'WaveNet'; expected 'LSTM'"),
    "no config": (["config"], ..., "config is missing"),
    "no hidden size": (["config", "hidden_size"], ..., "config: hidden_size is missing"),
    "a size of text": (["config", "hidden_size"], "3", "config: hidden_size is '3'; expected a int"),
    "endless layers": (["config", "num_layers"], 10**18, r"weights of .* has 160 entries"),
    "endless units": (["config", "hidden_size"], 10**18, r"weights of .* has 160 entries"),
    "no layers": (["config", "num_layers"], 0, "config: num_layers is 0"),
    "channels that differ": (["config", "in_channels"], 2, "in_channels differs from input_size = 1"),
    "a weight too few": (["weights", 159], ..., "has 159 entries along axis 0; expected shape .160,"),
    "a weight of text": (["weights", 0], "0", "entries that are no numbers"),
    "a weight too large": (["weights", 0], 1e300, "a number too large for float32"),
    "NaN": (["metadata", "gain"], float("nan"), "NaN is no number of JSON"),
    "metadata that is none": (["metadata"], [], r"metadata is \[\]; expected a dict"),
    "a rate that is none": (["sample_rate"], "48k", "sample_rate is '48k'; expected a number above 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files(case, tmp_path):
    check_wrong(nam.load, tmp_path / "model.nam", json.loads(FILE.read_text()), *WRONG[case])


def test_broken_files(tmp_path):
    check_broken_files(nam.load, tmp_path / "model.nam", FILE.read_bytes())
