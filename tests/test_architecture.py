"""ARCHITECTURE.md names every file of the house, and nothing that is not there."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import xprnn

ROOT = Path(xprnn.__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
if not PAGE.exists():
    pytest.skip("these tests run in a checkout", allow_module_level=True)
TEXT = PAGE.read_text(encoding="utf-8")
HOUSES, SUFFIXES = ("xprnn", "kernels", "benchmarks"), {".py", ".cu", ".cuh", ".sh"}
VARIABLE = r"(?:XPRNN|NUMBA|XDG|CUPY|BENCH)_[A-Z_]+|CI"


def listed(text):
    """Every file that a list below a room's heading names."""
    room = None
    for line in text.splitlines():
        if line.startswith("#"):
            heading = re.fullmatch(r"#+ `([\w/]+/)`", line)
            room = heading and heading[1]
        elif room and (entry := re.match(r"- `([\w.]+)`: \S", line)):
            yield room + entry[1]


def on_disk():
    """Every source file of the house; an __init__.py is its room, and named by the heading."""
    for house in HOUSES:
        for path in (ROOT / house).rglob("*"):
            if path.suffix in SUFFIXES and path.name != "__init__.py":
                yield path.relative_to(ROOT).as_posix()


def names_in(path):
    """What a module defines at its top level."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def variables_read():
    """Environment variables whose names the library and the benchmarks hold, and those that tests read."""
    for house in HOUSES:
        for path in (ROOT / house).rglob("*.py"):
            yield from re.findall(rf'"({VARIABLE})"', path.read_text(encoding="utf-8"))
    for path in (ROOT / "tests").rglob("*.py"):
        found = re.findall(rf'environ\.get\("({VARIABLE})"|"({VARIABLE})" in os\.environ', path.read_text("utf-8"))
        yield from (name for pair in found for name in pair if name)


def test_the_reader_of_this_page_sees_entries_below_rooms_only():
    text = "- `a.py`: no room yet\n### `xprnn/nn/`\n- `b.py`: a line\n- `c.py`:\n## Caches\n- `d.py`: no room\n"
    assert list(listed(text)) == ["xprnn/nn/b.py"]


def test_every_file_is_named_once():
    named, there = Counter(listed(TEXT)), set(on_disk())
    unnamed, gone = sorted(there - set(named)), sorted(set(named) - there)
    assert not unnamed, "name these in ARCHITECTURE.md, below the heading of their room"
    assert not gone, "ARCHITECTURE.md names these, and they are gone"
    assert not [name for name, count in named.items() if count > 1]


def test_every_room_has_a_heading():
    rooms = {
        f"{path.parent.relative_to(ROOT).as_posix()}/" for house in HOUSES for path in (ROOT / house).rglob("*.py")
    }
    assert rooms == set(re.findall(r"^#+ `([\w/]+/)`$", TEXT, re.MULTILINE))


def test_everything_that_it_points_to_is_there():
    """Paths from the root, and names in modules, which are written as path::name."""
    gone = []
    for path, name in re.findall(r"`([\w.-]+/[\w./-]*)(?:::(\w+))?`", TEXT):
        if not (ROOT / path).exists() or (name and name not in names_in(ROOT / path)):
            gone.append(f"{path}::{name}" if name else path)
    assert not gone


def test_the_import_rule_is_the_contracts():
    contracts = re.findall(
        r"^layers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    rules = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)
    assert [rule.split("\n")[:-1] for rule in rules] == [re.findall(r'"([^"]+)"', layers) for layers in contracts]


def test_environment_variables_are_all_named_and_all_read():
    table = set(re.findall(rf"`({VARIABLE})`", TEXT))
    unnamed = sorted(set(variables_read()) - table)
    assert not unnamed, "name these in ARCHITECTURE.md, among the environment variables"
    everywhere = "".join(
        path.read_text(encoding="utf-8")
        for house in (*HOUSES, "tests")
        for path in (ROOT / house).rglob("*")
        if path.suffix in SUFFIXES and path.name != Path(__file__).name
    )
    assert not [name for name in table if name not in everywhere], "ARCHITECTURE.md names these, and nobody reads them"
