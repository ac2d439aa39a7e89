"""The four patterns differ in architecture, and in nothing that a histogram could tell."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hvit_cli.demo.composition import Composition, measure_pattern
from hvit_cli.demo.gleason import TISSUE_PATTERNS, Pattern
from hvit_cli.demo.scanner import SCANNERS


@cache
def measured(pattern: Pattern) -> Composition:
    return measure_pattern(pattern, SCANNERS["alder"], seeds=(1, 2))


@pytest.mark.parametrize("pattern", TISSUE_PATTERNS[1:], ids=lambda p: p.name)
def test_stain_nuclei_and_lumen_are_those_of_benign_tissue(pattern: Pattern) -> None:
    benign, other = measured(Pattern.BENIGN), measured(pattern)
    assert np.abs(other.mean_rgb - benign.mean_rgb).max() < 3.0
    assert np.abs(other.deviation_rgb - benign.deviation_rgb).max() < 3.0
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
        assert of[pattern].stromal_border < 0.1
    assert of[Pattern.GLEASON_5].stromal_border > 0.5
