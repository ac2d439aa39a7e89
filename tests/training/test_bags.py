from __future__ import annotations

import itertools
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.errors import ModelError
from hvit_cli.models.bags import PatchBag
from hvit_cli.training.bags import BagReader, bag_of, micro_batches, read_ahead, tokens
from hvit_cli.training.cohort import list_features


def bag(rows: int, regions: int = 1) -> PatchBag:
    index = torch.zeros(rows, dtype=torch.long)
    return PatchBag(
        features=torch.zeros(rows, 2), region_index=index, patch_index=index, regions=regions
    )


def test_masked_bags_hold_tissue_and_plain_bags_everything(cohort: SimpleNamespace) -> None:
    slide = cohort.slide_features("a", 3)
    tissue = slide.tissue_fraction > 0
    masked, plain = bag_of(slide, "masked"), bag_of(slide, "plain")
    assert 0 < tissue.sum() < len(tissue)
    np.testing.assert_array_equal(masked.features.numpy(), slide.features[tissue])
    np.testing.assert_array_equal(masked.region_index.numpy(), slide.region_index[tissue])
    np.testing.assert_array_equal(masked.patch_index.numpy(), slide.patch_index[tissue])
    np.testing.assert_array_equal(plain.features.numpy(), slide.features)
    assert masked.regions == plain.regions == slide.n_regions


def test_background_below_hides_patches_with_little_tissue(cohort: SimpleNamespace) -> None:
    slide = cohort.slide_features("a", 3, background_below=0.5)
    assert len(bag_of(slide, "masked").features) == (slide.tissue_fraction > 0.5).sum()


def test_plain_bags_need_every_patch(cohort: SimpleNamespace) -> None:
    with pytest.raises(ModelError, match="hvit embed --plain"):
        bag_of(cohort.slide_features("a", 3, patches="tissue"), "plain")


@pytest.mark.parametrize("cache_bytes", [0, 2000, 1 << 20])
def test_the_cache_keeps_no_more_than_it_may_and_changes_nothing(
    tmp_path: Path, cohort: SimpleNamespace, cache_bytes: int
) -> None:
    labels = cohort.write_cohort(tmp_path, 6)
    read = BagReader(list_features(tmp_path), "masked", cache_bytes)
    for slide_id, grade in [*labels.items(), *labels.items()]:
        wanted = bag_of(cohort.slide_features(slide_id, grade), "masked")
        assert torch.equal(read(slide_id).features, wanted.features)
    kept = [read(i) for i in labels if read(i) is read(i)]
    size = sum(t.nbytes for b in kept for t in (b.features, b.region_index, b.patch_index))
    assert size <= cache_bytes
    assert len(kept) == 6 or cache_bytes < 1 << 20


def test_reading_ahead_keeps_the_order_and_stays_near() -> None:
    read_so_far = []

    def read(key: int) -> int:
        read_so_far.append(key)
        return key * key

    values = read_ahead(read, range(100), ahead=3)
    assert [next(values) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(read_so_far) <= 5 + 3
    assert list(values) == [i * i for i in range(5, 100)]


def test_reading_ahead_raises_where_the_key_comes_and_leaves_no_thread() -> None:
    before = threading.active_count()
    values = read_ahead(lambda key: 1 / key, [2, 1, 0, 4], ahead=2)
    assert next(values) == 0.5
    assert next(values) == 1
    with pytest.raises(ZeroDivisionError):
        next(values)
    stopped = read_ahead(lambda key: key, range(100), ahead=2)
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4))), st.integers(1, 60))
def test_micro_batches_hold_all_slides_in_order_within_the_budget(
    sizes: list[tuple[int, int]], budget: int
) -> None:
    bags = [bag(rows, regions) for rows, regions in sizes]
    parts = list(micro_batches(iter(bags), budget))
    assert [id(b) for part in parts for b in part] == [id(b) for b in bags]
    assert all(len(part) == 1 or sum(map(tokens, part)) <= budget for part in parts)
    for part, following in itertools.pairwise(parts):
        assert sum(map(tokens, part)) + tokens(following[0]) > budget
