"""A choice for the whole process, which a block can make differently for its own thread or task."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Setting(Generic[T]):
    """The value that blocks around the caller chose, else the process's, else None."""

    def __init__(self, name: str) -> None:
        self._standing: dict[object, T] = {}  # choices for the process, by who made them; the last one counts
        self.scoped: ContextVar[T | None] = ContextVar(f"xprnn_{name}", default=None)

    @property
    def process(self) -> T | None:
        """The value of the whole process; None where nobody chose one."""
        last = list(self._standing.values())[-1:]  # in one go, since other threads may be choosing
        return last[0] if last else None

    @process.setter
    def process(self, value: T | None) -> None:
        self._standing = {} if value is None else {self: value}

    def choose(self, who: object, value: T) -> None:
        """Choose for the process, until the same one withdraws it."""
        self._standing[who] = value

    def withdraw(self, who: object) -> None:
        """Leave the process to those who chose before and after."""
        self._standing.pop(who, None)

    def get(self) -> T | None:
        """The value that holds here."""
        scoped = self.scoped.get()
        return self.process if scoped is None else scoped


class Choice(AbstractContextManager["T"], Generic[T]):
    """``Choice(setting, value)`` changes the process's value; ``with Choice(...)`` only that of the block.

    A block's choice does not reach other threads, so two of them cannot leave each other's behind.
    """

    def __init__(self, setting: Setting[T], value: T) -> None:
        self._setting, self._value = setting, value
        setting.choose(self, value)
        self._tokens: list[Token[T | None]] = []

    def __enter__(self) -> T:
        self._setting.withdraw(self)
        self._tokens.append(self._setting.scoped.set(self._value))
        return self._value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._setting.scoped.reset(self._tokens.pop())
