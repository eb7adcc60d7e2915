"""What a docs build does not see: sections that end in prose, and roles that name what is not there."""

import ast
import pkgutil
import re
from pathlib import Path

import pytest

import xprnn

ROOT = Path(xprnn.__file__).parents[1]
FILES = sorted((ROOT / "xprnn").rglob("*.py"))
SECTIONS = {"Parameters", "Attributes", "Raises"}  # what is returned may be told in prose
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


def prose_in_sections(text):
    """Lines of a section that are no entry: an entry's name is followed by its description, which is indented."""
    lines, section = text.split("\n"), None
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following and not following.strip("-"):
            section = line
        elif section in SECTIONS and line.strip("-") and not line.startswith(" ") and not following.startswith(" "):
            yield line


def exists(name):
    """Whether a dotted name leads anywhere."""
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError, ValueError):
        return False
    return True


def test_the_reader_tells_entries_from_prose():
    text = "One line.\n\nParameters\n----------\nx, y\n    Two of them.\n\n    More.\nz\n    One.\n\nRaises all.\n"
    assert list(prose_in_sections(text)) == ["Raises all."]
    assert not list(prose_in_sections("One.\n\nRaises\n------\nValueError\n    Always.\n\nNotes\n-----\nProse.\n"))


@each_file
def test_sections_hold_entries_only(path):
    prose = [line for _, text in docstrings(path) for line in prose_in_sections(text)]
    assert not prose, "put these before the first section, or below Notes or Raises"


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
