"""Frames of reference of a slide, and the only conversions between them.

Three frames exist. *Level-0 pixels* (suffix `_level0`) address the slide and are what every
file stores. *Output pixels* (suffix `_px`) are pixels at the spacing that is read, of which
a patch has 256 a side. *Micrometres* carry `_um`. Points are (x, y), sizes (width, height),
arrays (row, column, channel). Numpy only: this module is imported by everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import SpacingError

# Half a pixel decides between two integers; this much float noise must not (in pixels).
_TIE_NOISE = 1e-6


def round_px(position: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Rounds float pixel positions to integers, halves upwards, whatever the float noise.

    Two neighbours reach the same edge by different sums (`anchor + 8 * p` against
    `anchor + 1 * (8 * p)`); both must land on the same integer, or they gap or overlap.
    """
    return np.floor(np.asarray(position, np.float64) + 0.5 + _TIE_NOISE).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class SlideGeometry:
    """The pyramid of one slide: a size per level, and the spacing of the finest.

    Attributes:
        sizes: (width, height) of each level in its own pixels, finest first.
        downsamples: Level-0 pixels per pixel of each level; 1.0 first.
        spacing_um: Micrometres per level-0 pixel; NaN where it is not known.
    """

    sizes: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    spacing_um: float

    @property
    def size_level0(self) -> tuple[int, int]:
        """(width, height) of the slide in level-0 pixels."""
        return self.sizes[0]

    def level_spacing_um(self, level: int) -> float:
        """Micrometres per pixel of `level`."""
        return self.spacing_um * self.downsamples[level]


@dataclass(frozen=True, kw_only=True)
class ReadingPlan:
    """How pixels at the target spacing are made from the pyramid.

    Attributes:
        level: The level whose pixels are read.
        downsample: Level-0 pixels per pixel of that level.
        spacing_um_level0: Micrometres per level-0 pixel.
        spacing_um: The achieved spacing, micrometres per output pixel.
        resampled: False where the level's pixels are used as they are.
    """

    level: int
    downsample: float
    spacing_um_level0: float
    spacing_um: float
    resampled: bool

    @property
    def level0_per_px(self) -> float:
        """Level-0 pixels per output pixel."""
        if not self.resampled:
            return self.downsample
        return self.spacing_um / self.spacing_um_level0


def plan_reading(
    geometry: SlideGeometry, spacing_um: float, tolerance: float, *, where: object = None
) -> ReadingPlan:
    """Chooses the level from which a target spacing is read.

    The level whose spacing is nearest to the target serves as it is when it lies within the
    tolerance. Otherwise the coarsest level that is finer than the target is reduced.

    Args:
        geometry: The slide's pyramid.
        spacing_um: Target spacing in micrometres per pixel.
        tolerance: Largest relative difference at which a level's pixels are used unchanged.
        where: The slide, for the error.

    Raises:
        SpacingError: The spacing is not known, or every level is coarser than the target by
            more than the tolerance.
    """
    if not geometry.spacing_um > 0:
        raise SpacingError("the slide states no spacing", where=where, hint="--spacing-override")
    level_spacings_um = [geometry.level_spacing_um(i) for i in range(len(geometry.sizes))]
    nearest = int(np.argmin([abs(s - spacing_um) for s in level_spacings_um]))
    # The relative error carries float noise: 0.525 is 5 % from 0.5 and must count as such.
    if abs(level_spacings_um[nearest] - spacing_um) / spacing_um <= tolerance + 1e-9:
        return ReadingPlan(
            level=nearest,
            downsample=geometry.downsamples[nearest],
            spacing_um_level0=geometry.spacing_um,
            spacing_um=level_spacings_um[nearest],
            resampled=False,
        )
    finer = [i for i, s in enumerate(level_spacings_um) if s < spacing_um]
    if not finer:
        raise SpacingError(
            "the slide is too coarse and hvit never enlarges pixels",
            where=where,
            found=f"{level_spacings_um[0]:.4g} µm/px at its finest level",
            wanted=f"at most {spacing_um * (1 + tolerance):.4g} µm/px",
            hint="a finer scan, or --spacing with a model trained at that spacing",
        )
    level = max(finer, key=lambda i: level_spacings_um[i])
    return ReadingPlan(
        level=level,
        downsample=geometry.downsamples[level],
        spacing_um_level0=geometry.spacing_um,
        spacing_um=spacing_um,
        resampled=True,
    )


def source_rectangles(
    plan: ReadingPlan, origin_level0: npt.ArrayLike, patch_px: int
) -> npt.NDArray[np.int64]:
    """The pixels of the plan's level that patches are made from.

    The edges are computed as floats and rounded once, so that the rectangles of neighbours
    meet without gap or overlap. Where the level is used as it is, a rectangle is `patch_px`
    wide; otherwise its width may vary by a pixel from patch to patch.

    Args:
        plan: Which level is read, and whether it is reduced.
        origin_level0: (..., 2) top-left corners (x, y) of the patches in level-0 pixels.
        patch_px: Side of a patch in output pixels.

    Returns:
        (..., 4) left, top, right, bottom in pixels of `plan.level`, right and bottom excluded.
    """
    origin = np.asarray(origin_level0, np.float64)
    first = round_px(origin / plan.downsample)
    if plan.resampled:
        last = round_px((origin + patch_px * plan.level0_per_px) / plan.downsample)
    else:
        last = first + patch_px
    return np.concatenate([first, last], axis=-1)
