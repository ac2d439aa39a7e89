from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hvit_cli.errors import HvitError
from hvit_cli.settings import ReadingSettings, TilingSettings
from hvit_cli.steps.regroup import regroup_patches, regroup_regions
from hvit_cli.steps.regrouping import Known, Maker, Regrouping
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.foreign.patches import ForeignPatches, ForeignRegions

MAKER = Maker(
    name="uni", folder_name="uni", weights_hash="unverified:uni", normalisation='"unknown"'
)
TILING = TilingSettings(min_tissue_fraction=0.0)
HOW = Regrouping(layout="trident", maker=MAKER, reading=ReadingSettings(), tiling=TILING)


def blob(seed: int, share: float = 0.3, columns: int = 40, rows: int = 26) -> np.ndarray:
    there = np.random.default_rng(seed).random((rows, columns)) < share
    there[1, 2] = True
    row, column = np.nonzero(there)
    return np.stack([column, row], axis=1)


def patches_at(cell: np.ndarray, step: int = 512, **changed: object) -> ForeignPatches:
    """Patches whose first two features are their column and row."""
    features = np.concatenate([cell, np.ones((len(cell), 2))], axis=1).astype(np.float32)
    fields: dict[str, object] = {
        "slide_id": "slide",
        "features": features,
        "xy_level0": cell * step,
        "patch_level0": step,
        **changed,
    }
    return ForeignPatches(**fields)  # type: ignore[arg-type]


def require_sound(slide: SlideFeatures, step: int) -> None:
    """Each row lies where its region and slot say; regions are ordered and do not overlap."""
    column, row = slide.patch_index % 8, slide.patch_index // 8
    place = slide.region_xy_level0[slide.region_index] + np.stack([column, row], 1) * step
    np.testing.assert_array_equal(slide.coords, place)
    position = slide.region_index * 64 + slide.patch_index
    assert (np.diff(position) > 0).all()
    xy = slide.region_xy_level0
    assert [tuple(p) for p in xy[:, ::-1]] == sorted(tuple(p) for p in xy[:, ::-1])
    apart = np.abs(xy[:, None] - xy[None]).max(axis=2) >= 8 * step
    assert (apart | np.eye(len(xy), dtype=bool)).all()


@pytest.mark.parametrize("grid", ["islands", "slide"])
@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("origin", [(0, 0), (64, 17)])
def test_every_patch_keeps_its_place_and_none_is_lost(
    grid: str, share: float, origin: tuple[int, int]
) -> None:
    cell = blob(1, share)
    xy = cell * 512 + np.asarray(origin)
    tiling = dataclasses.replace(TILING, grid=grid)
    how = dataclasses.replace(HOW, tiling=tiling)
    slide = regroup_patches(patches_at(cell, xy_level0=xy), how, Known())
    require_sound(slide, 512)
    assert len(slide.features) == len(cell)
    np.testing.assert_array_equal(slide.features[:, :2] * 512 + np.asarray(origin), slide.coords)
    assert (slide.tissue_fraction == 1).all()
    counts = np.bincount(slide.region_index, minlength=slide.n_regions)
    np.testing.assert_allclose(slide.region_tissue_fraction, counts / 64)
    assert slide.tissue_dropped_mm2 == 0
    assert slide.tissue_mm2 == pytest.approx(len(cell) * 0.128**2)


def test_a_slide_wide_grid_starts_at_the_corner_of_the_slide() -> None:
    how = dataclasses.replace(HOW, tiling=dataclasses.replace(TILING, grid="slide"))
    slide = regroup_patches(patches_at(np.asarray([(3, 9), (12, 2)])), how, Known())
    np.testing.assert_array_equal(slide.region_xy_level0, [(8 * 512, 0), (0, 8 * 512)])
    np.testing.assert_array_equal(slide.patch_index, [2 * 8 + 4, 1 * 8 + 3])


def test_an_island_has_a_grid_of_its_own_from_its_top_left_corner() -> None:
    # Two separate 2×2 blocks, 20 cells apart: a region each, not four.
    block = np.asarray([(0, 0), (1, 0), (0, 1), (1, 1)])
    cell = np.concatenate([block + 7, block + np.asarray([27, 7])])
    slide = regroup_patches(patches_at(cell), HOW, Known())
    np.testing.assert_array_equal(slide.region_xy_level0, [(7 * 512, 7 * 512), (27 * 512, 7 * 512)])


def test_patches_outside_the_regions_are_counted_when_a_least_fraction_is_asked_for() -> None:
    full = np.asarray([(column, row) for column in range(8) for row in range(8)])
    cell = np.concatenate([full, [(30, 30)]])
    tiling = dataclasses.replace(TILING, min_tissue_fraction=0.1)
    slide = regroup_patches(patches_at(cell), dataclasses.replace(HOW, tiling=tiling), Known())
    assert (slide.n_regions, len(slide.features)) == (1, 64)
    assert slide.tissue_dropped_mm2 == pytest.approx(0.128**2)


def test_only_full_regions_serve_plain_attention() -> None:
    full = np.asarray([(column, row) for column in range(16) for row in range(8)])
    assert regroup_patches(patches_at(full), HOW, Known()).patches == "all"
    assert regroup_patches(patches_at(full[1:]), HOW, Known()).patches == "tissue"


def test_stored_fractions_are_kept_with_their_rows() -> None:
    cell = blob(5)
    fraction = (cell[:, 0] + cell[:, 1] * 100).astype(np.float32) / 10000
    slide = regroup_patches(patches_at(cell, tissue_fraction=fraction), HOW, Known())
    wanted = (slide.features[:, 0] + slide.features[:, 1].astype(float) * 100) / 10000
    np.testing.assert_allclose(slide.tissue_fraction, wanted, rtol=1e-6)
    assert slide.recipe["inputs"]["tissue_fraction"] == "stored"


def test_what_is_not_known_is_assumed_and_says_so() -> None:
    slide = regroup_patches(patches_at(blob(2)), HOW, Known())
    inputs = slide.recipe["inputs"]
    assert (slide.spacing_um_level0, slide.spacing_um) == (0.25, 0.5)
    assert inputs["known"]["spacing_from"] == "assumed: the patches are at 0.5 µm per pixel"
    assert inputs["tissue_fraction"] == "assumed 1"
    known = Known(spacing_um_level0=0.243, spacing_from="option", size_level0=(99999, 88888))
    slide = regroup_patches(patches_at(blob(2)), HOW, known)
    assert slide.spacing_um == pytest.approx(0.486)
    assert slide.size_level0 == (99999, 88888)


@pytest.mark.parametrize(
    ("changed", "known", "said"),
    [
        ({"patch_px": 224}, Known(), "found 224 px; wanted 256 px; try --patch 224 --region 1792"),
        ({"spacing_um": 1.0}, Known(), "slide: the patches are at another spacing; found 1 µm/px"),
        ({}, Known(spacing_um_level0=0.5), "found 1 µm/px; wanted 0.5 ± 5%"),
    ],
)
def test_patches_of_another_making_are_refused(
    changed: dict[str, object], known: Known, said: str
) -> None:
    with pytest.raises(HvitError) as caught:
        regroup_patches(patches_at(blob(3), **changed), HOW, known)
    assert said in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_features_that_float16_cannot_hold_are_refused(value: float) -> None:
    patches = patches_at(blob(3))
    patches.features[4, 1] = value
    with pytest.raises(HvitError, match=r"slide: features: features must be finite.*in row"):
        regroup_patches(patches, HOW, Known())


def test_a_slide_without_patches_is_a_slide_without_regions() -> None:
    slide = regroup_patches(patches_at(np.zeros((0, 2), np.int64)), HOW, Known())
    assert (slide.n_regions, len(slide.features)) == (0, 0)


def regions(fraction: np.ndarray | None = None) -> ForeignRegions:
    """Three regions in text order; features are corner x, corner y, slot."""
    xy = np.asarray([(0, 10240), (10240, 0), (512, 0)])
    features = np.zeros((3, 64, 3), np.float32)
    features[..., :2] = xy[:, None] / 512
    features[..., 2] = np.arange(64)
    return ForeignRegions(
        slide_id="slide", features=features, xy_level0=xy, tissue_fraction=fraction
    )


@pytest.mark.parametrize(("spacing", "patch"), [(0.243, 1000 * 0.128 / 0.243), (0.486, 256.0)])
def test_regions_are_put_in_order_with_everything_that_is_theirs(
    spacing: float, patch: float
) -> None:
    fraction = np.random.default_rng(0).random((3, 64)).astype(np.float32)
    slide = regroup_regions(regions(fraction), HOW, Known(spacing_um_level0=spacing))
    np.testing.assert_array_equal(slide.region_xy_level0, [(512, 0), (10240, 0), (0, 10240)])
    np.testing.assert_array_equal(slide.tissue_fraction.reshape(3, 64), fraction[[2, 1, 0]])
    corner = slide.region_xy_level0[slide.region_index]
    np.testing.assert_allclose(slide.features[:, :2], corner / 512)
    np.testing.assert_array_equal(slide.features[:, 2], slide.patch_index)
    # Within the tolerance pixels are used as they are; else 256 px at 0.5 µm are 128 µm.
    assert slide.patch_level0 == pytest.approx(patch)
    offset = np.stack([slide.patch_index % 8, slide.patch_index // 8], 1) * patch
    np.testing.assert_allclose(slide.coords, corner + offset, atol=0.5)
    assert slide.patches == "all"


@pytest.mark.parametrize(
    ("how", "known", "said"),
    [
        (HOW, Known(), "--spacing-level0"),
        (
            dataclasses.replace(HOW, tiling=TilingSettings(region_px=4096)),
            Known(spacing_um_level0=0.5),
            "found 64; wanted 256, as 4096 px hold; try --region 2048",
        ),
        (HOW, Known(spacing_um_level0=0.7), "never enlarges"),
    ],
)
def test_regions_that_cannot_be_placed_are_refused(
    how: Regrouping, known: Known, said: str
) -> None:
    with pytest.raises(HvitError) as caught:
        regroup_regions(regions(), how, known)
    assert said in str(caught.value)
