"""Four score functions of attention on one task: find the item that a query asks for, and say what belongs to it.

A source is a list of items, each with a random key and value; a query is the key of one of them with some noise, either
as it is or as another language would say it: mixed by a matrix that the model does not know. A dot product compares
what is of one kind; "general" learns a matrix in between, "additive" a small network. Nothing else is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import example, plot, save, table

import xprnn
from xprnn import nn, no_grad
from xprnn.backend import to_numpy
from xprnn.train import Adam, Cosine, clip_grad_norm, mse

ITEMS, SIZE, VALUE, NOISE = 8, 16, 4, 0.1
NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen")
SCORES: dict[str, Any] = {
    "dot": lambda: nn.DotAttention(),
    "scaled dot": lambda: nn.DotAttention(scaled=True),
    "general": lambda: nn.GeneralAttention(SIZE, SIZE, rng=0),
    "additive": lambda: nn.AdditiveAttention(SIZE, SIZE, 64, rng=0),
}


class Task:
    """Batches of sources with one query for each of their items."""

    def __init__(self, mixed: bool) -> None:
        self.draws = np.random.default_rng(1)
        mixing = np.random.default_rng(0).standard_normal((SIZE, SIZE)) / np.sqrt(SIZE)
        self.mixing = mixing if mixed else np.eye(SIZE)

    def batch(self, size: int) -> tuple[Any, ...]:
        """Queries (L, B, Q), keys (S, B, K) and values (S, B, V) with L = S: query t asks for item t."""
        keys = self.draws.standard_normal((ITEMS, size, SIZE))
        values = self.draws.choice([-1.0, 1.0], (ITEMS, size, VALUE))
        queries = (keys + NOISE * self.draws.standard_normal(keys.shape)) @ self.mixing
        home = xprnn.default_backend()
        return tuple(home.asarray(array.astype("float32")) for array in (queries, keys, values))


def train(attention: nn.Attention, task: Task, steps: int) -> None:
    if not attention.parameters():
        return
    optimizer = Adam(attention.parameters(), lr=1e-2)
    schedule = Cosine(optimizer, total=steps)
    for _ in range(steps):
        queries, keys, values = task.batch(64)
        context, _ = attention(queries, attention.prepare(keys, values))
        optimizer.zero_grad()
        mse(context, values).backward()
        clip_grad_norm(attention.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def measure(attention: nn.Attention, task: Task) -> tuple[float, float, Any]:
    """How often the right item gets the most weight, the error of what is said of it, and one table of weights."""
    queries, keys, values = task.batch(1000)
    with no_grad():
        context, weights = attention(queries, attention.prepare(keys, values))
    host = to_numpy(weights)
    found = float((host.argmax(axis=2) == np.arange(ITEMS)).mean())
    return found, float(mse(context, values).item()), host[0]


@example
def main(quick: bool, output: Path) -> None:
    """Compare score functions."""
    rows, maps = [], {}
    for name, make in SCORES.items():
        attention, row = make(), [name]
        row.append(sum(parameter.size for parameter in attention.parameters()))
        for mixed in (False, True):
            task, attention = Task(mixed), make()
            train(attention, task, 20 if quick else 1500)
            found, error, maps[name, mixed] = measure(attention, task)
            row += [f"{found:.1%}", error]
        rows.append(row)
    print(f"{ITEMS} items with keys and queries of {SIZE} numbers; a guess finds {1 / ITEMS:.1%}, saying 0 has error 1")
    table(rows, ["score", "parameters", "found", "error", "found, mixed", "error, mixed"])

    figure, axes = plot(2, len(SCORES), size=(13, 6.8))
    for line, mixed in zip(axes, (False, True), strict=True):
        for plane, name in zip(line, SCORES, strict=True):
            picture = plane.imshow(maps[name, mixed], cmap="cividis", vmin=0, vmax=1)
            plane.set_xticks(range(ITEMS), NAMES, rotation=90)
            plane.set_yticks(range(ITEMS), [f"{item}?" for item in NAMES])
            plane.set(title=f"{name}{', mixed queries' if mixed else ''}", xlabel="item", ylabel="query")
    figure.suptitle("Where a query looks among eight items; the right answer is the diagonal")
    figure.colorbar(picture, ax=axes, label="attention weight", shrink=0.7)
    save(figure, output, "attention")


if __name__ == "__main__":
    main()
