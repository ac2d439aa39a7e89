"""A whole synthetic biopsy slide: outline, patterns, stain, folds, glass and marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.glands import STYLES, draw_glands
from hvit_cli.demo.gleason import (
    TISSUE_PATTERNS,
    TUMOUR_PATTERNS,
    Pattern,
    gleason_of_areas,
    isup_of_areas,
)
from hvit_cli.demo.layer import NOTHING, STROMA, TissueLayer
from hvit_cli.demo.marks import draw_dot, draw_pen
from hvit_cli.demo.noise import smooth_noise
from hvit_cli.demo.outline import TRUTH_DOWNSAMPLE, Outline, lay_out
from hvit_cli.demo.scanner import Scanner, scanner_named
from hvit_cli.demo.sheets import draw_sheets
from hvit_cli.demo.stain import Staining, stained
from hvit_cli.demo.territory import Classes, areas_mm2, enlarged, grow
from hvit_cli.training.gleason import Gleason

Raster = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class BiopsyPlan:
    """Everything that decides the pixels of one slide."""

    slide_id: str
    seed: int
    """Seed of everything drawn at random; two plans that differ only in `dot` share all else."""
    scanner: str
    """Name of the scanner."""
    tumour_share: float = 0.0
    """Tumour area over tissue area."""
    mix: Mapping[Pattern, float] = field(default_factory=dict)
    """Share of the tumour by pattern; empty for a benign slide."""
    foci: int = 1
    """Places where the tumour starts to grow."""
    cores: int = 1
    tissue_length_um: float = 3300.0
    """Length of all cores together."""
    thickness_um: tuple[float, float] = (450.0, 600.0)
    """Lowest and highest mean thickness of a core."""
    upright: bool = False
    """Cores run from top to bottom."""
    folds: int = 0
    """Places where the tissue lies double."""
    pen: str | None = None
    """Colour of a pen stroke on the glass, if there is one."""
    dot: bool = False
    """The label dot on the glass (the confounder)."""


@dataclass(frozen=True, kw_only=True)
class Biopsy:
    """A drawn slide and the truth about it.

    Attributes:
        plan: What was asked for.
        picture: (rows, columns, 3) uint8 RGB, level 0.
        classes: (rows, columns) uint8 `Pattern`, `TRUTH_DOWNSAMPLE` times smaller.
        spacing_um: Micrometres per level-0 pixel.
        nuclei: How many were drawn.
        dot_xy_level0: Centre of the label dot, or None.
    """

    plan: BiopsyPlan
    picture: Raster
    classes: Classes
    spacing_um: float
    nuclei: int
    dot_xy_level0: tuple[int, int] | None

    @property
    def truth_spacing_um(self) -> float:
        """Micrometres per pixel of `classes`."""
        return self.spacing_um * TRUTH_DOWNSAMPLE

    @property
    def areas_mm2(self) -> dict[int, float]:
        """Area by pattern, from the pixels."""
        return areas_mm2(self.classes, self.truth_spacing_um)

    @property
    def gleason(self) -> Gleason | None:
        """The score that the areas make."""
        return gleason_of_areas(self.areas_mm2)

    @property
    def isup(self) -> int:
        """The grade that the areas make: the slide's label."""
        return isup_of_areas(self.areas_mm2)


def outline_of(plan: BiopsyPlan) -> Outline:
    """Where the cores of a plan lie.

    Raises:
        SettingsError: The scanner is unknown.
    """
    return lay_out(
        np.random.default_rng([plan.seed, 0]),
        spacing_um=scanner_named(plan.scanner).spacing_um,
        cores=plan.cores,
        tissue_length_um=plan.tissue_length_um,
        thickness_um=plan.thickness_um,
        upright=plan.upright,
    )


def draw_biopsy(plan: BiopsyPlan) -> Biopsy:
    """Draws the slide of a plan; the same plan always gives the same pixels.

    Raises:
        SettingsError: The scanner is unknown.
        SlideError: There is no room for the label dot.
    """
    scanner = scanner_named(plan.scanner)
    # One stream per concern: a dot more or less must not change the tissue.
    growth, tissue_rng, glass, marks, dot_rng = (
        np.random.default_rng([plan.seed, part]) for part in range(1, 6)
    )
    outline = outline_of(plan)
    tissue = outline.coarse_mask()
    classes = grow(
        growth,
        tissue,
        spacing_um=scanner.spacing_um * TRUTH_DOWNSAMPLE,
        tumour_share=plan.tumour_share,
        mix=plan.mix,
        foci=plan.foci,
    )
    picture = empty_glass(glass, scanner, outline.size_level0)
    staining = Staining(
        haematoxylin=float(tissue_rng.uniform(0.82, 1.20)),
        eosin=float(tissue_rng.uniform(0.80, 1.20)),
    )
    folded = tissue_rng.integers(0, plan.cores, plan.folds).tolist()
    nuclei = 0
    for core in range(plan.cores):
        light, count = _core_light(
            tissue_rng, outline, core, classes, scanner, staining, folds=folded.count(core)
        )
        nuclei += count
        box = outline.box_level0(core)
        picture[box] = cv2.multiply(picture[box], light, scale=1 / 255)
    if plan.pen is not None:
        draw_pen(marks, picture, tissue, TRUTH_DOWNSAMPLE, scanner.spacing_um, plan.pen)
    dot = (
        draw_dot(dot_rng, picture, tissue, TRUTH_DOWNSAMPLE, scanner.spacing_um)
        if plan.dot
        else None
    )
    return Biopsy(
        plan=plan,
        picture=picture,
        classes=classes,
        spacing_um=scanner.spacing_um,
        nuclei=nuclei,
        dot_xy_level0=dot,
    )


def empty_glass(rng: np.random.Generator, scanner: Scanner, size_level0: tuple[int, int]) -> Raster:
    """(rows, columns, 3) of glass alone, with the scanner's tone and noise."""
    tone = np.asarray(scanner.glass_rgb) + rng.normal(0, 2.0, 3)
    tile = tone + rng.normal(0, scanner.noise, (512, 512, 1)) + rng.normal(0, 0.5, (512, 512, 3))
    tile = np.clip(np.round(tile), 0, 255).astype(np.uint8)
    width, height = size_level0
    repeats = (-(-height // 512), -(-width // 512), 1)
    return np.ascontiguousarray(np.tile(tile, repeats)[:height, :width])


def draw_patterns(rng: np.random.Generator, layer: TissueLayer, classes: Classes) -> None:
    """Draws every pattern of a coarse class map into a layer of bare stroma, in place.

    Benign glands come first; the tumour replaces what of them reaches into its area, as an
    invading tumour does.
    """
    present = [p for p in TISSUE_PATTERNS if (classes == p).any()]
    for pattern, area in enlarged(classes, present, TRUTH_DOWNSAMPLE).items():
        if pattern in TUMOUR_PATTERNS:
            layer.clear(area)
        if pattern in STYLES:
            draw_glands(rng, layer, area, STYLES[pattern])
        else:
            draw_sheets(rng, layer, area)


def _core_light(
    rng: np.random.Generator,
    outline: Outline,
    core: int,
    classes: Classes,
    scanner: Scanner,
    staining: Staining,
    *,
    folds: int,
) -> tuple[Raster, int]:
    """The light that passes one core, (rows, columns, 3) of its box, and its nuclei."""
    mask = outline.mask_level0(core)
    rows, columns = (
        slice(s.start // TRUTH_DOWNSAMPLE, s.stop // TRUTH_DOWNSAMPLE)
        for s in outline.box_level0(core)
    )
    layer = TissueLayer(
        kind=np.where(mask, np.uint8(STROMA), np.uint8(NOTHING)),
        px_per_um=1 / scanner.spacing_um,
    )
    coarse = classes[rows, columns].copy()
    coarse[~outline_reduced(mask)] = Pattern.GLASS
    draw_patterns(rng, layer, coarse)
    light, count = stained(rng, layer, scanner, staining)
    for _ in range(folds):
        _fold(rng, light)
    return np.asarray(cv2.GaussianBlur(light, (0, 0), scanner.blur_px), np.uint8), count


def outline_reduced(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Coarse pixels with any tissue; a neighbouring core's patterns are left to it."""
    step = TRUTH_DOWNSAMPLE
    rows, columns = mask.shape[0] // step, mask.shape[1] // step
    blocks = mask[: rows * step, : columns * step].reshape(rows, step, columns, step)
    return np.asarray(blocks.any(axis=(1, 3)), np.bool_)


def _fold(rng: np.random.Generator, light: Raster) -> None:
    """A band across the core where the tissue lies over itself: two layers absorb."""
    across = light if light.shape[1] >= light.shape[0] else light.transpose(1, 0, 2)
    rows, length = across.shape[:2]
    width = int(rng.uniform(40, 110))
    margin = 3 * width + 60
    bend = smooth_noise(rng, (rows, 1), 300.0)[:, 0] * 25 + np.linspace(-1, 1, rows) * rng.normal(
        0, 60
    )
    middle = rng.uniform(0.12, 0.88) * length + bend
    column = np.clip(middle, margin, length - margin).astype(int)[:, None] + np.arange(width)
    row = np.arange(rows)[:, None]
    band = across[row, column].astype(np.uint16)
    beside = across[row, column + width].astype(np.uint16)
    # The upper layer cannot make tissue where the lower one has none.
    there = band.min(axis=2, keepdims=True) < 250
    across[row, column] = np.where(there, band * beside // 255, band).astype(np.uint8)
