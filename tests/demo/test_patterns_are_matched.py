"""The four patterns differ in architecture, and in nothing that a histogram could tell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import pytest

from hvit_cli.demo.biopsy import draw_patterns
from hvit_cli.demo.gleason import TISSUE_PATTERNS, Pattern
from hvit_cli.demo.layer import EPITHELIUM, LUMEN, STROMA, TissueLayer
from hvit_cli.demo.outline import TRUTH_DOWNSAMPLE
from hvit_cli.demo.scanner import SCANNERS
from hvit_cli.demo.stain import Staining, stained

SIDE_PX = 2048
SCANNER = SCANNERS["alder"]
AREA_MM2 = (SIDE_PX * SCANNER.spacing_um / 1000) ** 2


@dataclass(frozen=True)
class Measured:
    mean_colour: np.ndarray
    colour_deviation: np.ndarray
    nuclei_per_mm2: float
    lumen_share: float
    epithelium_share: float
    lumina_per_mm2: float
    stromal_lumen_border: float


@cache
def measured(pattern: Pattern) -> Measured:
    """Means over three drawings of about 1 mm² of one pattern."""
    found = [_measure(pattern, seed) for seed in (1, 2, 3)]
    return Measured(
        *(np.mean([getattr(one, name) for one in found], axis=0) for name in vars(found[0]))
    )


def _measure(pattern: Pattern, seed: int) -> Measured:
    rng = np.random.default_rng([seed, pattern])
    layer = TissueLayer(
        kind=np.full((SIDE_PX, SIDE_PX), STROMA, np.uint8), px_per_um=1 / SCANNER.spacing_um
    )
    side = SIDE_PX // TRUTH_DOWNSAMPLE
    draw_patterns(rng, layer, np.full((side, side), pattern, np.uint8))
    light, nuclei = stained(rng, layer, SCANNER, Staining())
    lumen = (layer.kind == LUMEN).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(lumen)
    large = stats[1:, cv2.CC_STAT_AREA] * SCANNER.spacing_um**2 > 40
    around = (cv2.dilate(lumen, np.ones((9, 9), np.uint8)) > 0) & (lumen == 0)
    return Measured(
        mean_colour=light.mean(axis=(0, 1)),
        colour_deviation=light.std(axis=(0, 1)),
        nuclei_per_mm2=nuclei / AREA_MM2,
        lumen_share=float(lumen.mean()),
        epithelium_share=float((layer.kind == EPITHELIUM).mean()),
        lumina_per_mm2=float(large.sum()) / AREA_MM2,
        stromal_lumen_border=float((layer.kind[around] == STROMA).mean()),
    )


@pytest.mark.parametrize("pattern", TISSUE_PATTERNS[1:], ids=lambda p: p.name)
def test_stain_nuclei_and_lumen_are_those_of_benign_tissue(pattern: Pattern) -> None:
    benign, other = measured(Pattern.BENIGN), measured(pattern)
    assert np.abs(other.mean_colour - benign.mean_colour).max() < 3.0  # grey levels of 255
    assert np.abs(other.colour_deviation - benign.colour_deviation).max() < 3.0
    assert other.nuclei_per_mm2 == pytest.approx(benign.nuclei_per_mm2, rel=0.06)
    assert other.lumen_share == pytest.approx(benign.lumen_share, abs=0.012)
    assert other.epithelium_share == pytest.approx(benign.epithelium_share, abs=0.02)


def test_architecture_differs() -> None:
    of = {pattern: measured(pattern) for pattern in TISSUE_PATTERNS}
    # Gleason 3 is many small glands with a lumen each, Gleason 4 masses with still more and
    # smaller ones, benign few and large; Gleason 5 has clefts in the stroma and no glands.
    assert of[Pattern.GLEASON_3].lumina_per_mm2 > 1.5 * of[Pattern.BENIGN].lumina_per_mm2
    assert of[Pattern.GLEASON_4].lumina_per_mm2 > 1.5 * of[Pattern.GLEASON_3].lumina_per_mm2
    for pattern in (Pattern.BENIGN, Pattern.GLEASON_3, Pattern.GLEASON_4):
        assert of[pattern].stromal_lumen_border < 0.1
    assert of[Pattern.GLEASON_5].stromal_lumen_border > 0.5
