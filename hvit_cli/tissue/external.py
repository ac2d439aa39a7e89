"""Tissue masks that others made, of any size and in any picture format."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips
from PIL import Image

from hvit_cli.errors import TissueError
from hvit_cli.tissue.mask import TissueMask, mask_over_slide

# Masks of others are kept this fine (a token of 16 px at 0.5 µm is 8 µm, four such pixels).
EXTERNAL_SPACING_UM = 2.0
_MOST_CHANNELS = 16


def read_external_mask(
    path: Path,
    size_level0: tuple[int, int],
    spacing_um_level0: float,
    tissue_values: Sequence[int],
) -> TissueMask:
    """Reads somebody else's mask of a slide: same field of view, any size, any image format.

    The first channel counts, and for pictures with a palette the index. Of a pyramid the
    coarsest level of at most 2 µm per pixel is read; finer masks are sampled there, at pixel
    centres.

    Args:
        path: The mask's file.
        size_level0: (width, height) of the slide in level-0 pixels.
        spacing_um_level0: Micrometres per level-0 pixel of the slide.
        tissue_values: Values that mean tissue; everything else is background.

    Raises:
        TissueError: The file cannot be read, has another shape than the slide, or holds
            values, but none of those that mean tissue.
    """
    labels = read_labels(path, size_level0, spacing_um_level0)
    tissue = np.isin(labels, np.asarray(tissue_values))
    if not tissue.any() and labels.any():
        values = [int(v) for v in np.unique(labels)]
        raise TissueError(
            "no pixel of the mask has a tissue value",
            where=path,
            found=f"the values {_short(values)}",
            wanted=f"one of {_short(list(tissue_values))}",
            hint=f"--tissue-value {values[-1]}",
        )
    return mask_over_slide(tissue.astype(np.uint8), size_level0, spacing_um_level0, "external")


def read_labels(
    path: Path, size_level0: tuple[int, int], spacing_um_level0: float
) -> npt.NDArray[Any]:
    """The values of somebody else's mask of a slide, at most about 2 µm per pixel fine.

    Returns:
        (h, w) values of the first channel, over the whole slide.

    Raises:
        TissueError: The file cannot be read, or has another shape than the slide.
    """
    if not path.is_file():
        raise TissueError("there is no such mask", where=path, hint="--missing-mask segment")
    try:
        return _read_labels(path, size_level0, spacing_um_level0)
    except (pyvips.Error, OSError) as error:
        reason = " ".join(str(error).split())
        raise TissueError("the mask cannot be read", where=path, found=reason) from error


def _short(values: list[int]) -> str:
    text = ", ".join(str(v) for v in values[:8])
    return text if len(values) <= 8 else f"{text}, … ({len(values)} in all)"


def _read_labels(
    path: Path, size_level0: tuple[int, int], spacing_um_level0: float
) -> npt.NDArray[Any]:
    palette = _palette_indices(path)
    levels = _levels(path) if palette is None else [pyvips.Image.new_from_array(palette)]
    _check_shape(path, (levels[0].width, levels[0].height), size_level0)
    spacings_um = [spacing_um_level0 * size_level0[0] / level.width for level in levels]
    fine = [i for i, s in enumerate(spacings_um) if s <= EXTERNAL_SPACING_UM * 1.05]
    chosen = max(fine) if fine else 0
    step = max(EXTERNAL_SPACING_UM / spacings_um[chosen], 1.0)
    return _sampled(levels[chosen], step if step >= 1.5 else 1.0)


def _palette_indices(path: Path) -> npt.NDArray[np.uint8] | None:
    """The indices of a picture with a palette, which other decoders turn into colours."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged tags before it reads or refuses them.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return np.asarray(picture, np.uint8) if picture.mode == "P" else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # libvips decides whether it is a picture


def _levels(path: Path) -> list[pyvips.Image]:
    """The mask and its reductions, finest first; other pages (labels, thumbnails) are left."""
    first = pyvips.Image.new_from_file(str(path), revalidate=True)
    if first.bands > _MOST_CHANNELS:
        # All of them would be decoded for the sake of the first.
        raise TissueError(
            "the mask has too many channels",
            where=path,
            found=first.bands,
            wanted=f"at most {_MOST_CHANNELS}",
        )
    levels = [first]
    pages = first.get("n-pages") if first.get_typeof("n-pages") else 1
    for page in range(1, pages):
        level = pyvips.Image.new_from_file(str(path), page=page, revalidate=True)
        factor = first.width / level.width
        if level.width >= levels[-1].width or abs(level.height * factor - first.height) > factor:
            break
        levels.append(level)
    return levels


def _check_shape(path: Path, mask_size: tuple[int, int], size_level0: tuple[int, int]) -> None:
    width, height = mask_size
    expected = width * size_level0[1] / size_level0[0]
    # A side is rounded to whole pixels at every halving of a pyramid; half a percent beyond
    # that would shift the far end of a slide by more than a patch.
    slack = 1 + width / size_level0[0] + size_level0[1] / size_level0[0]
    if abs(height - expected) > slack + 0.005 * expected:
        raise TissueError(
            "the mask has another shape than the slide",
            where=path,
            found=f"{width} x {height} px",
            wanted=f"the proportions of {size_level0[0]} x {size_level0[1]} px",
            hint="a mask of the slide's whole field of view",
        )


def _sampled(level: pyvips.Image, step: float) -> npt.NDArray[Any]:
    """The first band, sampled at the centres of pixels that are `step` times as large."""
    width, height = max(round(level.width / step), 1), max(round(level.height / step), 1)
    columns = ((np.arange(width) + 0.5) * level.width / width).astype(np.int64)
    rows = ((np.arange(height) + 0.5) * level.height / height).astype(np.int64)
    strips = []
    for top in range(0, level.height, 1024):
        strip_height = min(1024, level.height - top)
        inside = rows[(rows >= top) & (rows < top + strip_height)] - top
        strip = level.crop(0, top, level.width, strip_height)[0].numpy()
        strips.append(strip[inside][:, columns])
    return np.concatenate(strips)
