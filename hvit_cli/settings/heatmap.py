"""What a heatmap shows and how it is painted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hvit_cli.settings.checks import is_share, require

Scale = Literal["relative", "rank", "minmax", "raw"]
Combine = Literal["region", "region×slide"]


@dataclass(frozen=True, kw_only=True)
class HeatmapSettings:
    """What a heatmap shows and how it is painted."""

    head: int | None = None
    """Attention head to show, 0 first; nothing averages all."""

    scale: Scale = "relative"
    """relative (1 is uniform within a region), rank, minmax or raw."""

    combine: Combine = "region"
    """Attention within each region, or that times the region's weight in the slide."""

    colour_map: str = "viridis"
    """Matplotlib colour map."""

    opacity: float = 0.5
    """Opacity of the colours over the slide, 0-1."""

    max_px: int = 2048
    """Longer side of the picture in pixels."""

    tissue_only: bool = False
    """Hide glass that a plain model saw; the caption says so."""

    smooth: bool = False
    """Smooth within each region instead of showing the patches as they are."""

    outline: bool = False
    """Draw the borders of the regions."""

    colour_range: tuple[float, float] | None = None
    """Ends of the colours; nothing takes 0-3 for relative, 0 to the largest for raw, else 0-1."""

    def __post_init__(self) -> None:
        require(is_share(self.opacity), "opacity", self.opacity, "from 0 to 1")
        require(
            isinstance(self.max_px, int) and 320 <= self.max_px <= 65500,
            "size",
            self.max_px,
            "320 to 65500 pixels",
        )
        require(self.head is None or self.head >= 0, "head", self.head, "0 or more")
        if self.colour_range is not None:
            low, high = self.colour_range
            require(
                math.isfinite(low) and math.isfinite(high) and low < high,
                "colour_range",
                self.colour_range,
                "two numbers, the lower first",
            )
