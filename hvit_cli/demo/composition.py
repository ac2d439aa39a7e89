"""What a drawn pattern is made of, measured: the proof that only the architecture differs."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.biopsy import draw_patterns
from hvit_cli.demo.gleason import Pattern
from hvit_cli.demo.layer import EPITHELIUM, LUMEN, STROMA, TissueLayer
from hvit_cli.demo.outline import TRUTH_DOWNSAMPLE
from hvit_cli.demo.scanner import Scanner
from hvit_cli.demo.stain import Staining, stained

_MIN_LUMEN_UM2 = 40.0
_BORDER_PX = 9


@dataclass(frozen=True, kw_only=True)
class Composition:
    """One pattern in numbers.

    Attributes:
        mean_rgb: (3,) mean colour of the tissue, lumina included, 0-255.
        deviation_rgb: (3,) standard deviation of the colour.
        nuclei_per_mm2: Nuclei drawn.
        epithelium_share: Epithelium over all pixels.
        lumen_share: Lumina and clefts over all pixels.
        lumina_per_mm2: Separate lumina and clefts above 40 µm²; architecture.
        stromal_border: Share of the lumina's surroundings that is stroma; architecture.
    """

    mean_rgb: npt.NDArray[np.float64]
    deviation_rgb: npt.NDArray[np.float64]
    nuclei_per_mm2: float
    epithelium_share: float
    lumen_share: float
    lumina_per_mm2: float
    stromal_border: float


def measure_pattern(
    pattern: Pattern, scanner: Scanner, seeds: tuple[int, ...], side_px: int = 2048
) -> Composition:
    """Means over one drawing per seed, each a square of nothing but the pattern."""
    found = [_measure(pattern, scanner, seed, side_px) for seed in seeds]
    return Composition(
        **{
            field.name: np.mean([getattr(one, field.name) for one in found], axis=0)
            for field in fields(Composition)
        }
    )


def _measure(pattern: Pattern, scanner: Scanner, seed: int, side_px: int) -> Composition:
    rng = np.random.default_rng([seed, int(pattern)])
    layer = TissueLayer(
        kind=np.full((side_px, side_px), STROMA, np.uint8), px_per_um=1 / scanner.spacing_um
    )
    coarse = side_px // TRUTH_DOWNSAMPLE
    draw_patterns(rng, layer, np.full((coarse, coarse), pattern, np.uint8))
    light, nuclei = stained(rng, layer, scanner, Staining())
    area_mm2 = (side_px * scanner.spacing_um / 1000) ** 2
    lumen = (layer.kind == LUMEN).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(lumen)
    large = stats[1:, cv2.CC_STAT_AREA] * scanner.spacing_um**2 > _MIN_LUMEN_UM2
    around = (cv2.dilate(lumen, np.ones((_BORDER_PX, _BORDER_PX), np.uint8)) > 0) & (lumen == 0)
    return Composition(
        mean_rgb=light.mean(axis=(0, 1)),
        deviation_rgb=light.std(axis=(0, 1)),
        nuclei_per_mm2=nuclei / area_mm2,
        epithelium_share=float((layer.kind == EPITHELIUM).mean()),
        lumen_share=float(lumen.mean()),
        lumina_per_mm2=float(large.sum()) / area_mm2,
        stromal_border=float((layer.kind[around] == STROMA).mean()) if around.any() else 0.0,
    )
