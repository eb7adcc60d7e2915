"""The site: ``pip install -e '.[docs]'``, then ``sphinx-build --fail-on-warning docs site``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # of a bare checkout too

from xprnn import __version__

project = "xprnn"
author = "xprnn developers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["README.md"]
html_theme = "furo"
html_title = f"xprnn {version}"
html_copy_source = False
smartquotes = False

# Public names are documented where users find them, in the order of __all__, and not where they are written.
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = False
napoleon_custom_sections = ["Returned"]
napoleon_use_rtype = False
myst_heading_anchors = 3


def readable(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Take docstrings as they are meant, before napoleon reads their sections.

    Above the sections indented paragraphs are equations and listings, which stand as they are written, or tables. Bars
    are absolute values, stars products. Prose behind the sections, which napoleon would take for entries, goes before
    them; what is returned may be told in prose.
    """
    above: list[list[str]] = []
    sections: list[list[str]] = []
    listing = False
    for paragraph in "\n".join(lines).split("\n\n"):
        block = paragraph.split("\n")
        table = block[0].lstrip().startswith("==")
        heading = len(block) > 1 and block[1].startswith("---")
        indented = all(line.startswith("    ") for line in block)
        if indented and not sections and not table:
            above += [block] if listing else [["::"], block]
            listing = True
            continue
        listing = False
        if not table and not block[0].startswith(">>>"):
            block = [_plain(line) for line in block]
        if heading and block[0] in ("Returns", "Yields") and not any(line.startswith(" ") for line in block):
            block[:2] = ["Returned", "--------"]
        entries = heading or (sections and any(line.startswith(" ") for line in block))
        (sections if entries else above).append(block)
    lines[:] = "\n\n".join("\n".join(block) for block in (*above, *sections)).split("\n")


def _plain(line: str) -> str:
    """Outside of literals bars name no substitution, and stars stress nothing."""
    parts = re.split(r"(``.*?``)", line)
    return "".join(part if part.startswith("``") else re.sub(r"[|*]", r"\\\g<0>", part) for part in parts)


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", readable, priority=400)
