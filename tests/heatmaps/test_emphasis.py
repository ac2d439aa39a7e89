from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hvit_cli.errors import SettingsError, UsageError
from hvit_cli.heatmaps.emphasis import above, brought_out, emphasis_in_words, foremost
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.render import colour_range, dim, paint, tissue_border
from hvit_cli.heatmaps.stitch import PictureFrame, stitch
from hvit_cli.settings import HeatmapSettings


def signed(patch_map: PatchMap, seed: int = 0) -> PatchMap:
    value = np.random.default_rng(seed).standard_normal(len(patch_map.value))
    return dataclasses.replace(
        patch_map, signed=True, quantity="contribution", value=value * patch_map.visible
    )


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 1.0])
def test_the_foremost_share_is_that_many_of_the_seen_patches(make_map, share: float) -> None:
    one = make_map([(0, 0), (400, 0)], seed=2)
    lit = foremost(one, share)
    seen = int(one.visible.sum())
    assert lit.sum() == int(np.ceil(round(share * seen, 9)))
    assert not (lit & ~one.visible).any()
    assert one.value[lit].min() > one.value[one.visible & ~lit].max(initial=-1)


def test_of_a_constant_map_everything_seen_is_foremost(make_map) -> None:
    one = make_map()
    flat = dataclasses.replace(one, value=np.where(one.visible, 0.5, 0.0))
    np.testing.assert_array_equal(foremost(flat, 0.1), one.visible)


def test_where_0_is_neutral_both_ends_stand_out(make_map) -> None:
    one = signed(make_map(attention="plain"))
    expected = {i for i, v in enumerate(one.value) if v >= 1 or v <= -1}
    assert set(np.flatnonzero(above(one, 1.0)).tolist()) == expected


def test_below_the_threshold_the_slide_keeps_its_own_colours(make_map) -> None:
    one = make_map(attention="plain", patch_level0=100.0)
    settings = HeatmapSettings(threshold=float(np.median(one.value)))
    frame = PictureFrame(size_px=(40, 40), size_level0=(400, 400))
    slide = np.random.default_rng(0).integers(0, 200, (40, 40, 3), dtype=np.uint8)
    values = stitch(one, frame, shown=brought_out(one, settings))
    table = np.full((256, 3), 255, np.uint8)
    painted = paint(slide, values, table, (0, 1), 1.0)
    for (x, y), value in zip(one.patch_xy_level0 // 10, one.value, strict=True):
        cell = slice(y, y + 10), slice(x, x + 10)
        expected = slide[cell] if value < settings.threshold else 255
        np.testing.assert_array_equal(painted[cell], np.broadcast_to(expected, (10, 10, 3)))
    assert "keep the slide's own colours" in emphasis_in_words([one], settings)


def test_dimming_leaves_the_lit_pixels_exactly_and_darkens_the_others() -> None:
    slide = np.random.default_rng(0).integers(50, 256, (30, 30, 3), dtype=np.uint8)
    dark = np.random.default_rng(1).random((30, 30)) < 0.5
    dimmed = dim(slide, dark)
    np.testing.assert_array_equal(dimmed[~dark], slide[~dark])
    assert (dimmed[dark].astype(int).sum(1) < 0.8 * slide[dark].astype(int).sum(1)).all()


def test_percentiles_are_those_of_all_panels_together(make_map) -> None:
    one, two = make_map(seed=1), make_map(seed=2, attention="plain")
    seen = sorted([*one.value[one.visible], *two.value])
    low, high = colour_range("raw", [one, two], percentile=(10, 90))
    # Linear interpolation between order statistics, written out.
    for share, found in ((0.1, low), (0.9, high)):
        place = share * (len(seen) - 1)
        below = int(place)
        expected = seen[below] + (place - below) * (seen[below + 1] - seen[below])
        assert found == pytest.approx(expected)


def test_the_range_of_a_signed_map_is_symmetric_and_shared(make_map) -> None:
    one, two = signed(make_map(), 1), signed(make_map(attention="plain"), 2)
    low, high = colour_range("raw", [one, two])
    assert low == -high
    assert high == max(abs(v) for m in (one, two) for v in m.value[m.visible])
    low, clipped = colour_range("raw", [one, two], percentile=(0, 80))
    assert low == -clipped
    assert 0 < clipped < high
    assert colour_range("raw", [one], (-2.0, 2.0)) == (-2.0, 2.0)
    with pytest.raises(UsageError, match=r"0 must be the middle.*--colour-range -3 3"):
        colour_range("raw", [one], (-1.0, 3.0))
    nothing = dataclasses.replace(one, value=np.zeros_like(one.value))
    assert colour_range("raw", [nothing]) == (-1.0, 1.0)


def test_signed_maps_diverge_around_a_neutral_middle() -> None:
    from hvit_cli.heatmaps.render import colour_table

    settings = HeatmapSettings(map="contribution")
    table = colour_table(settings.shown_colour_map).astype(float)
    middle = table[127:129].mean(axis=0)
    assert np.ptp(middle) < 5
    assert middle.min() > 235
    # What lowers the score is bluer than red, what raises it redder than blue, alike in lightness.
    assert table[0, 2] > table[0, 0] + 60
    assert table[-1, 0] > table[-1, 2] + 60
    assert HeatmapSettings().shown_colour_map == "viridis"
    assert HeatmapSettings(colour_map="cividis").shown_colour_map == "cividis"


@pytest.mark.parametrize("thick", [1, 2, 4])
def test_the_border_of_tissue_lies_within_tissue_beside_glass(thick: int) -> None:
    tissue = np.zeros((40, 50), bool)
    tissue[10:30, 0:35] = True
    expected = np.zeros_like(tissue)
    for row in range(10, 30):
        for column in range(35):
            # The picture's own edge is no border of tissue.
            away = min(row - 9, 30 - row, 35 - column)
            expected[row, column] = away <= thick
    np.testing.assert_array_equal(tissue_border(tissue, thick), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"percentile": (90.0, 10.0)},
        {"percentile": (0.0, 101.0)},
        {"percentile": (1.0, 99.0), "colour_range": (0.0, 1.0)},
        {"threshold": float("nan")},
        {"highlight": 0.0},
        {"highlight": 1.2},
        {"highlight": 0.1, "threshold": 1.0},
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        HeatmapSettings(**wrong)  # type: ignore[arg-type]
