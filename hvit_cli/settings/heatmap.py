"""What a heatmap shows and how it is painted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from hvit_cli.settings.checks import is_share, require

Scale = Literal["relative", "rank", "minmax", "raw"]
MapKind = Literal["attention", "rollout", "contribution", "single", "gradient", "integrated"]
MapLevel = Literal["region", "slide", "patch", "region×slide", "patch×region", "patch×region×slide"]
Unit = Literal["patch", "block", "region", "component"]

SIGNED_MAPS: tuple[MapKind, ...] = ("contribution", "gradient", "integrated")
"""Maps whose values say by how much the score rises or falls: 0 is neutral."""

GRADE_MAPS: tuple[MapKind, ...] = (*SIGNED_MAPS, "single")
"""Maps in grade points, on one scale across the slide."""

_LEVELS: dict[MapKind, tuple[MapLevel, ...]] = {
    "attention": get_args(MapLevel),
    "rollout": ("region", "slide", "region×slide"),
}


@dataclass(frozen=True, kw_only=True)
class HeatmapSettings:
    """What a heatmap shows and how it is painted."""

    map: MapKind = "attention"
    """What is shown: attention, rollout, contribution, single, gradient or integrated."""

    level: MapLevel = "region"
    """Level of the attention: region (its patches), slide, patch (its tokens), or a product."""

    unit: Unit = "patch"
    """What a contribution leaves out: patch, block (3×3), region, or tissue component."""

    gamma: float | None = None
    """Weight of fine-tuned levels in a product, 0-1; frozen ones get the rest. Nothing: plain."""

    head: int | None = None
    """Attention head to show, 0 first; nothing averages all."""

    scale: Scale | None = None
    """relative (1 is uniform), rank, minmax, raw; nothing: raw for grade points, else relative."""

    colour_map: str | None = None
    """Matplotlib colour map; nothing takes viridis, or RdBu_r where 0 is neutral."""

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

    percentile: tuple[float, float] | None = None
    """Ends of the colours as percentiles of the seen patches' values, 0-100."""

    threshold: float | None = None
    """Colour only values from here on, on the scale shown; the others keep the slide's colours."""

    highlight: float | None = None
    """Show this share of the seen patches, the highest, in full light, and dim all else."""

    contour: bool = False
    """Draw the outline of the tissue mask."""

    overlap: int = 1
    """Average this many shifted grids along each side of a patch; each is embedded anew."""

    overlay_um: float = 2.0
    """Micrometres per pixel of an overlay TIFF, at least those of the slide."""

    @property
    def shown_colour_map(self) -> str:
        """The colour map asked for, or the one that suits the map."""
        return self.colour_map or ("RdBu_r" if self.signed else "viridis")

    @property
    def shown_scale(self) -> Scale:
        """The scale asked for, or the one that suits the map."""
        return self.scale or ("raw" if self.map in GRADE_MAPS else "relative")

    @property
    def signed(self) -> bool:
        """Whether 0 is neutral: the colours diverge from it."""
        return self.map in SIGNED_MAPS

    def __post_init__(self) -> None:
        self._require_sense()
        require(is_share(self.opacity), "opacity", self.opacity, "from 0 to 1")
        require(
            isinstance(self.max_px, int) and 320 <= self.max_px <= 65500,
            "size",
            self.max_px,
            "320 to 65500 pixels",
        )
        self._require_drawable()
        require(self.head is None or self.head >= 0, "head", self.head, "0 or more")
        if self.colour_range is not None:
            low, high = self.colour_range
            require(
                math.isfinite(low) and math.isfinite(high) and low < high,
                "colour_range",
                self.colour_range,
                "two numbers, the lower first",
            )

    def _require_sense(self) -> None:
        """Refuses combinations of map, level, unit, head, γ and scale that mean nothing."""
        levels = _LEVELS.get(self.map, ("region",))
        require(self.level in levels, "level", self.level, f"{', '.join(levels)} with {self.map}")
        require(
            self.unit == "patch" or self.map == "contribution",
            "unit",
            self.unit,
            "patch, or the map contribution",
        )
        with_head = (self.map, self.level) in {
            ("attention", "region"),
            ("attention", "region×slide"),
            ("attention", "patch"),
            ("gradient", "region"),
        }
        require(
            self.head is None or with_head,
            "head",
            self.head,
            "none: this map is not one of attention heads, or of heads of two networks",
        )
        require(
            self.gamma is None or (is_share(self.gamma) and "×" in self.level),
            "gamma",
            self.gamma,
            "from 0 to 1, with a product of levels",
        )
        require(
            self.gamma is None or self.map == "attention",
            "gamma",
            self.gamma,
            "none: only attention is a product of levels",
        )
        require(
            self.scale is None or self.scale == "raw" or not self.signed,
            "scale",
            self.scale,
            f"raw: {self.map} is signed, and 0 must stay 0",
        )
        require(
            self.scale != "relative" or self.map not in GRADE_MAPS,
            "scale",
            self.scale,
            f"raw, rank or minmax: {self.map} is no share of a whole",
        )

    def _require_drawable(self) -> None:
        """Refuses ends, thresholds and shares that cannot be drawn, or not together."""
        require(
            isinstance(self.overlap, int) and 1 <= self.overlap <= 8,
            "overlap",
            self.overlap,
            "a whole number from 1 to 8",
        )
        require(
            self.overlap == 1 or "patch" not in self.level,
            "overlap",
            self.overlap,
            "1: tokens are finer than any shifted grid",
        )
        require(
            math.isfinite(self.overlay_um) and 0.1 <= self.overlay_um <= 256,
            "overlay_um",
            self.overlay_um,
            "0.1 to 256 µm",
        )
        if self.percentile is not None:
            low, high = self.percentile
            require(
                0 <= low < high <= 100,
                "percentile",
                self.percentile,
                "two numbers from 0 to 100, the lower first",
            )
            require(
                self.colour_range is None,
                "percentile",
                self.percentile,
                "either this or --colour-range",
            )
        require(
            self.threshold is None or math.isfinite(self.threshold),
            "threshold",
            self.threshold,
            "a number on the scale shown",
        )
        require(
            self.highlight is None or (is_share(self.highlight) and self.highlight > 0),
            "highlight",
            self.highlight,
            "above 0 and at most 1",
        )
        require(
            self.highlight is None or self.threshold is None,
            "highlight",
            self.highlight,
            "either this or --threshold",
        )
