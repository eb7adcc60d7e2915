"""What each process of an MPI job runs in test_mpi.py: a small training, in which something may happen."""

import os
import resource
import signal
import sys
import time

import numpy as np

from xprnn import nn
from xprnn.data import Batches
from xprnn.distributed import world
from xprnn.train import Adam, Callback, Checkpoint, fit, mse, sums


class Happens(Callback):
    """Something in rank 1, after the second batch of the second epoch."""

    def on_batch_end(self, run):
        if (run.ranks.rank, run.epoch, run.batch) != (1, 2, 2):
            return
        if what == "slow":
            time.sleep(0.5)
        elif what == "raises":
            raise ValueError("in a callback")
        elif what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "interrupted":
            print("ready", flush=True)
            time.sleep(600)


def train(communicator, path, dtype="float64"):
    """The bytes of a model after three epochs."""
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(13, 3)).astype(dtype), draws.normal(size=(13, 2)).astype(dtype)
    model = nn.Linear(3, 2, dtype=dtype, rng=0)
    batches = Batches(x, y, batch_size=4, shuffle=True, rng=1)
    loss = lambda m, batch: mse(m(batch[0]), batch[1])
    callbacks = [Happens(), Checkpoint(path)]
    fit(
        model,
        batches,
        loss,
        Adam(model.parameters(), 0.01),
        epochs=3,
        callbacks=callbacks,
        progress=False,
        clip_norm=0.5,
        communicator=communicator,
    )
    return b"".join(p.numpy().tobytes() for p in model.parameters())


what = ""
if __name__ == "__main__":
    what, path = sys.argv[1:]
    sums.BUCKET = 4  # several buckets, begun during the walk back
    ranks = world(wire="bfloat16" if what == "narrow" else "float32")
    if what == "late" and ranks.rank == 1:
        raise ValueError("beside fit")
    if what == "full" and ranks.rank == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    found = train(ranks, path, "float32" if what == "narrow" else "float64")
    if ranks.gather(found) == [found] * ranks.size and ranks.rank == 0:
        print(found.hex())
