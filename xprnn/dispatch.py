"""Which implementation runs a sequence call, and why.

An implementation lists its reasons against a call; the first in the list that has none is taken. To add one, put an
:class:`Impl` into IMPLEMENTATIONS, before the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from xprnn import compiled, sequence
from xprnn.cells import State
from xprnn.sequence import Gradients, Result, SequenceCall
from xprnn.tensor import set_grad_enabled


@dataclass(frozen=True)
class Impl:
    """A way to run a whole sequence.

    Attributes
    ----------
    reasons_against
        What keeps it from running a call; empty if nothing does.
    forward
        ``forward(call, keep)`` gives the result and a cache for the way back, which may be None unless ``keep``.
    backward
        ``backward(call, cache, dsequences, dfinal, need_dx)`` turns its own cache into gradients.
    """

    name: str
    reasons_against: Callable[[SequenceCall], list[str]]
    forward: Callable[[SequenceCall, bool], tuple[Result, Any]]
    backward: Callable[[SequenceCall, Any, State, State, bool], Gradients]


def _reference_forward(call: SequenceCall, keep: bool) -> tuple[Result, Any]:
    result, trace = sequence.forward(call)
    return result, trace if keep else None


COMPILED = Impl("compiled", compiled.reasons_against, compiled.forward, compiled.backward)
REFERENCE = Impl("reference", lambda call: [], _reference_forward, sequence.backward)

IMPLEMENTATIONS: list[Impl] = [COMPILED, REFERENCE]
"""In order of preference. The reference runs everything, everywhere, and stands last."""

_forced: str | None = None


class use_kernels(AbstractContextManager["use_kernels"]):  # noqa: N801 - reads as a verb in both of its uses
    """Force one implementation by name, or let each call choose with "auto"; for the process, or as a context manager.

    Raises ValueError for an unknown name. One that cannot run a call raises then, with its reasons.
    """

    def __init__(self, name: str) -> None:
        global _forced
        names = ["auto", *(impl.name for impl in IMPLEMENTATIONS)]
        if name not in names:
            raise ValueError(f"use_kernels: {name!r} is unknown; expected one of {', '.join(map(repr, names))}")
        self._previous = _forced
        _forced = None if name == "auto" else name

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _forced
        _forced = self._previous


def select(call: SequenceCall) -> Impl:
    """The implementation for a call.

    Raises
    ------
    RuntimeError
        ``use_kernels`` forced one that cannot run this call; the message gives its reasons.
    """
    for impl in IMPLEMENTATIONS:
        if _forced is None:
            if not impl.reasons_against(call):
                return impl
        elif impl.name == _forced:
            if reasons := impl.reasons_against(call):
                raise RuntimeError(f"use_kernels({_forced!r}): it cannot run this call: {'; '.join(reasons)}")
            return impl
    raise RuntimeError("no implementation can run this call")


_listening: ContextVar[list[str] | None] = ContextVar("xprnn_explaining", default=None)


def run_forward(call: SequenceCall, keep: bool) -> tuple[Impl, Result, Any]:
    """Select an implementation and run it; returns which one, since only it can read its cache."""
    impl = select(call)
    log = _listening.get()
    if log is not None:
        log.append(_verdicts(call, impl))
    return impl, *impl.forward(call, keep)


def explain(model: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Who runs each recurrent layer of a model, and why the others decline.

    Calls ``model(*args, **kwargs)`` once, without recording gradients, and reports what was chosen.

    >>> print(explain(layer, x))  # doctest: +SKIP
    LSTM, T=100 B=32 I=64, forward in time
      reference: runs
    """
    log: list[str] = []
    token = _listening.set(log)
    try:
        with set_grad_enabled(False):
            model(*args, **kwargs)
    finally:
        _listening.reset(token)
    return "\n".join(log) or "no recurrent layer was called"


def _verdicts(call: SequenceCall, chosen: Impl) -> str:
    steps, batch, inputs = call.x.shape
    lines = [f"{call.cell.name}, T={steps} B={batch} I={inputs}, {'backward' if call.reverse else 'forward'} in time"]
    for impl in IMPLEMENTATIONS:
        if impl is chosen:
            lines.append(f"  {impl.name}: runs")
        else:
            why = "not forced" if _forced is not None else "another comes first"
            lines.append(f"  {impl.name}: declines ({'; '.join(impl.reasons_against(call)) or why})")
    return "\n".join(lines)
