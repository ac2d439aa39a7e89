from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.maps import (
    across_slide,
    check_attention_sum,
    check_head,
    minmax,
    rank,
    relative,
    rescale,
)

TWO_REGIONS = [(0, 0), (400, 0)]
finite = st.floats(-1e3, 1e3, allow_nan=False, width=32)


@pytest.mark.parametrize("head", [2, 7, -1])
def test_a_head_that_does_not_exist_is_named_with_those_that_do(head: int) -> None:
    with pytest.raises(UsageError) as caught:
        check_head(head, 2)
    expected = f"--head: the region Transformer has no such attention head; found {head}"
    assert str(caught.value) == f"{expected}; wanted 0 to 1"


def test_attention_that_does_not_add_up_is_noticed() -> None:
    raw, region = np.array([0.2, 0.3, 0.4]), np.array([0, 0, 1])
    check_attention_sum(raw, region, np.array([0.5, 0.6]))
    with pytest.raises(ValueError, match=r"region 1 adds up to 0\.9"):
        check_attention_sum(raw, region, np.array([0.5, 0.5]))


def test_relative_is_attention_times_visible_patches_over_what_cls_leaves(make_map) -> None:
    kept = 0.3
    raw = make_map(TWO_REGIONS, kept=kept)
    scaled = relative(raw)
    for m in range(2):
        here = (raw.region_index == m) & raw.visible
        expected = raw.value[here] * here.sum() / (1 - kept)
        np.testing.assert_allclose(scaled[here], expected, rtol=1e-12)
    assert np.isnan(scaled[~raw.visible]).all()


@given(seed=st.integers(0, 10_000), kept=st.floats(0, 0.999), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_relative_has_mean_1_over_the_visible_patches_of_every_region(
    make_map, seed: int, kept: float, share: float
) -> None:
    raw = make_map(TWO_REGIONS, seed=seed, kept=kept, tissue_share=share)
    scaled = relative(raw)
    for m in range(2):
        here = (raw.region_index == m) & raw.visible
        if here.any():
            assert scaled[here].mean() == pytest.approx(1)


def test_relative_does_not_depend_on_what_cls_keeps_or_on_hidden_patches(make_map) -> None:
    little, much = make_map(kept=0.1), make_map(kept=0.9)
    np.testing.assert_allclose(relative(little), relative(much))
    seen = little.visible
    fewer = dataclasses.replace(
        little,
        **{
            name: getattr(little, name)[seen]
            for name in (
                "patch_xy_level0",
                "region_index",
                "patch_index",
                "tissue_fraction",
                "visible",
                "value",
            )
        },
    )
    np.testing.assert_array_equal(relative(fewer), relative(little)[seen])


def test_a_region_whose_patches_get_no_attention_at_all_is_uniform(make_map) -> None:
    raw = make_map()
    nothing = dataclasses.replace(raw, value=np.zeros_like(raw.value))
    assert set(relative(nothing)[raw.visible]) == {1.0}


@given(values=arrays(np.float64, st.integers(1, 40), elements=finite))
def test_rank_is_the_share_strictly_below(values: np.ndarray) -> None:
    expected = [sum(other < value for other in values) / len(values) for value in values]
    assert rank(values).tolist() == pytest.approx(expected)
    assert rank(values).min() == 0
    assert rank(values).max() < 1


@given(
    values=arrays(np.float64, st.integers(1, 40), elements=st.integers(-9, 9)),
    factor=st.integers(1, 9),
    shift=st.integers(-9, 9),
)
def test_rank_and_minmax_do_not_change_when_values_are_stretched_or_moved(
    values: np.ndarray, factor: int, shift: int
) -> None:
    moved = values * factor + shift
    np.testing.assert_array_equal(rank(values), rank(moved))
    np.testing.assert_allclose(minmax(values), minmax(moved), atol=1e-12)


def test_a_constant_map_is_0_as_rank_and_as_minmax() -> None:
    assert rank(np.full(5, 0.3)).tolist() == [0] * 5
    assert minmax(np.full(5, 0.3)).tolist() == [0] * 5


def test_minmax_reaches_both_ends() -> None:
    assert minmax(np.array([2.0, 4.0, 3.0])).tolist() == [0, 1, 0.5]


def test_uniform_attention_ranks_as_constant_although_regions_see_different_numbers(
    make_map,
) -> None:
    # 1/3 · 3 and 1/7 · 7 differ in the last bit; ranks of that noise would be a picture of it.
    raw = make_map(TWO_REGIONS, attention="plain")
    visible = (np.arange(32) < 3) | (np.arange(32) > 24)
    counts = np.where(np.arange(32) < 16, 3, 7)
    even = dataclasses.replace(raw, visible=visible, value=np.where(visible, 0.7 / counts, 0))
    for scale in ("rank", "minmax"):
        assert set(rescale(even, scale).value[visible]) == {0.0}


def test_every_scale_keeps_hidden_patches_without_a_value(make_map) -> None:
    raw = make_map(TWO_REGIONS)
    for scale in ("relative", "rank", "minmax", "raw"):
        value = rescale(raw, scale).value
        np.testing.assert_array_equal(np.isnan(value), ~raw.visible)
    np.testing.assert_array_equal(rescale(raw, "raw").value[raw.visible], raw.value[raw.visible])


def test_scales_agree_on_the_order_within_a_region(make_map) -> None:
    raw = make_map(TWO_REGIONS)
    scaled = [rescale(raw, scale).value for scale in ("relative", "rank", "minmax", "raw")]
    for m in range(2):
        rows = np.flatnonzero((raw.region_index == m) & raw.visible)
        for a, b in itertools.pairwise(scaled):
            np.testing.assert_array_equal(rows[np.argsort(a[rows])], rows[np.argsort(b[rows])])


def test_region_times_slide_is_relative_to_the_whole_slide(make_map) -> None:
    raw = make_map(TWO_REGIONS, kept=0)
    weight = np.array([0.2, 0.8])
    both = across_slide(raw, weight)
    assert both.value.sum() == pytest.approx(1)
    expected = raw.value * weight[raw.region_index] * raw.visible.sum()
    np.testing.assert_allclose(relative(both)[raw.visible], expected[raw.visible])
    assert relative(both)[raw.visible].mean() == pytest.approx(1)
    with pytest.raises(ValueError, match="slide attention"):
        across_slide(raw, np.ones(3))


def test_a_slide_without_rows_gives_empty_maps(make_map) -> None:
    raw = make_map(tissue_share=0)
    for scale in ("relative", "rank", "minmax", "raw"):
        assert np.isnan(rescale(raw, scale).value).all()
    assert len(rank(np.zeros(0))) == len(minmax(np.zeros(0))) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": np.zeros(3)}, "value must have 16 entries"),
        ({"region_index": np.full(16, 1)}, "region_index"),
        ({"patch_index": np.full(16, 16)}, "patch_index"),
        ({"value": np.full(16, np.nan)}, "no finite value"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(make_map, change, message) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_map(), **change)


@pytest.mark.parametrize("name", ["aggregator_masked_2048", "aggregator_plain_2048"])
def test_the_originals_attention_is_relative_to_uniform(reference: Path, name: str) -> None:
    with np.load(reference / f"{name}.npz") as case:
        attention = case["region_cls_attention"].astype(np.float64)  # (M, H, 1 + K)
        fraction = case["tissue_fraction"]
    seen = fraction > 0 if "masked" in name else np.ones(fraction.shape, bool)
    heads = attention[:, :, 1:].transpose(0, 2, 1)[seen]  # (V, H)
    raw = np.zeros(seen.size)
    raw[seen.ravel()] = heads.mean(axis=1)
    region = np.repeat(np.arange(len(seen)), seen.shape[1])
    check_attention_sum(raw, region, attention[:, :, 0].mean(axis=1))
    left = 1 - attention[:, :, 0].mean(axis=1)
    for m in range(len(seen)):
        mean = raw[region == m][seen[m]].mean() * seen[m].sum() / left[m]
        assert mean == pytest.approx(1, abs=1e-4)
