"""By what slides are told apart when a model is judged: a column, the scanner, the set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hvit_cli.errors import LabelError

SCANNER = "scanner"
SPACING_HEADINGS = ("spacing_um_level0", "spacing_um", "mpp")
# PANDA's scanners by the spacing of their level 0 (Bulten et al. 2022): one at Radboud, two at
# Karolinska. Level-0 spacings of one scanner agree to a few thousandths.
PANDA_SCANNERS = {0.486: "3DHISTECH", 0.5032: "Leica", 0.4523: "Hamamatsu"}
_TOLERANCE = 0.005

Rows = Mapping[str, Mapping[str, str]]


def values_of(name: str, tables: Sequence[tuple[object, Rows]]) -> dict[str, str]:
    """The value of a column by slide id, from the first table that has the column.

    `scanner` is a column like any other, and where there is none it is told by the spacing.
    Slides without a value are absent.

    Args:
        name: Heading of the column, or `scanner`.
        tables: Each table's path and its rows by slide id.

    Raises:
        LabelError: No table has such a column.
    """
    found = _column(name, tables)
    if found is None and name == SCANNER:
        for heading in SPACING_HEADINGS:
            spacings = _column(heading, tables)
            if spacings is not None:
                return {i: scanner_of(text) for i, text in spacings.items()}
    if found is None:
        wanted = (name, *SPACING_HEADINGS) if name == SCANNER else (name,)
        raise LabelError(
            "no table has such a column",
            where=" and ".join(str(path) for path, _ in tables),
            found=", ".join(
                dict.fromkeys(h for _, rows in tables for h in next(iter(rows.values()), {}))
            ),
            wanted=" or ".join(wanted),
        )
    return found


def scanner_of(spacing: str) -> str:
    """The scanner that a level-0 spacing stands for, in words: `0.503 µm (as PANDA's Leica)`.

    Raises:
        LabelError: The text is no number.
    """
    try:
        spacing_um = float(spacing)
    except ValueError as error:
        raise LabelError(
            "a spacing is not a number", found=repr(spacing), wanted="µm per pixel"
        ) from error
    known = [name for um, name in PANDA_SCANNERS.items() if abs(spacing_um / um - 1) <= _TOLERANCE]
    return f"{spacing_um:.3f} µm" + (f" (as PANDA's {known[0]})" if known else "")


def _column(name: str, tables: Sequence[tuple[object, Rows]]) -> dict[str, str] | None:
    for _, rows in tables:
        if name in next(iter(rows.values()), {}):
            return {i: row[name] for i, row in rows.items() if row.get(name)}
    return None
