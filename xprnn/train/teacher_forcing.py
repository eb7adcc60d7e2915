"""Teacher forcing: how often a decoder is fed the target, from batch to batch.

Schedules of scheduled sampling (Bengio et al. 2015, arXiv 1506.03099): functions from the number i of batches trained
so far to the probability, for each step and sequence, of being fed the target and not the decoder's own last output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xprnn.arguments import at_least_zero, checked_state, probability, real_number, whole_number
from xprnn.train.callbacks import Callback
from xprnn.train.run import Run


@dataclass(frozen=True)
class ConstantRatio:
    """The same ratio always: 1 is teacher forcing, 0 free running."""

    ratio: float = 1.0

    def __post_init__(self) -> None:
        probability("ConstantRatio", "ratio", self.ratio)

    def __call__(self, i: int) -> float:
        return self.ratio


@dataclass(frozen=True)
class LinearRatio:
    """A straight line from ``first`` to ``last`` over so many steps, and ``last`` from there on."""

    steps: int
    first: float = 1.0
    last: float = 0.0

    def __post_init__(self) -> None:
        whole_number("LinearRatio", "steps", self.steps)
        probability("LinearRatio", "first", self.first)
        probability("LinearRatio", "last", self.last)

    def __call__(self, i: int) -> float:
        progress = min(at_least_zero("LinearRatio", "i", i) / self.steps, 1.0)
        return (1.0 - progress) * self.first + progress * self.last


@dataclass(frozen=True)
class ExponentialRatio:
    """k^i, with 0 <= k <= 1."""

    k: float

    def __post_init__(self) -> None:
        probability("ExponentialRatio", "k", self.k)

    def __call__(self, i: int) -> float:
        return float(self.k ** at_least_zero("ExponentialRatio", "i", i))


@dataclass(frozen=True)
class InverseSigmoidRatio:
    """k / (k + e^(i / k)), with k >= 1: near 1 at first, one half at i = k log k, then falling to 0."""

    k: float

    def __post_init__(self) -> None:
        real_number("InverseSigmoidRatio", "k", self.k, "a number of at least 1", low=1.0)

    def __call__(self, i: int) -> float:
        # The same as a sigmoid, which does not overflow: 1 / (1 + e^-z) = (1 + tanh(z / 2)) / 2.
        return 0.5 + 0.5 * math.tanh(0.5 * (math.log(self.k) - at_least_zero("InverseSigmoidRatio", "i", i) / self.k))


class TeacherForcing(Callback):
    """Set ``model.ratio``, which :class:`xprnn.nn.Seq2Seq` uses in training mode, before each batch of ``fit``.

    >>> fit(model, batches, loss, optimizer, epochs=10, callbacks=[TeacherForcing(LinearRatio(2000))])  # doctest: +SKIP

    ``schedule(i)`` gives the ratio after i batches. A checkpoint keeps i. Raises TypeError for a model without a ratio,
    ValueError for a schedule that leaves 0 to 1.
    """

    def __init__(self, schedule: Callable[[int], float]) -> None:
        if not callable(schedule):
            raise TypeError(
                f"TeacherForcing: schedule is a {type(schedule).__name__}; expected a function, such as LinearRatio"
            )
        self.schedule, self.batches = schedule, 0

    def on_fit_start(self, run: Run) -> None:
        if not hasattr(run.model, "ratio"):
            raise TypeError(f"TeacherForcing: {type(run.model).__name__} has no ratio to set; expected a Seq2Seq")
        if not run.history.epochs:
            self.batches = 0
        self._set(run)

    def on_batch_end(self, run: Run) -> None:
        self.batches += 1
        self._set(run)

    def _set(self, run: Run) -> None:
        ratio = self.schedule(self.batches)
        run.model.ratio = probability("TeacherForcing", f"schedule({self.batches})", ratio)

    def state_dict(self) -> dict[str, Any]:
        """How many batches were trained."""
        return {"batches": self.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave. Raises ValueError for anything else."""
        state = checked_state("TeacherForcing", state, ("batches",))
        self.batches = whole_number("TeacherForcing", "the state's batches", state["batches"], 0)
