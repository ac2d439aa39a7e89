"""Cells of a table that a spreadsheet will open: text must not become a formula.

A cell that begins with =, +, -, @, a tab or a carriage return and is no number is written with
an apostrophe before it, as spreadsheets themselves mark text. Reading takes that apostrophe
away again, and no other, so that a name survives being written and read.
"""

from __future__ import annotations

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def spreadsheet_safe(text: str) -> str:
    """`text`, with a leading apostrophe where a spreadsheet would take it for a formula.

    Text that begins with apostrophes before such a start gets one more, so that `as_written`
    gives back what was there.
    """
    bare = text.lstrip("'")
    return "'" + text if bare.startswith(_FORMULA_STARTS) and not _is_number(text) else text


def as_written(text: str) -> str:
    """What `spreadsheet_safe` was given to return `text`."""
    return text[1:] if text.startswith("'") and spreadsheet_safe(text[1:]) == text else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
