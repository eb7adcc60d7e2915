"""One HTML page that needs nothing beside itself: words, tables and pictures, for wide screens and phones."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from xprnn import __version__
from xprnn.cli.report.drawing import drawn, learning
from xprnn.train import History

LONGEST = 300  # characters of a text that is shown

# Nothing is fetched and no script runs, whatever stands in the page.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light; --ink: #1c1f23; --soft: #5b636d; --line: #dfe3e8; --paper: #fff; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f7; color: var(--ink); line-height: 1.55; overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 2rem 3rem; background: var(--paper); min-height: 100vh; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { margin: .6rem 0; }
.lead { font-size: 1.1rem; padding: .8rem 1rem; border-left: 4px solid var(--accent); background: #eef5fa; }
.note, figcaption, footer { color: var(--soft); font-size: .9rem; }
figure { margin: 1rem 0; }
figure img { display: block; width: 100%; max-width: 34rem; height: auto; margin: 0 auto; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; overflow-wrap: normal; }
th:first-child, td:first-child { padding-left: 0; }
th { font-weight: 600; vertical-align: bottom; }
.words { text-align: left; overflow-wrap: anywhere; min-width: 6rem; }
tr.best td, tr.best th { background: #eef5fa; font-weight: 600; }
td.shade { text-align: center; border: 1px solid var(--paper); padding: .4rem .7rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; }
@media (max-width: 40rem) { main { padding: .8rem 1rem 2rem; } h1 { font-size: 1.4rem; } .lead { font-size: 1rem; }
  table { font-size: .85rem; } th, td { padding: .3rem .35rem; } }
@media print { body { background: none; } main { max-width: none; } figure, table { break-inside: avoid; } }
"""


class Page:
    """A page, written from top to bottom. Every text is taken as it is: what looks like HTML is shown, not obeyed."""

    def __init__(self, title: str, lead: str) -> None:
        self.title = title
        self._parts = [f"<h1>{_text(title)}</h1>", f'<p class="lead">{_text(lead)}</p>']

    def section(self, heading: str, *paragraphs: str) -> None:
        """A heading and what is to be known below it."""
        self._parts.append(f"<h2>{_text(heading)}</h2>")
        self.words(*paragraphs)

    def words(self, *paragraphs: str) -> None:
        """Paragraphs."""
        self._parts.extend(f"<p>{_text(paragraph)}</p>" for paragraph in paragraphs)

    def picture(self, draw: Callable[[Any], None], says: str, height: float = 3.4) -> None:
        """What is drawn on the axes of a figure, and what it shows in words.

        A picture that cannot be drawn, as where matplotlib is missing, is a sentence that says why.
        """
        try:
            image = base64.b64encode(drawn(draw, height)).decode()
        except Exception as error:  # matplotlib missing, or failing in one of its many ways
            self._parts.append(f'<p class="note">A picture is missing here: {_text(error)}</p>')
            return
        self._parts.append(
            f'<figure><img alt="{_text(says)}" src="data:image/svg+xml;base64,{image}">'
            f"<figcaption>{_text(says)}</figcaption></figure>"
        )

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[Any]], *, words: int = 1, best: int | None = None
    ) -> None:
        """Rows below a header: the first columns of words on the left, numbers on the right; row ``best`` is marked."""
        head = "".join(_cell("th", name, k < words) for k, name in enumerate(header))
        body = "".join(
            f"<tr{' class=best' if number == best else ''}>"
            + "".join(_cell("td", cell, k < words) for k, cell in enumerate(row))
            + "</tr>"
            for number, row in enumerate(rows)
        )
        self._parts.append(_scrolled(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"))

    def matrix(self, corner: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]]) -> None:
        """Counts by row and column, each darker the larger its share of the row."""
        head = _cell("th", corner, True) + "".join(_cell("th", name, False) for name in columns)
        body = ""
        for name, counts in rows:
            total = sum(counts) or 1
            cells = "".join(_shaded(count, count / total) for count in counts)
            body += f"<tr>{_cell('th', name, True)}{cells}</tr>"
        self._parts.append(_scrolled(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"))

    def html(self) -> bytes:
        """The page."""
        parts = "\n".join(self._parts)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(self.title)}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            f"<style>{STYLE}</style></head>\n<body><main>\n{parts}\n"
            f"<footer>Made by xprnn {_text(__version__)}. This page is one file and loads nothing.</footer>\n"
            "</main></body></html>\n"
        ).encode(errors="replace")  # half a sign has no place in a file


def learned(page: Page, training: History | None, settings: dict[str, Any]) -> None:
    """How training went, and the settings that give the same again."""
    page.section("How it was made")
    if training is not None and len(training) > 1:
        page.words(
            "The error while learning, pass after pass. Where the held-out curve rises while the other one falls, it "
            "learns by heart; the network of the lowest point was kept."
        )
        page.picture(lambda axes: learning(axes, training.epochs), "The error after each pass over the data.")
    page.words("With these settings, the same file and the same machine the same numbers come out again.")
    page.table(["setting", "value"], [[name, shortened(str(value))] for name, value in settings.items()], words=2)


def shortened(text: str) -> str:
    """A text, or the beginning of one that is too long for a table."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "\u2026"


def _text(text: Any) -> str:
    """As HTML shows it. Signs that no page may hold, such as a zero byte, are question marks."""
    shown = "".join(c if c in "\t\n\r" or ord(c) >= 32 else "?" for c in str(text))
    return escape(shown, quote=True)


def _cell(tag: str, content: Any, on_left: bool) -> str:
    return f"<{tag}{' class=words' if on_left else ''}>{_text(content)}</{tag}>"


def _shaded(count: int, share: float) -> str:
    """A cell between white and the accent; white letters where it is dark."""
    red, green, blue = (round(255 - share * (255 - end)) for end in (0, 114, 178))
    ink = "#fff" if share > 0.55 else "#1c1f23"
    return f'<td class="shade" style="background:rgb({red},{green},{blue});color:{ink}">{count}</td>'


def _scrolled(table: str) -> str:
    """A table that is wider than a phone moves below the finger, and the page stays."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="table">{table}</div>'
