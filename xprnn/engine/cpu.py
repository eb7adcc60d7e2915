"""Sequence calls on the compiled kernels of the host: which ones they take, and the translation there and back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from xprnn import host_kernels
from xprnn.backend import DTYPES, NATIVE, Array, dtype_name
from xprnn.cells import GRU, LSTM, Cell, Elman, State, Weights
from xprnn.engine import kernels
from xprnn.engine.call import Gradients, Result, SequenceCall
from xprnn.engine.cell_kinds import BY_NONLINEARITY, NUMBERS, Kind, inside, kind_of, number_of, takes_more, told
from xprnn.engine.control import FREE
from xprnn.settings import current_precision


def runs(kind: Kind) -> bool:
    """Whether the host has kernels for a kind of cell: it has for all."""
    return True


def _of_numpy(array: Array) -> bool:
    return type(array) is np.ndarray


def reasons_against(call: SequenceCall) -> list[str]:
    """What keeps the compiled kernels from running a call."""
    more, kind = takes_more(call.cell), kind_of(call.cell)
    if not more:
        reasons = kernels.reasons_against(call, _of_numpy, "a NumPy array", runs)
    else:
        reasons = kernels.reasons_of_arrays(call, _of_numpy, "a NumPy array")
    if call.noise is not None and (more or kind is not None):
        reasons.remove(kernels.NOISE)
        if kind is None or not kind.regularised:
            reasons.append(f"no kernel has zoneout, or dropout between steps, for the cell {call.cell.name}")
    return reasons or _missing()


def reasons_of_arrays(call: SequenceCall) -> list[str]:
    """What keeps any kernel of the host from running a call, whatever its cell is."""
    return kernels.reasons_of_arrays(call, _of_numpy, "a NumPy array") or _missing()


def _missing() -> list[str]:
    """Why there are no kernels, where there are none."""
    found = host_kernels.kernels()
    return [found] if isinstance(found, str) else []


PLAIN = frozenset({NUMBERS[LSTM], NUMBERS[GRU], *BY_NONLINEARITY[Elman].values()})
"""Kinds that read these weights, and nothing else."""
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def run_plain(call: SequenceCall) -> tuple[Result, Any] | None:
    """Run a call that has nothing unusual about it, after one look: in a small one, Python takes longest.

    None where there is more to look at, and :func:`forward` may be asked, which says what is wrong. Here nothing is:
    arrays are as compiled code takes them, and of the shapes that the cell declares.
    """
    number, x, state, weights = number_of(call.cell), call.x, call.state, call.weights
    if number not in PLAIN or call.noise is not None or call.control is not FREE:
        return None
    dtype, arrays, names = x.dtype, (*weights.values(), *state), tuple(weights)
    if not _are_numpys(x, *arrays) or (names != WEIGHTS and names != WEIGHTS[:2]):
        return None
    if isinstance(host := host_kernels.kernels(), str) or len(state) != len(call.cell.state_names):
        return None
    found = host.small.forward(number, arrays[: len(names)], x, state, call.reverse, call.keep, call.every)
    if found is not None:
        result, kept = kernels.of_kernels(call, number, *found)
        return result, (kept, host.EXACT, call if call.keep else None)  # nor has its way back anything unusual
    for array in (x, *arrays):
        if array.dtype is not dtype or not array.flags.carray:
            return None
    if dtype not in NATIVE.values() or x.ndim != 3 or state[0].ndim != 2 or x.size == 0:
        return None
    if [array.shape for array in arrays] != _shapes(call.cell, *x.shape[1:], state[0].shape[1], len(weights)):
        return None
    given = number, weights, x, state, kernels.NO_FLAGS, call.reverse, call.keep
    result, kept = kernels.finished(call, *host.forward(*given, every=call.every))
    return result, (kept, host.EXACT, None)


@lru_cache
def _shapes(cell: Cell, batch: int, inputs: int, size: int, weights: int) -> list[tuple[int, ...]]:
    """Those of so many weights, the first that a cell declares, and of all parts of its state."""
    declared = [*kernels.weight_shapes(cell, inputs, size).values()]
    return declared[:weights] + [(batch, size)] * len(cell.state_names)


def forward(call: SequenceCall, fade: Array | None = None) -> tuple[Result, Any]:
    """Run a call; ``fade`` (T, B, H) is what all of h is multiplied by before each step of a ResetBeforeGRU."""
    host = host_kernels.kernels()
    if takes_more(call.cell):
        result, kept = kernels.forward(host.more_products, call, every=call.every)
        return result, (kept, host.EXACT, None)
    storage = host.PAIRED if rounded(call.x) else host.EXACT
    drawn = call.noise
    noise = {} if drawn is None else {"mask": drawn.h, "zoneout": drawn.zoneout, "drop": drawn.candidate}
    result, kept = kernels.forward(host, call, storage=storage, fade=fade, every=call.every, **noise)
    return result, (kept, storage, None)


def backward(call: SequenceCall, saved: Any, dsequences: State, dfinal: State, need_dx: bool) -> Gradients:
    """The way back through a call."""
    (kept, storage, small), host, start = saved, host_kernels.kernels(), call.from_start
    if small is call and _are_numpys(call.x, *[d for d in (*dsequences, *dfinal) if d is not None]):
        given = number_of(call.cell), call.weights, call.x, kept.saved, call.reverse, dsequences, dfinal
        if (found := host.small.backward(*given, need_dx, start)) is not None:
            return Gradients(*found)
    if takes_more(call.cell):
        return kernels.backward(host.more_products, call, kept, dsequences, dfinal, need_dx, from_start=start)
    return kernels.backward(host, call, kept, dsequences, dfinal, need_dx, storage=storage, from_start=start)


def _are_numpys(*arrays: Array) -> bool:
    """Whether all are NumPy's arrays, and nothing that is more than these."""
    return set(map(type, arrays)) == {np.ndarray}


def how(call: SequenceCall, faded: bool = False) -> str:
    """What explain says of threads, and of products that are rounded; ``faded`` as :func:`forward` is given it."""
    host, number = host_kernels.kernels(), number_of(call.cell)
    if number is None:  # it takes more products
        shared = host.more_products.way(number_of(inside(call.cell)), call.weights, call.x)
        return f", {shared}" if shared else ""
    shared = host.way(number, call.weights, call.x, call.state, faded or call.noise is not None)
    told = f", {shared}" if shared else ""
    if not rounded(call.x):
        return told
    instruction = host.BF16_DOT.removeprefix("llvm.x86.")
    return f"{told}, products of bfloat16 ({instruction or 'as float32'})"


def rounded(x: Array) -> bool:
    """Whether products are of numbers rounded to bfloat16."""
    return current_precision() == "bf16" and dtype_name(x) == "float32"


class Step(NamedTuple):
    """What one part of a stream does in a step: a cell, or "linear", "norm", "tanh", "sigmoid" or "relu"."""

    what: Cell | str
    inputs: int
    size: int
    int8: bool = False
    """Whether its weights are numbers of 8 bits."""


def open_stack(steps: list[Step], weights: list[Array], batch: int | None) -> Any:
    """The memory of parts that feed each other, and that run without allocating.

    Where no kernel serves, it is why. ``weights`` are all that they will be given.
    """
    dtype = weights[0].dtype
    if missing := without_kernel(steps):
        return missing
    if any(type(w) is not np.ndarray or w.dtype != dtype for w in weights):
        return "not all weights are NumPy arrays of one dtype"
    if dtype.name not in DTYPES or not dtype.isnative:
        return f"no kernels for {dtype}"
    host = host_kernels.kernels()
    if isinstance(host, str):
        return host
    return host.Stack(parts_of(host, steps), batch, dtype.name, host.BFLOAT16 if rounded(weights[0]) else host.EXACT)


def without_kernel(steps: list[Step]) -> str | None:
    """Which cell there is that has none."""
    cells = [step.what for step in steps if isinstance(step.what, Cell)]
    return next((f"no kernel for the cell {cell.name}" for cell in cells if kind_of(cell) is None), None)


def parts_of(host: Any, steps: list[Step]) -> list[Any]:
    """The steps as the kernels call them."""
    numbers = [number_of(step.what) if isinstance(step.what, Cell) else host.PARTS[step.what] for step in steps]
    return [
        host.Part(number, step.inputs, step.size, getattr(step.what, "num_heads", 1), step.int8)
        for number, step in zip(numbers, steps, strict=True)
    ]


def load_cells(stack: Any, first: int, cell: Cell, layers: list[Weights], size: int, inputs: int) -> None:
    """Give a stack the weights of a recurrent layer from some part on; all are looked at before the first is taken."""
    for number, weights in enumerate(layers):
        kernels.check_weights(cell, weights, size if number else inputs, size)
    for number, weights in enumerate(layers):
        stack.load(first + number, told(cell, weights))
