"""The Python of each tutorial page runs, from its first block to its last, and its commands name files that exist."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import xprnn

ROOT = Path(xprnn.__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def test_every_page_stands_in_the_contents():
    """The notes of decisions too; a page that stands nowhere is a warning of the site's, and so an error."""
    assert len(PAGES) >= 3
    for folder, contents in (("tutorials", "index.md"), ("decisions", "decisions/index.md")):
        pages = {path.stem for path in (ROOT / "docs" / folder).glob("*.md")} - {"index"}
        listed = re.findall(rf"^(?:{folder}/)?([\w-]+)$", (ROOT / "docs" / contents).read_text("utf-8"), re.MULTILINE)
        assert not pages - {*listed}, f"put these into docs/{contents}"


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": f"tutorial_{page.stem}"}
    text = page.read_text(encoding="utf-8")
    for library in re.findall(r"^<!-- needs (\w+) -->$", text, re.MULTILINE):
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert blocks
    for block in blocks:
        lines_above = text.count("\n", 0, block.start(1))  # so that an error names the page's own line
        exec(compile("\n" * lines_above + block[1], str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_commands_name_files_that_exist(page):
    commands = re.findall(r"^(?:python|bash) (\S+/\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert not [path for path in commands if not (ROOT / path).exists()]
