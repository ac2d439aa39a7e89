"""Drawn slides as files: the pyramid, the truth beside it, and the one that `hvit demo` shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.biopsy import Biopsy, BiopsyPlan, draw_biopsy
from hvit_cli.demo.gleason import Pattern
from hvit_cli.demo.scanner import SCANNERS
from hvit_cli.demo.tiff import write_mask, write_picture

LEVEL_DOWNSAMPLES = (1, 4, 16)
DEMO_SEED = 3


@dataclass(frozen=True, kw_only=True)
class DemoSlide:
    """A drawn slide on disk and what is known about it.

    Attributes:
        path: The slide.
        truth_path: Class map (0 glass, 1 benign, 3, 4, 5 Gleason patterns), a TIFF of the
            same field of view; every value above 0 is tissue.
        isup: Grade that the pixels make, 0 to 5.
        gleason: Such as "3+4", or "benign".
        areas_mm2: Area by pattern.
        size_level0: (width, height).
        spacing_um: Micrometres per level-0 pixel.
    """

    path: Path
    truth_path: Path
    isup: int
    gleason: str
    areas_mm2: dict[int, float]
    size_level0: tuple[int, int]
    spacing_um: float


def write_biopsy(biopsy: Biopsy, path: Path, truth_path: Path) -> DemoSlide:
    """Writes a slide (levels 1, 4, 16; JPEG tiles of 512 px) and its truth.

    Raises:
        StorageError: A file cannot be written.
    """
    scanner = SCANNERS[biopsy.plan.scanner]
    # Compression differs from slide to slide, and not with the grade.
    shift = int(np.random.default_rng([biopsy.plan.seed, 6]).integers(-5, 6))
    write_picture(
        path,
        [reduced(biopsy.picture, by) for by in LEVEL_DOWNSAMPLES],
        spacing_um=biopsy.spacing_um,
        quality=scanner.jpeg_quality + shift,
    )
    write_mask(truth_path, [biopsy.classes], spacing_um=biopsy.truth_spacing_um)
    rows, columns = biopsy.picture.shape[:2]
    gleason = biopsy.gleason
    return DemoSlide(
        path=path,
        truth_path=truth_path,
        isup=biopsy.isup,
        gleason="benign" if gleason is None else str(gleason),
        areas_mm2=biopsy.areas_mm2,
        size_level0=(columns, rows),
        spacing_um=biopsy.spacing_um,
    )


def reduced(picture: npt.NDArray[np.uint8], by: int) -> npt.NDArray[np.uint8]:
    """A picture `by` times smaller, averaged over areas; a ragged edge makes one pixel more."""
    if by == 1:
        return picture
    rows, columns = picture.shape[:2]
    size = (-(-columns // by), -(-rows // by))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def demo_plan(seed: int = DEMO_SEED) -> BiopsyPlan:
    """The plan of the slide that `hvit demo` draws: two long cores, three patterns, a pen."""
    return BiopsyPlan(
        slide_id="demo_biopsy",
        seed=seed,
        scanner="alder",
        tumour_share=0.45,
        mix={Pattern.GLEASON_3: 0.30, Pattern.GLEASON_4: 0.52, Pattern.GLEASON_5: 0.18},
        foci=2,
        cores=2,
        tissue_length_um=9000.0,
        thickness_um=(620.0, 740.0),
        folds=1,
        pen="blue",
    )


def draw_demo_slide(path: Path, seed: int = DEMO_SEED) -> DemoSlide:
    """Draws the demonstration slide at `path`, and its truth beside it (`…_truth.tiff`).

    Raises:
        StorageError: A file cannot be written.
    """
    truth_path = path.with_name(f"{path.stem}_truth.tiff")
    return write_biopsy(draw_biopsy(demo_plan(seed)), path, truth_path)
