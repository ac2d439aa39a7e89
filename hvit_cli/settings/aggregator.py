"""Sizes of the region and slide Transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit_cli.settings.checks import is_share, require
from hvit_cli.settings.tiling import MOST_PATCHES_ACROSS

Head = Literal["linear", "ranks"]


@dataclass(frozen=True, kw_only=True)
class AggregatorSettings:
    """Sizes of the region and slide Transformers; the defaults are the paper's."""

    patch_dim: int = 384
    """Width of a patch's features."""

    region_px: int = 2048
    """Side of a region in pixels."""

    patch_px: int = 256
    """Side of a patch in pixels."""

    position_region_px: int | None = None
    """Region size whose position grid the weights hold; nothing means region_px."""

    region_dim: int = 192
    """Width of the region Transformer."""

    region_depth: int = 6
    """Blocks of the region Transformer."""

    region_heads: int = 6
    """Attention heads of the region Transformer."""

    registers: int = 0
    """Register tokens of the region Transformer."""

    slide_dim: int = 192
    """Width of the slide Transformer."""

    slide_depth: int = 2
    """Layers of the slide Transformer."""

    slide_heads: int = 3
    """Attention heads of the slide Transformer."""

    dropout: float = 0.25
    """Dropout in the slide Transformer while training."""

    outputs: int = 1
    """Numbers that the last layer returns."""

    head: Head = "linear"
    """Last layer: one weight vector per output (linear), or one for all and a bias each (ranks)."""

    def __post_init__(self) -> None:
        for field in (
            "patch_dim",
            "region_px",
            "patch_px",
            "region_dim",
            "region_depth",
            "region_heads",
            "slide_dim",
            "slide_depth",
            "slide_heads",
            "outputs",
        ):
            value = getattr(self, field)
            require(isinstance(value, int) and value >= 1, field, value, "1 or more")
        require(
            isinstance(self.registers, int) and self.registers >= 0,
            "registers",
            self.registers,
            "0 or more",
        )
        require(
            is_share(self.dropout) and self.dropout < 1,
            "dropout",
            self.dropout,
            "from 0 to below 1",
        )
        require(
            self.region_px % self.patch_px == 0,
            "region_px",
            self.region_px,
            f"a multiple of patch_px ({self.patch_px})",
        )
        require(
            max(self.side, self.position_side) <= MOST_PATCHES_ACROSS,
            "region_px",
            self.region_px,
            f"at most {MOST_PATCHES_ACROSS} patches along a region's side",
        )
        require(
            self.region_dim % self.region_heads == 0,
            "region_heads",
            self.region_heads,
            f"a divisor of region_dim ({self.region_dim})",
        )
        require(
            self.slide_dim % self.slide_heads == 0,
            "slide_heads",
            self.slide_heads,
            f"a divisor of slide_dim ({self.slide_dim})",
        )

    @property
    def side(self) -> int:
        """Patches along one side of a region."""
        return self.region_px // self.patch_px

    @property
    def position_side(self) -> int:
        """Side of the learned position grid, int(region · 0.875 / 256) as in the paper's code."""
        return max(int((self.position_region_px or self.region_px) * 0.875 / self.patch_px), 1)
