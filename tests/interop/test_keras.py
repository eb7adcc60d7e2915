"""Files that Keras 3.15 wrote and ran on PyTorch (tests/interop/files/make_keras.py), read without it."""

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import host
from hostile_files import BROKEN, changed

from xprnn import nn
from xprnn.cli import main
from xprnn.interop import keras
from xprnn.interop.keras_layers import FUNCTIONS
from xprnn.storage import ModelFileError

h5py = pytest.importorskip("h5py")
MODELS = ("words", "signal", "last", "masked")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    with zipfile.ZipFile(Path(__file__).parent / "files" / "keras.zip") as archive:
        archive.extractall(folder)
    return folder


def played(files, name):
    expected = json.loads((files / f"{name}.json").read_text())
    return np.array(expected["x"], "float32" if name in ("signal", "last") else "int32"), np.array(expected["y"])


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_those_of_keras(name, ending, files):
    x, y = played(files, name)
    np.testing.assert_allclose(host(keras.load(files / (name + ending))(x)), y, atol=2e-7)
    double = keras.load(files / (name + ending), dtype="float64")
    np.testing.assert_allclose(host(double(x.astype("float64") if x.dtype == "float32" else x)), y, atol=2e-7)


@pytest.mark.parametrize("ending", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_weights_alone(name, ending, files):
    model = keras.load(files / f"{name}.keras")
    before = model.state_dict()
    for parameter in model.parameters():
        parameter.data = 0.0 * parameter.data
    keras.load_weights(model, files / (name + ending))
    after = model.state_dict()
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_weights_into_a_model_of_ones_own(files):
    x, y = played(files, "signal")
    own = nn.Sequential(
        nn.LSTM(2, 3, batch_first=True),
        nn.LSTM(3, 4, bias=False, batch_first=True),
        nn.Sequential(nn.Linear(4, 3), nn.Tanh()),
        nn.GRU(3, 3, batch_first=True),
        nn.Sigmoid(),
        nn.Linear(3, 1, bias=False),
    )
    keras.load_weights(own, files / "signal.weights.h5")
    np.testing.assert_allclose(host(own(x)), y, atol=2e-7)


def test_a_mask_may_be_given(files):
    model = keras.load(files / "signal.keras")
    x, _ = played(files, "signal")
    mask = np.arange(6) < np.array([[6], [4], [1]])
    found = host(model(x, mask))
    for row, length in enumerate((6, 4, 1)):
        np.testing.assert_allclose(found[row, :length], host(model(x[row : row + 1, :length]))[0], atol=1e-6)


def test_a_model_that_runs_step_by_step_is_a_sequential_and_goes_to_c(files, tmp_path):
    x, y = played(files, "signal")
    np.testing.assert_allclose(host(keras.load(files / "signal.keras").sequential()(x)), y, atol=2e-7)
    done = CliRunner().invoke(main, ["export-c", str(files / "signal.h5"), "-o", str(tmp_path / "signal.c")])
    assert done.exit_code == 0, done.output
    for name, message in (("words", "makes masks"), ("last", "makes masks")):
        with pytest.raises(ValueError, match=message):
            keras.load(files / f"{name}.keras").sequential()


class FakeLayer:
    def __init__(self, name, weights):
        self.name, self.weights = name, weights

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


class FakeKeras:
    """What of a Keras model is looked at."""

    def __init__(self, *layers):
        self.layers = [
            FakeLayer(f"layer {k}", [np.zeros(shape) for shape in shapes]) for k, shapes in enumerate(layers)
        ]


def test_weights_for_a_keras_model():
    """With the layout of Keras' arrays written out again."""
    lstm, gru, head = nn.LSTM(2, 3, 2, rng=0), nn.GRU(3, 2, bidirectional=True, rng=1), nn.Linear(4, 1, rng=2)
    one_way = [(3, 6), (2, 6), (2, 6)]
    target = FakeKeras([(2, 12), (3, 12), (12,)], [(3, 12), (3, 12), (12,)], [], one_way * 2, [(4, 1), (1,)])
    keras.set_weights(target, nn.Sequential(lstm, nn.Dropout(0.1), gru, head))
    first, second, _, both, last = (layer.weights for layer in target.layers)
    np.testing.assert_array_equal(first[0], host(lstm.weight_ih_l0).T)
    np.testing.assert_array_equal(second[2], host(lstm.bias_ih_l1) + host(lstm.bias_hh_l1))
    r, z, n = np.split(host(gru.weight_hh_l0_reverse), 3)
    np.testing.assert_array_equal(both[4], np.concatenate([z, r, n]).T)
    np.testing.assert_array_equal(both[2][1, 4:], host(gru.bias_hh_l0)[4:])
    np.testing.assert_array_equal(last[0], host(head.weight).T)

    before = [layer.weights for layer in target.layers]
    with pytest.raises(ValueError, match=r"keras\.set_weights: layer 4 has arrays of shapes .*, and is given"):
        keras.set_weights(target, nn.Sequential(lstm, gru, nn.Linear(4, 2)))
    with pytest.raises(ValueError, match=r"there are 3 layers with weights; Keras' model has 4"):
        keras.set_weights(target, nn.Sequential(lstm, gru))
    with pytest.raises(ValueError, match="Keras has no layer like LSTM"):
        keras.set_weights(target, nn.LSTM(1, 2, peephole="full"))
    assert [layer.weights for layer in target.layers] == before


def test_weights_for_a_real_keras_model(monkeypatch, rng):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    real = pytest.importorskip("keras")
    k = real.layers
    model = nn.Sequential(
        nn.Embedding(5, 2, rng=0),
        nn.LSTM(2, 3, 2, batch_first=True, rng=0),
        nn.GRU(3, 2, bidirectional=True, reset_after=False, batch_first=True, rng=1),
        nn.LayerNorm(4, eps=1e-3),
        nn.RNN(4, 3, batch_first=True, rng=2),
        nn.Linear(3, 1, rng=2),
    )
    target = real.Sequential(
        [
            k.Input((None,), dtype="int32"),
            k.Embedding(5, 2),
            k.LSTM(3, return_sequences=True),
            k.LSTM(3, return_sequences=True),
            k.Bidirectional(k.GRU(2, return_sequences=True, reset_after=False)),
            k.LayerNormalization(),
            k.SimpleRNN(3, return_sequences=True),
            k.Dense(1),
        ]
    )
    keras.set_weights(target, model)
    x = rng.integers(0, 5, (3, 7)).astype("int32")
    np.testing.assert_allclose(real.ops.convert_to_numpy(target(x)), host(model(x)), atol=1e-6)


@pytest.mark.parametrize(("version", "slope"), [("2.15.0", 1 / 5), ("1.2.2", 1 / 5), ("3.0.0", 1 / 6), ("10.0", 1 / 6)])
def test_a_hard_sigmoid_is_that_of_the_version_which_wrote_the_file(version, slope, files, tmp_path):
    """The first layer alone, whose equations are written out here."""
    (tmp_path / "old.h5").write_bytes((files / "signal.h5").read_bytes())
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        lstm = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "LSTM")
        lstm["config"] |= {"recurrent_activation": "hard_sigmoid", "activation": "softsign", "return_sequences": True}
        config["config"]["layers"] = config["config"]["layers"][: config["config"]["layers"].index(lstm) + 1]
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), version
        group = file["model_weights"][lstm["config"]["name"]]
        kernel, recurrent, bias = (group[name][()] for name in group.attrs["weight_names"])
    x, _ = played(files, "signal")
    h = c = np.zeros((len(x), 3))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(3.0 * x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        i, f, o = (np.clip(slope * z + 0.5, 0.0, 1.0) for z in (i, f, o))
        c = f * c + i * g / (1 + abs(g))
        h = o * c / (1 + abs(c))
    np.testing.assert_allclose(host(keras.load(tmp_path / "old.h5")(3.0 * x))[:, -1], h, atol=1e-6)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"keras_version": "2.15.0"}, "hard_sigmoid"),
        ({"keras_version": "3.1.0"}, "torch_hard_sigmoid"),
        (None, "torch_hard_sigmoid"),
    ],
)
def test_the_version_of_a_zipped_file_stands_beside_its_config(metadata, expected, files, tmp_path):
    gates, whole = layer(1, "recurrent_activation", "hard_sigmoid"), (files / "signal.keras").read_bytes()
    (tmp_path / "one.keras").write_bytes(rewritten(whole, gates, metadata=metadata))
    model = keras.load(tmp_path / "one.keras")
    cell = next(module.cell for _, module in model.named_modules() if isinstance(module, nn.LSTM))
    assert cell.activations["f"].name == expected


@pytest.mark.parametrize("after", [False, True])
def test_activations_are_those_of_keras(after, monkeypatch, rng, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    real = pytest.importorskip("keras")
    k, names = real.layers, list(FUNCTIONS)
    x = rng.standard_normal((3, 7, 2)).astype("float32")
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        some = {"activation": name, "recurrent_activation": other, "return_sequences": True}
        inner = k.GRU(3, reset_after=after, **some) if after else k.LSTM(3, **some)
        model = real.Sequential(
            [k.Input((None, 2)), inner, k.Bidirectional(k.GRU(2, reset_after=after, **some)), k.SimpleRNN(3, name)]
        )
        model.save(tmp_path / "model.keras")
        found, expected = host(keras.load(tmp_path / "model.keras")(x)), real.ops.convert_to_numpy(model(x))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6, err_msg=f"{name}, {other}")


# Files in which one thing is wrong.


def rewritten(
    content, change=lambda config: config, damage=lambda file: None, compression=zipfile.ZIP_STORED, metadata=None
):
    """A .keras file with another config, or other weights."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        config, held = json.loads(archive.read("config.json")), io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(held, "r+") as file:
        damage(file)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        archive.writestr("config.json", json.dumps(change(config)))
        archive.writestr("model.weights.h5", held.getvalue())
        if metadata is not None:
            archive.writestr("metadata.json", json.dumps(metadata))
    return packed.getvalue()


def layer(number, name, value):
    """A change of one setting of a layer of the model "signal": 1 LSTM, 3 TimeDistributed, 4 GRU."""
    return lambda config: changed(config, ["config", "layers", number, "config", *name.split(".")], value)


def named(number, kind):
    return lambda config: changed(config, ["config", "layers", number, "class_name"], kind)


CONFIGS = {
    "a class of ones own": (named(1, "MyLSTM"), "layer 1 .lstm.*: its class is 'MyLSTM'; expected one of LSTM"),
    "a Lambda": (named(5, "Lambda"), "layer 5 .*: its class is 'Lambda'"),
    "another model": (lambda c: c | {"class_name": "Mine"}, "its class is 'Mine'; expected a Sequential"),
    "no layers": (lambda c: changed(c, ["config", "layers"], ...), "layers is missing"),
    "a layer that is none": (
        lambda c: changed(c, ["config", "layers", 1], []),
        "layer 1 is a list; expected an object",
    ),
    "a layer without a name": (layer(1, "name", ...), "layer 1: name is missing"),
    "stateful": (layer(1, "stateful", True), "LSTM: stateful is True; expected False"),
    "backward": (layer(1, "go_backwards", True), "LSTM: go_backwards is True"),
    "another activation": (layer(1, "activation", "mish"), "LSTM: activation is 'mish'; expected one of linear, tanh"),
    "gates that are an object": (layer(4, "recurrent_activation", {"a": 1}), "GRU: recurrent_activation is {'a': 1}"),
    "reset before": (layer(4, "reset_after", False), "GRU: arrays have shapes"),
    "no bias": (layer(1, "use_bias", False), "LSTM: arrays have shapes"),
    "an activation object": (layer(3, "layer.config.activation", {"class_name": "f"}), "activation is {'class_name"),
    "around another": (layer(3, "layer.class_name", "Conv1D"), "TimeDistributed is around 'Conv1D'; expected Dense"),
    "around nothing": (layer(3, "layer", None), "layer is None; expected a dict"),
}


def grown(file):
    """An array that declares terabytes, and holds nothing."""
    del file["layers/lstm/cell/vars/0"]
    file["layers/lstm/cell/vars"].create_dataset("0", (1 << 20, 1 << 20), "float32")


def unwritten(file):
    del file["layers/lstm/cell/vars/0"]
    file["layers/lstm/cell/vars"].create_dataset("0", (2, 12), "float32")


def packed(file):
    del file["layers/lstm/cell/vars/0"]
    file["layers/lstm/cell/vars"].create_dataset("0", data=np.zeros((2, 12), "float32"), compression="gzip")


def elsewhere(file):
    del file["layers/lstm/cell/vars/0"]
    file["layers/lstm/cell/vars/0"] = h5py.ExternalLink("/etc/other.h5", "/a")


def external(file):
    del file["layers/lstm/cell/vars/0"]
    vars_ = file["layers/lstm/cell/vars"]
    vars_.create_dataset("0", (2, 12), "float32", external=[("/etc/passwd", 0, 96)])


def integers(file):
    del file["layers/lstm/cell/vars/0"]
    file["layers/lstm/cell/vars/0"] = np.zeros((2, 12), "int32")


def nan(file):
    file["layers/lstm/cell/vars/0"][0, 0] = np.nan


def shared(file):
    """The same numbers again and again, under other names."""
    vars_ = file["layers/lstm/cell/vars"]
    big = vars_.create_dataset("3", data=np.ones(4000, "float32"))
    for number in range(4, 40):
        vars_[str(number)] = big


WEIGHTS = {
    "missing": (lambda file: file.__delitem__("layers/lstm"), "LSTM: |its arrays have shapes"),
    "an array missing": (lambda file: file.__delitem__("layers/lstm/cell/vars/2"), "LSTM: arrays have shapes"),
    "declared beyond memory": (grown, "more than the file holds"),
    "never written": (unwritten, "more than the file holds"),
    "compressed": (packed, "is compressed or lies elsewhere"),
    "linked from another file": (elsewhere, "is a link to elsewhere"),
    "in another file": (external, "is compressed or lies elsewhere"),
    "integers": (integers, "not an array of floating numbers"),
    "NaN": (nan, "has numbers that are not finite"),
    "one array many times": (shared, "more than the file holds"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_wrong_configs(case, files, tmp_path):
    change, message = CONFIGS[case]
    path = tmp_path / "model.keras"
    path.write_bytes(rewritten((files / "signal.keras").read_bytes(), change))
    with pytest.raises(ModelFileError, match=f"keras.load: {path}: .*{message}"):
        keras.load(path)


@pytest.mark.parametrize("case", WEIGHTS)
def test_wrong_weights(case, files, tmp_path):
    damage, message = WEIGHTS[case]
    path, model = tmp_path / "model.keras", keras.load(files / "signal.keras")
    path.write_bytes(rewritten((files / "signal.keras").read_bytes(), damage=damage))
    with pytest.raises(ModelFileError, match=message):
        keras.load(path)
    before = model.state_dict()
    with pytest.raises(ModelFileError, match=f"keras.load_weights: {path}: "):
        keras.load_weights(model, path)
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())


def test_models_that_do_not_fit(files):
    wider = nn.Sequential(
        nn.LSTM(2, 5), nn.LSTM(5, 4, bias=False), nn.Linear(4, 3), nn.GRU(3, 3), nn.Linear(3, 1, False)
    )
    for ending in (".weights.h5", ".h5"):
        with pytest.raises(ModelFileError, match="layer 0 with weights: LSTM has arrays of shapes"):
            keras.load_weights(wider, files / f"signal{ending}")
    with pytest.raises(ModelFileError, match="it has more layers of LSTM, "):
        keras.load_weights(nn.LSTM(2, 3), files / "signal.weights.h5")
    with pytest.raises(ModelFileError, match="it has 5 layers with weights; the model has 1"):
        keras.load_weights(nn.LSTM(2, 3), files / "signal.h5")
    with pytest.raises(ModelFileError, match="it holds weights and no model"):
        keras.load(files / "signal.weights.h5")


def test_layers_that_take_from_others_than_the_one_before(files, tmp_path):
    path = tmp_path / "model.keras"
    history = ["config", "layers", 4, "inbound_nodes", 0, "args", 0, "config", "keras_history", 0]
    change = lambda config: changed(config, history, "input_layer_2")
    path.write_bytes(rewritten((files / "last.keras").read_bytes(), change))
    with pytest.raises(
        ModelFileError, match=r"layer 4 \(bidirectional.*\) does not take what the layer before it gives"
    ):
        keras.load(path)
    other = lambda config: changed(config, ["config", "layers", 1, "inbound_nodes", 0, "args", 1], 0.25)
    path.write_bytes(rewritten((files / "last.keras").read_bytes(), other))
    with pytest.raises(ModelFileError, match=r"layer 2 \(masking\) does not take what the layer before it gives"):
        keras.load(path)
    nothing = lambda config: changed(config, ["config", "layers", 1, "inbound_nodes", 0, "args"], [])
    path.write_bytes(rewritten((files / "last.keras").read_bytes(), nothing))
    with pytest.raises(ModelFileError, match=r"layer 1 \(not_equal.*\) does not take what the layer before it gives"):
        keras.load(path)


@pytest.mark.parametrize("given", [["masking", 0, 0], [["masking", 0, 0], ["dense", 0, 0]], {"a": []}, None])
def test_outputs_other_than_the_last_layer_s_are_not_left_out(given, files, tmp_path):
    path = tmp_path / "model.keras"
    change = lambda config: changed(config, ["config", "output_layers"], given)
    path.write_bytes(rewritten((files / "last.keras").read_bytes(), change))
    with pytest.raises(ModelFileError, match="its outputs are others than what its last layer gives"):
        keras.load(path)


def test_zeros_of_masked_steps(files, tmp_path):
    path, (x, _) = tmp_path / "model.keras", played(files, "signal")
    path.write_bytes(rewritten((files / "signal.keras").read_bytes(), layer(1, "zero_output_for_mask", True)))
    mask = np.random.default_rng(0).random(x.shape[:2]) > 0.5
    held, zeros = (keras.load(each).layers[0] for each in (files / "signal.keras", path))
    np.testing.assert_array_equal(host(zeros(x, mask)), np.where(mask[..., None], host(held(x, mask)), 0.0))
    alone = lambda config: layer(1, "return_sequences", False)(layer(1, "zero_output_for_mask", True)(config))
    path.write_bytes(rewritten((files / "signal.keras").read_bytes(), alone))
    with pytest.raises(ModelFileError, match="LSTM: zero_output_for_mask is True; expected False without return_seq"):
        keras.load(path)


def test_broken_files(files, tmp_path):
    path = tmp_path / "model.keras"
    whole = {ending: (files / f"signal{ending}").read_bytes() for ending in (".keras", ".h5", ".weights.h5")}
    contents = [*BROKEN.values(), *(each[: len(each) // 2] for each in whole.values())]
    contents += [rewritten(whole[".keras"], compression=zipfile.ZIP_DEFLATED).replace(b"config.json", b"konfig.json")]
    contents += [b"PK" + whole[".h5"], whole[".keras"].replace(b'"LSTM"', b'"LSTN"')]  # the sum of the zip is wrong
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ModelFileError) as caught:
            keras.load(path)
        assert str(path) in str(caught.value)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 10_000_000)
        archive.writestr("model.weights.h5", b"")
    path.write_bytes(bomb.getvalue())
    with pytest.raises(ModelFileError, match="it is compressed, which Keras' files are not"):
        keras.load(path)
    with pytest.raises(FileNotFoundError, match=r"keras\.load: cannot read"):
        keras.load(tmp_path / "gone.keras")


def test_without_h5py_the_error_names_the_extra(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'xprnn\[keras\]'"):
        keras.load(files / "signal.keras")


@pytest.mark.parametrize("places", ["no size", "a free one of one byte"])
def test_a_damaged_heap_of_texts_is_not_walked_for_ever(files, tmp_path, places):
    """HDF5's library goes from place to place by their sizes, and stays where that is none."""
    content = bytearray((files / "words.h5").read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16 : heap + 32] = bytes(8) + (places != "no size").to_bytes(8, "little")
    path = tmp_path / "damaged.h5"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"damaged\.h5: .* a heap of texts is damaged"):
        keras.load(path)
