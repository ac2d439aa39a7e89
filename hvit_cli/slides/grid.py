"""The regions of a slide and the patches inside them, as positions and tissue counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvit_cli.slides.geometry import round_px


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Non-overlapping square regions of one slide, ordered by (y, x), with tissue counts.

    M regions hold K = (region_px / patch_px)² patches each; patch k lies at
    row k // side, column k % side.

    Attributes:
        origin_level0: (M, 2) float64 top-left corners (x, y), not yet rounded. Rounding
            happens once, at the end, so that neighbours share their edges.
        patch_level0: Side of a patch in level-0 pixels, not rounded.
        region_px: Side of a region in output pixels.
        patch_px: Side of a patch in output pixels.
        tissue_count: (M, K) int64, mask pixels with tissue whose centre lies in the patch.
        pixel_count: (M, K) int64, all mask pixels whose centre lies in the patch, those
            beyond the edge of the slide included.
    """

    origin_level0: npt.NDArray[np.float64]
    patch_level0: float
    region_px: int
    patch_px: int
    tissue_count: npt.NDArray[np.int64]
    pixel_count: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.origin_level0)

    @property
    def side(self) -> int:
        """Patches along one side of a region."""
        return self.region_px // self.patch_px

    @property
    def patches_per_region(self) -> int:
        """K, the number of patches of a region."""
        return self.side**2

    @property
    def region_level0(self) -> float:
        """Side of a region in level-0 pixels, not rounded."""
        return self.patch_level0 * self.side

    @property
    def xy_level0(self) -> npt.NDArray[np.int64]:
        """(M, 2) top-left corners of the regions, rounded."""
        return round_px(self.origin_level0)

    @property
    def patch_origin_level0(self) -> npt.NDArray[np.float64]:
        """(M, K, 2) top-left corners (x, y) of the patches, not rounded."""
        row, column = np.divmod(np.arange(self.patches_per_region), self.side)
        offset = np.stack([column, row], axis=-1) * self.patch_level0
        return self.origin_level0[:, None, :] + offset[None]

    @property
    def patch_xy_level0(self) -> npt.NDArray[np.int64]:
        """(M, K, 2) top-left corners (x, y) of the patches, rounded."""
        return round_px(self.patch_origin_level0)

    @property
    def tissue_fraction(self) -> npt.NDArray[np.float32]:
        """(M, K) tissue fraction of each patch; exactly 0 means background."""
        fraction = self.tissue_count / np.maximum(self.pixel_count, 1)
        return np.asarray(fraction, np.float32)

    @property
    def region_tissue_fraction(self) -> npt.NDArray[np.float32]:
        """(M,) tissue fraction of each region: sum of counts over sum of pixels."""
        fraction = self.tissue_count.sum(axis=1) / np.maximum(self.pixel_count.sum(axis=1), 1)
        return np.asarray(fraction, np.float32)

    def select(self, keep: npt.NDArray[np.bool_]) -> Regions:
        """The regions where `keep`, an (M,) array, is true, in the same order."""
        return Regions(
            origin_level0=self.origin_level0[keep],
            patch_level0=self.patch_level0,
            region_px=self.region_px,
            patch_px=self.patch_px,
            tissue_count=self.tissue_count[keep],
            pixel_count=self.pixel_count[keep],
        )
