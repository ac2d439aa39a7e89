from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import openslide
import pytest
import pyvips

from hvit_cli.heatmaps.maps import PatchMap, rescale
from hvit_cli.heatmaps.overlay import Overlay, write_overlay
from hvit_cli.heatmaps.render import colour_table
from hvit_cli.settings import HeatmapSettings

SIZE = (5003, 3001)
SPACING_UM = 0.486


def overlay_of(patch_map: PatchMap, **changes: object) -> Overlay:
    return Overlay(
        patch_map=patch_map,
        settings=HeatmapSettings(**changes),  # type: ignore[arg-type]
        size_level0=SIZE,
        spacing_um_level0=SPACING_UM,
    )


@pytest.fixture
def patch_map(make_map) -> PatchMap:
    return rescale(make_map([(400, 300), (2448, 300)], side=8, patch_level0=256.0), "relative")


def test_openslide_opens_it_with_several_levels_and_the_real_spacing(
    patch_map: PatchMap, tmp_path: Path
) -> None:
    path = tmp_path / "map.tiff"
    write_overlay(path, overlay_of(patch_map))
    with openslide.OpenSlide(path) as slide:
        assert slide.level_count >= 3
        width, height = slide.dimensions
        for axis, side in (("x", width), ("y", height)):
            um = float(slide.properties[f"openslide.mpp-{axis}"])
            level0 = SIZE[0] if axis == "x" else SIZE[1]
            assert um * side == pytest.approx(level0 * SPACING_UM, rel=1e-3)
            assert um == pytest.approx(2.0, rel=2e-3)
        assert slide.level_downsamples[1] == pytest.approx(2, rel=0.01)


def test_alpha_is_0_where_nothing_was_seen_and_the_opacity_elsewhere(
    patch_map: PatchMap, tmp_path: Path
) -> None:
    path = tmp_path / "map.tiff"
    write_overlay(path, overlay_of(patch_map, opacity=0.6))
    picture = pyvips.Image.new_from_file(str(path)).numpy()
    per_px = SIZE[0] / picture.shape[1]
    row, column = np.mgrid[: picture.shape[0], : picture.shape[1]]
    x, y = (column + 0.5) * per_px, (row + 0.5) * SIZE[1] / picture.shape[0]
    expected = np.zeros(picture.shape[:2], np.uint8)
    for (left, top), visible in zip(patch_map.patch_xy_level0, patch_map.visible, strict=True):
        if visible:
            inside = (x >= left) & (x < left + 256) & (y >= top) & (y < top + 256)
            expected[inside] = round(255 * 0.6)
    np.testing.assert_array_equal(picture[..., 3], expected)
    with openslide.OpenSlide(path) as slide:
        # A pixel of the next level is the mean of four, and clear where all of them are.
        seen = np.asarray(slide.read_region((0, 0), 1, slide.level_dimensions[1]))
        height, width = seen.shape[0] - 1, seen.shape[1] - 1
        four = expected[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
        np.testing.assert_allclose(seen[:-1, :-1, 3], four.mean(axis=(1, 3)), atol=1)


def test_colours_are_those_of_the_values(patch_map: PatchMap, tmp_path: Path) -> None:
    path = tmp_path / "map.tiff"
    write_overlay(path, overlay_of(patch_map, opacity=1.0, colour_range=(0.0, 2.0)))
    picture = pyvips.Image.new_from_file(str(path)).numpy()
    table = colour_table("viridis")
    per_px = SIZE[0] / picture.shape[1]
    for (left, top), value in zip(
        patch_map.patch_xy_level0[patch_map.visible],
        patch_map.value[patch_map.visible],
        strict=True,
    ):
        found = picture[int((top + 128) / per_px), int((left + 128) / per_px), :3]
        index = min(255, int(min(max(value / 2, 0), 1) * 256))
        np.testing.assert_array_equal(found, table[index])


def test_it_is_a_classic_pyramid_of_deflate_tiles(patch_map: PatchMap, tmp_path: Path) -> None:
    path = tmp_path / "map.tiff"
    write_overlay(path, overlay_of(patch_map))
    pages = pyvips.Image.new_from_file(str(path)).get("n-pages")
    assert pages >= 3
    for page in range(pages):
        level = pyvips.Image.new_from_file(str(path), page=page)
        assert level.bands == 4
    assert path.stat().st_size < 200_000


def test_ome_tiff_names_its_spacing_and_hides_its_levels(
    patch_map: PatchMap, tmp_path: Path
) -> None:
    path = tmp_path / "map.ome.tiff"
    overlay = overlay_of(patch_map)
    write_overlay(path, overlay, ome=True)
    image = pyvips.Image.new_from_file(str(path))
    described = image.get("image-description")
    assert f'PhysicalSizeX="{overlay.spacing_um[0]:.9g}"' in described
    assert f'SizeX="{image.width}" SizeY="{image.height}" SizeC="4"' in described
    assert image.get("n-subifds") >= 2


def test_an_overlay_is_never_finer_than_its_slide(patch_map: PatchMap) -> None:
    overlay = overlay_of(patch_map, overlay_um=0.1)
    assert overlay.size_px == SIZE
    assert overlay.spacing_um == pytest.approx((SPACING_UM, SPACING_UM))


def test_what_is_below_the_threshold_is_transparent_too(patch_map: PatchMap) -> None:
    middle = float(np.median(patch_map.value[patch_map.visible]))
    all_of_it = np.concatenate(list(overlay_of(patch_map).strips()))[..., 3] > 0
    above = np.concatenate(list(overlay_of(patch_map, threshold=middle).strips()))[..., 3] > 0
    assert 0.4 < above.sum() / all_of_it.sum() < 0.6


def test_a_map_of_a_slide_without_visible_patches_is_clear(make_map) -> None:
    one = make_map()
    nothing = dataclasses.replace(
        one, visible=np.zeros(16, bool), value=np.full(16, np.nan), within="slide"
    )
    assert not np.concatenate(list(overlay_of(nothing).strips())).any()
