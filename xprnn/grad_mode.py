"""Whether operations are recorded: in this thread or task, until a block says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

from xprnn.settings import Blocks, Entered

P = ParamSpec("P")
R = TypeVar("R")

blocks: Blocks[bool] = Blocks("grad_enabled")
last_block = blocks.last.get
"""None, which is soon said, where there is no block: operations are recorded then."""
_recording, _quiet = Entered(True, None), Entered(False, None)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded, in this thread or task."""
    if (last := last_block()) is None:
        return True
    entered = last if last.open else blocks.innermost()
    return entered is None or entered.value


class set_grad_enabled:  # noqa: N801 - reads as a verb in both of its uses
    """Record operations in this block, or in a function that it decorates; or, with False, do not.

    A block may stand within itself, but each thread and task needs one of its own.
    """

    __slots__ = ("_enabled", "_entered")

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._entered: list[Generator[Any, None, None]] = []

    def __enter__(self) -> None:
        self._entered.append(blocks.block(self._enabled))
        next(self._entered[-1])

    def __exit__(self, *error: object) -> None:
        self._entered.pop().close()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        from xprnn.decorated import inside  # seldom needed

        return inside(partial(set_grad_enabled, self._enabled), function)


def with_grad_enabled(enabled: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function while operations are recorded, or are not, and return what it returns.

    It runs in a context of its own, which is thrown away: nothing has to be set back, so no interrupt can prevent it.
    """

    def run() -> Any:
        blocks.last.set(_recording if enabled else _quiet)
        return function(*arguments)

    return copy_context().run(run)


def no_grad(function: Any = None) -> Any:
    """Record nothing inside: ``with no_grad(): ...``, or ``@no_grad()`` on a function. For inference and evaluation.

    A generator or ``async def`` is covered step by step: the caller's code between its steps records as before.
    """
    block = set_grad_enabled(False)
    return block if function is None else block(function)
