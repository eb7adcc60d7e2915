"""Peak memory of training on a file much larger than it: a slow study, for a machine with a Linux kernel.

    python benchmarks/large_data.py [GB] [MB]

reads a sparse file of so many gigabytes, 20 by default, whole, in shuffled windows, within a limit of so many megabytes
of data, 500 by default; and trains on a part of it before and after. Then the same file as one sequence of tokens of 16
bits, in lanes that run side by side. The file takes no room, but its zeros are read as numbers on a disk would be.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from xprnn import nn
from xprnn.data import Lanes, Streamed
from xprnn.train import SGD, Carried, cross_entropy, fit, mse

STEPS, FEATURES, BATCH, WINDOW = 100, 25, 64, 50  # 10 kB a sequence, 32 MB a window

LANES = {"batch_size": 64, "chunk": 64, "window": 500, "ahead": 1}  # 4 MB a window


def peak():
    """The most memory that this process has had resident, in MB; pages of mapped files count."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_peak():
    """What was resident before counts no more."""
    Path("/proc/self/clear_refs").write_text("5")


def train(batches):
    model = nn.GRU(FEATURES, 16, rng=0)

    def loss(model, batch):
        return mse(model(batch[0])[0], np.zeros((STEPS, len(batch[0][0]), 16), "float32"))

    fit(model, batches, loss, SGD(model.parameters(), 0.1), epochs=1, progress=False)


class Language(nn.Module):
    """Tokens to the states of a GRU, and a head that scores what comes next."""

    def __init__(self):
        self.table, self.recurrent, self.head = nn.Embedding(100, 16), nn.GRU(16, 32), nn.Linear(32, 100)

    def forward(self, x, state=None):
        return self.recurrent(self.table(x), state)


def train_tokens(lanes):
    model = Language()

    def loss(model, batch):
        return cross_entropy(model.head(batch[-1].output), batch[0])

    fit(model, Carried(model, lanes), loss, SGD(model.parameters(), 0.1), epochs=1, progress=False)


def main(gigabytes=20.0, limit=500.0):
    count = int(gigabytes * 1e9 / (4 * STEPS * FEATURES))
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(count * 4 * STEPS * FEATURES)
        rows = np.memmap(file.name, "float32", "r", shape=(count, STEPS, FEATURES))
        options = {"batch_size": BATCH, "shuffle": True, "window": WINDOW, "axis": 1, "rng": 0}
        train(Streamed(rows, updates=2, **options))  # kernels are loaded
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 1e6),) * 2)
        began, loaded = time.perf_counter(), peak()
        total = sum(batch.shape[1] for (batch,) in Streamed(rows, **options))
        seconds, read = time.perf_counter() - began, peak()
        train(Streamed(rows, updates=500, **options))
        after = peak()
        print(f"{total} sequences of {gigabytes:g} GB in {seconds:.0f} s, within {limit:g} MB of data")
        print(f"peak of resident memory, MB: {loaded:.0f} before, {read:.0f} after all was read, {after:.0f} trained")
        tokens = np.memmap(file.name, "uint16", "r")
        forget_peak()
        began, loaded = time.perf_counter(), peak()
        total = sum(x.size for x, _ in Lanes(tokens, **LANES))
        seconds, read = time.perf_counter() - began, peak()
        train_tokens(Lanes(tokens, updates=2000, **LANES))
        print(f"{total} tokens of it in {seconds:.0f} s")
        print(f"peak of resident memory, MB: {loaded:.0f} before, {read:.0f} after all was read, {peak():.0f} trained")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
