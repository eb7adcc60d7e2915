"""The page that all reports are written on."""

import sys

import pytest
from reports import check_page

from xprnn.cli.report.page import Page

EVIL = "<img src=x onerror=alert(1)> & \"' \0 \ud800"


def test_nothing_of_a_text_is_obeyed(tmp_path, pictures):
    page = Page(EVIL, EVIL)
    page.section(EVIL, EVIL)
    page.table([EVIL, EVIL], [[EVIL, 1]])
    page.matrix(EVIL, [EVIL], [(EVIL, [3])])
    page.picture(lambda axes: axes.set_title("\x01" + EVIL.replace("\ud800", "")), EVIL)
    (tmp_path / "page").write_bytes(page.html())
    text = check_page(tmp_path / "page")
    assert text.count("&lt;img src=x onerror=alert(1)&gt; &amp; &quot;&#x27;") >= 9
    assert "\0" not in text


def test_a_picture_that_cannot_be_drawn_is_a_sentence(tmp_path, monkeypatch, pictures):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page("title", "lead")
    page.picture(lambda axes: None, "nothing")
    (tmp_path / "page").write_bytes(page.html())
    assert "A picture is missing here: drawing needs matplotlib" in check_page(tmp_path / "page")
    assert "xprnn[plot]" in page.html().decode()


def test_the_same_picture_has_the_same_bytes(pictures):
    pytest.importorskip("matplotlib")
    pages = []
    for _ in range(2):
        page = Page("title", "lead")
        page.picture(lambda axes: axes.plot([1, 2], [2, 1], label="a"), "a line")
        pages.append(page.html())
    assert pages[0] == pages[1]
