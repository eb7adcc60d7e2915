"""Docstrings on their way to the site: how they are read, and that their roles name what is there."""

import ast
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import xprnn

ROOT = Path(xprnn.__file__).parents[1]
FILES = sorted((ROOT / "xprnn").rglob("*.py"))
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([\w.]+)`")
each_file = pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])


def docstrings(path):
    """(enclosing classes, docstring) of a module and of everything in it."""

    def walk(node, classes):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            classes = (*classes, node.name) if isinstance(node, ast.ClassDef) else classes
            if text := ast.get_docstring(node):
                yield classes, text
        for child in ast.iter_child_nodes(node):
            yield from walk(child, classes)

    return list(walk(ast.parse(path.read_text(encoding="utf-8")), ()))


def exists(name):
    """Whether a dotted name leads anywhere."""
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError, ValueError):
        return False
    return True


@pytest.fixture(scope="module")
def readable():
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)

    def call(text):
        lines = text.split("\n")
        conf.readable(None, "function", "f", None, None, lines)
        return "\n".join(lines)

    return call


PARAMETERS = "Parameters\n----------\nx\n    A number.\n\n    Any.\n\ny\n    Another."
DOCSTRINGS = {
    "equations stand as they are": (
        "f.\n\n    y = |x| * w\n\n    z = y\n\nEnd.",
        "f.\n\n::\n\n    y = |x| * w\n\n    z = y\n\nEnd.",
    ),
    "tables are tables": ("f.\n\n    ==  ==\n    x   |1|\n    ==  ==", "f.\n\n    ==  ==\n    x   |1|\n    ==  =="),
    "bars and stars": ("|x| * y and ``|x| * y``", r"\|x\| \* y and ``|x| * y``"),
    "examples": ("f.\n\n>>> f(2 * 3)\n6", "f.\n\n>>> f(2 * 3)\n6"),
    "sections": (f"f.\n\n{PARAMETERS}", f"f.\n\n{PARAMETERS}"),
    "prose behind sections": (
        f"f.\n\n{PARAMETERS}\n\nRaises all\nof them.",
        f"f.\n\nRaises all\nof them.\n\n{PARAMETERS}",
    ),
    "results in prose": ("f.\n\nReturns\n-------\nA number.", "f.\n\nReturned\n--------\nA number."),
    "results as entries": ("f.\n\nReturns\n-------\ny\n    A number.", "f.\n\nReturns\n-------\ny\n    A number."),
}


@pytest.mark.parametrize("case", DOCSTRINGS)
def test_docstrings_reach_the_site_as_they_are_meant(readable, case):
    written, expected = DOCSTRINGS[case]
    assert readable(written) == expected


@each_file
def test_roles_name_what_is_there(path):
    """By its full name, or by one known in the class, the module, or the room whose page shows it."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    room = ".".join(module.split(".")[:2])
    gone = [
        role
        for classes, text in docstrings(path)
        for role in ROLE.findall(text)
        if not any(map(exists, (role, f"{module}.{role}", ".".join((module, *classes, role)), f"{room}.{role}")))
    ]
    assert not gone


def test_every_format_stands_in_the_reference():
    formats = {path for path in (ROOT / "xprnn" / "interop").rglob("*.py") if "\n__all__ = " in path.read_text("utf-8")}
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in formats}
    shown = re.findall(r"^\.\. automodule:: (\S+)$", (ROOT / "docs/api/interop.rst").read_text("utf-8"), re.MULTILINE)
    assert len(names) > 7
    assert names <= {*shown}, "give these a heading in docs/api/interop.rst"
