"""Sequences whose probabilities are known, for tests of decoding."""

import array_api_strict
import numpy as np

from xprnn import ops
from xprnn.backend import get_backend

START, END = 0, 1


DEVICE = get_backend("array_api_strict", array_api_strict.Device("device1"))


def chain(classes, home, seed=0, batch=2):
    """A step whose probabilities depend on the whole past: the state is a vector that each token turns."""
    draws = np.random.default_rng(seed)
    turn, read = home.asarray(draws.normal(size=(classes, 3))), home.asarray(2.0 * draws.normal(size=(3, classes)))
    state = home.asarray(draws.normal(size=(batch, 3)))

    def step(tokens, state):
        xp = home.xp
        state = xp.tanh(state * 0.9 + xp.take(turn, home.asarray(tokens), axis=0))
        return ops.log_softmax(xp.matmul(state, read)).data, state

    return step, state
