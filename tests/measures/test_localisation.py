from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from hvit_cli.measures.comparable import MapValues
from hvit_cli.measures.localisation import average_precision, localisation
from hvit_cli.measures.patch_truth import PatchTruth


@pytest.mark.parametrize("seed", range(5))
def test_both_areas_equal_those_of_scikit_learn_with_ties(seed: int) -> None:
    random = np.random.default_rng(seed)
    value = random.integers(0, 8, 60).astype(float)
    positive = random.random(60) < 0.3
    found = localisation(
        MapValues(value=value, shown=np.ones(60, bool), background=np.zeros(60, bool)),
        PatchTruth(positive=positive, negative=~positive),
    )
    assert found.auroc == pytest.approx(roc_auc_score(positive, value))
    assert found.average_precision == pytest.approx(average_precision_score(positive, value))
    assert found.positives == positive.sum()
    assert found.prevalence == pytest.approx(positive.mean())


def test_a_constant_map_knows_nothing() -> None:
    positive = np.arange(10) < 3
    assert average_precision(positive, np.ones(10)) == pytest.approx(0.3)


def test_glass_hidden_patches_and_unclear_truth_do_not_count() -> None:
    value = np.array([9.0, 1, 2, np.nan, 3, 0])
    found = localisation(
        MapValues(
            value=value,
            shown=np.array([1, 1, 1, 0, 1, 1], bool),
            background=np.array([1, 0, 0, 0, 0, 0], bool),
        ),
        PatchTruth(
            positive=np.array([0, 0, 1, 1, 0, 0], bool),
            negative=np.array([1, 1, 0, 0, 0, 1], bool),
        ),
    )
    assert (found.positives, found.negatives, found.auroc) == (1, 2, 1.0)


def test_a_slide_with_one_kind_alone_has_no_area() -> None:
    every = np.ones(4, bool)
    found = localisation(
        MapValues(value=np.arange(4.0), shown=every, background=~every),
        PatchTruth(positive=~every, negative=every),
    )
    assert found.auroc is None
    assert found.average_precision is None
    assert found.prevalence == 0
