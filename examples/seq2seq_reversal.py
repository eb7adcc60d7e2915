"""Encoder and decoder learn to write a word backward, with attention and without.

Without attention the encoder's last state must carry the whole word; with it the decoder looks at one letter after the
other. Both are then tried on words longer than any they have seen: on those the one without attention was better, in
full runs. The two are unlike in more than attention, as the table says: two models that work, not an ablation.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

from xprnn import nn
from xprnn.backend import to_numpy
from xprnn.data import Buckets, Vocabulary, lengths_to_mask, pad_sequences
from xprnn.train import Adam, Cosine, cross_entropy, fit

SEEN, LONGEST = 10, 20  # letters: in training, and in the last test
LETTERS = Vocabulary(string.ascii_lowercase, specials=("pad", "start", "end"))
SETTINGS: dict[str, dict[str, Any]] = {
    "no attention": {"hidden": 128, "attention": None, "epochs": 5},
    "attention": {"hidden": 64, "attention": "general", "epochs": 3},
}


def words(count: int, shortest: int, longest: int, draws: np.random.Generator) -> list[str]:
    """Random ones; the short ones repeat, so tests leave out what was seen."""
    lengths = draws.integers(shortest, longest + 1, count)
    return ["".join(draws.choice(list(string.ascii_lowercase), n)) for n in lengths]


def build(hidden: int, attention: str | None) -> nn.Seq2Seq:
    encoder = nn.Encoder(len(LETTERS), hidden, embedding_dim=32, bidirectional=attention is not None, rng=0)
    decoder = nn.Decoder(
        len(LETTERS), hidden, embedding_dim=32, attention=attention, memory_size=encoder.output_size, rng=1
    )
    return nn.Seq2Seq(encoder, decoder, start=LETTERS.start_id, end=LETTERS.end_id, max_length=LONGEST + 1, rng=2)


def loss(model: nn.Seq2Seq, batch: Any) -> Any:
    source, source_lengths, target, target_lengths = batch
    logits = model(source, target, source_lengths, target_lengths)
    return cross_entropy(logits, target, mask=lengths_to_mask(target_lengths, target.shape[0]))


def train(model: nn.Seq2Seq, seen: list[str], epochs: int) -> None:
    sources = [LETTERS.encode(list(word)) for word in seen]
    targets = [LETTERS.encode(list(word[::-1]), end=True) for word in seen]
    optimizer = Adam(model.parameters(), lr=5e-3)
    batches = Buckets(sources, targets, batch_size=64, shuffle=True, rng=0)
    schedule = Cosine(optimizer, total=epochs)
    fit(model, batches, loss, optimizer, epochs=epochs, clip_norm=1.0, schedule=schedule, progress=False)


def written(model: nn.Seq2Seq, asked: list[str]) -> list[str]:
    source, lengths = pad_sequences([LETTERS.encode(list(word)) for word in asked])
    return ["".join(LETTERS.decode(list(found.tokens))) for found in model.greedy(source, lengths)]


def exact(model: nn.Seq2Seq, asked: list[str]) -> float:
    return float(np.mean([found == word[::-1] for found, word in zip(written(model, asked), asked, strict=True)]))


@example
def main(quick: bool, output: Path) -> None:
    """Learn to write words backward."""
    draws = np.random.default_rng(0)
    seen = words(500 if quick else 80_000, 1, SEEN, draws)
    known = set(seen)
    fresh = [word for word in words(300 if quick else 2_500, 3, SEEN, draws) if word not in known]
    each = 20 if quick else 300
    by_length = {n: [w for w in words(each, n, n, draws) if w not in known] for n in range(3, LONGEST + 1)}
    rows, models = [], {}
    for name, settings in SETTINGS.items():
        model = models[name] = build(settings["hidden"], settings["attention"])
        epochs = 1 if quick else settings["epochs"]
        train(model, seen, epochs)
        size = sum(parameter.size for parameter in model.parameters())
        longer = [word for n in range(SEEN + 1, LONGEST + 1) for word in by_length[n][:100]]
        encoder = f"{'one direction' if settings['attention'] is None else 'bidirectional'}, {settings['hidden']}"
        rows.append([name, encoder, size, epochs, f"{exact(model, fresh):.1%}", f"{exact(model, longer):.1%}"])
    print(f"{len(fresh)} words never seen; 'longer' have {SEEN + 1} to {LONGEST} letters, training had 1 to {SEEN}")
    table(rows, ["model", "encoder, units", "parameters", "epochs", "exact", "exact, longer"])

    word = "attention" if not quick else "rnn"
    model = models["attention"]
    answer = written(model, [word])[0][:LONGEST]  # one that does not end would leave no place for the end token
    source, _ = pad_sequences([LETTERS.encode(list(word))])
    target, _ = pad_sequences([LETTERS.encode(list(answer), end=True)])
    _, weights = model(source, target, ratio=1.0, return_weights=True)
    figure, (left, right) = plot(1, 2, size=(11, 4.8))
    picture = left.imshow(to_numpy(weights)[0], cmap="cividis", vmin=0, vmax=1)
    left.set_xticks(range(len(word)), list(word))
    left.set_yticks(range(len(answer) + 1), [*answer, "end"])
    left.set(title=f"Where it looks to write {word!r} backward", xlabel="letter read", ylabel="letter written")
    figure.colorbar(picture, ax=left, label="attention weight", shrink=0.8)
    right.axvspan(2.5, SEEN + 0.5, color="#eeeeee", label="lengths of training")
    for (name, model), colour, marker in zip(models.items(), COLOURS, "os", strict=False):
        shares = [100 * exact(model, asked) for asked in by_length.values()]
        right.plot(list(by_length), shares, color=colour, marker=marker, markersize=4, label=name)
    right.set(title="Words written without a mistake", xlabel="letters of the word", ylabel="%", ylim=(-3, 103))
    right.set_xticks(range(4, LONGEST + 1, 2))
    right.legend(frameon=False, loc="lower left")
    right.grid(alpha=0.25)
    save(figure, output, "seq2seq_reversal")


if __name__ == "__main__":
    main()
