"""What `hvit --help` prints: the commands by topic, framed as the pages of single commands are.

Typer's own page takes longer to load than all the rest of `hvit --help`, for it is drawn by
Rich with everything that Rich can draw.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence

import typer

_WIDEST = 100
# Left above, line, right above, side, left below, right below.
_FRAME = ("╭", "─", "╮", "│", "╰", "╯")
_FRAME_IN_ASCII = ("+", "-", "+", "|", "+", "+")


def front_page(
    usage: str,
    about: str,
    options: Sequence[tuple[str, str]],
    topics: Mapping[str, Mapping[str, str]],
) -> str:
    """The page, as wide as the terminal, with its colours; `typer.echo` drops them elsewhere.

    Args:
        usage: The line that says how a command is given.
        about: What the program is.
        options: Names and meaning of each option.
        topics: What each command does, by topic.
    """
    width = max(40, min(shutil.get_terminal_size().columns, _WIDEST))
    every = [*options, *(row for commands in topics.values() for row in commands.items())]
    column = max(len(name) for name, _ in every)
    lines = ["", typer.style(f" {usage}", bold=True), ""]
    lines += [f" {line}" for line in textwrap.wrap(about, width - 2)]
    lines += [""]
    for title, rows in {"Options": dict(options), **topics}.items():
        lines += _panel(title, rows, column, width)
    return "\n".join(lines)


def _panel(title: str, rows: Mapping[str, str], column: int, width: int) -> Iterator[str]:
    left_top, line, right_top, side, left_bottom, right_bottom = _frame()
    faint = {"dim": True}
    yield typer.style(
        f"{left_top}{line} {title} {line * (width - len(title) - 5)}{right_top}", **faint
    )
    bar = typer.style(side, **faint)
    room = width - column - 6
    for name, meaning in rows.items():
        head = typer.style(f"{name:{column}}", fg="cyan", bold=True)
        for text in textwrap.wrap(meaning, room):
            yield f"{bar} {head}  {text:{room}} {bar}"
            head = " " * column
    yield typer.style(f"{left_bottom}{line * (width - 2)}{right_bottom}", **faint)


def _frame() -> tuple[str, str, str, str, str, str]:
    try:
        "".join(_FRAME).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return _FRAME_IN_ASCII
    return _FRAME
