from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hvit_cli.errors import SettingsError, TissueError
from hvit_cli.measures.patch_truth import patch_truth
from hvit_cli.settings import LABEL_PRESETS, LabelScheme
from hvit_cli.storage.features import SlideFeatures

SCHEME = LabelScheme(tumour_values=(3, 4), other_values=(1,))
STEP = 10


def labels_of(features: SlideFeatures, share_of: dict[int, float]) -> np.ndarray:
    """Value 1 over each tissue patch's share of tissue, its left part tumour as asked."""
    labels = np.zeros((1000, 1000), np.uint8)
    side = round(features.patch_level0 / STEP)
    for row, (x, y) in enumerate((features.coords / STEP).round().astype(int)):
        wide = round(side * float(features.tissue_fraction[row]))
        labels[y : y + side, x : x + wide] = 1
        labels[y : y + side, x : x + round(wide * share_of.get(row, 0))] = 3
    return labels


def test_half_tumour_is_positive_none_negative_and_between_left_out(
    make_features: Callable[..., SlideFeatures],
) -> None:
    features = make_features()
    tissue = np.flatnonzero(features.tissue_fraction > 0.35)
    positive, between = tissue[0], tissue[1]
    truth = patch_truth(labels_of(features, {positive: 1, between: 0.3}), features, SCHEME, "m")
    assert truth.positive[positive]
    assert not truth.negative[positive]
    assert not truth.positive[between]
    assert not truth.negative[between]
    assert truth.positive.sum() == 1
    assert truth.negative[tissue[2:]].all()
    glass = features.tissue_fraction == 0
    assert not (truth.positive | truth.negative)[glass].any()


def test_tissue_that_is_mostly_unlabelled_is_not_judged(
    make_features: Callable[..., SlideFeatures],
) -> None:
    features = make_features()
    labels = labels_of(features, {})
    row = int(np.flatnonzero(features.tissue_fraction == 1)[0])
    x, y = (features.coords[row] / STEP).round().astype(int)
    labels[y + 3 : y + 10, x : x + 10] = 0
    assert not patch_truth(labels, features, SCHEME, "m").negative[row]


def test_values_without_a_meaning_are_named(make_features: Callable[..., SlideFeatures]) -> None:
    labels = labels_of(make_features(), {})
    labels[0, :2] = (7, 9)
    with pytest.raises(TissueError, match=r"mask\.tiff.*7, 9.*tumour 3, 4"):
        patch_truth(labels, make_features(), SCHEME, "mask.tiff")


def test_the_mask_of_another_slide_is_refused(make_features: Callable[..., SlideFeatures]) -> None:
    features = make_features()
    labels = np.rot90(labels_of(features, {}), 2)
    with pytest.raises(TissueError, match=r"another slide's.*slide"):
        patch_truth(labels, features, SCHEME, "mask.tiff")


def test_a_mask_without_labels_is_refused(make_features: Callable[..., SlideFeatures]) -> None:
    with pytest.raises(TissueError, match="labels no tissue"):
        patch_truth(np.zeros((10, 10), np.uint8), make_features(), SCHEME, "mask.tiff")


def test_presets_know_the_values_of_both_panda_centres() -> None:
    assert LABEL_PRESETS["panda-radboud"].known == frozenset(range(6))
    assert LABEL_PRESETS["panda-karolinska"].known == frozenset(range(3))


def test_a_value_means_one_thing() -> None:
    with pytest.raises(SettingsError, match="two things"):
        LabelScheme(tumour_values=(1, 2), other_values=(2,))
