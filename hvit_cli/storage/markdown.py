"""Names of slides, sets and models in Markdown: they are text, whatever signs they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Signs that begin something inside a line of CommonMark or a cell of a table; a bracket that ends
# alone, as those of intervals do, begins no link.
_SIGNS = re.compile(r"([\\`*|$]|\](?=[(\[:]))")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def as_text(name: str) -> str:
    """A name as a person sees it on the rendered page, on one line and in one cell.

    Signs of Markdown are escaped, HTML too; what cannot be seen, such as line feeds and marks that
    turn the direction of writing, is a space.
    """
    seen = "".join(letter if letter.isprintable() else " " for letter in name)
    plain = "".join(_HTML.get(letter, letter) for letter in seen)
    return _SIGNS.sub(r"\\\1", plain)


def table(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; every cell is text."""
    return [
        _row(heading),
        "|" + "---|" * len(heading),
        *(_row(line) for line in lines),
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(as_text, cells)) + " |"
