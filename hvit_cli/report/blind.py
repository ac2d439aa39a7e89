"""Sheets on which nobody can tell masked from plain, and the key that tells it afterwards.

Numbers of sheets and places of maps are drawn from a seed alone. In pairs, masked lies at A on
half of the sheets, so that a reader who always prefers one place prefers neither map.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvit_cli.settings import Attention, SheetLayout

PLACES = ("A", "B")
KEY_COLUMNS = (
    "sheet",
    "file",
    "sha256",
    "slide_id",
    "A",
    "B",
    "model",
    "map",
    "level",
    "scale",
    "seed",
)
ANSWER_COLUMNS = {
    "pair": ("sheet", "reader", "better (A, B or neither)", "confidence (1 to 5)", "remark"),
    "single": ("sheet", "reader", "usefulness (1 to 5)", "confidence (1 to 5)", "remark"),
}
_KINDS: tuple[Attention, Attention] = ("masked", "plain")
# A stream of random numbers of its own; see `training.folds`.
_STREAM = 401


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One sheet, before it is drawn.

    Attributes:
        name: What it is called, which tells nothing.
        slide_id: The slide that it shows.
        kinds: What its maps are, in their places: two in a pair, one alone.
    """

    name: str
    slide_id: str
    kinds: tuple[Attention, ...]

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.name}.png"


def plan_sheets(slide_ids: Sequence[str], layout: SheetLayout, seed: int) -> list[Sheet]:
    """Draws the sheets of some slides; the order in which the slides are named plays no part.

    Args:
        slide_ids: The slides.
        layout: A pair on each sheet, or each map on a sheet of its own.
        seed: Decides numbers and places.

    Returns:
        The sheets in the order of their numbers.
    """
    generator = np.random.default_rng([seed, _STREAM])
    ids = sorted(slide_ids)
    contents: list[tuple[str, tuple[Attention, ...]]]
    if layout == "pair":
        # Half of them either way; an odd one is drawn.
        swapped = np.arange(len(ids)) % 2 == generator.integers(2)
        generator.shuffle(swapped)
        contents = [
            (slide_id, _KINDS[::-1] if swap else _KINDS)
            for slide_id, swap in zip(ids, swapped.tolist(), strict=True)
        ]
    else:
        contents = [(slide_id, (kind,)) for slide_id in ids for kind in _KINDS]
    digits = max(3, len(str(len(contents))))
    order = generator.permutation(len(contents)).tolist()
    return [
        Sheet(name=f"sheet-{number:0{digits}d}", slide_id=contents[k][0], kinds=contents[k][1])
        for number, k in enumerate(order, start=1)
    ]


def key_row(
    sheet: Sheet, path: Path, *, model: str, shown: tuple[str, str, str], seed: int
) -> dict[str, object]:
    """The line of the key for a sheet that was written.

    Args:
        sheet: What it shows.
        path: Its file, whose hash finds the sheet again under any name.
        model: The model's name.
        shown: Map, level and scale.
        seed: What the sheets were drawn from.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    places = dict(zip(PLACES, sheet.kinds, strict=False))
    return {
        "sheet": sheet.name,
        "file": sheet.file,
        "sha256": digest,
        "slide_id": sheet.slide_id,
        "A": places["A"],
        "B": places.get("B", ""),
        "model": model,
        "map": shown[0],
        "level": shown[1],
        "scale": shown[2],
        "seed": seed,
    }
