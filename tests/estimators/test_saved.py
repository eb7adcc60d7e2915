"""Models that were saved before the first release load, and say what they said then."""

from pathlib import Path

import pytest
from helpers import assert_close

from xprnn.estimators import CharacterModel, Forecaster, TextClassifier
from xprnn.train import read_tensors

SAVED = Path(__file__).parent / "saved"
EXPECTED, SAID = read_tensors(SAVED / "expected.safetensors")
TEXTS = ["good film", "a bad zzt", "", "book"]
CLOSE = 1e-5  # float32, on another machine


@pytest.mark.parametrize(("name", "steps"), [("forecaster", 4), ("forecaster_direct", None)])
def test_forecaster(name, steps):
    forecaster = Forecaster.load(SAVED / f"{name}.safetensors")
    assert_close(forecaster.predict(steps), EXPECTED[name], CLOSE)


@pytest.mark.parametrize(("name", "tokenizer"), [("text_classifier", None), ("text_classifier_tokenizer", str.split)])
def test_text_classifier(name, tokenizer):
    classifier = TextClassifier.load(SAVED / f"{name}.safetensors", tokenizer=tokenizer)
    assert_close(classifier.predict_proba(TEXTS), EXPECTED[name], CLOSE)


def test_label_of_a_text_classifier():
    assert TextClassifier.load(SAVED / "text_classifier.safetensors").predict(["good film"]).tolist() == SAID["label"]


def test_character_model():
    model = CharacterModel.load(SAVED / "character_model.safetensors")
    bits = model.bits_per_character("the mat sat on the cat.")
    assert bits == pytest.approx(EXPECTED["character_model"].item(), rel=CLOSE)
    assert model.sample(20, prompt="the", rng=0) == SAID["sample"]
