"""Recurrent sequences on a device in one launch each way, with the recurrent weights on the chip for all steps.

The interface is that of cpu/sequence.py, with CuPy arrays (float32) and a precision for the products. Blocks meet
after every step. In a cluster the device sees to it that they are there at once; else launches are cooperative, and a
plan that would need more blocks than the device can hold is declined before. What stays on the chip is forgotten after
the launch.

precision      h and weight_hh on the way forward, dz and weight_hh back      sums, gates, states, results
"float32"      as they are                                                    float32
"tf32"         rounded to 10 bits after the point                             float32
"bf16"         rounded to 7 bits after the point                              float32
"fp16"         rounded to float16, 10 bits after the point; back as in bf16   float32
The products outside the loop take the same precision; product.py says how. What float16 cannot hold, 65520 and more,
becomes NaN, and so does all that follows from it. Back it is bfloat16, since small cotangents would be 0 in float16.
On short sequences the largest relative error of any result or gradient is about 2e-7, 5e-4 and 4e-3; in fp16 6e-4, and
5e-3 of gradients (tests, on the emulator).

Diamos et al. 2016, "Persistent RNNs: Stashing Recurrent Weights On-Chip".
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..kinds import KINDS, Flags, Kind, State, Weights
from . import launch, product, source
from .gradients import after_steps, weight_gradients
from .plan import NUMBERS, SPARE, Plan, microseconds, step_microseconds
from .plan import best as best_plan

Array = Any

NULL = np.uint64(0)
PARTS = 2  # of a state, in the arguments of every kernel
APART = 32  # of barrier.cuh: a line of the cache for each counter
APART_BLOCKS = "-DXPRNN_CLUSTER=0"  # the option of a kernel whose blocks are no cluster
SURELY = 1.5  # how much slower the plans must look before they are declined: both times are rough
IN_MEMORY = "the compiler has too few registers for the persistent kernel and keeps some of its numbers in memory"


class Cache(NamedTuple):
    """What the way back needs: gates (T, B, G*H), a GRU's product for n (T, B, H), and all states (T + 1, B, H)."""

    z: Array
    kept_more: Array | None
    states: State


class Device:
    """Launches kernels on CuPy's current device and stream."""

    def __init__(self, precision: str, backward: bool) -> None:
        self.xp = importlib.import_module("cupy")
        self.facts = launch.facts()
        self.product = product.OnDevice("float32", precision, backward)

    def launch(self, plan: Plan, arguments: list[Any]) -> None:
        """Arrays, None for no array, and numbers, in the order in which the kernel has them."""
        kernel = _kernel(self.facts.number, plan.source, plan.name, plan.options)
        given = [NULL if a is None else np.int32(a) if isinstance(a, int) else a for a in arguments]
        kernel((1, plan.blocks, plan.groups), (plan.threads,), tuple(given), shared_mem=plan.shared_bytes)


def reasons_against(kind: int, steps: int, batch: int, size: int, dtype: str, precision: str) -> list[str]:
    """What keeps this path from running a call on CuPy's current device."""
    if not KINDS[kind].persistent:
        return ["there are persistent kernels for LSTM and GRU only"]
    if dtype != "float32":
        return [f"persistent kernels are for float32, not {dtype}"]
    if steps == 0 or batch == 0:
        return ["there is no step or no sequence to run"]
    if reasons := product.rows_against(steps, batch):
        return reasons
    if launch.simulated():
        return ["Numba's simulator runs no CUDA C++"]
    try:
        facts = launch.facts()
    except Exception as error:  # a broken driver raises what it likes
        return [f"CuPy cannot use the device ({type(error).__name__}: {error})"]
    needed = max(launch.OLDEST_BY_PRECISION[precision], source.OLDEST)
    if facts.capability < needed:
        shown = ["{}.{}".format(*version) for version in (facts.capability, needed)]
        return [f"the device has compute capability {shown[0]}; persistent kernels in {precision} need {shown[1]}"]
    if not facts.cooperative:
        return ["the device cannot launch a grid whose blocks all run at once"]
    if reason := product.reason_against(precision):
        return [reason]
    if steps * facts.multiprocessors >= 2**31 - 2**16:
        return [f"{steps} steps are more than the barrier can count"]
    shape = precision, batch, size
    plans = _plans(KINDS[kind].persistent, *shape, facts.multiprocessors, facts.shared_memory, facts.largest_cluster)
    if isinstance(plans, str):
        return [plans]
    reasons = [_chosen(facts, KINDS[kind].persistent, backward, *shape)[1] for backward in (False, True)]
    return [reason for reason in dict.fromkeys(reasons) if reason]


def _plans(
    cell: str, precision: str, batch: int, size: int, multiprocessors: int, shared_memory: int, largest_cluster: int
) -> tuple[Plan, Plan] | str:
    """The plans for both ways, or why there are none."""
    device = multiprocessors, shared_memory, largest_cluster
    forth = best_plan(cell, False, precision, batch, size, *device)
    back = best_plan(cell, True, precision, batch, size, *device)
    if forth is None or back is None:
        return (
            f"the recurrent weights of {size} units in {precision}, and states of {batch} sequences, do not fit into "
            f"the registers and shared memory of {multiprocessors} multiprocessors"
        )
    ours = microseconds(forth) + microseconds(back)
    others = sum(step_microseconds(cell, number, batch, size) for number in NUMBERS[precision])
    if ours > SURELY * others:
        return (
            f"forward and back, a step should take {ours:.0f} microseconds, and with a product and a kernel for each "
            f"step {others:.0f}"
        )
    return forth, back


def _chosen(
    facts: launch.Facts, cell: str, backward: bool, precision: str, batch: int, size: int
) -> tuple[Plan | None, str]:
    """The best plan whose kernel has all that it should in registers, and what is against it; None: no plan fits."""
    device = facts.multiprocessors, facts.shared_memory, facts.largest_cluster
    plan, reason = None, IN_MEMORY
    for spare in SPARE:
        plan = best_plan(cell, backward, precision, batch, size, *device, spare)
        if plan is None or (reason := _reason_against(facts.number, plan)) != IN_MEMORY:
            break
    return plan, reason


@launch.looked_for_once
def _reason_against(number: int, plan: Plan) -> str:
    """Whether a kernel compiles, without a spill, and all blocks of a plan fit on the device at once; empty if so."""
    kernel = _kernel(number, plan.source, plan.name, plan.options)
    if kernel.local_size_bytes > 0:
        return IN_MEMORY
    driver = importlib.import_module("cupy").cuda.driver
    resident = driver.occupancyMaxActiveBlocksPerMultiprocessor(kernel.kernel.ptr, plan.threads, plan.shared_bytes)
    held = resident * launch.facts().multiprocessors
    wanted = plan.blocks * (1 if plan.cluster else plan.groups)  # clusters need not meet each other
    if held < wanted:
        return f"the device can hold {held} blocks of the persistent kernel at once, and {wanted} must meet"
    return ""


@cache
def _kernel(number: int, file: str, name: str, options: tuple[str, ...]) -> Any:
    """A kernel on the current device, of that number. CuPy keeps what it compiled on disk, by text and options."""
    cupy = importlib.import_module("cupy")
    cooperative = APART_BLOCKS in options
    module = cupy.RawModule(code=source.text(file), options=options, enable_cooperative_groups=cooperative)
    kernel = module.get_function(name)
    kernel.max_dynamic_shared_size_bytes = launch.facts().shared_memory
    if launch.facts().wide_clusters:
        launch.allow_wide_clusters(kernel)
    return kernel


def _place(precision: str, backward: bool) -> Any:
    return Device(precision, backward)


def _plan(place: Any, kind: int, backward: bool, precision: str, batch: int, size: int) -> Plan:
    found, _ = _chosen(place.facts, KINDS[kind].persistent, backward, precision, batch, size)
    if found is None:
        raise ValueError(f"persistent: {size} units in {precision} do not fit on the device; ask reasons_against first")
    return found


def _scratch(xp: Any, plan: Plan, batch: int) -> tuple[Array | None, Array | None]:
    """What blocks exchange through memory, (slots, B, inner) as words, and counters for each group at zero."""
    if plan.cluster:
        return None, None
    return xp.empty((plan.slots, batch, plan.row_bytes // 4), "uint32"), xp.zeros((plan.groups, APART), "int32")


def forward(
    kind: int,
    w: Weights,
    x: Array,
    state: State,
    flags: Flags,
    reverse: bool,
    keep: bool,
    precision: str = "float32",
) -> tuple[State, Cache | None]:
    """Each part of the state after every step (T, B, H), and the cache if it is to be kept."""
    place = _place(precision, backward=False)
    xp, plain = place.xp, place.xp.ascontiguousarray
    x, w = plain(x), {name: plain(a) for name, a in w.items()}
    steps, batch, inputs = x.shape
    size, columns = state[0].shape[1], w["weight_ih"].shape[0]
    plan = _plan(place, kind, False, precision, batch, size)

    z = xp.empty((steps, batch, columns), x.dtype)
    place.product(x.reshape(-1, inputs), w["weight_ih"], z.reshape(-1, columns), transpose_b=True)
    kept_more = xp.empty((steps, batch, size), x.dtype) if keep and KINDS[kind].apart else None
    states = tuple(xp.empty((steps + 1, batch, size), x.dtype) for _ in state)
    exchange, arrivals = _scratch(xp, plan, batch)
    arguments = [
        z, kept_more, w["weight_hh"], w.get("bias_ih"), w.get("bias_hh"), *_all(tuple(plain(s) for s in state)),
        *_all(states), *_bytes(plain, flags), exchange, arrivals,
        steps, batch, size, plan.group_rows, int(reverse), int(keep),
    ]  # fmt: skip
    place.launch(plan, arguments)
    after = after_steps(steps, reverse)
    return tuple(part[after] for part in states), Cache(z, kept_more, states) if keep else None


def backward(
    kind: int,
    w: Weights,
    x: Array,
    cache: Cache,
    flags: Flags,
    reverse: bool,
    dsequences: State,
    dstate: State,
    need_dx: bool,
    precision: str = "float32",
) -> tuple[Array | None, State, Weights]:
    """dx, the cotangents of the initial state, and the gradients of the weights.

    ``dsequences`` are those of every state, None where zero; ``dstate`` those of the final one, which is overwritten.
    """
    about, place = KINDS[kind], _place(precision, backward=True)
    xp, plain = place.xp, place.xp.ascontiguousarray
    x, w = plain(x), {name: plain(a) for name, a in w.items()}
    steps, batch, _ = x.shape
    size = dstate[0].shape[1]
    plan = _plan(place, kind, True, precision, batch, size)

    dzx = xp.empty_like(cache.z)
    dzh = xp.empty_like(cache.z) if about.apart else None
    dbias = xp.empty((batch, 4 * size), x.dtype) if "bias_ih" in w else None
    exchange, arrivals = _scratch(xp, plan, batch)
    arguments = [
        cache.z, cache.kept_more, w["weight_hh"], *_all(cache.states),
        *_all(tuple(None if d is None else plain(d) for d in dsequences)), *_all(dstate), dzx, dzh, dbias,
        *_bytes(plain, flags), exchange, arrivals, steps, batch, size, plan.group_rows, int(reverse),
    ]  # fmt: skip
    place.launch(plan, arguments)
    all_dzh = dzx if dzh is None else dzh
    dx, gradients = weight_gradients(place, w, x, cache.states[0], dzx, all_dzh, flags, reverse, need_dx)
    if dbias is not None:
        gradients["bias_ih"], gradients["bias_hh"] = _bias_gradients(xp, about, dbias)
    return dx, dstate, gradients


def _bias_gradients(xp: Any, about: Kind, dbias: Array) -> tuple[Array, Array]:
    """Those of bias_ih and bias_hh. A GRU's differ in the block of n, and that of bias_hh stands last."""
    total = xp.sum(dbias, axis=0)
    if not about.apart:
        return total, total.copy()
    size = dbias.shape[1] // 4
    return total[: 3 * size], xp.concatenate([total[: 2 * size], total[3 * size :]])


def _all(parts: State) -> State:
    """The parts of a state as every kernel has them, None where there are none."""
    return (*parts, *(None,) * (PARTS - len(parts)))


def _bytes(plain: Any, flags: Flags) -> tuple[Array | None, Array | None]:
    """(T, B) booleans, a byte each."""
    advance, restart = (None if f is None else plain(f) for f in flags)
    return advance, restart
