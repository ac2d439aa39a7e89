"""What a report holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit_cli.settings.checks import require

SheetLayout = Literal["pair", "single"]


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What a report holds."""

    top: int = 8
    """Show this many patches with the highest values of each map, and with the lowest."""

    picture_px: int = 1400
    """Longer side of a slide's pictures in pixels; that of a blinded sheet is twice as long."""

    sheets: SheetLayout = "pair"
    """Blinded sheets: both maps of a slide on one (pair), or each on one of its own (single)."""

    seed: int = 0
    """Seed of the order of blinded sheets and of the places of their maps."""

    def __post_init__(self) -> None:
        require(0 <= self.top <= 48, "top", self.top, "0 to 48")
        require(
            isinstance(self.picture_px, int) and 320 <= self.picture_px <= 6000,
            "picture-size",
            self.picture_px,
            "320 to 6000 pixels",
        )
        require(self.sheets in ("pair", "single"), "sheets", self.sheets, "pair or single")
        require(isinstance(self.seed, int) and self.seed >= 0, "seed", self.seed, "0 or more")
