"""A map as a pyramidal TIFF of colours and transparency, to lie over the slide in a viewer.

A classic pyramid, one directory a level, compressed without loss: OpenSlide finds only one level
where the others hide in sub-directories, and JPEG has no transparency.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.emphasis import brought_out
from hvit_cli.heatmaps.encode import encode
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.render import colour_range, colour_table, colours
from hvit_cli.heatmaps.stitch import PictureFrame, Stitcher
from hvit_cli.settings import HeatmapSettings

RgbaImage = npt.NDArray[np.uint8]

_TILE_PX = 256
_STRIP_ROWS = 256
_OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """The colours of one map over the whole slide, alpha 0 where there are none.

    Attributes:
        patch_map: The map, on the scale that is shown.
        settings: Colours, their range and opacity.
        size_level0: (width, height) of the slide in level-0 pixels.
        spacing_um_level0: Micrometres per level-0 pixel.
    """

    patch_map: PatchMap
    settings: HeatmapSettings
    size_level0: tuple[int, int]
    spacing_um_level0: float

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the finest level: the slide's, at the overlay's spacing."""
        per_px = max(1.0, self.settings.overlay_um / self.spacing_um_level0)
        width, height = self.size_level0
        return max(1, round(width / per_px)), max(1, round(height / per_px))

    @property
    def spacing_um(self) -> tuple[float, float]:
        """Micrometres per pixel along x and y, so that it covers the slide exactly."""
        width, height = self.size_px
        return (
            self.size_level0[0] * self.spacing_um_level0 / width,
            self.size_level0[1] * self.spacing_um_level0 / height,
        )

    def strips(self) -> Iterator[RgbaImage]:
        """(rows, width, 4) from top to bottom; alpha is not multiplied into the colours."""
        settings = self.settings
        stitcher = Stitcher(
            self.patch_map,
            PictureFrame(size_px=self.size_px, size_level0=self.size_level0),
            shown=brought_out(self.patch_map, settings),
            smooth=settings.smooth,
        )
        table = colour_table(settings.shown_colour_map)
        limits = colour_range(
            settings.shown_scale, [self.patch_map], settings.colour_range, settings.percentile
        )
        width, height = self.size_px
        for top in range(0, height, _STRIP_ROWS):
            values = stitcher.band(top, min(top + _STRIP_ROWS, height))
            painted = np.zeros((len(values), width, 4), np.uint8)
            seen = ~np.isnan(values)
            painted[seen, :3] = colours(values[seen], table, limits)
            painted[seen, 3] = round(255 * settings.opacity)
            yield painted


def write_overlay(path: Path, overlay: Overlay, *, ome: bool = False) -> None:
    """Writes the pyramid.

    Args:
        path: Where to.
        overlay: What to write.
        ome: As OME-TIFF: levels as sub-directories and an OME-XML header.

    Raises:
        StorageError: The file cannot be written.
    """
    um_x, um_y = overlay.spacing_um

    def save(image: Any, name: str) -> None:
        import pyvips

        image = image.copy(interpretation="srgb")
        if ome:
            image.set_type(pyvips.GValue.gstr_type, "image-description", _ome_xml(overlay))
        image.tiffsave(
            name,
            tile=True,
            tile_width=_TILE_PX,
            tile_height=_TILE_PX,
            pyramid=True,
            subifd=ome,
            # Colours are weighed by alpha, so that what is transparent darkens none.
            region_shrink="mean",
            compression="deflate",
            predictor="horizontal",
            xres=1000 / um_x,
            yres=1000 / um_y,
            resunit="cm",
        )

    encode(path, overlay.strips(), overlay.size_px, save, bands=4)


def _ome_xml(overlay: Overlay) -> str:
    width, height = overlay.size_px
    um_x, um_y = overlay.spacing_um
    name = quoteattr(f"{overlay.patch_map.slide_id} {overlay.patch_map.attention} map")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<OME xmlns="{_OME}"><Image ID="Image:0" Name={name}>'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" Interleaved="true" '
        f'SizeX="{width}" SizeY="{height}" SizeC="4" SizeZ="1" SizeT="1" '
        f'PhysicalSizeX="{um_x:.9g}" PhysicalSizeXUnit="µm" '
        f'PhysicalSizeY="{um_y:.9g}" PhysicalSizeYUnit="µm">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="4"/><TiffData IFD="0" PlaneCount="1"/>'
        "</Pixels></Image></OME>\n"
    )
