"""The tissue mask of a slide: its frame and its file.

A mask covers the whole slide. Its pixels are 1 for tissue and 0 for background; pixel
(row i, column j) has its centre at ((j + 0.5) · x, (i + 0.5) · y) in level-0 pixels, where
(x, y) is `level0_per_px`. What a mask pixel says holds for its centre.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyvips

from hvit_cli.errors import DamagedFileError

Pixels = npt.NDArray[np.uint8]
Source = Literal["segmented", "external", "geojson"]

_SCHEMA = "hvit-mask-1"
_TILE_PX = 256


@dataclass(frozen=True, kw_only=True)
class TissueMask:
    """Where a slide holds tissue.

    Attributes:
        pixels: (h, w) uint8, 1 tissue, 0 background, over the whole slide.
        size_level0: (width, height) of the slide in level-0 pixels.
        spacing_um: Micrometres per mask pixel, the mean of both axes.
        source: `segmented`, `external` or `geojson`.
        pen_mm2: Area rejected as pen marks.
        note: What was peculiar; empty mostly.
    """

    pixels: Pixels
    size_level0: tuple[int, int]
    spacing_um: float
    source: str
    pen_mm2: float = 0.0
    note: str = ""

    @property
    def level0_per_px(self) -> tuple[float, float]:
        """Level-0 pixels per mask pixel, (x, y)."""
        height, width = self.pixels.shape
        return self.size_level0[0] / width, self.size_level0[1] / height

    @property
    def spacing_um_level0(self) -> float:
        """Micrometres per level-0 pixel."""
        return self.spacing_um / float(np.mean(self.level0_per_px))

    @property
    def pixel_mm2(self) -> float:
        """Area of a mask pixel."""
        x, y = self.level0_per_px
        return x * y * self.spacing_um_level0**2 / 1e6

    @property
    def tissue_mm2(self) -> float:
        """Area of all tissue."""
        return int(np.count_nonzero(self.pixels)) * self.pixel_mm2

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is tissue."""
        return not bool(self.pixels.any())


def mask_over_slide(
    pixels: Pixels, size_level0: tuple[int, int], spacing_um_level0: float, source: Source
) -> TissueMask:
    """The mask of a slide, with the spacing that follows from both sizes."""
    height, width = pixels.shape
    per_px = (size_level0[0] / width + size_level0[1] / height) / 2
    return TissueMask(
        pixels=pixels,
        size_level0=size_level0,
        spacing_um=spacing_um_level0 * per_px,
        source=source,
    )


def write_mask(path: Path, mask: TissueMask, recipe: dict[str, Any]) -> None:
    """Writes a mask as a pyramidal tiled TIFF of 0 and 1 with its real spacing.

    The recipe and the slide's size travel as JSON in the ImageDescription, with a checksum
    over both and the pixels; masks from before it was written are read without.

    Args:
        path: Where to write; the caller takes care that no half-written file is found.
        mask: The mask.
        recipe: What decided the mask's content.

    Raises:
        OSError: It cannot be written.
    """
    description = {
        "schema": _SCHEMA,
        "size_level0": list(mask.size_level0),
        "spacing_um": mask.spacing_um,
        "source": mask.source,
        "pen_mm2": mask.pen_mm2,
        "note": mask.note,
        "recipe": recipe,
    }
    description["sha256"] = _checksum(mask.pixels, description)
    picture = pyvips.Image.new_from_array(np.ascontiguousarray(mask.pixels)).copy()
    picture.set_type(
        pyvips.GValue.gstr_type, "image-description", json.dumps(description, sort_keys=True)
    )
    x, y = mask.level0_per_px
    try:
        picture.tiffsave(
            str(path),
            tile=True,
            tile_width=_TILE_PX,
            tile_height=_TILE_PX,
            pyramid=True,
            region_shrink="nearest",
            compression="deflate",
            xres=1000 / (x * mask.spacing_um_level0),
            yres=1000 / (y * mask.spacing_um_level0),
            resunit="cm",
        )
    except pyvips.Error as error:
        raise OSError(f"libvips: {str(error).strip().splitlines()[-1]}") from error


def _checksum(pixels: Pixels, description: dict[str, Any]) -> str:
    """SHA-256 of what a mask file says, pixels and all."""
    said = f"{json.dumps(description, sort_keys=True)} {pixels.shape}"
    return hashlib.sha256(said.encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def read_mask(path: Path) -> tuple[TissueMask, dict[str, Any]]:
    """Reads a mask that `write_mask` wrote, and its recipe.

    Raises:
        DamagedFileError: The file is not such a mask, or not whole.
    """
    try:
        # libvips caches by name: without revalidation a file that was replaced reads as before.
        picture = pyvips.Image.new_from_file(str(path), fail_on="truncated", revalidate=True)
        if picture.bands != 1:
            raise DamagedFileError("a mask has one channel", where=path, found=picture.bands)
        description = json.loads(picture.get("image-description"))
        pixels = np.ascontiguousarray(picture[0].numpy(), np.uint8)
        written = description.pop("sha256", None)
        if written is not None and written != _checksum(pixels, description):
            raise DamagedFileError("the mask is not what was written (checksum)", where=path)
        if description["schema"] != _SCHEMA:
            raise DamagedFileError(
                "the mask has an unknown format",
                where=path,
                found=description["schema"],
                wanted=_SCHEMA,
            )
        width, height = description["size_level0"]
        mask = TissueMask(
            pixels=pixels,
            size_level0=(int(width), int(height)),
            spacing_um=float(description["spacing_um"]),
            source=str(description["source"]),
            pen_mm2=float(description["pen_mm2"]),
            note=str(description["note"]),
        )
        return mask, dict(description["recipe"])
    except (pyvips.Error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(
            "this is no tissue mask that hvit wrote, or not all of it",
            where=path,
            hint="--overwrite, or delete the file",
        ) from error
