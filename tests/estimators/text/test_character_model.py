"""The character model: what it learns, what it costs, what it writes."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from xprnn import nn, use_backend
from xprnn.data import character_streams, characters
from xprnn.estimators import CharacterModel
from xprnn.estimators.text import character_model
from xprnn.grad_mode import no_grad
from xprnn.tensor import Tensor
from xprnn.train import Adam, Callback, clip_grad_norm, cross_entropy, write_tensors

TEXT = "the cat sat on the mat and the rat sat on the cat. " * 30
QUICK = {"hidden": 16, "embedding": 8, "chunk": 20, "batch_size": 4, "epochs": 2, "seed": 1}


class Seen(Callback):
    """The losses of all updates."""

    def __init__(self):
        self.losses, self.rates = [], []

    def on_batch_end(self, run):
        self.losses.append(run.loss)
        self.rates.append(run.optimizer.lr)


def parameters(model):
    return [p.numpy() for p in model.network.parameters()]


def test_it_learns_a_text_by_heart():
    sentence = "pack my box with five dozen liquor jugs. "
    model = CharacterModel("gru", **QUICK | {"hidden": 32, "epochs": 20, "learning_rate": 2e-2}).fit(40 * sentence)
    assert model.bits_per_character(sentence * 3) < 0.3  # knowing how often each comes, one still needs 4.5 bits
    assert model.sample(80, prompt="pack my b", temperature=0.0) == (3 * sentence)[9:89]


def test_what_no_one_can_know_costs_what_it_must():
    """Fair coin flips have one bit each: less would mean that the future was seen."""
    draws = np.random.default_rng(0)
    text, other = ("".join(draws.choice(["h", "t"], 4000)) for _ in range(2))
    model = CharacterModel(**QUICK).fit(text)
    assert 0.99 < model.bits_per_character(other) < 1.05


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_bits_are_those_of_the_whole_text_at_once(cell, monkeypatch):
    monkeypatch.setattr(character_model, "SCORED_AT_ONCE", 7)
    model = CharacterModel(cell, **QUICK | {"dtype": "float64", "layers": 2, "dropout": 0.3}).fit(TEXT)
    ids, net = model.alphabet.encode(TEXT[:100]).astype(int), model.network
    with no_grad():
        logits = net.head(net.recurrent(net.table(ids[:-1, None]))[0]).numpy()[:, 0]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    expected = -np.log2(p[np.arange(99), ids[1:]]).mean()
    assert model.bits_per_character(TEXT[:100]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("chunk", [40, 1000])
def test_a_chunk_that_holds_all_steps_is_full_backpropagation(chunk):
    """k >= T: the same bits as whole passes, written out."""
    text, epochs = TEXT[:161], 5
    seen = Seen()
    model = CharacterModel("lstm", **QUICK | {"chunk": chunk, "epochs": epochs, "validation": 0.0}).fit(
        text, callbacks=[seen]
    )
    options = model.settings
    net = character_model.CharacterNetwork(len(model.alphabet), options, options["seed"])
    x, y = (a.astype(int) for a in character_streams(model.alphabet.encode(text), 4))
    assert x.shape == (40, 4)
    adam, losses = Adam(net.parameters(), lr=options["learning_rate"]), []
    for epoch in range(epochs):
        adam.lr = options["learning_rate"] * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        loss = cross_entropy(net.head(net.recurrent(net.table(x))[0]), y)
        adam.zero_grad()
        loss.backward()
        clip_grad_norm(adam.parameters, 1.0)
        adam.step()
        losses.append(loss.item())
    assert seen.losses == losses
    for ours, theirs in zip(parameters(model), net.parameters(), strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())


def test_the_state_goes_on_from_chunk_to_chunk():
    """With a rate too small to change a bit, the losses of an epoch's chunks are those of one pass over all of it."""
    seen = Seen()
    model = CharacterModel(**QUICK | {"epochs": 1, "validation": 0.0, "learning_rate": 1e-30, "dtype": "float64"}).fit(
        TEXT, callbacks=[seen]
    )
    x, y = (a.astype(int) for a in character_streams(model.alphabet.encode(TEXT), 4))
    net = model.network
    with no_grad():
        output, _ = net.recurrent(net.table(x))
        expected = [
            cross_entropy(net.head(Tensor(output.data[t : t + 20])), y[t : t + 20]).item() for t in range(0, len(x), 20)
        ]
    np.testing.assert_allclose(seen.losses, expected, rtol=1e-12)


def test_the_rate_falls_with_each_update_to_zero():
    seen = Seen()
    CharacterModel(**QUICK).fit(TEXT, callbacks=[seen])
    assert all(b < a for a, b in zip(seen.rates, seen.rates[1:], strict=False))
    assert len(seen.rates) == len(seen.losses) == 2 * math.ceil((len(TEXT) * 0.9 - 1) // 4 / 20)


def test_memory_does_not_depend_on_the_length_of_the_text(tmp_path, monkeypatch):
    """What training holds at most, beside a byte a character: the same for a text ten times as long."""
    monkeypatch.setattr(characters, "PIECE", 4096)
    beside = []
    CharacterModel(**QUICK).fit(TEXT)  # what is imported and compiled once is not counted
    for repeats in (400, 4000):
        path = tmp_path / "text"
        path.write_text(TEXT[:51] * repeats)
        model = CharacterModel(**QUICK | {"epochs": 1, "batch_size": 64, "chunk": 100})
        tracemalloc.start()
        model.fit(path)
        beside.append(tracemalloc.get_traced_memory()[1] - 51 * repeats)
        tracemalloc.stop()
    assert beside[1] < 1.1 * beside[0]


def test_same_seed_same_bits():
    one, two, other = (CharacterModel(**QUICK | {"seed": seed, "dropout": 0.2}).fit(TEXT) for seed in (1, 1, 2))
    for a, b in zip(parameters(one), parameters(two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(parameters(one)[0], parameters(other)[0])
    assert one.sample(30, rng=3, prompt="t") == two.sample(30, rng=3, prompt="t")
    assert one.sample(30, rng=3, prompt="t") != one.sample(30, rng=4, prompt="t")


def test_validation_is_the_end_of_the_text_and_never_learned_from():
    ends = "q" * 500 + "z", "z" * 500 + "q"
    models = [CharacterModel(**QUICK | {"validation": 501 / (len(TEXT) + 501)}).fit(TEXT + end) for end in ends]
    for a, b in zip(*map(parameters, models), strict=True):
        np.testing.assert_array_equal(a, b)
    one, two = (model.training["validation_loss"][-1] for model in models)
    assert min(one, two) > models[0].training["loss"][-1]
    assert one != two
    assert "validation_loss" not in CharacterModel(**QUICK | {"validation": 0.0}).fit(TEXT).training.epochs[0]


def test_samples_have_the_probabilities_of_the_model():
    """Many draws of one character, at three temperatures, beside softmax(logits / temperature)."""
    draws = np.random.default_rng(0)
    model = CharacterModel(**QUICK | {"epochs": 4}).fit(
        "".join(draws.choice(list("abcd"), 2000, p=[0.4, 0.3, 0.2, 0.1]))
    )
    net, start = model.network, model.alphabet.encode("abca")
    with no_grad():
        logits = net.head(net.recurrent(net.table(start.astype(int)[:, None]))[0]).numpy()[-1, 0].astype(float)
    for temperature in (0.5, 1.0, 2.0):
        p = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
        drawn = "".join(model.sample(1, prompt="abca", temperature=temperature, rng=draws) for _ in range(1000))
        counts = np.array([drawn.count(c) for c in "abcd"])
        assert np.abs(counts - 1000 * p).max() < 4 * np.sqrt(1000 * 0.25)
    drawn = {model.sample(1, prompt="abca", temperature=0.0) for _ in range(5)}
    assert drawn == {"abcd"[int(logits.argmax())]}
    assert len(model.sample(5, prompt="a", temperature=1e-300, rng=0)) == 5


def test_longer_samples_carry_the_state_on():
    model = CharacterModel(**QUICK).fit(TEXT)
    first = model.sample(40, prompt="the ", rng=np.random.default_rng(7))
    draws = np.random.default_rng(7)
    parts, prompt = [], "the "
    for _ in range(40):  # each from the whole text so far
        parts.append(model.sample(1, prompt=prompt, rng=draws))
        prompt += parts[-1]
    assert "".join(parts) == first
    assert model.sample(0, prompt="t") == ""


def test_save_and_load(tmp_path):
    model = CharacterModel("lstm", **QUICK | {"layers": 2, "dropout": 0.1}).fit(TEXT)
    model.save(tmp_path / "model.safetensors")
    loaded = CharacterModel.load(tmp_path / "model.safetensors")
    assert loaded.settings == model.settings
    assert loaded.bits_per_character(TEXT) == model.bits_per_character(TEXT)
    assert loaded.sample(20, prompt="cat", rng=0) == model.sample(20, prompt="cat", rng=0)


def test_loading_something_else_is_refused(tmp_path):
    write_tensors(tmp_path / "other", {"a": np.zeros(3)}, {"kind": "forecaster", "version": 1})
    with pytest.raises(ValueError, match='not a character model of version 1, but "forecaster"'):
        CharacterModel.load(tmp_path / "other")


def test_a_failed_fit_leaves_the_model_as_it_was(tmp_path):
    model = CharacterModel(**QUICK).fit(TEXT)
    before = model.bits_per_character(TEXT)
    (tmp_path / "latin").write_bytes(b"caf\xe9 " * 1000)
    for bad, error, message in (
        ("", ValueError, "there are no characters"),
        (
            "abcd",
            ValueError,
            "3 characters to learn from and 1 for validation; expected at least 5, one above batch_size",
        ),
        ("ab" * 20, ValueError, "36 characters to learn from and 4 for validation"),
        (tmp_path / "latin", ValueError, "latin: not UTF-8 text .* at byte 3"),
        (tmp_path / "missing", FileNotFoundError, "missing"),
        (b"bytes", TypeError, "text is a bytes; expected str, or the Path of a file"),
    ):
        with pytest.raises(error, match=message):
            model.fit(bad)
    assert model.bits_per_character(TEXT) == before


def test_unknown_characters_are_named():
    model = CharacterModel(**QUICK).fit(TEXT)
    with pytest.raises(ValueError, match="character 'X' at 3 is not among"):
        model.bits_per_character("theX")
    with pytest.raises(ValueError, match="character '!' at 0 is not among"):
        model.sample(3, prompt="!")
    with pytest.raises(ValueError, match="the prompt is empty"):
        model.sample(3, prompt="")
    for text in ("", "t"):
        with pytest.raises(ValueError, match=f"the text has {len(text)} characters; expected at least two"):
            model.bits_per_character(text)
    for temperature in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="temperature is .*; expected a finite number, at least 0"):
            model.sample(3, prompt="t", temperature=temperature)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "elman"}, "CharacterModel: cell is 'elman'; expected one of 'rnn', 'lstm', 'gru'"),
        ({"chunk": 0}, "CharacterModel: chunk is 0"),
        ({"epochs": 0.5}, "CharacterModel: epochs is 0.5"),
        ({"dropout": 1.5}, "CharacterModel: dropout is 1.5"),
        ({"validation": 1.0}, "CharacterModel: validation is 1.0"),
        ({"learning_rate": 0.0}, "CharacterModel: learning_rate is 0.0; expected a number above 0"),
        ({"seed": -1}, "CharacterModel: seed is -1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        CharacterModel(**options)


def test_not_fitted():
    for use in (lambda m: m.sample(3), lambda m: m.bits_per_character("abc"), lambda m: m.save("nowhere")):
        with pytest.raises(RuntimeError, match="CharacterModel: fit it first"):
            use(CharacterModel())


def test_lstms_start_with_open_forget_gates():
    net = character_model.CharacterNetwork(5, CharacterModel("lstm", **QUICK).settings, 0)
    np.testing.assert_array_equal(net.recurrent.bias_ih_l0.numpy()[16:32], 1.0)
    assert isinstance(net.recurrent, nn.LSTM)


def test_runs_on_array_api_strict():
    pytest.importorskip("array_api_strict")
    options = QUICK | {"epochs": 1, "chunk": 50}
    here = CharacterModel(**options).fit(TEXT[:500])
    there = CharacterModel(backend="array_api_strict", **options).fit(TEXT[:500])
    with use_backend("array_api_strict"):
        default = CharacterModel(**options).fit(TEXT[:500])
    for model in (there, default):
        assert model.bits_per_character(TEXT[:200]) == pytest.approx(here.bits_per_character(TEXT[:200]), rel=1e-4)
        assert model.sample(20, prompt="t", rng=0) == here.sample(20, prompt="t", rng=0)


def test_a_path_and_its_content_are_the_same_text(tmp_path):
    Path(tmp_path / "text").write_text(TEXT)
    one, two = (CharacterModel(**QUICK).fit(text) for text in (TEXT, tmp_path / "text"))
    np.testing.assert_array_equal(parameters(one)[0], parameters(two)[0])
    assert one.bits_per_character(tmp_path / "text") == one.bits_per_character(TEXT)


@pytest.mark.parametrize("text", ["anna bert carl dora " * 30, "abc\nabd\n" * 30, "ab" * 200])
def test_the_default_prompt_is_always_of_the_text(text):
    model = CharacterModel(**QUICK | {"epochs": 1}).fit(text)
    assert len(model.sample(5, rng=0)) == 5
    first = "\n" if "\n" in text else min(text)
    assert model.sample(20, rng=0) == model.sample(20, prompt=first, rng=0)


def test_drawing_from_the_likeliest_only():
    model = CharacterModel(**QUICK).fit(TEXT)
    likeliest = model.sample(30, prompt="the", temperature=0)
    for options in ({"top_k": 1}, {"top_p": 0.0}, {"temperature": 5.0, "top_k": 1}):
        assert model.sample(30, prompt="the", rng=0, **options) == likeliest
    assert model.sample(30, rng=0, top_k=99, top_p=1.0) == model.sample(30, rng=0)
    daring = {"temperature": 50.0, "rng": 0}
    assert len(set(model.sample(200, top_k=3, **daring))) < len(set(model.sample(200, **daring)))
    with pytest.raises(ValueError, match="CharacterModel.sample: top_k is 0"):
        model.sample(5, top_k=0)
    with pytest.raises(ValueError, match="CharacterModel.sample: top_p is 2"):
        model.sample(5, top_p=2)
