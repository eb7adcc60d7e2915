"""Timing tasks: nothing happens between two spikes, and yet the time between them must be known.

After Gers, Schraudolph and Schmidhuber 2002, "Learning precise timing with LSTM recurrent networks", JMLR 3.
"""

from __future__ import annotations

import numpy as np

from xprnn.arguments import float_dtype, size, sizes
from xprnn.backend import Array, default_backend
from xprnn.randomness import Rng, generator


def spike_delays(
    steps: int, batch: int, *, shortest: int = 10, choices: int = 2, rng: Rng = None, dtype: str = "float32"
) -> tuple[Array, Array, Array]:
    """Say at each spike how long ago the one before it was, after the task of measuring spike delays.

    x (T, B, 1) is 1 at spikes, 0 elsewhere. The delay between two spikes is ``shortest`` + k steps, k drawn from 0 to
    ``choices`` - 1 for each; y (T, B) holds k, integers, where mask (T, B) is True: at every spike but a sequence's
    first one, which comes within its first ``shortest`` steps. To guess is right once in ``choices`` times.

    Raises ValueError for T, B or shortest below 1 and choices below 2.
    """
    owner = "spike_delays"
    steps, batch = sizes(owner, steps=steps, batch=batch)
    shortest, choices = size(owner, "shortest", shortest), size(owner, "choices", choices, 2)
    draws = generator(rng)
    first = draws.integers(0, shortest, (1, batch))
    k = draws.integers(0, choices, (steps // shortest + 1, batch))
    at = np.concatenate([first, first + np.cumsum(shortest + k, axis=0)])
    x, y, mask = np.zeros((steps, batch)), np.zeros((steps, batch), np.int64), np.zeros((steps, batch), bool)
    spike, sequence = np.nonzero(at < steps)
    x[at[spike, sequence], sequence] = 1.0
    asked = spike > 0
    spike, sequence = spike[asked], sequence[asked]
    y[at[spike, sequence], sequence] = k[spike - 1, sequence]
    mask[at[spike, sequence], sequence] = True
    home = default_backend()
    return home.asarray(x[..., None].astype(float_dtype(owner, dtype))), home.asarray(y), home.asarray(mask)


def timed_spikes(
    steps: int, batch: int, *, shortest: int = 10, choices: int = 10, rng: Rng = None, dtype: str = "float32"
) -> tuple[Array, Array]:
    """Spike exactly as many steps after a request as it asked for, after the task of generating timed spikes.

    x (T, B, 2): 1 at a request, and there k / (choices - 1), else 0. y (T, B, 1) is 1 where ``shortest`` + k steps have
    passed since the request, else 0; k is drawn from 0 to ``choices`` - 1 for each. The next request comes 1 to
    ``shortest`` - 1 steps after the spike, and the first within as many steps from the start.

    Raises ValueError for T or B below 1, shortest and choices below 2.
    """
    owner = "timed_spikes"
    steps, batch = sizes(owner, steps=steps, batch=batch)
    shortest, choices = size(owner, "shortest", shortest, 2), size(owner, "choices", choices, 2)
    draws, rounds = generator(rng), steps // (shortest + 1) + 1
    pauses, k = draws.integers(1, shortest, (rounds, batch)), draws.integers(0, choices, (rounds, batch))
    spikes = np.cumsum(pauses + shortest + k, axis=0) - 1
    requests = spikes - shortest - k
    x, y = np.zeros((steps, batch, 2)), np.zeros((steps, batch, 1))
    n, b = np.nonzero(requests < steps)
    x[requests[n, b], b, 0], x[requests[n, b], b, 1] = 1.0, k[n, b] / (choices - 1)
    n, b = np.nonzero(spikes < steps)
    y[spikes[n, b], b, 0] = 1.0
    home = default_backend()
    return home.asarray(x.astype(float_dtype(owner, dtype))), home.asarray(y.astype(dtype))
