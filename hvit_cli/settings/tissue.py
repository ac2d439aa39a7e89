"""How tissue is told from glass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hvit_cli.errors import SettingsError
from hvit_cli.settings.checks import is_positive, is_share, require

MissingMask = Literal["error", "segment", "skip"]


@dataclass(frozen=True, kw_only=True)
class TissueSettings:
    """How tissue is told from glass, or whose mask is taken instead."""

    segment_spacing_um: float = 8.0
    """Spacing in µm per pixel near which tissue is segmented; at most 2 where tokens are masked."""

    saturation_floor: float = 0.05
    """Lowest saturation (0-1) that may count as tissue, whatever Otsu says."""

    saturation_ceiling: float = 0.08
    """Saturation (0-1) that always counts as tissue, so that strong stain does not hide pale."""

    median_um: float = 32.0
    """Side of the median filter in µm."""

    closing_um: float = 128.0
    """Diameter of the closing in µm."""

    min_tissue_mm2: float = 0.02
    """Tissue components smaller than this many mm² are removed."""

    min_width_um: float = 50.0
    """Tissue components that are nowhere this many µm wide are removed: scratches, dust."""

    max_hole_mm2: float = 0.1
    """Holes up to this many mm² are filled: lumina count as tissue."""

    min_pen_mm2: float = 0.03
    """Red and black areas smaller than this many mm² are no pen mark."""

    mask_dir: Path | None = None
    """Folder of tissue masks that replace segmentation."""

    mask_pattern: str = "{slide_id}_mask.tiff"
    """Name of a slide's mask in the mask folder."""

    tissue_values: tuple[int, ...] = (1,)
    """Values of an external mask (first channel) that mean tissue."""

    missing_mask: MissingMask = "error"
    """What to do for a slide without a mask in the mask folder."""

    tissue_geojson: Path | None = None
    """Folder of GeoJSON outlines, <slide_id>.geojson, that replace segmentation."""

    def __post_init__(self) -> None:
        for field in ("segment_spacing_um", "median_um", "closing_um"):
            require(is_positive(getattr(self, field)), field, getattr(self, field), "above 0")
        for field in ("min_tissue_mm2", "min_width_um", "max_hole_mm2", "min_pen_mm2"):
            value = getattr(self, field)
            require(math.isfinite(value) and value >= 0, field, value, "0 or more")
        require(
            is_share(self.saturation_floor),
            "saturation_floor",
            self.saturation_floor,
            "from 0 to 1",
        )
        require(
            is_share(self.saturation_ceiling) and self.saturation_ceiling >= self.saturation_floor,
            "saturation_ceiling",
            self.saturation_ceiling,
            f"from saturation_floor ({self.saturation_floor}) to 1",
        )
        require(
            "{slide_id}" in self.mask_pattern,
            "mask_pattern",
            self.mask_pattern,
            "a name that contains {slide_id}",
        )
        require(
            len(self.tissue_values) > 0, "tissue_values", self.tissue_values, "at least one value"
        )
        if self.mask_dir is not None and self.tissue_geojson is not None:
            raise SettingsError("--mask-dir and --tissue-geojson exclude each other")
