"""The table of cells against the specification of each, and the state in compiled code."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers import sequence_call
from xprnn.kernels import kinds

from xprnn import cells
from xprnn.backend import get_backend
from xprnn.engine import cell_kinds, cuda

CELLS = [
    *(cell(nonlinearity) for cell, known in cell_kinds.BY_NONLINEARITY.items() for nonlinearity in known),
    *(cell() for cell in cell_kinds.NUMBERS),
    *(cells.MGU(), cells.CTRNN(0.5, "tanh"), cells.CTRNN(0.5), cells.Antisymmetric(0.1), cells.GatedAntisymmetric(0.1)),
    *(cells.SLSTM(), cells.SLSTM(5, "exp"), cells.LayerNormLSTM(), cells.LayerNormGRU()),
    *(cells.GeneralElman("hard_sigmoid"), cells.GeneralLSTM("hard_sigmoid"), cells.GeneralLSTM(coupled=True)),
    *(cells.GeneralGRU(clip=1.0), cells.GeneralResetBeforeGRU("sigmoid", "relu")),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_row_says_what_the_cell_says(cell):
    kind, shapes = cell_kinds.kind_of(cell), cell.weight_shapes(3, 5)
    assert kind.gates == cell.gates
    assert kind.parts == cell.state_names
    assert len(kind.places) * 5 == (shapes["weight_hh"][0] if len(shapes["weight_hh"]) == 2 else 0)
    assert kind.functions == len(vars(cell).get("activations", ()))
    assert not kind.diagonals or shapes[kind.diagonals_in] in ((len(kind.diagonals), 5), (5,))
    assert all(place < kind.kept for place in kind.places)


def test_rows_stand_at_their_numbers_and_each_is_some_cell():
    assert [kind.number for kind in kinds.KINDS] == list(range(len(kinds.KINDS)))
    assert {cell_kinds.number_of(cell) for cell in CELLS} == set(range(len(kinds.KINDS)))


def test_the_page_on_gpus_says_which_cell_has_which_path():
    page = (Path(__file__).parents[2] / "docs" / "tutorials" / "gpu.md").read_text()
    rows = re.findall(r"^\| `\w+`.* \| (yes|no) \| (yes|no) \|$", page, re.MULTILINE)
    said = {True: "yes", False: "no"}
    assert rows == [(said[bool(kind.persistent)], said[bool(kind.step)]) for kind in kinds.KINDS]


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
