"""TextClassifier on subwords of the library ``tokenizers``."""

import pickle

import numpy as np
import pytest
from reviews import QUICK, reviews

from xprnn.estimators import TextClassifier

pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

KINDS = {
    "wordpiece": (models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer, ["[UNK]", "[PAD]"]),
    "bpe": (models.BPE(unk_token="[UNK]"), trainers.BpeTrainer, ["[UNK]", "[PAD]"]),
    "unigram": (models.Unigram(), trainers.UnigramTrainer, ["[UNK]", "[PAD]"]),
}


def trained(kind="wordpiece"):
    model, trainer, specials = KINDS[kind]
    options = {"unk_token": "[UNK]"} if kind == "unigram" else {}
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        reviews(100)[0], trainer(vocab_size=60, special_tokens=specials, show_progress=False, **options)
    )
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_its_tokens_are_learned_from_and_go_into_the_file(kind, tmp_path):
    tokenizer, (texts, labels) = trained(kind), reviews(60)
    tokenizer.enable_padding(length=50)
    classifier = TextClassifier(tokenizer=tokenizer, **QUICK).fit(texts, labels)
    expected = {token for text in texts for token in Tokenizer.from_str(tokenizer.to_str()).encode(text).tokens}
    assert set(classifier.vocabulary.tokens) <= expected - {"[PAD]"}
    assert any(token in classifier.vocabulary for token in ("not", "no", "n"))
    classifier.save(tmp_path / "model")
    for again in (TextClassifier.load(tmp_path / "model"), pickle.loads(pickle.dumps(classifier))):
        np.testing.assert_array_equal(again.predict_proba(texts), classifier.predict_proba(texts))
    (tmp_path / "own.json").write_text(tokenizer.to_str())
    for path in (tmp_path / "own.json", str(tmp_path / "own.json")):
        other = TextClassifier(tokenizer=path, **QUICK).fit(texts, labels)
        np.testing.assert_array_equal(other.predict_proba(texts), classifier.predict_proba(texts))


def test_what_the_tokenizer_does_not_know_is_no_evidence():
    classifier = TextClassifier(tokenizer=trained(), **QUICK).fit(*reviews(60))
    assert classifier.tokenize("good \u4e2d") == ["good", ""]
    assert classifier.has_evidence(["\u4e2d", "good"]).tolist() == [False, True]


def test_files_that_hold_no_tokenizer(tmp_path):
    path = tmp_path / "t.json"
    with pytest.raises(FileNotFoundError):
        TextClassifier(tokenizer=path)
    for content in (b"{}", b"[", b'{"model": 3}'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="TextClassifier: tokenizer is .*t.json.*: not the JSON of a tokenizer"):
            TextClassifier(tokenizer=path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="t.json: not text in UTF-8"):
        TextClassifier(tokenizer=path)
