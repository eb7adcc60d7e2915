"""The page of cells and their ways against the code that it is drawn from."""

import importlib.util
from pathlib import Path

import pytest
from xprnn.kernels.kinds import KINDS, LINEAR

import xprnn
from xprnn.engine import cell_kinds

SCRIPT = Path(xprnn.__file__).parents[1] / "docs" / "cell_paths.py"


@pytest.fixture(scope="module")
def paths():
    pytest.importorskip("numba")
    spec = importlib.util.spec_from_file_location("cell_paths", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_the_code_says(paths):
    assert paths.PAGE.read_text(encoding="utf-8") == paths.page(), f"python docs/{SCRIPT.name} writes it anew"


def test_every_kind_of_the_kernels_has_a_row(paths):
    every = list(paths.every())
    assert {cell_kinds.number_of(cell) for cell in every} - {None} == set(range(len(KINDS)))
    assert {cell_kinds.linear_number_of(cell) for cell in every} - {None} == set(range(len(LINEAR)))
