"""Figures whose words come from outside: names of sets, members and encoders are only text."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from hvit_cli.storage.atomic import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 40


def shortened(name: str) -> str:
    """A name that fits a title or a legend: on one line, its middle left out where it is long."""
    seen = "".join(letter if letter.isprintable() else " " for letter in name)
    if len(seen) <= _LONGEST:
        return seen
    half = (_LONGEST - 1) // 2
    return f"{seen[:half]}…{seen[-half:]}"


def save_figure(figure: Figure, path: Path, dpi: int) -> None:
    """Writes a figure as PNG, whole or not at all, without software or date.

    No word is taken for a formula: `$` in a name means a dollar.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
    with whole_file(path) as temporary, warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(temporary, dpi=dpi, format="png", metadata={"Software": None})
