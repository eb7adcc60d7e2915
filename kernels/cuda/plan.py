"""How a persistent kernel is laid out on a device: which part of the weights and of the batch each block has.

A grid is blocks x groups: the hidden units are cut into ``blocks`` slices, the batch into ``groups``, each of which has
the whole layer to itself. The blocks of a group meet through memory, or look there for each other's numbers, or are a
cluster (exchange.cuh). Everything here is arithmetic
on sizes, so that it can be tested without a device; product.cuh and block.cuh say what the numbers mean to a kernel,
and the names of both agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import ceil

from ..kinds import KINDS

# By precision, forward and backward; product.cuh has them, and persistent.py says why fp16 goes back as bf16.
NUMBERS = {
    "float32": ("Float32", "Float32"),
    "tf32": ("Tf32", "Tf32"),
    "bf16": ("Bf16", "Bf16"),
    "fp16": ("Fp16", "Bf16"),
}
PER_WORD = {"Float32": 1, "Tf32": 1, "Bf16": 2, "Fp16": 2}
GATES = {kind.persistent: kind.gates for kind in KINDS if kind.persistent}
REGISTERS = 65536  # of a multiprocessor, in all devices that have the instructions we use
MOST_PER_THREAD = 255
UNITS, WARPS, SIDES = (4, 8, 16, 32, 64, 128), (4, 8, 16), (1, 2, 4, 8)  # of a block
POLLED_SLOTS = 16  # of exchange.cuh: steps in memory at once
MOST_POLLED = 2**25  # bytes of them that may be there: they must stay in the cache that all blocks share
# Blocks of a cluster on every device that has clusters. One of more must find its place in one of the parts of a device
# whose blocks can be a cluster, which have at most so many multiprocessors: two would not fit.
PORTABLE_CLUSTER, PART = 8, 18
# Through memory every side would fetch all rows, and with more units fewer blocks would share the work.
MOST_UNITS_APART = 32
# Of a thread's registers, those for all but weights and the product, and the most that may hold weights: with these
# the compiler kept everything in registers wherever it was tried.
OTHER_REGISTERS = {"Float32": 36, "Tf32": 50, "Bf16": 104, "Fp16": 104}
AT_ONCE, POLLING_REGISTERS = 8, 16  # vectors that a lane looks for at once, as in product.cuh; and for where they are
WEIGHT_REGISTERS = {"Float32": 192, "Tf32": 152, "Bf16": 112, "Fp16": 112}
# Registers of a thread that hold weights, fewer than that. How many the compiler wants for all else differs from one of
# its versions and devices to the next: where it kept some in memory, the plan that is tried next spares it more.
SPARE = (0, 8, 16, 24, 32, 64)


@dataclass(frozen=True)
class Plan:
    """One kernel on one shape. The first eleven are compiled in; the others belong to the launch."""

    backward: bool
    cell: str
    number: str
    units: int
    inner: int
    warps: int
    sides: int
    held: int
    tiles: int
    cluster: int
    polls: int
    blocks: int
    groups: int
    group_rows: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return 32 * self.warps

    @property
    def columns(self) -> int:
        """Of the product that a block has."""
        return self.units if self.backward else GATES[self.cell] * self.units

    @property
    def slices(self) -> int:
        """Of the inner index, each of a warp of every side."""
        return self.warps // self.sides

    @property
    def rows(self) -> int:
        """Of the product at once."""
        return self.tiles if self.number == "Float32" else 16 * self.tiles

    @property
    def row_bytes(self) -> int:
        """Of one sequence in the exchange."""
        return 4 * self.inner // PER_WORD[self.number]

    @property
    def slots(self) -> int:
        """Of the exchange through memory, each with the rows of a step."""
        return POLLED_SLOTS if self.polls else 2

    @property
    def row_bytes_here(self) -> int:
        """The same in shared memory, where a row ends 64 bytes from where banks begin again; 0 without a cluster."""
        return self.row_bytes + (64 - self.row_bytes) % 128 if self.cluster else 0

    @property
    def per_lane(self) -> int:
        """Columns of the product that a lane has a part of."""
        columns = self.columns // self.sides
        return columns // (_lanes_across(columns) if self.number == "Float32" else 8)

    @property
    def spans(self) -> int:
        """Steps in which a warp walks along its slice of the inner index."""
        return self.inner // (self.slices * _span(self.number, self.columns // self.sides))

    @property
    def rest(self) -> int:
        """Vectors of 16 bytes that a thread has in shared memory: the weights that are not in registers."""
        return (self.spans - self.held) * self.per_lane

    @property
    def shared_bytes(self) -> int:
        """Of dynamic shared memory a block."""
        return self.own_bytes + self.group_rows * self.bytes_of_sequence

    @property
    def own_bytes(self) -> int:
        """Of these, whatever the batch: weights that are not in registers, two partial sums and, on the way back, four
        sums of each thread for the biases.
        """
        stride = self.columns if self.columns % 16 == 8 else (self.columns + 7) // 16 * 16 + 8
        partials = 2 * self.slices * self.rows * stride
        return 16 * self.rest * self.threads + 4 * partials + (16 * self.threads if self.backward else 0)

    @property
    def bytes_of_sequence(self) -> int:
        """Two states and, in a cluster, the rows of two steps."""
        return 2 * (4 * self.units + self.row_bytes_here)

    @property
    def source(self) -> str:
        """The file with the kernel."""
        return "backward.cu" if self.backward else "forward.cu"

    @property
    def name(self) -> str:
        """The kernel's name in it."""
        return "persistent_backward" if self.backward else "persistent_forward"

    @property
    def options(self) -> tuple[str, ...]:
        """What the compiler is told."""
        names = ("cell", "number", "units", "inner", "warps", "sides", "held", "tiles", "cluster", "polls")
        return "-std=c++17", *(f"-DXPRNN_{name.upper()}={getattr(self, name)}" for name in names)


@cache
def best(
    cell: str,
    backward: bool,
    precision: str,
    batch: int,
    size: int,
    multiprocessors: int,
    shared_memory: int,
    largest_cluster: int = 0,
    spare: int = 0,
) -> Plan | None:
    """The plan that should take the shortest time a step; None where the weights do not fit on the device."""
    plans = candidates(cell, backward, precision, batch, size, multiprocessors, shared_memory, largest_cluster, spare)
    return min(plans, key=microseconds, default=None)


def candidates(
    cell: str,
    backward: bool,
    precision: str,
    batch: int,
    size: int,
    multiprocessors: int,
    shared_memory: int,
    largest_cluster: int = 0,
    spare: int = 0,
) -> Iterator[Plan]:
    """All plans that fit: through memory, or in clusters of at most so many blocks (0: only of one, on any device).

    ``spare``: registers of each thread that are left to the compiler, instead of weights.
    """
    number = NUMBERS[precision][backward]
    needed = GATES[cell] * size if backward else size
    for units, warps, sides, (in_cluster, polls) in product(UNITS, WARPS, SIDES, ((0, 0), (0, 1), (1, 0))):
        columns = units if backward else GATES[cell] * units
        blocks = -(-size // units)
        cut_well = columns % (sides if number == "Float32" else 8 * sides) == 0 and warps % sides == 0
        if blocks > (max(1, largest_cluster) if in_cluster else multiprocessors) or 32 * warps < units or not cut_well:
            continue
        if not in_cluster and (units > MOST_UNITS_APART or sides > 1):
            continue
        if polls and (blocks == 1 or size % PER_WORD[number]):  # a word comes whole, of two units of a block
            continue
        span = warps // sides * _span(number, columns // sides)
        inner = -(-needed // span) * span
        if polls and POLLED_SLOTS * batch * 4 * inner // PER_WORD[number] > MOST_POLLED:
            continue
        apart = max(blocks, PART) if in_cluster and blocks > PORTABLE_CLUSTER else blocks
        shapes = []  # what is compiled in, and for how many rows at least and at most
        for tiles in (1, 2, 4, 8) if number == "Float32" else (1, 2):
            before, behind = (backward, cell, number, units, inner, warps, sides), (tiles, blocks * in_cluster, polls)
            plan = Plan(*before, 0, *behind, blocks, groups=0, group_rows=0)
            held = _held(plan) - ceil(spare / (4 * plan.per_lane))
            if held > 0:
                compiled = *before, held, *behind
                plan = Plan(*compiled, blocks, groups=0, group_rows=0)
                fewest = 1 if tiles == 1 else plan.rows // 2 + 1  # else half of the tiles would have nothing to do
                shapes.append((compiled, fewest, (shared_memory - plan.own_bytes) // plan.bytes_of_sequence))
        for rows in sorted({-(-batch // groups) for groups in range(1, multiprocessors // apart + 1)}):
            for compiled, fewest, most in shapes:
                if fewest <= rows <= most:
                    yield Plan(*compiled, blocks, -(-batch // rows), rows)


def _lanes_across(columns: int) -> int:
    """column_lanes of product.cuh."""
    lanes = 1
    while lanes < 32 and columns // lanes > 8:
        lanes *= 2
    return lanes


def _span(number: str, columns: int) -> int:
    """Inner indices that a warp takes at once: 16 bytes a lane, of the lanes that stand along them."""
    if number == "Float32":
        return 4 * 32 // _lanes_across(columns)
    return 16 * PER_WORD[number]


def _held(plan: Plan) -> int:
    """Spans of weights for which registers are left, beside sums, operands on their way, and all else."""
    span, number = 4 * plan.per_lane, plan.number
    most = WEIGHT_REGISTERS[number]
    if number == "Float32":
        sums, fetched = plan.per_lane * plan.tiles, 4 * plan.tiles
        ahead = max(0, fetched - 8)  # the others have room for two rows
        most -= 8 if plan.cluster > PORTABLE_CLUSTER else 0  # for where more blocks have what is given to them
    else:
        parts = plan.per_lane * plan.tiles
        chains = 2 if number == "Tf32" and parts < 4 else 1  # in 16 bits the others have room for them
        sums, fetched, ahead = 4 * parts * chains, 16 * (plan.tiles - 1), 8 * plan.tiles
        most -= 64 * (plan.tiles - 1)
    if plan.polls and number == "Float32":
        fetched, ahead = POLLING_REGISTERS + 4 * (plan.tiles + AT_ONCE), 0
    free = min(MOST_PER_THREAD, REGISTERS // plan.threads) - OTHER_REGISTERS[number] - sums - fetched
    if plan.spans * span > min(free, most):  # those that come from shared memory need registers on their way
        free -= span + ahead
    return max(0, min(plan.spans, min(free, most) // span))


# Rates of one multiprocessor of an H100, per cycle. They only have to rank plans; benchmarks.gpu.run --tune fits them.
CYCLES = 1700.0  # a microsecond
MULTIPLY_ADDS = {"Float32": 80.0, "Tf32": 300.0, "Bf16": 600.0, "Fp16": 600.0}
SHARED_BYTES, EXCHANGE_BYTES = 128.0, 24.0
ROUND_TRIP, BARRIER, SYNC, CELL = 700.0, 1500.0, 60.0, 250.0
POLLS, EPOCH = 1000.0, 4  # from giving numbers to having them where blocks look for them; a barrier after so many steps
GIVE_BYTES, CLUSTER_BARRIER = 16.0, 450.0  # in a cluster: what a block writes to the others, and the wait for them


def microseconds(plan: Plan) -> float:
    """What a step should take, from what it computes and moves."""
    chunks = -(-plan.group_rows // plan.rows)
    rows = chunks * plan.rows
    busy = min(1.0, plan.warps / 8)  # fewer warps cannot hide their own latency
    multiply = rows * plan.columns * plan.inner / (MULTIPLY_ADDS[plan.number] * busy)
    rest = 16.0 * chunks * plan.rest * plan.threads
    shared = 8.0 * plan.slices * rows * plan.columns + rest
    cell = chunks * (SYNC + CELL * -(-plan.rows * plan.units // plan.threads))
    if plan.cluster:
        shared += plan.sides * plan.group_rows * plan.row_bytes
        fixed = CLUSTER_BARRIER + plan.group_rows * plan.row_bytes / GIVE_BYTES
    else:
        exchange = plan.group_rows * plan.row_bytes / EXCHANGE_BYTES if plan.blocks > 1 else 0.0
        multiply = max(multiply, exchange)
        fixed = POLLS + BARRIER / EPOCH if plan.polls else ROUND_TRIP + (BARRIER if plan.blocks > 1 else 0.0)
    return (multiply + shared / SHARED_BYTES + cell + fixed) / CYCLES


# Of a whole H100, per microsecond: multiply-adds of cuBLAS with many rows, bytes from memory; and the microseconds in
# which the host gives out a product and a kernel. With few rows cuBLAS leaves multiprocessors idle. In place of float16
# it is given TF32.
LIBRARY = {"Float32": 30e6, "Tf32": 150e6, "Bf16": 250e6, "Fp16": 150e6}
ROWS_FOR_HALF, MEMORY_BYTES, HOST = 64, 2.5e6, 12.0


def step_microseconds(cell: str, number: str, batch: int, size: int) -> float:
    """What a step should take as a product and a kernel of its own, neither of which keeps anything on the chip."""
    columns = GATES[cell] * size
    multiply = (batch + ROWS_FOR_HALF) * columns * size / LIBRARY[number]
    moved = 4.0 * (columns * size + 4 * batch * columns) / MEMORY_BYTES
    return max(multiply, moved, HOST)
