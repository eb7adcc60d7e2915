"""Whether all ranks still hold the same numbers."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from xprnn.arguments import whole_number
from xprnn.backend import Array, to_numpy
from xprnn.train.callbacks import Callback
from xprnn.train.run import Run


class SameBits(Callback):
    """Compares, after every ``every``-th batch and each epoch, what the ranks of a run hold, by checksums.

    They add the same sums to the same numbers, so that each bit is the same; a callback that changes one rank's model,
    or processors that round differently, would let them drift apart without a word. ``fit`` has one of these where it
    has a communicator, unless it is given another. It reads all parameters and what the optimizer keeps, and waits for
    a GPU. Raises RuntimeError, in all ranks, with the first rank and tensor that differ from rank 0's.
    """

    def __init__(self, every: int = 100) -> None:
        self.every = whole_number("SameBits", "every", every)

    def on_batch_end(self, run: Run) -> None:
        if run.batch % self.every == 0:
            self._compare(run)

    def on_epoch_end(self, run: Run) -> None:
        self._compare(run)

    def _compare(self, run: Run) -> None:
        if run.ranks.size == 1:
            return
        sums = {name: zlib.crc32(np.ascontiguousarray(to_numpy(array)).data) for name, array in _held(run)}
        with run.ranks.everywhere():
            first, *others = run.ranks.of_all(sums)
            for rank, found in enumerate(others, 1):
                if wrong := [name for name in first if found.get(name) != first[name]]:
                    raise RuntimeError(
                        f"SameBits: after batch {run.batch} of epoch {run.epoch} {wrong[0]} of rank {rank} differs "
                        f"from that of rank 0, as do {len(wrong) - 1} others of {len(first)}; does a callback change "
                        "the model in one rank only, or are the processors of different kinds?"
                    )


def _held(run: Run) -> Iterator[tuple[str, Array]]:
    """Everything that a step reads, by name."""
    yield from ((name, parameter.data) for name, parameter in run.model.named_parameters())
    for k, entry in run.optimizer.state_dict()["parameters"].items():
        yield from ((f"{name} of parameter {k}", array) for name, array in entry.items() if name != "step")
