"""Where the cores of a biopsy lie on the glass, and their exact outline."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

# Coarse pixels of the truth are this many level-0 pixels wide (near 4 µm).
TRUTH_DOWNSAMPLE = 8

_MARGIN_UM = 420.0
_GAP_UM = (420.0, 800.0)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The tissue of one slide, all cores.

    Attributes:
        size_level0: (width, height) of the slide, multiples of `TRUTH_DOWNSAMPLE`.
        cores_um: For each core the (n, 2) points (x, y) of its closed outline, micrometres.
        spacing_um: Micrometres per level-0 pixel.
    """

    size_level0: tuple[int, int]
    cores_um: tuple[npt.NDArray[np.float64], ...]
    spacing_um: float

    def box_level0(self, core: int) -> tuple[slice, slice]:
        """(rows, columns) of the core's bounding box with a rim, in coarse steps."""
        low = self.cores_um[core].min(axis=0) / self.spacing_um
        high = self.cores_um[core].max(axis=0) / self.spacing_um
        step = TRUTH_DOWNSAMPLE
        start = np.maximum(np.floor(low / step - 1), 0).astype(int) * step
        stop = np.ceil(high / step + 1).astype(int) * step
        width, height = self.size_level0
        return (
            slice(int(start[1]), int(min(stop[1], height))),
            slice(int(start[0]), int(min(stop[0], width))),
        )

    def mask_level0(self, core: int) -> Mask:
        """(rows, columns) of the core's box: true where there is tissue."""
        rows, columns = self.box_level0(core)
        raster = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        points = self.cores_um[core] / self.spacing_um - np.array([columns.start, rows.start])
        # cv2 puts integer coordinates at pixel centres.
        cv2.fillPoly(raster, [np.round((points - 0.5) * 16).astype(np.int32)], 1, shift=4)
        return raster.astype(bool)

    def coarse_mask(self) -> Mask:
        """(rows, columns) of the truth: true where at least half the level-0 pixels are tissue."""
        width, height = (side // TRUTH_DOWNSAMPLE for side in self.size_level0)
        whole = np.zeros((height, width), bool)
        for core in range(len(self.cores_um)):
            rows, columns = (
                slice(s.start // TRUTH_DOWNSAMPLE, s.stop // TRUTH_DOWNSAMPLE)
                for s in self.box_level0(core)
            )
            whole[rows, columns] |= reduce_mask(self.mask_level0(core))
        return whole


def reduce_mask(mask: Mask) -> Mask:
    """A level-0 mask at the truth's resolution: true where half the pixels or more are."""
    step = TRUTH_DOWNSAMPLE
    rows, columns = mask.shape[0] // step, mask.shape[1] // step
    share = cv2.resize(mask.astype(np.uint8) * 255, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 128, np.bool_)


def lay_out(
    rng: np.random.Generator,
    *,
    spacing_um: float,
    cores: int,
    tissue_length_um: float,
    thickness_um: tuple[float, float],
    upright: bool,
    margin_um: float = _MARGIN_UM,
) -> Outline:
    """Places cores of a total length, one below the other (side by side if `upright`).

    Args:
        rng: Source of randomness.
        spacing_um: Micrometres per level-0 pixel.
        cores: How many.
        tissue_length_um: Their lengths together.
        thickness_um: Lowest and highest mean thickness of a core.
        upright: Cores run from top to bottom instead of left to right.
        margin_um: Glass around the cores.
    """
    parts = rng.dirichlet(np.full(cores, 12.0)) * tissue_length_um
    shapes, down_um, widest_um = [], margin_um, 0.0
    for length_um in parts:
        points = _core(rng, float(length_um), rng.uniform(*thickness_um))
        points -= points.min(axis=0)
        points += np.array([margin_um + rng.uniform(0, 500.0 * (cores > 1)), down_um])
        down_um = float(points[:, 1].max()) + rng.uniform(*_GAP_UM)
        widest_um = max(widest_um, float(points[:, 0].max()))
        shapes.append(points)
    extent = np.array([widest_um, max(float(p[:, 1].max()) for p in shapes)]) + margin_um
    # A region reaches 1024 µm below the top of its core, and must fit on the glass.
    extent = np.maximum(extent, [0.0, 1024.0 + 1.2 * margin_um])
    if upright:
        shapes, extent = [points[:, ::-1] for points in shapes], extent[::-1]
    step_um = TRUTH_DOWNSAMPLE * spacing_um
    width, height = (int(np.ceil(side / step_um)) * TRUTH_DOWNSAMPLE for side in extent)
    return Outline(size_level0=(width, height), cores_um=tuple(shapes), spacing_um=spacing_um)


def _core(
    rng: np.random.Generator, length_um: float, thickness_um: float
) -> npt.NDArray[np.float64]:
    """(n, 2) points of a bent cylinder with ragged sides and blunt ends."""
    along = np.linspace(0, length_um, max(int(length_um / 12), 30))
    phase = along / length_um
    middle = rng.normal(0, 45.0) * np.sin(np.pi * phase) + rng.normal(0, 22.0) * np.sin(
        2 * np.pi * phase
    )
    middle += rng.uniform(-0.03, 0.03) * along
    half = np.full_like(along, thickness_um / 2)
    half *= 1 + 0.10 * np.sin(2 * np.pi * (phase * rng.uniform(1, 3) + rng.random()))
    ends = np.minimum(along, length_um - along) / (0.35 * thickness_um)
    half *= np.sqrt(np.clip(1 - (1 - np.clip(ends, 0, 1)) ** 2.4, 0.0, 1.0))
    sides = [middle + sign * (half + _ragged(rng, len(along))) for sign in (-1, 1)]
    upper = np.stack([along, sides[0]], axis=1)
    lower = np.stack([along, sides[1]], axis=1)[::-1]
    return np.concatenate([upper, lower])


def _ragged(rng: np.random.Generator, number: int) -> npt.NDArray[np.float64]:
    steps = rng.normal(0, 1, number + 12)
    return np.asarray(np.convolve(steps, np.hanning(13) / 3.2, "valid")[:number] * 7.0)
