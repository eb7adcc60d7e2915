"""Limited parallelisation: how many steps of how many sequences an RNN takes in a second, one at a time and in batches.

The steps of one sequence must wait for each other; those of different sequences need not. The slides' loop and a real
batch are compared in the same layer: T steps, 50 inputs, 100 hidden units, inference, all results found equal first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import nn

INPUTS, UNITS = 50, 100
WHY = """\
Why: a step needs the one before it, so a single sequence offers one product of a {units} x {units} matrix and a vector
at a time. Each weight is fetched for a single multiplication, and each call of a loop costs more than its arithmetic.
A batch uses every weight it fetches B times, and pays the calls of the loop once for B sequences; a compiled loop has
no calls to pay. From B = 1 to B = {size}, where it is fastest, the compiled batch gains a factor of {gain:.1f}."""
BLUE, ORANGE, GREEN, VERMILION, *_ = COLOURS


def ways(layer: nn.RNN) -> dict[str, Callable[[Any], Any]]:
    """Each takes x (T, B, I) and gives the output (T, B, H)."""
    w_x, w_h, b_x, b_h = (parameter.data for parameter in layer.parameters())
    xp = xprnn.namespace(w_x)
    column = (b_x + b_h)[:, None]

    def slides(x: Any) -> Any:
        every = []
        for b in range(x.shape[1]):
            h, outputs = xp.zeros((UNITS, 1), dtype=x.dtype, device=x.device), []
            for t in range(x.shape[0]):
                h = xp.tanh(w_x @ x[t, b, :][:, None] + w_h @ h + column)
                outputs.append(h[:, 0])
            every.append(xp.stack(outputs))
        return xp.stack(every, axis=1)

    def whole(kernels: str) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            with xprnn.use_kernels(kernels):
                return layer(x)[0].data

        return run

    def one_by_one(x: Any) -> Any:
        return xp.concat([whole("auto")(x[:, b : b + 1, :]) for b in range(x.shape[1])], axis=1)

    return {
        "slides' loop, one at a time": slides,
        "compiled, one at a time": one_by_one,
        "array code, a real batch": whole("reference"),
        "compiled, a real batch": whole("auto"),
    }


def seconds(run: Callable[[Any], Any], x: Any, budget: float) -> float:
    """The shortest time of a call, which others on the machine disturb least, of as many as the budget allows."""
    run(x)
    samples: list[float] = []
    while len(samples) < 3 or sum(samples) < budget:
        xprnn.synchronize(x)
        start = time.perf_counter()
        run(x)
        xprnn.synchronize(x)
        samples.append(time.perf_counter() - start)
    return min(samples)


@example
def main(quick: bool, output: Path) -> None:
    """Throughput against batch size, for a loop, one sequence at a time, and real batches."""
    steps, sizes, budget = (20, [1, 8, 32], 0.05) if quick else (100, [1, 2, 4, 8, 16, 32, 64, 128, 256], 0.4)
    layer, home = nn.RNN(INPUTS, UNITS, rng=0), xprnn.default_backend()
    draws = np.random.default_rng(0)
    inputs = {size: home.asarray(draws.standard_normal((steps, size, INPUTS)).astype("float32")) for size in sizes}
    runs, rates = ways(layer), dict[str, dict[int, float]]()
    with xprnn.no_grad():
        print(xprnn.explain(layer, inputs[sizes[-1]]))
        expected = runs["array code, a real batch"](inputs[sizes[1]])
        for name, run in runs.items():
            worst = float(np.abs(xprnn.to_numpy(run(inputs[sizes[1]]) - expected)).max())
            if not worst < 1e-4:
                raise SystemExit(f"{name} differs by {worst:.1e}; nothing is timed")
            # One at a time, more sequences change nothing: a few sizes show it, and the slow ones are spared.
            tried = [size for size in sizes if "batch" in name or size <= 4]
            rates[name] = {size: steps * size / seconds(run, inputs[size], budget) for size in tried}
    print(f"Thousand steps of a sequence a second, RNN with T = {steps}, I = {INPUTS}, H = {UNITS}, float32, on {home}")
    rows = [(name, *(f"{1e-3 * r[size]:.0f}" if size in r else "" for size in sizes)) for name, r in rates.items()]
    table(rows, ["", *(f"B = {size}" for size in sizes)])
    *_, batch = rates.values()
    best = max(batch, key=batch.__getitem__)
    print(WHY.format(units=UNITS, size=best, gain=batch[best] / batch[1]))
    save(picture(rates, steps), output, "parallelisation")


def picture(rates: dict[str, dict[int, float]], steps: int) -> Any:
    """Throughput against batch size."""
    figure, ax = plot(1, 1, (9, 5.2))
    looks = zip(rates.items(), ((VERMILION, "s:"), (ORANGE, "^:"), (GREEN, "D-"), (BLUE, "o-")), strict=True)
    for (name, found), (colour, look) in looks:
        ax.plot(list(found), list(found.values()), look, color=colour, linewidth=1.8, label=name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel("batch size B (sequences)")
    ax.set_ylabel("steps x sequences per second")
    ax.set_title(f"Sequences are independent, steps are not: RNN, T = {steps}, I = {INPUTS}, H = {UNITS}, float32")
    ax.grid(alpha=0.25, which="both")
    ax.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
