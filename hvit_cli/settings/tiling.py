"""How tissue is cut into regions and patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit_cli.errors import SettingsError
from hvit_cli.settings.checks import is_share, require

Grid = Literal["islands", "slide"]

MOST_PATCHES_ACROSS = 1024
"""Along one side of a region: a million patches in each, beyond what any memory holds."""


@dataclass(frozen=True, kw_only=True)
class TilingSettings:
    """How tissue is cut into regions and patches."""

    region_px: int = 2048
    """Side of a region in pixels at the target spacing."""

    patch_px: int = 256
    """Side of a patch in pixels at the target spacing."""

    grid: Grid = "islands"
    """One grid per island of tissue, or one for the whole slide."""

    min_tissue_fraction: float = 0.10
    """Regions with a smaller tissue fraction are left out."""

    background_below: float = 0.0
    """Patches with at most this tissue fraction are background; 0 means none at all."""

    def __post_init__(self) -> None:
        for field in ("region_px", "patch_px"):
            value = getattr(self, field)
            require(
                isinstance(value, int) and 0 < value <= 65536,
                field,
                value,
                "a whole number of pixels, 1 to 65536",
            )
        if self.region_px % self.patch_px:
            raise SettingsError(
                "a region must hold a whole number of patches",
                where="--region, --patch",
                found=f"{self.region_px} and {self.patch_px}",
                wanted="a region that is a multiple of the patch",
            )
        require(
            self.side <= MOST_PATCHES_ACROSS,
            "patch_px",
            self.patch_px,
            f"at most {MOST_PATCHES_ACROSS} patches along a region's side",
        )
        require(
            is_share(self.min_tissue_fraction),
            "min_tissue_fraction",
            self.min_tissue_fraction,
            "from 0 to 1",
        )
        require(
            is_share(self.background_below) and self.background_below < 1,
            "background_below",
            self.background_below,
            "from 0 to below 1",
        )

    @property
    def side(self) -> int:
        """Patches along one side of a region."""
        return self.region_px // self.patch_px
