"""Loading the files of fitted models: whatever a file lacks is a ValueError that names the file and what is missing."""

import numpy as np
import pytest

from xprnn.estimators import CharacterModel, Forecaster, TextClassifier
from xprnn.train import read_tensors, write_tensors

TEXT = "the cat sat on the mat and the dog sat on the log. " * 8


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    texts, labels = ["good film", "bad film"] * 6, ["up", "down"] * 6
    models = (
        CharacterModel(hidden=4, embedding=3, epochs=1, batch_size=4, chunk=8).fit(TEXT),
        Forecaster(hidden=4, window=5, epochs=1).fit(np.sin(np.arange(60.0))),
        TextClassifier(hidden=4, embedding=3, epochs=1).fit(texts, labels),
    )
    for model in models:
        model.save(folder / type(model).__name__)
    return {type(model): folder / type(model).__name__ for model in models}


KINDS = {CharacterModel: "character model", Forecaster: "forecaster", TextClassifier: "text classifier"}


@pytest.mark.parametrize("model", KINDS)
def test_a_file_of_the_right_kind_with_nothing_in_it(model, tmp_path):
    path = tmp_path / "empty.safetensors"
    write_tensors(path, {}, {"kind": KINDS[model], "version": 1})
    with pytest.raises(ValueError, match=rf"empty.safetensors: not a whole {KINDS[model]}: settings is missing; "):
        model.load(path)


@pytest.mark.parametrize("model", KINDS)
def test_a_file_with_one_part_missing(saved, model, tmp_path):
    arrays, metadata = read_tensors(saved[model])
    path = tmp_path / "part.safetensors"
    for name in metadata.keys() - {"kind", "version"}:
        for other in ({}, {name: None}):  # not there, and of another type
            write_tensors(path, arrays, {k: v for k, v in metadata.items() if k != name} | other)
            with pytest.raises(ValueError, match=f"part.safetensors.*{name} is (missing|a NoneType)"):
                model.load(path)
    for name in arrays:
        write_tensors(path, {k: a for k, a in arrays.items() if k != name}, metadata)
        with pytest.raises(ValueError, match=rf"part.safetensors.*{name.removeprefix('network.')}"):
            model.load(path)
        write_tensors(path, arrays | {name: np.zeros((1, 1, 1))}, metadata)
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
        (settings | {"cell": []}, "list"),
        (settings | {"hidden": "many"}, "hidden is 'many'; expected an integer"),
        (settings | {"hidden": 5}, "has shape"),
    ):
        write_tensors(path, arrays, metadata | {"settings": wrong})
        with pytest.raises(ValueError, match=f"set.safetensors.*{message}"):
            model.load(path)


@pytest.mark.parametrize("model", KINDS)
def test_a_file_whose_metadata_is_a_list(model, tmp_path):
    write_tensors(tmp_path / "list", {}, [1])
    with pytest.raises(ValueError, match="list is corrupt: its metadata cannot be read"):
        model.load(tmp_path / "list")


@pytest.mark.parametrize("model", KINDS)
def test_a_wrong_backend_is_not_the_fault_of_the_file(saved, model):
    with pytest.raises(ValueError, match="^(?!.*cannot load).*abacus"):
        model.load(saved[model], backend="abacus")


@pytest.mark.parametrize(
    ("model", "name"), [(Forecaster, "scaler.mean"), (Forecaster, "scaler.std"), (TextClassifier, "prior")]
)
def test_arrays_of_another_length(saved, model, name, tmp_path):
    arrays, metadata = read_tensors(saved[model])
    write_tensors(tmp_path / "long", arrays | {name: np.ones(7)}, metadata)
    with pytest.raises(ValueError, match=rf"long: cannot load this .*{name} has 7 numbers; expected \d"):
        model.load(tmp_path / "long")
