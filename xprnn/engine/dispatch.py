"""Which implementation runs a sequence call, and why.

An implementation lists its reasons against a call; the first in the list that has none is taken. To add one, put an
:class:`Impl` into IMPLEMENTATIONS, before the reference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from xprnn.backend import Array, library, namespace
from xprnn.cells import Cell, State
from xprnn.engine import cpu, cuda, reference
from xprnn.engine.call import Gradients, Result, SequenceCall
from xprnn.engine.cell_kinds import fills, is_reservoir, kind_of
from xprnn.settings import KERNELS, Choice
from xprnn.witness import debugging

logger = logging.getLogger("xprnn")


@dataclass(frozen=True)
class Impl:
    """A way to run a whole sequence.

    Attributes
    ----------
    reasons_against
        What keeps it from running a call; empty if nothing does.
    forward
        ``forward(call)`` gives the result and a cache for the way back, which may be None unless ``call.keep``.
    backward
        ``backward(call, cache, dsequences, dfinal, need_dx)`` turns its own cache into gradients.
    how
        What ``explain`` adds about how a call is run.
    gives_away
        Whether a weight's gradient that owns its memory is held by nobody else, so that it need not be copied.
    """

    name: str
    reasons_against: Callable[[SequenceCall], list[str]]
    forward: Callable[[SequenceCall], tuple[Result, Any]]
    backward: Callable[[SequenceCall, Any, State, State, bool], Gradients]
    how: Callable[[SequenceCall], str] = lambda call: ""
    gives_away: bool = False


COMPILED = Impl("compiled", cpu.reasons_against, cpu.forward, cpu.backward, cpu.how, gives_away=True)
CUDA_PERSISTENT, CUDA_STEP = (
    Impl(path.name, path.reasons_against, path.forward, path.backward, path.how)
    for path in (cuda.PERSISTENT, cuda.STEP)
)


def _later(name: str, module: str, about: Callable[[Cell], bool], otherwise: str) -> Impl:
    """The implementation of a module that is imported with the first call of such a cell; ``otherwise`` is its reason
    against all other cells.
    """

    def way() -> Any:
        return import_module(f"xprnn.engine.{module}").WAY

    def reasons_against(call: SequenceCall) -> list[str]:
        reasons: list[str] = [f"{call.cell.name} {otherwise}"]
        return way().reasons_against(call) if about(call.cell) else reasons

    return Impl(
        name,
        reasons_against,
        forward=lambda call: way().forward(call),
        backward=lambda *given: way().backward(*given),
        how=lambda call: way().how(call),
    )


COMPILED_SCAN, SCAN = (
    _later(name, module, lambda cell: cell.linear, "is not linear in its state")
    for name, module in (("compiled-scan", "scan_cpu"), ("scan", "scan"))
)
MANY = _later("many", "many", lambda cell: cell.many, "takes one step after another")
RESERVOIR = _later("reservoir", "reservoir", is_reservoir, "is no reservoir")
COMPILED_FILLED = _later("compiled-filled", "filling", fills, "is not GRU-D")
REFERENCE = Impl("reference", lambda call: [], reference.forward, reference.backward)

HOST = [COMPILED, COMPILED_SCAN, COMPILED_FILLED, RESERVOIR]
"""Those that run on the host's kernels."""

IMPLEMENTATIONS: list[Impl] = [*HOST, CUDA_PERSISTENT, CUDA_STEP, SCAN, MANY, REFERENCE]
"""In order of preference. On every array library, SCAN runs cells that are linear in their state, and MANY those that
take many steps at once. The reference runs everything, and stands last."""


class use_kernels(Choice[str]):  # noqa: N801 - reads as a verb in both of its uses
    """Force one implementation by name, or let each call choose with "auto"; for the process, or as a context manager.

    Raises ValueError for an unknown name. One that cannot run a call raises then, with its reasons.
    """

    def __init__(self, name: str) -> None:
        names = ["auto", *(impl.name for impl in IMPLEMENTATIONS)]
        if not isinstance(name, str) or name not in names:
            raise ValueError(f"use_kernels: {name!r} is unknown; expected one of {', '.join(map(repr, names))}")
        super().__init__(KERNELS, name)


def _forced_name() -> str | None:
    name = KERNELS.get()
    return None if name == "auto" else name


class DeclinedError(RuntimeError):
    """The implementation that ``use_kernels`` forced cannot run a call; the message gives its reasons."""


def select(call: SequenceCall) -> Impl:
    """The implementation for a call. Raises :class:`DeclinedError`."""
    forced = _forced_name()
    for impl in IMPLEMENTATIONS:
        if forced is None:
            if not impl.reasons_against(call):
                return impl
        elif impl.name == forced:
            if reasons := impl.reasons_against(call):
                raise DeclinedError(f"use_kernels({forced!r}): it cannot run this call: {'; '.join(reasons)}")
            return impl
    raise RuntimeError("no implementation can run this call")


_listening: ContextVar[list[str] | None] = ContextVar("xprnn_explaining", default=None)
listening = _listening.get
"""What :func:`explain` has been told; None where nobody asks."""


def run_forward(call: SequenceCall) -> tuple[Impl, Result, Any]:
    """Select an implementation and run it; returns which one, since only it can read its cache."""
    if left_to_the_host(call.x) and (found := cpu.run_plain(call)) is not None:
        return COMPILED, *found
    impl = select(call)
    if _listening.get() is not None:
        note(_verdicts(call, impl))
    if impl is REFERENCE and (told := _telling.get()) is not None:
        _tell(call, told)
    return impl, *impl.forward(call)


def left_to_the_host(x: Array) -> bool:
    """Whether the host's kernels come first, with exact products, and nobody listens: nothing need be selected."""
    if IMPLEMENTATIONS[0] is not COMPILED or KERNELS.get() not in (None, "auto", COMPILED.name):
        return False
    return _listening.get() is None and not cpu.rounded(x)


_telling: ContextVar[set[str] | None] = ContextVar("xprnn_telling", default=None)


@contextmanager
def slow_calls_told() -> Iterator[None]:
    """In this block, say once on the logger "xprnn" which calls of cells with kernels go without them, and why."""
    before = _telling.get()
    try:
        _telling.set(set())
        yield
    finally:
        _telling.set(before)


def _tell(call: SequenceCall, told: set[str]) -> None:
    """Warn where the reference runs a cell that has kernels, unless it was forced to."""
    host = library(namespace(call.x)) == "numpy"
    impl, runs = (COMPILED, cpu.runs) if host else (CUDA_STEP, cuda.STEP.runs)
    kind = kind_of(call.cell)
    if _forced_name() is not None or 0 in call.x.shape[:2] or kind is None or not runs(kind):
        return
    verdict = f"{call.cell.name} runs without kernels, many times slower: {'; '.join(impl.reasons_against(call))}"
    if verdict not in told:
        told.add(verdict)
        logger.warning("%s", verdict)


def note(verdict: str | Callable[[], str]) -> None:
    """Tell :func:`explain` what ran, if it listens. A verdict that is a function is called only then."""
    log = _listening.get()
    if log is not None:
        log.append(verdict if isinstance(verdict, str) else verdict())


def explain(model: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Who runs each recurrent layer of a model, and why the others decline.

    Calls ``model(*args, **kwargs)`` once and reports what was chosen; under ``no_grad`` what inference would choose.

    >>> print(explain(layer, x))  # doctest: +SKIP
    LSTM, T=100 B=32 I=64, forward in time
      compiled: declines (x is a cupy.ndarray, not a NumPy array)
      compiled-scan: declines (LSTM is not linear in its state)
      compiled-filled: declines (LSTM is not GRU-D)
      reservoir: declines (LSTM is no reservoir)
      cuda-persistent: runs (tested without a GPU only: none has run it yet)
      cuda-step: declines (another comes first)
      scan: declines (LSTM is not linear in its state)
      many: declines (LSTM takes one step after another)
      reference: declines (another comes first)
    """
    if not callable(model):
        raise TypeError(f"explain: model is a {type(model).__name__}; expected a layer, or a function that calls some")
    log: list[str] = []
    token = _listening.set(log)
    try:
        model(*args, **kwargs)
    finally:
        _listening.reset(token)
    if debugging():
        log.append("debug: backward looks whether anything that it reads was written to")
    return "\n".join(log) or "no recurrent layer was called"


def _verdicts(call: SequenceCall, chosen: Impl) -> str:
    steps, batch, inputs = call.x.shape
    lines = [f"{call.cell.name}, T={steps} B={batch} I={inputs}, {'backward' if call.reverse else 'forward'} in time"]
    for impl in IMPLEMENTATIONS:
        if impl is chosen:
            lines.append(f"  {impl.name}: runs{impl.how(call)}")
        else:
            why = "not forced" if _forced_name() is not None else "another comes first"
            lines.append(f"  {impl.name}: declines ({'; '.join(impl.reasons_against(call)) or why})")
    return "\n".join(lines)
