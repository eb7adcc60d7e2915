"""What every search asks of a model, one step after another, and what it checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import size, whole_number
from xprnn.backend import Array, Backend, backend_of, default_backend, dtype_name, namespace
from xprnn.grad_mode import no_grad

Step = Callable[[Any, Any], tuple[Any, Any]]


def checked(owner: str, step: Any, batch: Any, start: Any, end: Any) -> tuple[int, int, int]:
    """The sizes of a search. Raises TypeError and ValueError, also for a step that is no function."""
    if not callable(step):
        raise TypeError(f"{owner}: step is a {type(step).__name__}; expected a function of tokens and state")
    batch = size(owner, "batch", batch, 0)
    return batch, whole_number(owner, "start", start, 0), whole_number(owner, "end", end, 0)


def first_tokens(state: Any, batch: int, start: int) -> Array:
    """Start tokens (batch,) where the state is or, where it has no arrays, where new ones are made."""
    return (_home(state) or default_backend()).asarray(np.full(batch, start))


def _home(state: Any) -> Backend | None:
    """Where the first array of a state is."""
    if isinstance(state, (tuple, list)):
        return next(filter(None, map(_home, state)), None)
    try:
        return backend_of(ops.value(state))
    except TypeError:  # None, or anything else that only the step knows how to read
        return None


def ask(owner: str, step: Step, tokens: Array, state: Any, end: int) -> tuple[Array, Any]:
    """One step, without recording: the log-probabilities as an array, and the next state."""
    with no_grad():
        answer = step(tokens, state)
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise TypeError(f"{owner}: step returned a {type(answer).__name__}; expected log-probabilities and a state")
    scores, rows = ops.value(answer[0]), tokens.shape[0]
    if not hasattr(scores, "shape"):
        raise TypeError(f"{owner}: step returned a {type(scores).__name__}; expected log-probabilities ({rows}, C)")
    if len(scores.shape) != 2 or scores.shape[0] != rows or not 0 <= end < scores.shape[1]:
        came, expected = tuple(scores.shape), f"({rows}, C) with the end token {end} among C"
        raise ValueError(f"{owner}: step returned log-probabilities of shape {came}; expected {expected}")
    namespace(scores)
    if not dtype_name(scores).startswith("float"):
        raise TypeError(f"{owner}: step returned log-probabilities of dtype {dtype_name(scores)}; expected floats")
    return scores, answer[1]
