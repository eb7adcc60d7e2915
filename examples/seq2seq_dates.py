"""Encoder and decoder with attention learn to read dates as people write them and to write them as ISO 8601.

"Tuesday, 3 March 1998", "March 3rd, 1998" and "03/03/98" all become 1998-03-03. Numbers are day first, and a year of
two digits lies from 1950 to 2049. The dates of the test are in the training data in no form at all.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from common import example, plot, save, table

from xprnn import nn
from xprnn.backend import to_numpy
from xprnn.data import Buckets, Vocabulary, lengths_to_mask, pad_sequences
from xprnn.train import Adam, Cosine, cross_entropy, fit

FIRST, LAST = date(1950, 1, 1), date(2049, 12, 31)
FORMS = (
    "{d} {month} {year}",
    "{month} {d}, {year}",
    "{weekday}, {d} {month} {year}",
    "{d}{th} of {month} {year}",
    "{month} {d}{th}, {year}",
    "{d} {mon} {yy}",
    "{dd}/{mm}/{yy}",
    "{dd}.{mm}.{year}",
    "{d}-{mon}-{year}",
    "{year}/{mm}/{dd}",
)
SHOWN = ("Tuesday, 3 March 1998", "03/12/07", "21st of october 2015")


def form(day: date, pattern: str, case: int) -> str:
    """A date as people write it."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    th = "th" if day.day in (11, 12, 13) else ends.get(day.day % 10, "th")
    names = {"month": f"{day:%B}", "mon": f"{day:%b}", "weekday": f"{day:%A}", "year": str(day.year), "th": th}
    text = pattern.format(d=day.day, dd=f"{day:%d}", mm=f"{day:%m}", yy=f"{day:%y}", **names)
    return (text, text.lower(), text.upper())[case]


class Data:
    """Dates in a random order: the first for training, the others for the test, each in several forms."""

    def __init__(self, seen: int, tested: int) -> None:
        draws = np.random.default_rng(0)
        days = [FIRST + timedelta(int(n)) for n in draws.permutation((LAST - FIRST).days + 1)]
        self.seen = [self.pair(day, draws) for day in days[:seen] for _ in range(2)]
        self.fresh = [self.pair(day, draws) for day in days[-tested:]]
        self.read = Vocabulary.build([list(text) for text, _ in self.seen], specials=("pad", "unknown"))
        self.write = Vocabulary("0123456789-", specials=("start", "end"))

    @staticmethod
    def pair(day: date, draws: np.random.Generator) -> tuple[str, str]:
        pattern = FORMS[draws.integers(len(FORMS))]
        return form(day, pattern, int(draws.choice(3, p=[0.7, 0.15, 0.15]))), day.isoformat()


def loss(model: nn.Seq2Seq, batch: Any) -> Any:
    source, source_lengths, target, target_lengths = batch
    logits = model(source, target, source_lengths, target_lengths)
    return cross_entropy(logits, target, mask=lengths_to_mask(target_lengths, target.shape[0]))


def train(data: Data, epochs: int) -> nn.Seq2Seq:
    encoder = nn.Encoder(len(data.read), 64, embedding_dim=32, bidirectional=True, rng=0)
    decoder = nn.Decoder(
        len(data.write), 64, embedding_dim=16, attention="general", memory_size=encoder.output_size, rng=1
    )
    model = nn.Seq2Seq(encoder, decoder, start=data.write.start_id, end=data.write.end_id, max_length=12, rng=2)
    sources = [data.read.encode(list(text)) for text, _ in data.seen]
    targets = [data.write.encode(list(iso), end=True) for _, iso in data.seen]
    optimizer = Adam(model.parameters(), lr=5e-3)
    batches = Buckets(sources, targets, batch_size=64, shuffle=True, rng=0)
    schedule = Cosine(optimizer, total=epochs)
    fit(model, batches, loss, optimizer, epochs=epochs, clip_norm=1.0, schedule=schedule, progress=False)
    return model


def written(data: Data, model: nn.Seq2Seq, texts: list[str], width: int) -> list[str]:
    """The best of a beam of so many."""
    source, lengths = pad_sequences([data.read.encode(list(text)) for text in texts])
    found = model.beam_search(source, lengths, width=width)
    return ["".join(data.write.decode(list(best.tokens))) for (best, *_) in found]


@example
def main(quick: bool, output: Path) -> None:
    """Learn to normalise dates."""
    data = Data(1_000 if quick else 20_000, 200 if quick else 2_000)
    model = train(data, 1 if quick else 4)
    texts, expected = [text for text, _ in data.fresh], [iso for _, iso in data.fresh]
    answers = {width: written(data, model, texts, width) for width in (1, 4)}
    rows = [
        [f"greedy, all {len(texts)} dates" if width == 1 else f"beam of {width}", _share(found, expected)]
        for width, found in answers.items()
    ]
    for name, chosen in (
        ("  with the month as a word", [any(c.isalpha() for c in text) for text in texts]),
        ("  digits only", [not any(c.isalpha() for c in text) for text in texts]),
    ):
        rows.append(
            [name, _share(*([v for v, c in zip(side, chosen, strict=True) if c] for side in (answers[1], expected)))]
        )
    table(rows, ["dates never seen in training", "exact"])
    for text, answer in zip(SHOWN, written(data, model, list(SHOWN), 1), strict=True):
        print(f"{text!r} -> {answer}")

    figure, axes = plot(1, len(SHOWN), size=(13, 4.6), width_ratios=[len(text) for text in SHOWN])
    for plane, text in zip(axes, SHOWN, strict=True):
        answer = written(data, model, [text], 1)[0][: model.max_length - 1]  # room for the end of one that has none
        source, _ = pad_sequences([data.read.encode(list(text))])
        target, _ = pad_sequences([data.write.encode(list(answer), end=True)])
        _, weights = model(source, target, ratio=1.0, return_weights=True)
        picture = plane.imshow(to_numpy(weights)[0], cmap="cividis", vmin=0, vmax=1, aspect="auto")
        plane.set_xticks(range(len(text)), [c if c != " " else "␣" for c in text])
        plane.set_yticks(range(len(answer) + 1), [*answer, "end"])
        plane.set(title=text, xlabel="character read", ylabel="character written")
    figure.suptitle("Where the decoder looks to write a date as ISO 8601")
    figure.colorbar(picture, ax=axes, label="attention weight", shrink=0.8)
    save(figure, output, "seq2seq_dates")


def _share(found: list[str], expected: list[str]) -> str:
    return f"{np.mean([a == b for a, b in zip(found, expected, strict=True)]):.1%}"


if __name__ == "__main__":
    main()
