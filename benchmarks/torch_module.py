"""A training step of a PyTorch model with xprnn.interop.torch in place of torch.nn: ms, and how many times faster.

    python benchmarks/torch_module.py [--seconds 3]

The model is a recurrent layer and a linear head; forward, mean squared error, backward and a step of Adam, all by
PyTorch but for the layer. Both have the same weights, data and threads; losses are compared before anything is timed,
and steps take turns in one process, the least time counting. "2%" has sequences begin anew at that share of all steps,
where PyTorch has a loop over steps, as reinforcement learning writes it: the state times what goes on, then a step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from xprnn.interop import torch as interop

SHAPES = [(16, 100, 64, 64), (32, 100, 128, 128)]
KINDS = ("LSTM", "GRU", "RNN")
TOLERANCE = 1e-4


def looped(layer: Any, x: Any, going: Any) -> Any:
    """The output of torch.nn's layer where the state is zero before some steps; ``going`` (T, B, 1) is zero there."""
    state, outputs = None, []
    for xt, go in zip(x, going, strict=True):
        if state is not None:
            state = tuple(part * go for part in state) if isinstance(state, tuple) else state * go
        y, state = layer(xt[None], state)
        outputs.append(y)
    return torch.cat(outputs)


def step_of(module: Any, kind: str, shape: tuple[int, ...], reset: Any) -> Callable[[], float]:
    """A training step with a layer out of torch.nn or of ours; returns the loss."""
    batch, steps, inputs, hidden = shape
    torch.manual_seed(0)
    layer, head = getattr(module, kind)(inputs, hidden), torch.nn.Linear(hidden, 1)
    x, target = torch.randn(steps, batch, inputs), torch.randn(steps, batch, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=1e-3)

    def output() -> Any:
        if reset is None:
            return layer(x)[0]
        if module is interop:
            return layer(x, reset=reset)[0]
        return looped(layer, x, (~reset).float()[..., None])

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(head(output()), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def least(steps: list[Callable[[], float]], seconds: float) -> list[float]:
    """The least time of each in ms, taking turns."""
    found, end = [float("inf")] * len(steps), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for k, step in enumerate(steps):
            start = time.perf_counter()
            step()
            found[k] = min(found[k], 1e3 * (time.perf_counter() - start))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    seconds = parser.parse_args().seconds
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| B,T,I,H | layer | resets | xprnn ms | torch ms | times faster |\n|---|---|---|---|---|---|")
    for shape in SHAPES:
        for kind in KINDS:
            for share in (0.0, 0.02):
                reset = torch.rand(shape[1], shape[0]) < share if share else None
                steps = [step_of(module, kind, shape, reset) for module in (interop, torch.nn)]
                for _ in range(3):
                    ours, theirs = (step() for step in steps)
                    if abs(ours - theirs) > TOLERANCE * abs(theirs):
                        raise SystemExit(f"{kind} {shape}: the losses are {ours} and {theirs}")
                ours, theirs = least(steps, seconds)
                name = ",".join(map(str, shape))
                row = f"{name} | {kind} | {share:.0%} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f}"
                print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
