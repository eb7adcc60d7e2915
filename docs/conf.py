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
    are absolute values, stars products. What is returned may be told in prose, which napoleon would take for types.
    """
    found: list[list[str]] = []
    listing = sections = False
    for paragraph in "\n".join(lines).split("\n\n"):
        block = paragraph.split("\n")
        sections = sections or (len(block) > 1 and block[1].startswith("---"))
        indented = not sections and all(line.startswith("    ") for line in block)
        table = block[0].lstrip().startswith("==")
        if indented and not table:
            found += [block] if listing else [["::"], block]
        elif table or block[0].startswith(">>>"):
            found.append(block)
        else:
            if block[0] in ("Returns", "Yields") and not any(line.startswith(" ") for line in block):
                block = ["Returned", "--------", *block[2:]]
            found.append([_plain(line) for line in block])
        listing = indented and not table
    lines[:] = "\n\n".join("\n".join(block) for block in found).split("\n")


def _plain(line: str) -> str:
    """Outside of literals bars name no substitution, and stars stress nothing."""
    parts = re.split(r"(``.*?``)", line)
    return "".join(part if part.startswith("``") else re.sub(r"[|*]", r"\\\g<0>", part) for part in parts)


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", readable, priority=400)
