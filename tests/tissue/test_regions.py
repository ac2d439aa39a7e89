from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvit_cli.errors import TissueError
from hvit_cli.settings import TilingSettings
from hvit_cli.slides.geometry import ReadingPlan, SlideGeometry, plan_reading
from hvit_cli.slides.grid import Regions
from hvit_cli.tissue.external import read_external_mask
from hvit_cli.tissue.mask import TissueMask, mask_over_slide
from hvit_cli.tissue.regions import RegionLayout, lay_regions

MaskOf = Callable[..., TissueMask]
PATCH_PX = 16


def plan_of(level0_per_px: float, spacing_um_level0: float = 0.5) -> ReadingPlan:
    return ReadingPlan(
        level=0,
        downsample=1.0,
        spacing_um_level0=spacing_um_level0,
        spacing_um=level0_per_px * spacing_um_level0,
        resampled=True,
    )


@dataclass(frozen=True)
class Case:
    """A slide with some tissue, in exact numbers.

    Attributes:
        mask: The tissue; the slide's size is no multiple of a mask pixel.
        patch_level0: Exact side of a patch.
        tiling: How it is cut.
    """

    mask: TissueMask
    patch_level0: Fraction
    tiling: TilingSettings

    @property
    def layout(self) -> RegionLayout:
        return lay_regions(self.mask, plan_of(float(self.patch_level0 / PATCH_PX)), self.tiling)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    height, width = draw(st.integers(20, 70)), draw(st.integers(20, 70))
    pixels = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 7))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        pixels[top : top + draw(st.integers(1, 25)), left : left + draw(st.integers(1, 25))] = 1
    size = (width * 16 + draw(st.integers(-7, 7)), height * 16 + draw(st.integers(-7, 7)))
    # From four to about ten mask pixels a patch, in eighths of a level-0 pixel.
    patch_level0 = Fraction(draw(st.integers(8 * 73, 8 * 160)), 8)
    side = draw(st.integers(1, 4))
    return Case(
        mask=mask_over_slide(pixels, size, 0.5, "segmented"),
        patch_level0=patch_level0,
        tiling=TilingSettings(
            region_px=side * PATCH_PX,
            patch_px=PATCH_PX,
            grid=draw(st.sampled_from(["islands", "slide"])),
            min_tissue_fraction=draw(st.sampled_from([0.0, 0.1, 0.3])),
        ),
    )


def exact(position: float) -> Fraction:
    """The rational number that a position stands for; all of them have small denominators."""
    return Fraction(position).limit_denominator(10_000)


def pixels_between(low: Fraction, high: Fraction, per_px: Fraction) -> range:
    """Mask pixels whose centre c has low <= c < high, by trying every candidate."""
    first, last = math.floor(low / per_px) - 2, math.ceil(high / per_px) + 2
    inside = [j for j in range(first, last) if low <= (j + Fraction(1, 2)) * per_px < high]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def count_by_hand(case: Case, regions: Regions) -> tuple[npt.NDArray[np.int64], ...]:
    mask, side = case.mask, regions.side
    height, width = mask.pixels.shape
    per_x, per_y = Fraction(mask.size_level0[0], width), Fraction(mask.size_level0[1], height)
    tissue = np.zeros((len(regions), side * side), np.int64)
    pixels = np.zeros_like(tissue)
    for m, (x, y) in enumerate(regions.origin_level0):
        for k in range(side * side):
            left = exact(x) + (k % side) * case.patch_level0
            top = exact(y) + (k // side) * case.patch_level0
            columns = pixels_between(left, left + case.patch_level0, per_x)
            rows = pixels_between(top, top + case.patch_level0, per_y)
            pixels[m, k] = len(rows) * len(columns)
            tissue[m, k] = sum(
                int(mask.pixels[i, j])
                for i in rows
                for j in columns
                if 0 <= i < height and 0 <= j < width
            )
    return tissue, pixels


@settings(max_examples=60, deadline=None)
@given(cases())
def test_counts_equal_a_count_by_hand(case: Case) -> None:
    kept = case.layout.kept
    tissue, pixels = count_by_hand(case, kept)
    assert np.array_equal(kept.tissue_count, tissue)
    assert np.array_equal(kept.pixel_count, pixels)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_no_two_regions_overlap_rounded_or_not(case: Case) -> None:
    kept = case.layout.kept
    side = kept.region_level0
    edges = np.floor(
        np.concatenate([kept.origin_level0, kept.origin_level0 + side], 1) + 0.5 + 1e-6
    )
    for a in range(len(kept)):
        for b in range(a):
            apart = np.abs(kept.origin_level0[a] - kept.origin_level0[b])
            assert (apart >= side - 1e-6).any()
            (l1, t1, r1, b1), (l2, t2, r2, b2) = edges[a], edges[b]
            assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1


@settings(max_examples=150, deadline=None)
@given(cases())
def test_every_tissue_pixel_is_kept_once_or_dropped(case: Case) -> None:
    layout, mask = case.layout, case.mask
    total = int(mask.pixels.sum())
    kept = int(layout.kept.tissue_count.sum())
    assert kept <= total
    assert layout.tissue_mm2 == pytest.approx(total * mask.pixel_mm2)
    assert layout.tissue_dropped_mm2 == pytest.approx((total - kept) * mask.pixel_mm2)
    if case.tiling.min_tissue_fraction == 0:
        assert kept == total


@settings(max_examples=150, deadline=None)
@given(cases())
def test_kept_regions_hold_enough_and_rejected_squares_too_little(case: Case) -> None:
    layout, least = case.layout, case.tiling.min_tissue_fraction
    assert (layout.kept.region_tissue_fraction >= least - 1e-6).all()
    assert (layout.kept.tissue_count.sum(axis=1) > 0).all()
    assert (layout.rejected.region_tissue_fraction < max(least, 1e-9) + 1e-6).all()


@settings(max_examples=100, deadline=None)
@given(cases())
def test_regions_of_a_grid_neither_gap_nor_drift_and_are_ordered(case: Case) -> None:
    kept = case.layout.kept
    xy = kept.xy_level0
    assert [tuple(p) for p in xy[:, ::-1]] == sorted(tuple(p) for p in xy[:, ::-1])
    right_edge = np.floor(kept.origin_level0 + kept.region_level0 + 0.5 + 1e-6)
    for m, origin in enumerate(kept.origin_level0):
        next_column = origin + np.asarray([kept.region_level0, 0])
        near = np.abs(kept.origin_level0 - next_column).max(axis=1) < 1e-3
        if near.any():
            assert xy[near][0, 0] == right_edge[m, 0]


def test_two_cores_have_their_own_grids(mask_of: MaskOf) -> None:
    # Regions of 64 mask pixels; the cores lie 70 apart and out of step.
    mask = mask_of((10, 10, 130, 60), (37, 90, 150, 140))
    layout = lay_regions(mask, plan_of(16.0), TilingSettings(region_px=64, patch_px=16))
    assert layout.islands == 2
    assert layout.kept.xy_level0.tolist() == [
        [160, 160],
        [1184, 160],
        [592, 1440],
        [1616, 1440],
    ]
    assert layout.tissue_dropped_mm2 == 0


def test_cores_whose_regions_would_overlap_share_one_grid(mask_of: MaskOf) -> None:
    mask = mask_of((10, 10, 130, 60), (37, 65, 150, 110))
    layout = lay_regions(mask, plan_of(16.0), TilingSettings(region_px=64, patch_px=16))
    assert layout.islands == 1
    assert {x % 1024 for x, _ in layout.kept.xy_level0.tolist()} == {160}


def test_merging_goes_on_until_nothing_overlaps(mask_of: MaskOf) -> None:
    # The second and third touch only once the first two have moved to a common corner.
    boxes = [(0, 0, 40, 40), (50, 30, 90, 70), (140, 60, 190, 100)]
    layout = lay_regions(
        mask_of(*boxes, shape=(200, 300)), plan_of(16.0), TilingSettings(region_px=64, patch_px=16)
    )
    pairs = [
        np.abs(a - b).max()
        for i, a in enumerate(layout.kept.origin_level0)
        for b in layout.kept.origin_level0[:i]
    ]
    assert min(pairs) >= 1024


def test_the_sliver_of_one_core_does_not_tie_it_to_the_next(mask_of: MaskOf) -> None:
    # The first core is 66 px high, two more than a region; its second row of squares would
    # reach into the second core.
    mask = mask_of((10, 10, 130, 76), (37, 100, 150, 150))
    layout = lay_regions(mask, plan_of(16.0), TilingSettings(region_px=64, patch_px=16))
    assert layout.islands == 2
    assert len(layout.kept) == 4
    assert layout.tissue_dropped_mm2 == pytest.approx(120 * 2 * mask.pixel_mm2)
    assert (layout.rejected.tissue_count.sum(axis=1) == [64 * 2, 56 * 2]).all()


def test_small_fragments_count_together(mask_of: MaskOf) -> None:
    # Each of them holds 4.7 % of a region, together 14 %.
    fragments = [(10, 10, 34, 18), (20, 30, 44, 38), (12, 50, 36, 58)]
    layout = lay_regions(
        mask_of(*fragments), plan_of(16.0), TilingSettings(region_px=64, patch_px=16)
    )
    assert len(layout.kept) == 1
    assert layout.tissue_dropped_mm2 == 0


def test_a_region_over_the_edge_counts_what_is_outside_as_background(mask_of: MaskOf) -> None:
    mask = mask_of((290, 190, 300, 200))
    layout = lay_regions(
        mask, plan_of(16.0), TilingSettings(region_px=32, patch_px=16, min_tissue_fraction=0.05)
    )
    assert layout.kept.pixel_count.tolist() == [[256] * 4]
    assert layout.kept.tissue_count.tolist() == [[100, 0, 0, 0]]


def test_glass_beside_tissue_has_exactly_no_tissue(mask_of: MaskOf) -> None:
    layout = lay_regions(
        mask_of((10, 10, 30, 70)), plan_of(16.3), TilingSettings(region_px=64, patch_px=16)
    )
    assert (layout.kept.tissue_fraction[:, 2::4] == 0).all()


def test_without_tissue_there_are_no_regions(mask_of: MaskOf) -> None:
    for grid in ("islands", "slide"):
        layout = lay_regions(
            mask_of(), plan_of(16.0), TilingSettings(region_px=64, patch_px=16, grid=grid)
        )
        assert len(layout.kept) == len(layout.rejected) == layout.islands == 0
        assert layout.kept.tissue_fraction.shape == (0, 16)


def test_a_mask_coarser_than_a_quarter_of_a_patch_is_refused(mask_of: MaskOf) -> None:
    mask = mask_of((0, 0, 100, 100))
    lay_regions(mask, plan_of(4.0), TilingSettings(region_px=64, patch_px=16))
    with pytest.raises(TissueError, match=r"too coarse.*8 µm per mask pixel.*at most 7.8 µm"):
        lay_regions(mask, plan_of(3.9), TilingSettings(region_px=64, patch_px=16))


@pytest.mark.parametrize("origin", [(0.0, 0.0), (100.5, 37.0), (-3000.0, 900.0)])
def test_a_slide_grid_passes_through_its_origin(
    mask_of: MaskOf, origin: tuple[float, float]
) -> None:
    layout = lay_regions(
        mask_of((3, 3, 290, 190)),
        plan_of(16.0),
        TilingSettings(region_px=64, patch_px=16, grid="slide", min_tissue_fraction=0),
        origin_level0=origin,
    )
    offset = (layout.kept.origin_level0 - origin) % 1024
    assert np.minimum(offset, 1024 - offset).max() < 1e-6
    assert layout.tissue_dropped_mm2 == 0


def test_the_pyramid_does_not_move_the_regions(mask_of: MaskOf) -> None:
    mask = mask_of((10, 10, 130, 60), (37, 90, 150, 140))
    layouts = []
    for downsamples in ((1.0,), (1.0, 2.0), (1.0, 2.0, 4.0), (1.0, 4.0, 16.0)):
        sizes = tuple((int(4800 / d), int(3200 / d)) for d in downsamples)
        geometry = SlideGeometry(sizes=sizes, downsamples=downsamples, spacing_um=0.25)
        plan = plan_reading(geometry, 0.5, 0.05)
        layouts.append(lay_regions(mask, plan, TilingSettings(region_px=512, patch_px=64)))
    for layout in layouts[1:]:
        assert np.array_equal(layout.kept.origin_level0, layouts[0].kept.origin_level0)
        assert np.array_equal(layout.kept.tissue_count, layouts[0].kept.tissue_count)


@pytest.mark.parametrize(
    ("name", "size", "spacing_um", "regions"),
    [("a", (12000, 6000), 0.486, 10), ("b", (10240, 4352), 0.5032, 4)],
)
def test_biopsies_need_few_regions(
    data: Path, name: str, size: tuple[int, int], spacing_um: float, regions: int
) -> None:
    mask = read_external_mask(data / "masks" / f"biopsy_{name}_mask.tiff", size, spacing_um, (1,))
    layout = lay_regions(mask, plan_of(1.0, spacing_um), TilingSettings())
    assert len(layout.kept) == regions
    assert layout.tissue_dropped_mm2 < 0.01 * layout.tissue_mm2


def test_published_tiles_of_another_program_are_found_again(data: Path) -> None:
    """hs2p's 459 tiles of 224 px at 0.5 µm, on its own grid from (64, 0) in steps of 444."""
    published = np.load(data / "masks" / "hs2p_test-wsi.coordinates.npz")
    theirs = set(zip(published["x"].tolist(), published["y"].tolist(), strict=True))
    mask = read_external_mask(data / "masks" / "hs2p_test-mask.tif", (13824, 12800), 0.252, (1,))
    layout = lay_regions(
        mask,
        plan_of(444 / 224, 0.252),
        TilingSettings(region_px=224, patch_px=224, grid="slide"),
        origin_level0=(64.0, 0.0),
    )
    ours = {(x, y) for x, y in layout.kept.xy_level0.tolist() if x >= 64}
    assert len(theirs) == 459
    assert len(ours & theirs) >= 0.97 * len(theirs)
    assert abs(len(ours) - len(theirs)) <= 0.01 * len(theirs)
