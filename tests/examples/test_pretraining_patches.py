from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hvit_cli.demo.gleason import Pattern

EXAMPLES = Path(__file__).parents[2] / "examples" / "pretraining"


def load(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES / name)))


@pytest.fixture(scope="module")
def fields() -> SimpleNamespace:
    return load("field_patches.py")


@pytest.fixture(scope="module")
def drawn() -> SimpleNamespace:
    return load("synthetic_patches.py")


def test_no_patch_of_a_field_reaches_into_another(fields: SimpleNamespace) -> None:
    # Every cell one value: a patch that crossed an edge would hold two.
    mask = np.zeros((5651, 6852), np.uint8)
    for field in range(11):
        y, x = 1024 + field // 4 * 1201, 1024 + field % 4 * 1201
        mask[y : y + 1201, x : x + 1201] = 1 if field % 2 else 4
    rows = list(fields.labelled_rows(mask, 1.0))
    assert len(rows) == 11 * 8 * 8
    for row in rows:
        assert row["label"] == ("gleason4" if row["group"] % 2 else "stroma")


def test_a_patch_is_labelled_by_its_share(fields: SimpleNamespace) -> None:
    mask = np.zeros((5651, 6852), np.uint8)
    mask[1024 : 1024 + 256, 1024 : 1024 + 200] = 1  # 200 of 256 columns: 78 % of one patch
    mask[1024 : 1024 + 256, 1024 + 200 : 1024 + 256] = 3  # benign is no class here
    rows = list(fields.labelled_rows(mask, 0.75))
    assert rows == [{"x_level0": 1024, "y_level0": 1024, "label": "gleason4", "group": 0}]
    assert list(fields.labelled_rows(mask, 0.8)) == []


def test_drawn_patches_hold_what_their_label_says(drawn: SimpleNamespace) -> None:
    truth = np.full((300, 300), Pattern.BENIGN, np.uint8)
    truth[:, 150:] = Pattern.GLEASON_4
    truth[:40] = Pattern.GLASS
    generator = np.random.default_rng(0)
    side, step = 256.0, round(256 / drawn.TRUTH_DOWNSAMPLE)
    found = list(drawn.labelled_corners(generator, truth, side, 6))
    assert {label for _, label in found} == {"benign", "gleason_4"}
    for (x, y), label in found:
        column, row = x // drawn.TRUTH_DOWNSAMPLE, y // drawn.TRUTH_DOWNSAMPLE
        patch = truth[row : row + step, column : column + step]
        assert patch.shape == (step, step)
        assert (patch == Pattern[label.upper()]).mean() >= 0.5
        if label == "benign":
            assert (patch == Pattern.GLEASON_4).mean() <= 0.1


def test_mixed_tumour_has_no_label(drawn: SimpleNamespace) -> None:
    truth = np.full((64, 64), Pattern.GLEASON_3, np.uint8)
    truth[:20] = Pattern.GLEASON_5
    assert not drawn.is_mostly(truth, Pattern.GLEASON_3)
    truth[:20] = Pattern.BENIGN
    assert drawn.is_mostly(truth, Pattern.GLEASON_3)
    assert not drawn.is_mostly(truth, Pattern.BENIGN)
