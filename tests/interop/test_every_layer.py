"""Every layer in every format: what the table of docs/tutorials/interop.md says, cell by cell.

A cell says out where the file or module gives the layer's numbers; both where it is also read back; and no where
it is refused by name. Formats are run by who defines them, or by what stands for them in the other tests of this room.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from every_layer import BASES, LAYERS, H, I
from helpers import exported
from in_c import InC

from xprnn import nn
from xprnn.interop import c, casadi, keras, nam, onnx, rtneural
from xprnn.interop import torch as pytorch

T, B = 6, 1
OTHER_CALLS = {"RNNCell", "LSTMCell", "GRUCell"}  # (B, I) at each step
PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "interop.md"


def table():
    """What the page says: format by layer, what. A layer without a row goes nowhere."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def first(result):
    while isinstance(result, (tuple, list)):
        result = result[0]
    return result.numpy() if hasattr(result, "numpy") else np.asarray(result)


def in_pytorch(model, x, path):
    import torch

    module = pytorch.to_module(model)
    with torch.no_grad():
        found = first(module(torch.from_numpy(x)))
    return found, first(pytorch.from_module(module).eval()(x))


def in_onnx(model, x, path):
    import onnxruntime

    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0], first(onnx.load(path)(x))


def in_c(model, x, path):
    c.export(model, path.with_suffix(".c"))
    y = first(model(x))
    return InC("gcc", path.with_suffix(".c"), options=["-std=c99", "-O0"]).block(x[:, 0], y.shape[-1])[:, None], None


def in_rtneural(model, x, path):
    rtneural.save(model, path)
    found = first(rtneural.load(path)(x))
    return found, found


def in_nam(model, x, path):
    head = nn.Linear(H, 1, rng=3)
    nam.save(nam.Capture(model, head), path)
    capture = nam.load(path)
    np.testing.assert_array_equal(capture.head.weight.numpy(), head.weight.numpy())
    found = first(capture.lstm(x))
    return found, found


def in_casadi(model, x, path):
    f = casadi.step(model)
    state, found = np.zeros(f.size_in("state")), []
    for row in x[:, 0]:
        y, state = f(row, state)
        found.append(np.array(y).ravel())
    return np.stack(found)[:, None], None


class Arrays:
    """A layer of a Keras model, as far as weights go."""

    name = "layer"

    def __init__(self, given):
        self.given = given

    def get_weights(self):
        return self.given

    def set_weights(self, arrays):
        self.given = arrays


class Keras:
    def __init__(self, layers):
        self.layers = layers


def in_keras(model, x, path):
    """Weights alone go out; that Keras has the layer's numbers with them, test_keras.py asks Keras itself."""
    from xprnn.interop.keras_layers import slots

    layers = [Arrays(slot.arrays()) for slot in slots("keras.set_weights", model)]
    keras.set_weights(Keras(layers), model)
    y = first(model(x))
    return y, y


FORMATS = {
    "PyTorch": in_pytorch, "ONNX": in_onnx, "C": in_c, "RTNeural": in_rtneural, ".nam": in_nam, "CasADi": in_casadi,
    "Keras": in_keras,
}  # fmt: skip


HERE = {
    "PyTorch": find_spec("torch"),
    "ONNX": find_spec("onnx") and find_spec("onnxruntime"),
    "CasADi": find_spec("casadi"),
    "C": shutil.which("gcc"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_table_is_true(name, tmp_path, rng):
    model = LAYERS[name]()
    model.eval()
    x = rng.standard_normal((T, B, I) if name not in OTHER_CALLS else (B, I)).astype("float32")
    x = rng.integers(0, 9, (T, B)) if name == "Embedding" else x
    for kind, run in FORMATS.items():
        said = table().get(name, {}).get(kind, "no")
        if not HERE.get(kind, True):
            continue
        if said == "no":
            with pytest.raises((TypeError, ValueError), match=named(name, model)):
                run(model, x, tmp_path / "model")
            assert not [*tmp_path.iterdir()], kind
            continue
        assert said in ("out", "both"), kind
        found, back = run(model, x, tmp_path / "model")
        for file in tmp_path.iterdir():
            file.unlink()
        expected = first(model(x))
        for one in (found, back) if said == "both" else (found,):
            np.testing.assert_allclose(one, expected, rtol=0, atol=2e-6, err_msg=kind)


def named(name, model):
    """What an error must say: the class of the layer, or of what holds it."""
    kinds = {type(part).__name__ for _, part in model.named_modules()} | {name.split(",")[0]}
    return "|".join(kinds)


def test_every_layer_is_asked_and_rows_are_of_what_goes_somewhere():
    unknown = {kind.__name__ for kind in exported(nn, *BASES)} - LAYERS.keys()
    assert not unknown, "show in tests/every_layer.py how these are made; of what goes into a format interop.md says so"
    assert table().keys() <= LAYERS.keys()
    assert [name for name, row in table().items() if {*row.values()} == {"no"}] == []
