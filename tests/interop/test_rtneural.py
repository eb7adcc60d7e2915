"""RTNeural's files: tests/interop/files/rtneural-*.json were written by its own exporter from models of Keras 3.15, and
what stands beside them in *.expected.json was computed by RTNeural (C++, double precision)."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import host
from hostile_files import check_broken_files, check_wrong

from xprnn import nn
from xprnn.interop import rtneural

FILES = Path(__file__).parent / "files"
MODELS = {
    "stacked": lambda dtype: nn.Sequential(nn.LSTM(2, 3, 3, dtype=dtype, rng=0), nn.Linear(3, 2, dtype=dtype, rng=0)),
    "in a row": lambda dtype: nn.Sequential(nn.GRU(2, 3, dtype=dtype, rng=0), nn.GRU(3, 4, dtype=dtype, rng=0)),
    "without biases": lambda dtype: nn.Sequential(
        nn.LSTM(2, 3, bias=False, dtype=dtype, rng=0), nn.Linear(3, 2, False, dtype=dtype, rng=0), nn.Sigmoid()
    ),
    "activations": lambda dtype: nn.Sequential(
        nn.Tanh(), nn.Sequential(nn.Linear(2, 4, dtype=dtype, rng=0), nn.ReLU(), nn.Softmax()), nn.Dropout(0.5).eval()
    ),
    "alone": lambda dtype: nn.GRU(2, 3, dtype=dtype, rng=0),
}


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
def test_files_that_rtneural_runs(name, dtype, tolerance):
    expected = json.loads((FILES / f"rtneural-{name}.expected.json").read_text())
    model = rtneural.load(FILES / f"rtneural-{name}.json", dtype=dtype)
    y = model(np.array(expected["x"], dtype)[:, None])
    np.testing.assert_allclose(host(y)[:, 0], expected["y"], atol=tolerance)


def test_layers_in_a_row_become_one_that_can_be_streamed(rng):
    lstm, first, tanh, last = rtneural.load(FILES / "rtneural-lstm.json")
    assert (lstm.num_layers, type(tanh)) == (2, nn.Tanh)
    x = rng.standard_normal((5, 1)).astype("float32")
    streamed = last(tanh(lstm.stream(batch=None, head=first).block(x)))
    np.testing.assert_allclose(host(streamed), host(last(tanh(first(lstm(x)[0])))), atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_what_was_read_is_written_again(name, tmp_path):
    path = tmp_path / "again.json"
    rtneural.save(rtneural.load(FILES / f"rtneural-{name}.json", dtype="float64"), path)
    found, again = (json.loads(file.read_text()) for file in (FILES / f"rtneural-{name}.json", path))
    for layer in found["layers"]:
        layer["type"] = layer["type"].replace("time-distributed-", "")
    assert again == found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name, dtype, tmp_path, rng):
    path, model = tmp_path / "model.json", MODELS[name](dtype)
    rtneural.save(model, path)
    x = rng.standard_normal((5, 1, 2)).astype(dtype)
    y, again = model(x), rtneural.load(path, dtype=dtype)(x)
    y = y[0] if isinstance(y, tuple) else y
    np.testing.assert_allclose(host(again), host(y), rtol=1e-6 if dtype == "float32" else 1e-14)
    once = path.read_bytes()
    rtneural.save(rtneural.load(path, dtype=dtype), path)
    assert path.read_bytes() == once  # so all bits are the same


def test_an_activation_stands_with_its_layer(tmp_path):
    path = tmp_path / "model.json"
    rtneural.save(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Tanh()), path)
    layers = json.loads(path.read_text())["layers"]
    assert [(layer["type"], layer["activation"]) for layer in layers] == [("dense", "relu"), ("activation", "tanh")]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.GRU(1, 2, reset_after=False), "GRU is of ResetBeforeGRU; RTNeural has LSTM and GRU alone"),
        (nn.LSTM(1, 2, peephole="full"), "LSTM is of FullPeepholeLSTM"),
        (nn.Sequential(nn.LSTM(1, 3, proj_size=2)), "0 .LSTM. is of LSTM projected to 2"),
        (nn.LSTM(1, 2, bidirectional=True), "LSTM is bidirectional; it cannot run step by step"),
        (nn.Sequential(nn.Linear(1, 2), nn.LayerNorm(2)), "1 .LayerNorm. has no place in the format"),
        (nn.Sequential(nn.Linear(1, 2), nn.LSTM(3, 2)), "1 .LSTM. takes 3 inputs, and is given 2"),
        (nn.Sequential(nn.Tanh()), "has no layer"),
    ],
)
def test_what_the_format_cannot_say(model, message, tmp_path):
    with pytest.raises(ValueError, match=f"rtneural.save: .*{message}"):
        rtneural.save(model, tmp_path / "model.json")
    assert not [*tmp_path.iterdir()]


def test_numbers_that_json_has_not(tmp_path):
    model = nn.Linear(1, 1)
    model.weight.data[0] = np.nan
    with pytest.raises(ValueError, match=r"rtneural\.save: this cannot be written as JSON"):
        rtneural.save(model, tmp_path / "model.json")
    assert not [*tmp_path.iterdir()]


WRONG = {
    "no layers": (["layers"], ..., "layers is missing"),
    "layers that are none": (["layers"], {}, "layers is {}; expected a list"),
    "a layer that is none": (["layers", 1], 3, "layer 1 is a int; expected an object"),
    "another type": (["layers", 2, "type"], "conv1d", "layer 2: type is 'conv1d'; expected one of lstm, gru"),
    "no inputs": (["in_shape"], [], "in_shape is empty"),
    "inputs of no number": (["in_shape", 2], None, "in_shape: its last entry is None"),
    "an endless shape": (["layers", 0, "shape", 2], 10**18, r"layer 0: kernel has 12 entries along axis 1"),
    "a shape of zero": (["layers", 0, "shape", 2], 0, "layer 0: shape: its last entry is 0"),
    "true for one": (["layers", 3, "shape", 2], True, "layer 3: shape: its last entry is True"),
    "an activation of an LSTM": (["layers", 0, "activation"], "relu", "layer 0: lstm has activation 'relu'"),
    "another activation": (["layers", 2, "activation"], "elu", "layer 2: activation is 'elu'; expected one of tanh"),
    "an array too few": (["layers", 0, "weights"], [[]], "layer 0: weights are 1 arrays; expected 3"),
    "a row too few": (["layers", 1, "weights", 1, 2], ..., r"layer 1: recurrent kernel has 2 entries along axis 0"),
    "a ragged row": (["layers", 0, "weights", 0, 0, 11], ..., "layer 0: kernel has 11 entries along axis 1"),
    "a number where a row is": (["layers", 0, "weights", 0, 0], 1.0, "layer 0: kernel has a float along axis 1"),
    "text for a number": (["layers", 0, "weights", 2, 0], "1", "layer 0: bias has entries that are no numbers"),
    "deeper than it should be": (["layers", 0, "weights", 2, 0], [1.0], "layer 0: bias has entries that are no numb"),
    "too large for float32": (["layers", 0, "weights", 2, 0], 1e39, "layer 0: bias holds a number too large"),
    "too large for a float": (["layers", 0, "weights", 2, 0], 10**400, "layer 0: bias holds a number too large"),
    "infinite by its exponent": (["layers", 0, "weights", 2, 0], float("1e999"), "no JSON of a model"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files(case, tmp_path):
    found = json.loads((FILES / "rtneural-lstm.json").read_text())
    check_wrong(rtneural.load, tmp_path / "model.json", found, *WRONG[case])


def test_broken_files(tmp_path):
    check_broken_files(rtneural.load, tmp_path / "model.json", (FILES / "rtneural-lstm.json").read_bytes())
    with pytest.raises(FileNotFoundError, match="rtneural.load: cannot read .*gone.json"):
        rtneural.load(tmp_path / "gone.json")


def test_an_exponent_beyond_all_numbers(tmp_path):
    path = tmp_path / "model.json"
    path.write_text((FILES / "rtneural-lstm.json").read_text().replace("[[[", "[[[1e999, ", 1))
    with pytest.raises(ValueError, match=r"model\.json: layer 0"):
        rtneural.load(path)
