"""Loading the files of fitted models: whatever a file lacks is a ValueError that names the file and what is missing."""

import json
import tracemalloc

import numpy as np
import pytest
from odd_values import ODD
from safetensors.numpy import save_file

from xprnn import nn
from xprnn.estimators import AnomalyDetector, CharacterModel, Forecaster, SequenceClassifier, TextClassifier
from xprnn.estimators.model_file import notes_of
from xprnn.train import ModelFileError, load_checkpoint, read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("impatient")

ROWS = np.sin(np.arange(30.0)).reshape(10, 3)
TEXT = "the cat sat on the mat and the dog sat on the log. " * 8


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    texts, labels = ["good film", "bad film"] * 6, ["up", "down"] * 6
    models = (
        CharacterModel(hidden=4, embedding=3, epochs=1, batch_size=4, chunk=8).fit(TEXT),
        Forecaster(hidden=4, window=5, epochs=1, members=1).fit(np.sin(np.arange(60.0))),
        TextClassifier(hidden=4, embedding=3, epochs=1).fit(texts, labels),
        SequenceClassifier(hidden=4, epochs=1).fit(ROWS, [0, 1] * 5),
        AnomalyDetector(hidden=4, epochs=1, kind="reconstruction").fit(ROWS),
    )
    for model in models:
        model.save(folder / type(model).__name__)
    return {type(model): folder / type(model).__name__ for model in models}


KINDS = {
    CharacterModel: "character model",
    Forecaster: "forecaster",
    TextClassifier: "text classifier",
    SequenceClassifier: "sequence classifier",
    AnomalyDetector: "anomaly detector",
}


@pytest.mark.parametrize("model", KINDS)
def test_a_file_of_the_right_kind_with_nothing_in_it(model, tmp_path):
    path = tmp_path / "empty.safetensors"
    write_tensors(path, {}, {"kind": KINDS[model], "version": 1})
    with pytest.raises(ValueError, match=rf"empty.safetensors: not a whole {KINDS[model]}: settings is missing; "):
        model.load(path)


ADDED = ("names", "columns", "feature_names")


@pytest.mark.parametrize("model", KINDS)
def test_a_file_with_one_part_missing(saved, model, tmp_path):
    arrays, metadata = read_tensors(saved[model])
    path = tmp_path / "part.safetensors"
    for name in metadata.keys() - {"kind", "version"}:
        for other in ({name: None}, {})[: 1 if name in ADDED else 2]:  # of another type, and not there, as once those
            write_tensors(path, arrays, {k: v for k, v in metadata.items() if k != name} | other)
            with pytest.raises(ValueError, match=f"part.safetensors.*{name} is (missing|a NoneType)"):
                model.load(path)
    for name in arrays:
        write_tensors(path, {k: a for k, a in arrays.items() if k != name}, metadata)
        with pytest.raises(ValueError, match=rf"part.safetensors.*{name.removeprefix('network.')}"):
            model.load(path)
        write_tensors(path, arrays | {name: np.zeros((1, 1, 1, 1, 1))}, metadata)
        with pytest.raises(ValueError, match=rf"part.safetensors.*{name.removeprefix('network.')} has shape"):
            model.load(path)


@pytest.mark.parametrize("model", KINDS)
def test_a_file_with_other_settings(saved, model, tmp_path):
    arrays, metadata = read_tensors(saved[model])
    path, settings = tmp_path / "set.safetensors", metadata["settings"]
    for wrong, message in (
        ({k: v for k, v in settings.items() if k != "cell"}, "setting cell is missing"),
        (settings | {"colour": 1}, "setting colour is unknown"),
        (settings | {"cell": "abacus"}, "cell is 'abacus'; expected one of"),
        (settings | {"cell": []}, r"cell is \[\]; expected one of"),
        (settings | {"hidden": "many"}, "hidden is 'many'; expected an integer"),
        (settings | {"hidden": 5}, "has shape"),
    ):
        write_tensors(path, arrays, metadata | {"settings": wrong})
        with pytest.raises(ValueError, match=f"set.safetensors.*{message}"):
            model.load(path)


@pytest.mark.parametrize("model", KINDS)
def test_a_file_whose_metadata_is_a_list(model, tmp_path):
    save_file({}, tmp_path / "list", {"xprnn": json.dumps({"sha256": "", "metadata": [1]})})  # as no writer of ours
    with pytest.raises(ValueError, match="list is corrupt: its metadata cannot be read"):
        model.load(tmp_path / "list")


@pytest.mark.parametrize("model", KINDS)
def test_a_wrong_backend_is_not_the_fault_of_the_file(saved, model):
    with pytest.raises(ValueError, match="^(?!.*cannot load).*abacus"):
        model.load(saved[model], backend="abacus")


@pytest.mark.parametrize(("model", "name"), [(AnomalyDetector, "scaler.std"), (TextClassifier, "prior")])
def test_arrays_of_another_length(saved, model, name, tmp_path):
    arrays, metadata = read_tensors(saved[model])
    write_tensors(tmp_path / "long", arrays | {name: np.ones(7)}, metadata)
    with pytest.raises(ValueError, match=rf"long: cannot load this .*{name} has 7 numbers; expected \d"):
        model.load(tmp_path / "long")


def used(model):
    """What a loaded model is there for."""
    if isinstance(model, CharacterModel):
        model.sample(3, rng=0)
        return model.bits_per_character("the cat")
    if isinstance(model, Forecaster):
        model.observe(np.ones(1) if model._kind.vector else np.ones((1, model.network.columns)))
        return model.predict(model.settings["horizon"])
    if isinstance(model, TextClassifier):
        return model.predict(["good film", "zzt"])
    return model.predict(ROWS if model.settings["steps"] else [ROWS[:1].T, ROWS[1:2, :2].T])


def loads_or_is_refused(model, path):
    """Either it loads and works, or there is the one error, which names the file; nothing large is made on the way."""
    loaded, message = None, ""
    tracemalloc.start()
    try:
        loaded = model.load(path)
    except ModelFileError as error:
        message = str(error)
    finally:
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert size < 40 * path.stat().st_size + 2**21  # and what a first use imports
    if loaded is None:
        assert path.name in message
        return False
    used(loaded)
    return True


@pytest.mark.parametrize("model", KINDS)
def test_every_setting_with_every_odd_value(saved, model, tmp_path):
    arrays, metadata = read_tensors(saved[model])
    path, taken = tmp_path / "odd.safetensors", set()
    places = [("settings", name) for name in metadata["settings"]] + [(name, None) for name in metadata]
    for outer, inner in places:
        for value in ODD:
            other = json.loads(json.dumps(metadata))
            (other if inner is None else other[outer])[outer if inner is None else inner] = value
            write_tensors(path, arrays, other)
            if loads_or_is_refused(model, path) and value != (
                metadata[outer] if inner is None else metadata[outer][inner]
            ):
                taken.add((inner or outer, str(value)))
    fixed = {"hidden", "layers", "embedding", "window", "periods", "dtype", "cell", "kind", "version"}
    # As of given vectors, and of a window that was chosen.
    assert {place for place in taken if place[0] in fixed} <= {("embedding", "None"), ("window", "None")}
    # What a loaded model does not need may be anything that it could have been made with.
    assert ("epochs", "5000") in taken


@pytest.mark.parametrize("model", KINDS)
def test_every_array_in_every_odd_form(saved, model, tmp_path):
    arrays, metadata = read_tensors(saved[model])
    path = tmp_path / "odd.safetensors"
    for name, array in arrays.items():
        flat = array.reshape(-1)
        wrong = [array[None], array[..., :0], flat[:1], np.float64(1.0), np.full_like(array, np.nan)]
        wrong += [array.astype("int32"), array.astype("float16"), array > 0.0, np.zeros((0, 5)), np.zeros((2**40, 0))]
        wrong += [np.full_like(array, -np.inf)]
        for other in map(np.asarray, wrong):
            if other.dtype == array.dtype and np.array_equal(other, array):
                continue
            write_tensors(path, arrays | {name: other}, metadata)
            assert not loads_or_is_refused(model, path), (name, other)
    write_tensors(path, arrays | {"other": np.zeros(1), "network.other": np.zeros(1)}, metadata)
    loads_or_is_refused(model, path)


@pytest.mark.parametrize("model", KINDS)
def test_a_small_file_that_declares_much(saved, model, tmp_path):
    arrays, metadata = read_tensors(saved[model])
    for name, value in (("hidden", 10**6), ("layers", 10**9), ("hidden", 10**300)):
        path = tmp_path / "much.safetensors"
        write_tensors(path, arrays, metadata | {"settings": metadata["settings"] | {name: value}})
        assert not loads_or_is_refused(model, path)


def with_header(content, header):
    """A file with another header in front of the same arrays."""
    end = 8 + int.from_bytes(content[:8], "little")
    return len(header).to_bytes(8, "little") + header + content[end:]


@pytest.mark.parametrize("model", KINDS)
def test_headers_of_all_kinds(saved, model, tmp_path):
    content, path = saved[model].read_bytes(), tmp_path / "header.safetensors"
    size = int.from_bytes(content[:8], "little")
    header, deep = content[8 : 8 + size], "[" * 100_000 + "]" * 100_000
    text = json.loads(header)
    inner = {"sha256": "", "metadata": {}}
    headers = [
        b"",
        b"{}",
        b"[]",
        b"null",
        header[:-9],
        header + b" ",
        deep.encode(),
        b"\xff" * 9,
        header.replace(b"F32", b"F99"),
    ]
    headers += [header.replace(b"F32", b"BF16"), header.replace(b'"data_offsets":[', b'"data_offsets":[9')]
    for value in ("", deep, "1", "null", '{"sha256": 1}', json.dumps(inner), f'{{"sha256":"","metadata":{deep}}}'):
        headers.append(json.dumps(text | {"__metadata__": {"xprnn": value}}).encode())
    headers.append(json.dumps(text | {"__metadata__": {"xprnn": 3}}).encode())
    for other in headers:
        path.write_bytes(with_header(content, other))
        assert not loads_or_is_refused(model, path) or other == header + b" "
    for start in (b"\xff" * 8, (2**62).to_bytes(8, "little"), (0).to_bytes(8, "little"), content[:8][::-1]):
        path.write_bytes(start + content[8:])
        assert not loads_or_is_refused(model, path)
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        assert not loads_or_is_refused(model, path)


def test_a_name_that_comes_twice(saved, tmp_path):
    content, path = saved[Forecaster].read_bytes(), tmp_path / "twice.safetensors"
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    twice = header.replace(b'\\"hidden\\": 4', b'\\"hidden\\": 9, \\"hidden\\": 4')
    assert twice != header
    path.write_bytes(with_header(content, twice))
    with pytest.raises(ModelFileError, match="twice.safetensors is corrupt"):
        Forecaster.load(path)


@pytest.mark.parametrize(
    "parts", [True, 3, None, [], ["model"], "model", {"model": True}, {"model": {}}, {"model": []}]
)
def test_a_checkpoint_with_odd_parts(tmp_path, parts):
    path, model = tmp_path / "odd.safetensors", nn.Linear(2, 2, rng=0)
    before = model.state_dict()
    write_tensors(path, {}, {"parts": parts})
    with pytest.raises(ModelFileError, match=r"odd.safetensors"):
        load_checkpoint(path, model=model)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_notes_are_kept_beside_the_model(tmp_path):
    model = SequenceClassifier(hidden=2, epochs=1).fit(ROWS, [0, 1] * 5)
    model.save(tmp_path / "plain")
    model.save(tmp_path / "noted", notes={"columns": ["\u00e9", "b"]})
    assert (notes_of(tmp_path / "plain"), notes_of(tmp_path / "noted")) == ({}, {"columns": ["\u00e9", "b"]})
    assert np.array_equal(SequenceClassifier.load(tmp_path / "noted").predict_proba(ROWS), model.predict_proba(ROWS))
    arrays, metadata = read_tensors(tmp_path / "noted")
    write_tensors(tmp_path / "odd", arrays, metadata | {"notes": [1]})
    with pytest.raises(ModelFileError, match="odd: its notes are a list; expected a dict"):
        notes_of(tmp_path / "odd")
