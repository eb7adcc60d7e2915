"""The table of cells against the specification of each, and the state in compiled code."""

import numpy as np
import pytest
from helpers import CELLS as EVERY
from helpers import sequence_call
from xprnn.kernels import kinds

from xprnn import cells
from xprnn.backend import get_backend
from xprnn.engine import cell_kinds, cuda

CELLS = [cell for cell in (make() for make in EVERY.values()) if cell_kinds.kind_of(cell) is not None]
CELLS += [cells.GeneralElman("hard_sigmoid"), cells.GeneralLSTM("hard_sigmoid"), cells.GeneralLSTM(coupled=True)]
CELLS += [cells.GeneralGRU(clip=1.0), cells.GeneralResetBeforeGRU("sigmoid", "relu")]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_row_says_what_the_cell_says(cell):
    kind, shapes = cell_kinds.kind_of(cell), cell.weight_shapes(3, 6)
    assert kind.gates == cell.gates
    assert kind.parts == cell.state_names
    assert len(kind.places) * 6 == (shapes["weight_hh"][0] if len(shapes["weight_hh"]) == 2 else 0)
    assert kind.functions == len(vars(cell).get("activations", ()))
    assert not kind.diagonals or shapes[kind.diagonals_in] in ((len(kind.diagonals), 6), (6,))
    assert all(place < kind.kept for place in kind.places)


def test_rows_stand_at_their_numbers_and_each_is_some_cell():
    assert [kind.number for kind in kinds.KINDS] == list(range(len(kinds.KINDS)))
    unknown = set(range(len(kinds.KINDS))) - {cell_kinds.number_of(cell) for cell in CELLS}
    assert not unknown, "put cells of these numbers into CELLS of tests/helpers.py and into xprnn/engine/cell_kinds.py"


WITHOUT_CUDA = [cells.IndRNN(), cells.ResetBeforeGRU(), cells.MGU(), cells.SLSTM()]


@pytest.mark.parametrize("cell", WITHOUT_CUDA, ids=lambda cell: cell.name)
def test_cells_without_cuda_kernels_say_so(cell):
    call = sequence_call(cell, get_backend("numpy"))
    for path in (cuda.PERSISTENT, cuda.STEP):
        assert f"no kernel for the cell {cell.name}" in path.reasons_against(call)


def test_addresses_of_any_number_of_parts():
    pytest.importorskip("numba")
    from xprnn.kernels.cpu.compiling import kernel
    from xprnn.kernels.cpu.intrinsics import addresses, offsets

    @kernel
    def third(arrays, index, further):
        found = offsets(addresses(arrays, index), further)
        total = 0.0
        for part in range(len(found)):
            total = 10.0 * total + found[part][0]
        return total

    for count in (1, 2, 4):
        arrays = tuple(np.arange(6.0) + part for part in range(count))
        assert third(arrays, 1, 2) == float("".join(str(3 + part) for part in range(count)))
