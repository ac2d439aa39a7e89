from __future__ import annotations

import numpy as np
import pytest

from hvit_cli.heatmaps.maps import PatchMap, rescale
from hvit_cli.heatmaps.render import colour_table, paint
from hvit_cli.heatmaps.stitch import PictureFrame, stitch
from hvit_cli.viewer.overlay import MapTiles, Marks, grey_below
from hvit_cli.viewer.pyramid import Pyramid, Tile
from hvit_cli.viewer.scene import Scene

SIZE = (2944, 1728)  # multiples of 8 times 8: every zoom divides it
TABLE = colour_table("viridis")


@pytest.fixture(scope="session")
def relative_map(raw_map: PatchMap) -> PatchMap:
    return rescale(raw_map, "relative")


def tiles_of(pyramid: Pyramid, zoom: int) -> list[Tile]:
    width, height = pyramid.size_px(zoom)
    places = [(c, r) for r in range(-(-height // 512)) for c in range(-(-width // 512))]
    return [tile for place in places if (tile := pyramid.tile(zoom, *place)) is not None]


@pytest.mark.parametrize("zoom", [0, 1, 2, 3])
def test_a_patchs_centre_has_its_colour_at_every_zoom(relative_map: PatchMap, zoom: int) -> None:
    pyramid = Pyramid(size_level0=(2900, 1700))
    tiles = MapTiles(relative_map, TABLE, (0.0, 3.0))
    painted = {tile: tiles.tile(tile) for tile in tiles_of(pyramid, zoom)}
    half = relative_map.patch_level0 / 2
    for i, xy in enumerate(relative_map.patch_xy_level0):
        x, y = (int(p // pyramid.level0_per_px(zoom)) for p in xy + half)
        (tile,) = (
            t for t in painted if t.xy_px[0] // 512 == x // 512 and t.xy_px[1] // 512 == y // 512
        )
        pixel = painted[tile][y - tile.xy_px[1], x - tile.xy_px[0]]
        if not relative_map.visible[i]:
            assert pixel[3] == 0
            continue
        share = min(relative_map.value[i] / 3, 1)
        np.testing.assert_array_equal(pixel, [*TABLE[min(int(share * 256), 255)], 255])


@pytest.mark.parametrize("zoom", [0, 1, 2, 3])
def test_tiles_together_are_the_stitched_map(relative_map: PatchMap, zoom: int) -> None:
    pyramid = Pyramid(size_level0=SIZE)
    tiles = MapTiles(relative_map, TABLE, (0.0, 3.0))
    whole = stitch(relative_map, PictureFrame(size_px=pyramid.size_px(zoom), size_level0=SIZE))
    for tile in tiles_of(pyramid, zoom):
        (x, y), (w, h) = tile.xy_px, tile.size_px
        there = whole[y : y + h, x : x + w]
        np.testing.assert_array_equal(tiles.tile(tile)[..., 3] > 0, ~np.isnan(there))


def test_grey_and_colours_over_the_slide_are_the_heatmap_of_the_command(
    relative_map: PatchMap,
) -> None:
    pyramid = Pyramid(size_level0=SIZE)
    tile = pyramid.tile(0, 0, 0)
    assert tile is not None
    slide = np.random.default_rng(0).integers(0, 256, (*tile.size_px[::-1], 3)).astype(np.uint8)
    values = stitch(relative_map, PictureFrame(size_px=tile.size_px, size_level0=SIZE))
    for opacity in (0.2, 0.5, 0.8):
        wanted = paint(slide, values, TABLE, (0.0, 3.0), opacity)
        over = MapTiles(relative_map, TABLE, (0.0, 3.0)).tile(tile)
        grey = grey_below(slide, over[..., 3])
        seen = over[..., 3:] / 255
        below = min(1.0, 2 * opacity) * seen
        shown = slide * (1 - below) + grey[..., :1] * below
        shown = shown * (1 - opacity * seen) + over[..., :3] * opacity * seen
        assert np.abs(shown - wanted).max() <= 1.01


def test_glass_that_was_seen_can_be_left_out(relative_map: PatchMap, scene: Scene) -> None:
    plain = scene.layers[1].shades["relative"].patch_map
    tile = Pyramid(size_level0=(2900, 1700)).tile(0, 0, 0)
    assert tile is not None
    tiles = MapTiles(plain, TABLE, (0.0, 3.0))
    masked = MapTiles(relative_map, TABLE, (0.0, 3.0))
    assert (tiles.tile(tile)[..., 3] > 0).sum() > (masked.tile(tile)[..., 3] > 0).sum()
    np.testing.assert_array_equal(
        tiles.tile(tile, tissue_only=True)[..., 3], masked.tile(tile)[..., 3]
    )


def test_hatching_lies_on_tissue_outside_the_regions_and_goes_on_across_tiles(scene: Scene) -> None:
    assert scene.mask is not None
    marks = Marks(scene.mask, scene.size_level0, scene.region_box_level0)
    assert marks.any_unseen
    pyramid = Pyramid(size_level0=scene.size_level0)
    whole = np.zeros((1700, 2900, 4), np.uint8)
    for tile in tiles_of(pyramid, 3):
        (x, y), (w, h) = tile.xy_px, tile.size_px
        whole[y : y + h, x : x + w] = marks.unseen(tile)
    row, column = np.nonzero(whole[..., 3])
    mask_row = ((row + 0.5) * (106 / 1700)).astype(int)
    mask_column = ((column + 0.5) * (181 / 2900)).astype(int)
    assert scene.mask[mask_row, mask_column].all()
    for left, top, right, bottom in scene.region_box_level0:
        inside = (column > left) & (column < right - 1) & (row > top) & (row < bottom - 1)
        assert not inside.any()
    # One diagonal is one stripe, whichever tiles it crosses.
    dark = (whole[..., 3] > 0) & (whole[..., 0] == 40)
    assert len(set(((row + column)[dark[row, column]] % 14).tolist())) == 2


def test_a_slide_without_unseen_tissue_says_so(scene: Scene) -> None:
    mask = np.zeros((106, 181), np.uint8)
    mask[12:30, 14:40] = 1
    assert not Marks(mask, scene.size_level0, scene.region_box_level0).any_unseen


def test_borders_lie_on_the_regions_edges(scene: Scene) -> None:
    assert scene.mask is not None
    marks = Marks(scene.mask, scene.size_level0, scene.region_box_level0)
    tile = Pyramid(size_level0=scene.size_level0).tile(3, 0, 0)
    assert tile is not None
    drawn = marks.regions(tile)[..., 3] > 0
    # The first region begins at (200, 150) and reaches beyond the tile.
    assert drawn[150:152, 200:].all() and drawn[150:, 200:202].all()
    assert not drawn[:150].any() and not drawn[:, :200].any()
    assert not drawn[153:, 203:].any()
