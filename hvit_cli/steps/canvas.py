"""What maps are drawn over where a slide's features are there and the slide is not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hvit_cli.attribution.blank import patch_map
from hvit_cli.heatmaps.figure import SlidePixels
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.render import RgbImage
from hvit_cli.heatmaps.stitch import PictureFrame, Stitcher
from hvit_cli.storage.features import SlideFeatures

NO_SLIDE = (
    "Drawn from features alone, over white: grey is the share of tissue in each patch, and tissue "
    "outside the regions is not shown."
)
# Grey of a patch that is all tissue.
_TISSUE_GREY = 200
_ROWS = 256
_MASK_PX = 2048


def tissue_canvas(features: SlideFeatures) -> SlidePixels:
    """White with the patches' tissue fractions in grey, in place of the slide's pixels."""

    def strips(frame: PictureFrame) -> Iterator[RgbImage]:
        stitcher = Stitcher(_fractions(features), frame)
        for top in range(0, frame.size_px[1], _ROWS):
            band = stitcher.band(top, min(top + _ROWS, frame.size_px[1]))
            grey = 255 - np.nan_to_num(band) * (255 - _TISSUE_GREY)
            yield np.rint(grey)[..., None].astype(np.uint8).repeat(3, axis=2)

    return strips


def tissue_patches(features: SlideFeatures) -> npt.NDArray[np.uint8]:
    """(h, w) 1 where a patch of the features has tissue, the whole slide at most 2048 px long."""
    width, height = features.size_level0
    longest = max(width, height)
    size = (max(1, width * _MASK_PX // longest), max(1, height * _MASK_PX // longest))
    frame = PictureFrame(size_px=size, size_level0=features.size_level0)
    fraction = Stitcher(_fractions(features), frame).band(0, size[1])
    return (np.nan_to_num(fraction) > features.background_below).astype(np.uint8)


def _fractions(features: SlideFeatures) -> PatchMap:
    """The patches with tissue, with their fraction as the value."""
    visible = features.visible("masked")
    value = features.tissue_fraction[visible].astype(np.float64)
    return patch_map(features, "masked", value, within="slide", unit_label="tissue fraction")
