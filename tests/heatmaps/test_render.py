from __future__ import annotations

import numpy as np
import pytest

from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.maps import rescale
from hvit_cli.heatmaps.render import (
    SAFE_COLOUR_MAPS,
    colour_range,
    colour_table,
    colours,
    dropped_tissue,
    hatch,
    mask_in_frame,
    mask_picture,
    outline,
    paint,
    region_boxes_px,
)
from hvit_cli.heatmaps.stitch import PictureFrame, stitch

FRAME = PictureFrame(size_px=(80, 40), size_level0=(800, 400))


def slide_picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(120, 256, (40, 80, 3)).astype(np.uint8)


def patch_pixels(patch_map, wanted: np.ndarray) -> np.ndarray:
    """(h, w) pixels that lie in the wanted patches, from the coordinates alone."""
    inside = np.zeros((40, 80), bool)
    for x, y in patch_map.patch_xy_level0[wanted] // 10:
        inside[y : y + 10, x : x + 10] = True
    return inside


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_transparent_is_what_the_model_could_not_see_and_nothing_else(
    make_map, attention: str, smooth: bool
) -> None:
    one = rescale(make_map([(0, 0)], attention=attention), "relative")
    picture = slide_picture()
    values = stitch(one, FRAME, smooth=smooth)
    painted = paint(picture, values, colour_table("viridis"), (0, 3), 0.5)
    seen = patch_pixels(one, one.visible)
    np.testing.assert_array_equal(painted[~seen], picture[~seen])
    assert (painted[seen] != picture[seen]).any(axis=-1).all()
    glass = patch_pixels(one, one.background)
    assert glass.any()
    changed = (painted[glass] != picture[glass]).any()
    assert changed == (attention == "plain")


def test_opacity_0_is_the_slide_and_opacity_1_the_colours_alone(make_map) -> None:
    one = rescale(make_map([(0, 0)]), "rank")
    picture, values = slide_picture(), stitch(one, FRAME)
    table = colour_table("cividis")
    np.testing.assert_array_equal(paint(picture, values, table, (0, 1), 0), picture)
    bare = paint(picture, values, table, (0, 1), 1)
    seen = ~np.isnan(values)
    np.testing.assert_array_equal(bare[seen], colours(values[seen], table, (0, 1)))


def test_at_half_opacity_a_colour_is_the_mean_of_the_slides_grey_and_the_colour_bar() -> None:
    picture = np.full((1, 1, 3), (200, 100, 150), np.uint8)
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 150
    table = colour_table("viridis")
    painted = paint(picture, np.zeros((1, 1), np.float32), table, (0, 3), 0.5)
    np.testing.assert_allclose(painted[0, 0], (grey + table[0].astype(float)) / 2, atol=0.51)


def test_values_are_clipped_to_the_ends_of_the_colours() -> None:
    table = colour_table("inferno")
    found = colours(np.array([-5, 0, 1.5, 3, 9]), table, (0, 3))
    expected = table[[0, 0, 128, 255, 255]]
    np.testing.assert_array_equal(found, expected)


def test_colours_are_matplotlibs_and_the_safe_ones_exist() -> None:
    import matplotlib

    for name in SAFE_COLOUR_MAPS:
        table = colour_table(name)
        np.testing.assert_allclose(table[255] / 255, matplotlib.colormaps[name](1.0)[:3], atol=0.01)
        # Light and dark alone tell low from high: what every eye and a grey print can read.
        light = table @ np.array([0.299, 0.587, 0.114])
        assert np.all(np.diff(light) > -1.5)
        assert light[-1] - light[0] > 100


def test_a_colour_map_that_does_not_exist_is_named_with_safe_ones() -> None:
    with pytest.raises(UsageError, match="--colour-map: no such colour map; found virids"):
        colour_table("virids")


def test_panels_share_one_range(make_map) -> None:
    a, b = make_map(seed=1), make_map(seed=2)
    assert colour_range("relative", [a, b]) == (0, 3)
    assert colour_range("rank", [a]) == colour_range("minmax", [a]) == (0, 1)
    assert colour_range("raw", [a, b]) == (0, max(a.value.max(), b.value.max()))
    assert colour_range("relative", [a], (0.5, 2)) == (0.5, 2)
    assert colour_range("raw", [make_map(tissue_share=0)]) == (0, 1)


def test_dropped_tissue_is_what_lies_in_no_region(make_map) -> None:
    boxes = region_boxes_px(make_map([(100, 0)]), FRAME)
    assert boxes.tolist() == [[10, 0, 50, 40]]
    tissue = np.zeros((40, 80), bool)
    tissue[5:9, 5:60] = True
    dropped = dropped_tissue(tissue, boxes)
    assert dropped[5:9, 5:10].all()
    assert dropped[5:9, 50:60].all()
    assert dropped.sum() == 4 * 15


def test_hatching_and_outlines_touch_nothing_but_their_own_pixels() -> None:
    picture, where = slide_picture(), np.zeros((40, 80), bool)
    where[10:30, 20:60] = True
    hatched = hatch(picture, where, 6)
    np.testing.assert_array_equal(hatched[~where], picture[~where])
    assert 0.1 < (hatched[where] != picture[where]).any(axis=-1).mean() < 0.6
    drawn = outline(picture, np.array([[20, 10, 60, 30]]), 1)
    where[11:29, 21:59] = False
    np.testing.assert_array_equal(drawn[~where], picture[~where])
    assert len(np.unique(drawn[where], axis=0)) == 1


def test_a_mask_is_read_at_the_centres_of_the_pictures_pixels() -> None:
    mask = np.array([[1, 0], [0, 1]], np.uint8)
    tissue = mask_in_frame(mask, PictureFrame(size_px=(6, 4), size_level0=(60, 40)), (60, 40))
    np.testing.assert_array_equal(tissue, np.kron(mask, np.ones((2, 3))) > 0)
    assert set(np.unique(mask_picture(tissue))) == {150, 255}
