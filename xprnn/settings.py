"""A choice for the whole process, which a block can make differently for its own thread or task."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager
from contextvars import ContextVar
from threading import RLock
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Setting(Generic[T]):
    """The value that blocks around the caller chose, else the process's, else None."""

    def __init__(self, name: str) -> None:
        # Choices for the process, by who made them; the last one counts. Who is gone can no longer withdraw his.
        self._standing: dict[weakref.ref[object], T] = {}
        self._changing = RLock()
        self._scoped: ContextVar[tuple[T, ...]] = ContextVar(f"xprnn_{name}", default=())

    @property
    def process(self) -> T | None:
        """The value of the whole process; None where nobody chose one."""
        last = list(self._standing.values())[-1:]  # in one go, since other threads may be choosing
        return last[0] if last else None

    @process.setter
    def process(self, value: T | None) -> None:
        self._standing = {} if value is None else {weakref.ref(self): value}

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

    def enter(self, value: T) -> None:
        """Choose for this thread or task, until ``leave``."""
        self._scoped.set((*self._scoped.get(), value))

    def leave(self) -> None:
        """Go back to what held before the last ``enter``."""
        self._scoped.set(self._scoped.get()[:-1])

    def get(self) -> T | None:
        """The value that holds here."""
        scoped = self._scoped.get()
        return scoped[-1] if scoped else self.process


class Choice(AbstractContextManager["T"], Generic[T]):
    """``Choice(setting, value)`` changes the process's value; ``with Choice(...)`` only that of the block.

    A block's choice does not reach other threads, so two of them cannot leave each other's behind.
    """

    def __init__(self, setting: Setting[T], value: T) -> None:
        self._setting, self._value = setting, value
        setting.choose(self, value)

    def __enter__(self) -> T:
        self._setting.withdraw(self)
        self._setting.enter(self._value)
        return self._value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._setting.leave()
