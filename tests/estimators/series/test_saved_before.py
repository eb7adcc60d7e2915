"""Forecasters' files of version 1: they are read as they were, and nothing odd of them is."""

from pathlib import Path

import numpy as np
import pytest

from xprnn.estimators import Forecaster, model_file
from xprnn.estimators.series import saved
from xprnn.train import ModelFileError, read_tensors, write_tensors

SAVED = Path(__file__).parents[1] / "saved" / "forecaster.safetensors"


def test_it_goes_on_and_is_saved_anew(tmp_path):
    forecaster = Forecaster.load(SAVED)
    columns = forecaster.n_features_in_
    forecaster.observe(np.ones(2) if forecaster.predict(1).ndim == 1 else np.ones((2, columns)))
    forecaster.save(tmp_path / "new")
    np.testing.assert_array_equal(Forecaster.load(tmp_path / "new").predict(3), forecaster.predict(3))
    with pytest.raises(ValueError, match="errors were measured nowhere"):
        forecaster.intervals(1)


def test_a_file_of_today_is_read_once(tmp_path, monkeypatch):
    Forecaster.load(SAVED).save(tmp_path / "new")
    read, paths = model_file.read_tensors, []
    for module in (model_file, saved):
        monkeypatch.setattr(module, "read_tensors", lambda path: paths.append(path) or read(path))
    Forecaster.load(tmp_path / "new")
    assert len(paths) == 1


def test_whatever_it_lacks_is_told(tmp_path):
    arrays, metadata = read_tensors(SAVED)
    path = tmp_path / "part"
    for name in arrays:
        write_tensors(path, {k: a for k, a in arrays.items() if k != name}, metadata)
        with pytest.raises(ModelFileError, match=rf"part.*{name.removeprefix('network.')}"):
            Forecaster.load(path)
        write_tensors(path, arrays | {name: np.zeros((1, 1, 1))}, metadata)
        with pytest.raises(ModelFileError, match="part: "):
            Forecaster.load(path)
    for name in ("steps", "vector", "settings"):
        write_tensors(path, arrays, {k: v for k, v in metadata.items() if k != name})
        with pytest.raises(ModelFileError, match=f"{name} is missing"):
            Forecaster.load(path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"steps": 1}, "expected one window"),
        ({"steps": 2**62}, "expected one window"),
        ({"settings": {"window": 3}}, "expected one window"),
        ({"settings": {"hidden": 10**6}}, "has shape"),
        ({"settings": {"members": 2}}, "setting members is unknown"),
        ({"settings": {"periods": [3.0, 4.0, 5.0, 6.0]}}, "has shape"),
        ({"settings": {"horizon": 7}}, "horizon|head.bias"),
    ],
)
def test_what_does_not_fit_together(other, message, tmp_path):
    arrays, metadata = read_tensors(SAVED)
    settings = metadata["settings"] | other.get("settings", {})
    write_tensors(tmp_path / "odd", arrays, metadata | other | {"settings": settings})
    with pytest.raises(ModelFileError, match=message):
        Forecaster.load(tmp_path / "odd")
