"""Which ways to run each cell has, on which device: ``python docs/cell_paths.py`` writes ``docs/cell_paths.md`` anew.

Everything in the table is asked of the code that decides: the reasons of the implementations, and the kernels' table of
kinds. ``tests/test_cell_paths.py`` holds the page to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # of a bare checkout too

from xprnn import cells  # isort: skip - finds the kernels of a checkout
from xprnn.kernels.cuda.plan import candidates

from xprnn.engine import cell_kinds, cpu, cuda, dispatch, int8
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control
from xprnn.settings import use_precision

PAGE = Path(__file__).with_suffix(".md")
BASES = ["Cell", "ComposedCell", "DiagonalCell", "LinearCell", "ManyStepCell", "PointwiseCell", "TimedCell"]
SEVERAL = {
    "Elman": [cells.Elman("tanh"), cells.Elman("relu")],
    "IndRNN": [cells.IndRNN("tanh"), cells.IndRNN("relu")],
    "MinGRU": [cells.MinGRU("log"), cells.MinGRU("linear")],
    "MinLSTM": [cells.MinLSTM("log"), cells.MinLSTM("linear")],
    "CTRNN": [cells.CTRNN(0.5, "tanh"), cells.CTRNN(0.5, "relu")],
    "SLSTM": [cells.SLSTM(), cells.SLSTM(2, "exp")],
    "Antisymmetric": [cells.Antisymmetric(0.5)],
    "GatedAntisymmetric": [cells.GatedAntisymmetric(0.5)],
    "Projected": [cells.Projected(cells.LSTM(), 2)],
    "EchoState": [cells.EchoState(0.5)],
    "LRU": [cells.LRU(4)],
    "S5": [cells.S5(4)],
    "GRUD": [cells.GRUD(3)],
    "LMU": [cells.LMU(3), cells.LMU(3, feedback=False)],
    "MLSTM": [cells.MLSTM(2)],
    "GeneralElman": [cells.GeneralElman("softsign"), cells.GeneralElman("tanh", clip=1.0)],
    "GeneralLSTM": [
        cells.GeneralLSTM("softsign"),
        cells.GeneralLSTM("hard_sigmoid", "relu"),
        cells.GeneralLSTM(clip=1.0),
        cells.GeneralLSTM(coupled=True),
        cells.GeneralLSTM(peephole=True, clip=1.0),
    ],
    "GeneralGRU": [cells.GeneralGRU("softsign"), cells.GeneralGRU("hard_sigmoid")],
    "GeneralResetBeforeGRU": [cells.GeneralResetBeforeGRU("softsign"), cells.GeneralResetBeforeGRU("hard_sigmoid")],
}
"""Where a cell is not called without arguments, or has kernels by them."""
COLUMNS = (
    "cell", "float32", "float64", "bfloat16", "int8", "stream", "one launch", "in clusters", "step by step",
    "array code, any device",
)  # fmt: skip
NONE = "no"


def every() -> Iterator[cells.Cell]:
    """All cells that there are, by their export."""
    for name in cells.__all__:
        found = getattr(cells, name)
        if isinstance(found, type) and issubclass(found, cells.Cell) and name not in BASES:
            yield from SEVERAL.get(name) or [found()]


def row(cell: cells.Cell) -> list[str]:
    """What the code says of one."""
    host = [_first(_call(cell, dtype), *dispatch.HOST) for dtype in BOTH]
    with use_precision("bf16"):
        rounded = any(impl.name == host[0] and "bfloat16" in impl.how(_call(cell, "float32")) for impl in dispatch.HOST)
    weights = [np.zeros(shape, "float32") for shape in cell.weight_shapes(_inputs(cell), 4).values()]
    stack = cpu.open_stack([cpu.Step(cell, _inputs(cell), 4)], weights, 1)
    kind = cell_kinds.kind_of(cell)
    launch = kind is not None and cuda.PERSISTENT.runs(kind)
    plans = candidates(kind.persistent, False, "float32", *SMALL, *H100) if launch else ()
    return [
        cell.name,
        *host,
        "yes" if rounded else NONE,
        "yes" if int8.serves(cell) else NONE,
        NONE if isinstance(stack, str) else "yes",
        "yes" if launch else NONE,
        "yes" if any(plan.cluster for plan in plans) else NONE,
        "yes" if kind is not None and cuda.STEP.runs(kind) else NONE,
        _first(_call(cell, "float32"), dispatch.SCAN, dispatch.MANY, dispatch.REFERENCE),
    ]


BOTH = ("float32", "float64")
STEPS, SIZE = 64, 4
SMALL, H100 = (16, 128), (132, 232448, 8)
"""Sequences and units; multiprocessors, bytes of shared memory, and the blocks of the largest cluster."""


def _inputs(cell: cells.Cell) -> int:
    """Of x, with what comes as columns beside it: times, and what was observed."""
    return 7 if isinstance(cell, cells.GRUD) else 4


def _call(cell: cells.Cell, dtype: str) -> SequenceCall:
    shapes = cell.weight_shapes(_inputs(cell), SIZE)
    weights = {name: np.zeros(shape, dtype) for name, shape in shapes.items()}
    x, state = np.zeros((STEPS, 2, _inputs(cell)), dtype), [np.zeros((2, n), dtype) for n in cell.state_sizes(SIZE)]
    return SequenceCall(cell, weights, x, tuple(state), Control.build("cell", x), False, False)


def _first(call: SequenceCall, *impls: dispatch.Impl) -> str:
    """The first that has no reason against a call; "array code" where all have."""
    for impl in impls:
        if not impl.reasons_against(call):
            return impl.name
    return "array code"


def page() -> str:
    """The page."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *map(row, sorted(every(), key=lambda cell: cell.name.lower()))]
    return TEXT + "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


TEXT = """# Cells and their ways

Which ways to run each cell has; `xprnn.explain(layer, x)` says which of them a call takes, and why not another. This
page is written by `docs/cell_paths.py`, which asks the code.

- The first five columns are NumPy's. "compiled" walks the steps in one compiled call, "compiled-scan" scans them,
  "compiled-filled" fills in what is missing and walks a GRU, and "reservoir" passes over zeros, where no gradient is
  asked for. "array code" is the last column's. "bfloat16" are products of rounded numbers under
  `use_precision("bf16")`, "int8" weights of `nn.quantize`. Where "stream" says no, a stream steps by array code.
- The next three are CuPy's: a whole sequence in one launch, whose blocks may be a cluster on devices that have them, or
  a product and a kernel for each step; no GPU has run them yet. A cell with "no" in all three has no CUDA kernel, and
  runs there as array code.
- "scan" and "many" take many steps at once in array code, "reference" one after another.

"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
