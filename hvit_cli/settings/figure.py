"""Which figure is drawn from a slide's maps, and what is written beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit_cli.settings.checks import require

FigureKind = Literal["map", "1", "3", "4", "6"]


@dataclass(frozen=True, kw_only=True)
class FigureSettings:
    """Which figure is drawn from a slide's maps, and what is written beside it."""

    figure: FigureKind = "map"
    """map, or as in the paper: 1 (one region), 3 (regions), 4 (its patches), 6 (side by side)."""

    shown_region: int | None = None
    """Region of figures 1 and 4, 0 first; nothing takes the one with the most attention."""

    top: int = 0
    """Also draw this many patches with the highest and the lowest values as a contact sheet."""

    def __post_init__(self) -> None:
        require(0 <= self.top <= 200, "top", self.top, "0 to 200")
        require(
            self.shown_region is None or self.shown_region >= 0,
            "show-region",
            self.shown_region,
            "0 or more",
        )
        require(
            self.shown_region is None or self.figure in ("1", "4"),
            "show-region",
            self.shown_region,
            "none, or figure 1 or 4, which show one region",
        )

    @property
    def needs_both(self) -> bool:
        """Whether masked and plain attention are shown together."""
        return self.figure in ("1", "6")
