"""Fitted models whose networks have weights of 8 bits: they predict nearly the same, and load to the same bits."""

import numpy as np
import pytest
from helpers import host

from xprnn import nn
from xprnn.estimators import (
    AnomalyDetector,
    CharacterModel,
    Forecaster,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    TextClassifier,
    TextTagger,
)
from xprnn.storage import ModelFileError, read_tensors, write_tensors

ROWS = np.random.default_rng(0).standard_normal((10, 6, 2))
WORDS = [["a", "good", "film"], ["bad"]] * 6
TEXTS = [" ".join(words) for words in WORDS]
TEXT = "abc abd " * 30
Y = [0.3]
for _ in range(150):  # the logistic map, in which a network finds what an autoregression cannot
    Y.append(3.9 * Y[-1] * (1.0 - Y[-1]))
SMALL = {"hidden": 12, "epochs": 1, "seed": 0}
CASES = {
    "Forecaster": (
        lambda: Forecaster(**{**SMALL, "epochs": 15}, window=5, members=1, transforms="none", learning_rate=0.02).fit(
            Y
        ),
        lambda model: (model.predict(4), model.intervals(4, coverage=0.5)[0]),
    ),
    "TextClassifier": (
        lambda: TextClassifier(embedding=5, min_count=1, pooling="attention", **SMALL).fit(TEXTS, [0, 1] * 6),
        lambda model: model.predict_proba(TEXTS),
    ),
    "TextTagger": (
        lambda: TextTagger(embedding=5, min_count=1, **SMALL).fit(WORDS, [["x", "y", "x"], ["y"]] * 6),
        lambda model: np.concatenate(model.predict_proba(WORDS)),
    ),
    "CharacterModel": (
        lambda: CharacterModel(embedding=5, batch_size=4, chunk=8, **SMALL).fit(TEXT),
        lambda model: model.bits_per_character(TEXT),
    ),
    "SequenceClassifier": (
        lambda: SequenceClassifier(**SMALL).fit(ROWS, [0, 1] * 5),
        lambda model: model.predict_proba(ROWS),
    ),
    "SequenceRegressor": (
        lambda: SequenceRegressor(**SMALL).fit(ROWS, ROWS[:, -1, 0]),
        lambda model: model.predict(ROWS),
    ),
    "SequenceTagger": (
        lambda: SequenceTagger(**SMALL).fit(ROWS, [["a", "b"] * 3] * 10),
        lambda model: np.concatenate(model.predict_proba(ROWS)),
    ),
    "AnomalyDetector": (
        lambda: AnomalyDetector(**SMALL).fit(ROWS),
        lambda model: model.score_samples(ROWS),
    ),
}


def numbers(result):
    parts = result if isinstance(result, tuple) else (result,)
    return np.concatenate([np.asarray(part, float).ravel() for part in parts])


@pytest.mark.parametrize("name", CASES)
def test_it_predicts_nearly_the_same_and_comes_out_of_its_file_to_the_bit(name, tmp_path):
    fit, ask = CASES[name]
    model = fit()
    before = {key: host(array) for key, array in model.network.state_dict().items()}
    expected, small = numbers(ask(model)), model.quantized()
    found = numbers(ask(small))
    assert np.abs(found - expected).max() < 0.02 * max(np.abs(expected).max(), 1.0)
    assert not np.array_equal(found, expected)  # some part of it has 8 bits
    np.testing.assert_array_equal(numbers(ask(model)), expected)
    assert all(np.array_equal(before[key], host(array)) for key, array in model.network.state_dict().items())

    small.save(tmp_path / "small.safetensors")
    model.save(tmp_path / "model.safetensors")
    again = type(model).load(tmp_path / "small.safetensors")
    np.testing.assert_array_equal(numbers(ask(again)), found)
    assert again.settings == model.settings
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "small.safetensors").read_bytes()
    assert (tmp_path / "small.safetensors").stat().st_size < (tmp_path / "model.safetensors").stat().st_size


def test_what_cannot_be_quantized_says_so():
    model = SequenceClassifier(**SMALL, dtype="float64")
    with pytest.raises(RuntimeError, match="SequenceClassifier"):
        model.quantized()
    with pytest.raises(ValueError, match="nothing in the .* can be quantized .*float64"):
        model.fit(ROWS, [0, 1] * 5).quantized()
    with pytest.raises(ValueError, match="to is 'int4'; expected 'int8'"):
        model.quantized("int4")
    with pytest.raises(TypeError, match=r"expected a Module, or call SequenceClassifier\.quantized"):
        nn.quantize(model)


def test_a_copy_can_be_fitted_again(tmp_path):
    small = SequenceClassifier(**SMALL).fit(ROWS, [0, 1] * 5).quantized().quantized
    with pytest.raises(ValueError, match="its weights have 8 bits already"):
        small()
    again = small.__self__.fit(ROWS, [0, 1] * 5)
    assert all(host(array).dtype == np.float32 for array in again.network.state_dict().values())


HARMED = {
    "no scale": lambda held: held.pop("network.head.scale"),
    "another scale": lambda held: held.update({"network.head.scale": np.ones(7, "float32")}),
    "no number": lambda held: held.update({"network.head.scale": np.full_like(held["network.head.scale"], np.nan)}),
    "half of it": lambda held: held.update({"network.head.weight": held["network.head.weight"].astype("float32")}),
    "codes of a bias": lambda held: held.update({"network.head.bias": held["network.head.bias"].astype("int8")}),
    "codes of what has none": lambda held: held.update(
        {
            "network.embedding.weight": held["network.embedding.weight"].astype("int8"),
            "network.embedding.scale": np.ones(len(held["network.embedding.weight"]), "float32"),
        }
    ),
}


@pytest.mark.parametrize("harm", HARMED)
def test_harmed_files(harm, tmp_path):
    CASES["TextClassifier"][0]().quantized().save(tmp_path / "small")
    held, metadata = read_tensors(tmp_path / "small")
    HARMED[harm](held)
    write_tensors(tmp_path / "small", held, metadata)
    with pytest.raises(ModelFileError, match="small: cannot load this .*(head|embedding)"):
        TextClassifier.load(tmp_path / "small")
