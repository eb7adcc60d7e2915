"""Choices for the whole process, which a block can make differently for its own thread or task.

Each of them stands at the end of this file, so that whoever obeys one finds it below.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Generator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from threading import RLock
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Entered(Generic[T]):
    """What a block chose, and whether the block is still open, as whoever sees it knows at once."""

    __slots__ = ("open", "outer", "value")

    def __init__(self, value: T, outer: Entered[T] | None) -> None:
        self.value, self.outer, self.open = value, outer, True


class Blocks(Generic[T]):
    """The blocks around the caller, each for its own thread or task.

    They may end in another order than they began in, and in another thread or task: a generator that was left in the
    middle of its block ends it when somebody closes it, or nobody holds it any more. A closed block never counts.
    """

    def __init__(self, name: str) -> None:
        self.last: ContextVar[Entered[T] | None] = ContextVar(f"xprnn_{name}", default=None)
        """The one that was entered last, maybe closed by now."""

    def innermost(self) -> Entered[T] | None:
        """The open block that was entered last."""
        entered = self.last.get()
        while entered is not None and not entered.open:
            entered = entered.outer
        return entered

    def block(self, value: T) -> Generator[Entered[T], None, None]:
        """What a block does at its two ends; as it is a generator, it ends with who holds it, if an interrupt comes."""
        entered = Entered(value, self.innermost())
        try:  # begun first, so that an interrupt after the setting cannot leave it
            self.last.set(entered)
            yield entered
        finally:
            entered.open = False
            self.last.set(self.innermost())


class Setting(Generic[T]):
    """The value that blocks around the caller chose, else the process's, else None."""

    def __init__(self, name: str) -> None:
        # Choices for the process, by who made them; the last one counts. Who is gone can no longer withdraw his.
        self._standing: dict[weakref.ref[object], T] = {}
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)
        self.blocks = Blocks[T](name)

    def _renew(self) -> None:
        """A lock that is free: in a forked child, a thread that held the old one is no more."""
        self._changing = RLock()

    @property
    def process(self) -> T | None:
        """The value of the whole process; None where nobody chose one."""
        if not self._standing:  # the most common
            return None
        last = list(self._standing.values())[-1:]  # in one go, since other threads may be choosing
        return last[0] if last else None

    @process.setter
    def process(self, value: T | None) -> None:
        self._standing = {} if value is None else {weakref.ref(self): value}

    def settle(self, value: T) -> T:
        """Choose for the process, unless somebody has meanwhile; returns what counts."""
        with self._changing:
            chosen = self.process
            if chosen is None:
                self.process = chosen = value
            return chosen

    def choose(self, who: object, value: T) -> None:
        """Choose for the process, until the same one withdraws it."""
        with self._changing:
            standing = [*self._standing.items(), (weakref.ref(who), value)]
            lasting = [k for k, (maker, _) in enumerate(standing) if maker() is None]
            self._standing = dict(standing[max(lasting, default=0) :])  # what came before will never count again

    def withdraw(self, who: object) -> None:
        """Leave the process to those who chose before and after."""
        with self._changing:
            self._standing.pop(weakref.ref(who), None)

    def get(self) -> T | None:
        """The value that holds here."""
        if self.blocks.last.get() is None and not self._standing:  # the most common
            return None
        entered = self.blocks.innermost()
        return self.process if entered is None else entered.value


class Choice(AbstractContextManager["T"], Generic[T]):
    """``Choice(setting, value)`` changes the process's value; ``with Choice(...)`` only that of the block.

    A block's choice does not reach other threads, so two of them cannot leave each other's behind; but until the block
    is entered nobody can tell that one follows, and so it is the process's for that moment. Nor can it wait until it is
    dropped without having been entered: what a statement gives may be kept, as by an interactive session. Where threads
    are at work, make choices for the process before they start, or in all of them for blocks.
    """

    def __init__(self, setting: Setting[T], value: T) -> None:
        self._setting, self._value = setting, value
        self._entered: dict[Entered[T] | None, Generator[Any, None, None]] = {}
        setting.choose(self, value)

    def __enter__(self) -> T:
        self._setting.withdraw(self)
        block = self._setting.blocks.block(self._value)
        self._entered[next(block)] = block
        return self._value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        here = self._setting.blocks.innermost()  # that of this thread; of a generator's, closed in another, the last
        (self._entered.pop(here) if here in self._entered else self._entered.popitem()[1]).close()


BACKEND: Setting[Any] = Setting("backend")
"""Where new arrays are made: what ``use_backend`` chose, else what the environment variable names."""

BACKEND_VARIABLE = "XPRNN_BACKEND"

KERNELS: Setting[str] = Setting("kernels")
"""Which implementation ``use_kernels`` forced."""

DEBUG: Setting[bool] = Setting("debug")
"""Whether ``debug`` has every array looked at that the way back reads again."""

SEED: Setting[Any] = Setting("seed")
"""What ``use_seed`` draws from: an iterator of random generators."""

PRECISION: Setting[str] = Setting("precision")
"""What ``use_precision`` chose."""

PRECISIONS = ("float32", "tf32", "bf16", "fp16")


class use_precision(Choice[str]):  # noqa: N801 - reads as a verb in both of its uses
    """Let recurrent layers round what they multiply; for the process, or as a context manager.

    =========  ===========================================  =====================  ===================
    precision  operands of the forward products x W, h W    of the backward ones   sums, states, gates
    =========  ===========================================  =====================  ===================
    float32    as they are; the default                     as they are            float32
    tf32       rounded to 10 bits after the point (2^-11)   as forward             float32
    bf16       rounded to 7 bits after the point (2^-8)     as forward             float32
    fp16       rounded to 10 bits after the point (2^-11)   as in bf16             float32
    =========  ===========================================  =====================  ===================

    In parentheses, the largest relative error. In fp16, h and weight_hh may be taken as float16, which has steps of
    2^-24 below 2^-14, and NaN in place of what it cannot hold: 65520 and more. x may well be so large, and is rounded
    as in tf32. Cotangents may well be so small, and are rounded as in bf16: no loss needs to be scaled.

    It is a permission, for speed: an implementation that knows float32 only is exact still, and ``explain`` says which
    one runs. On the host only bf16 does anything, in the compiled kernels: for x W, h W and their ways back, gradients
    of weights among them, with the instruction for pairs of bfloat16 where there is one, and elsewhere as float32 with
    the same values. Gradients of biases and of elementwise weights round nothing, and streams nothing but weights.
    Parameters, optimizers, other layers, and all that is float64 are not touched. Backward has the precision that its
    forward had. Raises ValueError for an unknown precision.
    """

    def __init__(self, precision: str) -> None:
        if not isinstance(precision, str) or precision not in PRECISIONS:
            raise ValueError(f"use_precision: {precision!r} is unknown; expected one of {', '.join(PRECISIONS)}")
        super().__init__(PRECISION, precision)


def current_precision() -> str:
    """What ``use_precision`` chose, else "float32"."""
    return PRECISION.get() or "float32"
