"""Learning rates that change from epoch to epoch."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from copy import copy
from typing import Any

from xprnn.arguments import above_zero, at_least_zero, checked_state, of_kind, real_number, whole_number
from xprnn.together import Change, make, new_attribute, new_items
from xprnn.train.optimizer import Optimizer


class Schedule:
    """lr = base lr * factor(epoch), where the base is the optimizer's lr when the schedule is made; epochs from 0.

    Each group of parameters has its own base and rate; a step that is interrupted changes none of them.
    Sets the rate of epoch 0 at once. Call ``step`` after each epoch, with the loss to watch where a schedule needs one.
    The rate itself belongs to the optimizer's state, the epoch to the schedule's.

    A rate that something else has changed since, by hand or by another schedule, is gone on from: it is multiplied by
    factor(epoch) / factor(epoch - 1). So the factors of several schedules of one optimizer multiply, as PyTorch's.
    """

    state: tuple[str, ...] = ("epoch", "base_lr")
    """The attributes, all numbers, that state_dict keeps; base_lr is a list where there are several groups."""

    counts: tuple[str, ...] = ("epoch",)
    """Those of them that are whole numbers from 0."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer, self.epoch = of_kind(type(self).__name__, "optimizer", optimizer, Optimizer), 0
        rates = [group["lr"] for group in optimizer.param_groups]
        self.base_lr: Any = rates if len(rates) > 1 else rates[0]
        self._own = rates  # what the equation alone gives, from which is told whether somebody else set another
        make(self._changes(*self._rates(0)))

    def _rates(self, epoch: int) -> tuple[list[float], list[float]]:
        """The rates of an epoch for each group: those to set, and those by the equation alone."""
        bases = self.base_lr if isinstance(self.base_lr, list) else [self.base_lr]
        present = [group["lr"] for group in self.optimizer.param_groups]
        try:
            factor = self.factor(epoch)
            own = [base * factor for base in bases]
            last = 0.0 if present == self._own else self.factor(self.epoch)
            change = factor / last if last else None
        except ArithmeticError as error:
            raise ValueError(f"{type(self).__name__}: epoch {epoch} has no learning rate: {error}") from error
        each = zip(present, self._own, own, strict=True)
        return [new if rate == old or change is None else rate * change for rate, old, new in each], own

    def _changes(self, rates: list[float], own: list[float]) -> list[Change]:
        """What gives the groups these rates. Raises ValueError for one that is out of range."""
        return [*self.optimizer.new_rates(rates), new_attribute(self, "_own", own)]

    def factor(self, epoch: int) -> float:
        """What multiplies the base rate in an epoch."""
        return 1.0

    def step(self, metric: float | None = None) -> None:
        """Go on to the next epoch."""
        make([new_attribute(self, "epoch", self.epoch + 1), *self._changes(*self._rates(self.epoch + 1))])

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a pickle; those of before knew of no other schedules, and took all rates for their own."""
        vars(self).update({"_own": [group["lr"] for group in state["optimizer"].param_groups], **state})

    def state_dict(self) -> dict[str, Any]:
        """The numbers that say where the schedule stands."""
        values = {name: getattr(self, name) for name in self.state}
        return {name: [*value] if isinstance(value, list) else value for name, value in values.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave, and set its rates, but where somebody else has set others.

        Raises ValueError, and loads nothing, where it does not fit.
        """
        owner = type(self).__name__
        values = {name: self._read(name, value) for name, value in checked_state(owner, state, self.state).items()}
        trial = copy(self)
        vars(trial).update(values)
        try:
            changes = self._changes(*trial._rates(trial.epoch))
        except ValueError as error:
            raise ValueError(
                f"{owner}: the state's epoch {trial.epoch} has no learning rate; expected one that has: {error}"
            ) from error
        make([new_items(vars(self), values), *changes])

    def _read(self, name: str, value: Any) -> Any:
        """An attribute from a state. Raises ValueError for what it can never be."""
        owner, what, rates = type(self).__name__, f"the state's {name}", len(self.optimizer.param_groups)
        if name in self.counts:
            return whole_number(owner, what, value, 0)
        if name != "base_lr":
            real_number(owner, what, value, "a number", -math.inf)
            return value
        check = type(self.optimizer).lr.check
        if rates == 1:
            return check(owner, what, value)
        if not isinstance(value, (list, tuple)) or len(value) != rates:
            raise ValueError(f"{owner}: {what} is {reprlib.repr(value)}; expected {rates} numbers")
        return [check(owner, f"{what}[{k}]", rate) for k, rate in enumerate(value)]


class StepDecay(Schedule):
    """lr = base lr gamma^floor(epoch / every)."""

    def __init__(self, optimizer: Optimizer, every: int, gamma: float = 0.1) -> None:
        self.every, self.gamma = whole_number("StepDecay", "every", every, 1), above_zero("StepDecay", "gamma", gamma)
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        return self.gamma ** (epoch // self.every)


class Exponential(Schedule):
    """lr = base lr gamma^epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = above_zero("Exponential", "gamma", gamma)
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        return self.gamma**epoch


class Warmup(Schedule):
    """A linear rise, lr = base lr (epoch + 1) / (epochs + 1), until it is base lr; constant from there."""

    def __init__(self, optimizer: Optimizer, epochs: int) -> None:
        self.epochs = whole_number("Warmup", "epochs", epochs, 1)
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        return _rise(epoch, self.epochs)


class Cosine(Schedule):
    """After a linear rise over ``warmup`` epochs, half a cosine down to ``floor`` base lr at epoch ``total``.

    lr = base lr (floor + (1 - floor) (1 + cos(pi p)) / 2), p = (epoch - warmup) / (total - warmup), and floor base lr
    from there on (Loshchilov and Hutter 2017, arXiv 1608.03983).
    """

    def __init__(self, optimizer: Optimizer, total: int, warmup: int = 0, floor: float = 0.0) -> None:
        self.warmup = whole_number("Cosine", "warmup", warmup, 0)
        self.total = whole_number("Cosine", "total", total, self.warmup + 1)
        self.floor = real_number("Cosine", "floor", floor, "a fraction of the learning rate, from 0 to 1", high=1.0)
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        if epoch < self.warmup:
            return _rise(epoch, self.warmup)
        progress = min(1.0, (epoch - self.warmup) / (self.total - self.warmup))
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


class ReduceOnPlateau(Schedule):
    """lr = max(gamma lr, floor) after more than ``patience`` epochs without a metric below the best one - min_delta.

    ``floor`` is a learning rate here. ``step`` needs the metric; NaN counts as no improvement. The rate is the
    optimizer's own, be it from another schedule.
    """

    state, counts = ("epoch", "base_lr", "best", "waited"), ("epoch", "waited")

    def __init__(
        self, optimizer: Optimizer, gamma: float = 0.1, patience: int = 10, min_delta: float = 0.0, floor: float = 0.0
    ) -> None:
        self.gamma = above_zero("ReduceOnPlateau", "gamma", gamma)
        self.patience = whole_number("ReduceOnPlateau", "patience", patience, 0)
        self.min_delta = at_least_zero("ReduceOnPlateau", "min_delta", min_delta)
        self.floor = at_least_zero("ReduceOnPlateau", "floor", floor)
        self.best, self.waited = math.inf, 0
        super().__init__(optimizer)

    def _rates(self, epoch: int) -> tuple[list[float], list[float]]:
        return [group["lr"] for group in self.optimizer.param_groups], self._own

    def step(self, metric: float | None = None) -> None:
        """Go on to the next epoch. Raises ValueError without a metric."""
        if metric is None or not hasattr(metric, "__float__"):
            raise ValueError(
                "ReduceOnPlateau: step needs the metric to watch, such as the validation loss, as a number; "
                f"it came as {reprlib.repr(metric)}"
            )
        changes, best, waited = [new_attribute(self, "epoch", self.epoch + 1)], self.best, self.waited + 1
        value = float(metric)
        if value < self.best - self.min_delta:
            best, waited = value, 0
        elif waited > self.patience:
            rates = [max(self.gamma * group["lr"], self.floor) for group in self.optimizer.param_groups]
            changes, waited = changes + self.optimizer.new_rates(rates), 0
        make([*changes, new_attribute(self, "best", best), new_attribute(self, "waited", waited)])


def _rise(epoch: int, epochs: int) -> float:
    return min(1.0, (epoch + 1) / (epochs + 1))
