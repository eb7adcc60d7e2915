"""The reference engine: runs a cell over time and back.

The forward pass is written once, for arrays and for Tensors. On arrays its trace is the cache of the explicit way
back; on Tensors every step is recorded and the tape finds the way, which is what gradients of gradients use.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from xprnn.backend import Array, copied, namespace
from xprnn.cells import State, Weights
from xprnn.cells.cell import Cell, Product, Saved, merged, outer_sum, rows_times
from xprnn.engine.call import Gradients, Result, SequenceCall
from xprnn.engine.control import Control
from xprnn.engine.noise import Noise


class TraceEntry(NamedTuple):
    """One entry of a trace: the state before (after a restart), what the cell saved, and the state it computed."""

    before: State
    saved: Saved
    after: State


def forward(call: SequenceCall) -> tuple[Result, list[TraceEntry]]:
    """Run a cell over a sequence."""
    zx = project(call, call.control.moving(call.x))

    cell, unseen = call.cell, True

    def step(z: Any, state: State, masks: Weights | None = None) -> tuple[State, Saved]:
        nonlocal unseen
        found = cell.step(call.weights if masks is None else {**call.weights, **masks}, z, state)
        if unseen:
            from xprnn.cells.returned import returned_step  # here and below: most programs run kernels

            returned_step(cell, found, state)
            unseen = False
        return found

    return scan(step, zx, call.state, call.control, call.reverse, call.keep, call.noise)


def project(call: SequenceCall, x: Any, times: Product = operator.matmul) -> Any:
    """zx of every step, by a product of two matrices. For arrays and Tensors."""
    cell, w = call.cell, call.weights
    zx = cell.zx_of(w, rows_times(_multiplied(cell, x), cell.input_weight(w).T, times))
    return namespace(x).concat([zx, x], axis=-1) if cell.sees_x(w, call.state[0].shape[-1]) else zx


def project_vjp(
    call: SequenceCall, x: Array, dzx: Array, need_dx: bool, times: Product = operator.matmul
) -> tuple[Array | None, Weights]:
    """dx, and the gradients of all weights that are used before the steps."""
    cell, w, past = call.cell, call.weights, None
    if cell.sees_x(w, call.state[0].shape[-1]):  # contiguous once, and not in each of the products
        dzx, past = copied(dzx[..., : -x.shape[-1]]), dzx[..., -x.shape[-1] :]
    dproduct, gradients = cell.zx_vjp(w, x, dzx)
    gradients = merged(gradients, cell.input_weight_vjp(w, outer_sum(dproduct, _multiplied(cell, x), times)))
    if not need_dx:
        return None, gradients
    dx = rows_times(dproduct, cell.input_weight(w), times)
    if past is None:
        return dx, gradients
    past, columns = copied(past), cell.multiplied()
    past[..., columns] = past[..., columns] + dx
    return past, gradients


def _multiplied(cell: Cell, x: Any) -> Any:
    """The columns of x that go into the product."""
    columns = cell.multiplied()
    return x if columns == slice(None) else x[..., columns]


def scan(
    step: Callable[..., tuple[State, Saved]],
    inputs: Any,
    state: State,
    control: Control,
    reverse: bool = False,
    keep: bool = False,
    noise: Noise | None = None,
) -> tuple[Result, list[TraceEntry]]:
    """Apply ``step(inputs[t], state) -> state, saved`` at every t in order, or in reverse. For arrays and Tensors.

    Without ``keep`` the trace is empty, and what a step saves is dropped at once. With noise, ``step`` is also given
    the masks of the step.
    """
    xp = namespace(inputs)
    control = control.reversed() if reverse else control
    times = _times(inputs.shape[0], reverse)
    outputs: list[State] = [()] * len(times)
    trace: list[TraceEntry] = [TraceEntry((), (), ())] * len(times) if keep else []
    slices = xp.unstack(inputs)  # all at once: on the tape, their cotangents are then stacked once
    for t in times:
        if control.restart is not None:
            state = tuple(xp.where(control.restart[t, ...], xp.zeros_like(s), s) for s in state)
        new, saved = step(slices[t], state) if noise is None else step(slices[t], state, noise.at(t))
        if keep:
            trace[t] = TraceEntry(state, saved, new)
        if noise is not None:
            new = noise.zoned(t, new, state)
        if control.advance is not None:
            new = tuple(xp.where(control.advance[t, ...], n, s) for n, s in zip(new, state, strict=True))
        outputs[t] = state = new
    if not times:  # a copy: the first state is the caller's memory, or zeros that parts share
        state = tuple(xp.stack([s])[0, ...] for s in state)
    return Result(_stack_outputs(xp, outputs, state, control), state), trace


def _times(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _stack_outputs(xp: Any, outputs: list[State], state: State, control: Control) -> State:
    if not outputs:
        return tuple(xp.stack([s])[:0, ...] for s in state)
    return tuple(map(control.shown, stack_parts(xp, outputs)))


def stack_parts(xp: Any, states: Iterable[State]) -> State:
    """Tuples of arrays, one tuple a step, to one tuple of arrays stacked over time."""
    return tuple(xp.stack(part) for part in zip(*states, strict=True))


def backward(
    call: SequenceCall, trace: list[TraceEntry], dsequences: State, dfinal: State, need_dx: bool = True
) -> Gradients:
    """The way back: cotangents of the result to gradients of the call. A cotangent may be None for zero."""
    cell, w, xp, noise = call.cell, call.weights, namespace(call.x), call.noise
    if not trace:
        dstate = tuple(xp.zeros_like(s) if d is None else d for s, d in zip(call.state, dfinal, strict=True))
        zeros = {name: xp.zeros_like(a) for name, a in w.items()}
        return Gradients(xp.zeros_like(call.x) if need_dx else None, dstate, zeros)
    control = call.control.reversed() if call.reverse else call.control
    dsequences = tuple(map(control.shown, dsequences))  # an output past the end is the constant zero
    dstate = tuple(xp.zeros_like(s) if d is None else d for s, d in zip(call.state, dfinal, strict=True))
    dzx: list[Array] = [None] * len(trace)
    terms: list[Saved] = [()] * len(trace)
    unseen = True
    for t in reversed(_times(len(trace), call.reverse)):
        before, saved, after = trace[t]
        dstate = tuple(d if g is None else d + g[t, ...] for d, g in zip(dstate, dsequences, strict=True))
        dheld = None
        if control.advance is not None:  # a held state passes its cotangent on, and the step sees none of it
            go = control.advance[t, ...]
            dheld = dstate
            dstate = tuple(xp.where(go, d, xp.zeros_like(d)) for d in dstate)
        dkept = None
        if noise is not None:
            dstate, dkept = noise.zoned_vjp(t, dstate)
        masked = w if noise is None else {**w, **noise.at(t)}
        dzx[t], dstate, terms[t] = cell.step_vjp(masked, dstate, saved, before, after)
        if unseen:
            from xprnn.cells.returned import returned_state

            returned_state(cell, "step_vjp returned the cotangent of", dstate, before)
            unseen = False
        if dkept is not None:
            dstate = tuple(d + k for d, k in zip(dstate, dkept, strict=True))
        if dheld is not None:
            dstate = tuple(xp.where(go, d, h) for d, h in zip(dstate, dheld, strict=True))
        if control.restart is not None:
            dstate = tuple(xp.where(control.restart[t, ...], xp.zeros_like(d), d) for d in dstate)
    # A held step has been given zeros, but where its state is NaN it has made NaN of them.
    seen, *beside = map(call.control.moving, (xp.stack(dzx), *stack_parts(xp, terms)))
    return _gradients(call, seen, tuple(beside), trace, dstate, need_dx)


def _gradients(
    call: SequenceCall, dzx: Array, terms: Saved, trace: list[TraceEntry], dstate: State, need_dx: bool
) -> Gradients:
    """Everything that needs no loop over time: one product for each weight."""
    w, xp = call.weights, namespace(call.x)
    before = stack_parts(xp, (entry.before for entry in trace))
    after = tuple(map(call.control.moving, stack_parts(xp, (entry.after for entry in trace))))
    masked = w if call.noise is None else {**w, **call.noise.at_any_step()}
    dx, of_input = project_vjp(call, call.control.moving(call.x), dzx, need_dx)
    found = merged(call.cell.weight_vjp(masked, dzx, terms, before, after), of_input)
    from xprnn.cells.returned import returned_gradients

    returned_gradients(call.cell, found, w)
    return Gradients(dx, dstate, found)
