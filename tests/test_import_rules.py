"""The part of the import rule that import-linter cannot say: which imports must wait until they are needed."""

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import xprnn

ROOT = Path(xprnn.__file__).parents[1]
EARLY = {"array_api_compat", "numpy", "xprnn"}
"""What may be imported where a module begins, beside Python's own; all else where it is needed."""
THEMSELVES_LATE = {
    "xprnn.interop.torch.layers": "torch",
    "xprnn.interop.torch.node": "torch",
}  # with what they subclass
THEIR_OWN = THEMSELVES_LATE | {"xprnn.testing.strategies": "hypothesis"}
KERNELS_MAY = {"", "__future__", "cupy", "cupyx", "llvmlite", "numba", "numpy"}  # "": each other, by relative imports
KERNELS_CALLED_FROM = {"int8_reference.py", "dispatch.py", "machine.py", "kernels.py", "cell_kinds.py"}
"""The last two for their table of kinds."""


def files(folder):
    found = sorted((ROOT / folder).rglob("*.py"))
    return pytest.mark.parametrize("path", found, ids=[path.relative_to(ROOT).as_posix() for path in found])


@cache
def imports(path, everywhere=True):
    """Dotted names that a module imports: everywhere in it, or only while it is itself imported."""
    return frozenset(_imports(ast.parse(path.read_text(encoding="utf-8")).body, everywhere))


def _imports(tree, everywhere):
    for node in tree:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (f"{node.module}." if node.module else "")
            yield from (start + alias.name for alias in node.names)
        elif everywhere or not (_is_function(node) or _is_type_checking(node)):
            yield from _imports(ast.iter_child_nodes(node), everywhere)


def graph(root, *folders):
    """Of each module the modules that it imports: late, and for types only, too."""
    paths = {}
    for path in (found for folder in folders for found in (root / folder).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: set(_modules(name, path, paths)) - {name} for name, path in paths.items()}


def _modules(name, path, known):
    package = (name if path.name == "__init__.py" else name.rpartition(".")[0]).split(".")
    for found in imports(path):
        level = len(found) - len(found.lstrip("."))
        whole = ".".join([*package[: len(package) + 1 - level], found.lstrip(".")]) if level else found
        yield from ([one for one in (whole, whole.rpartition(".")[0]) if one in known])[:1]


def _is_function(node):
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def top(names):
    return {name.split(".")[0] for name in names}


@files("xprnn")
def test_heavy_libraries_are_imported_where_they_are_needed(path):
    found = imports(path, everywhere=False)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    own = (
        {"click"} if name.startswith("xprnn.cli.") else {"hypothesis"} if name == "xprnn.testing.strategies" else set()
    )
    late = top(found) - EARLY - sys.stdlib_module_names - own - {THEMSELVES_LATE.get(name)}
    assert not late, "import these inside the functions that need them"
    if name not in THEMSELVES_LATE:
        assert not [late for late in THEMSELVES_LATE if any(one.startswith(late) for one in found)]


@files("xprnn")
def test_only_dispatch_and_the_command_line_call_kernels(path):
    if path.name not in KERNELS_CALLED_FROM:
        assert not {name for name in imports(path) if name.startswith("xprnn.kernels")}


@files("kernels")
def test_kernels_know_arrays_and_numbers_only(path):
    assert top(imports(path)) <= KERNELS_MAY | sys.stdlib_module_names


def test_importing_kernels_imports_no_compiler():
    assert top(imports(ROOT / "kernels" / "__init__.py", everywhere=False)) <= {"", "numpy"} | sys.stdlib_module_names


@pytest.mark.parametrize("folder", ["xprnn", "kernels"])
def test_no_circle(folder):
    TopologicalSorter(graph(ROOT, folder)).prepare()


@pytest.mark.parametrize(
    "back",
    [
        "from box.a import f",
        "from .a import f",
        "from . import a",
        "def g():\n    import box.a as a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from box.a import f",
    ],
)
def test_every_circle_is_seen(back, tmp_path):
    (tmp_path / "box").mkdir()
    for name, text in (("__init__", ""), ("a", "from box.b import g"), ("b", back)):
        (tmp_path / "box" / f"{name}.py").write_text(text)
    with pytest.raises(CycleError):
        TopologicalSorter(graph(tmp_path, "box")).prepare()
