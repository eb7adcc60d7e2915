"""Functions of any kind that run inside a block: plain ones, generators and those of ``async def``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

Block = Callable[[], AbstractContextManager[Any]]


def inside(block: Block, function: Any) -> Any:
    """A function that runs inside a block, which is made anew each time; of a generator it is each step.

    What stands between the steps, the caller's own code, is outside. Raises TypeError for what cannot be called, and
    for asynchronous generators.
    """
    if not callable(function):
        raise TypeError(f"a {type(function).__name__} cannot be decorated; expected a function")
    if inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__name__} is an asynchronous generator; expected a block around what it computes")
    if inspect.iscoroutinefunction(function):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with block():  # a task has a context of its own
                return await function(*args, **kwargs)

        return functools.wraps(function)(awaited)
    if inspect.isgeneratorfunction(function):

        def stepped(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return (yield from _steps(block, function(*args, **kwargs)))

        return functools.wraps(function)(stepped)

    def called(*args: Any, **kwargs: Any) -> Any:
        with block():
            return function(*args, **kwargs)

    return functools.wraps(function)(called)


def _steps(block: Block, inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """A generator whose steps each run inside a block."""
    go_on, value = inner.send, None
    while True:
        try:
            with block():
                item = go_on(value)
        except StopIteration as end:
            return end.value
        try:
            go_on, value = inner.send, (yield item)
        except GeneratorExit:
            with block():
                inner.close()
            raise
        except BaseException as error:  # that the caller throws in
            go_on, value = inner.throw, error
