from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pytest

from hvit_cli.heatmaps.cells import cells, write_cells
from hvit_cli.heatmaps.contact import SheetText, contact_sheet, extremes
from hvit_cli.heatmaps.maps import rescale
from hvit_cli.heatmaps.render import colour_table
from hvit_cli.heatmaps.unrolled import UnrolledText, unrolled_region
from hvit_cli.settings import HeatmapSettings


def collection(make_map):
    raw = {
        "masked": make_map([(100, 50), (500, 50)], seed=1),
        "plain": make_map([(100, 50), (500, 50)], seed=1, attention="plain"),
    }
    scaled = {kind: rescale(one, "relative") for kind, one in raw.items()}
    return raw, scaled, cells(raw, scaled, HeatmapSettings())


def test_every_seen_patch_is_a_square_at_its_place(make_map, tmp_path: Path) -> None:
    raw, _, found = collection(make_map)
    write_cells(tmp_path / "a.geojson", found)
    read = json.loads((tmp_path / "a.geojson").read_text())
    assert read["type"] == "FeatureCollection"
    # The plain map saw all patches of both regions.
    assert len(read["features"]) == 32
    corners = set()
    for feature in read["features"]:
        assert feature["type"] == "Feature"
        uuid.UUID(feature["id"])
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert len(ring) == 5
        xs, ys = zip(*ring, strict=True)
        assert max(xs) - min(xs) == max(ys) - min(ys) == 100
        corners.add((min(xs), min(ys)))
    assert corners == {tuple(xy) for xy in raw["plain"].patch_xy_level0.tolist()}
    assert len({feature["id"] for feature in read["features"]}) == 32


def test_measurements_are_the_maps_own_numbers(make_map) -> None:
    raw, scaled, found = collection(make_map)
    for feature in found["features"]:
        said = feature["properties"]["measurements"]
        row = said["region"] * 16 + said["patch"]
        assert said["plain attention"] == raw["plain"].value[row]
        assert said["plain attention, relative"] == scaled["plain"].value[row]
        assert said["tissue fraction"] == raw["plain"].tissue_fraction[row]
        if raw["masked"].visible[row]:
            assert said["masked attention"] == raw["masked"].value[row]
        else:
            assert not any(name.startswith("masked") for name in said)
        assert feature["properties"]["objectType"] == "tile"
        glass = raw["plain"].tissue_fraction[row] == 0
        named = feature["properties"]["classification"]["name"]
        assert named == ("Seen glass" if glass else "Seen tissue")
        assert all(isinstance(c, int) for c in feature["properties"]["color"])


def test_a_masked_map_alone_has_no_cell_on_glass(make_map) -> None:
    one = make_map([(100, 50)], seed=1)
    found = cells({"masked": one}, {"masked": rescale(one, "relative")}, HeatmapSettings())
    assert len(found["features"]) == one.visible.sum()
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_extremes_are_the_highest_and_lowest_seen_values(make_map, count: int) -> None:
    one = make_map([(0, 0), (400, 0)], seed=4)
    highest, lowest = extremes(one, count)
    order = sorted(np.flatnonzero(one.visible), key=lambda row: -one.value[row])
    assert highest.tolist() == order[:count]
    assert lowest.tolist() == order[count:][::-1][:count]


def test_a_sheet_shows_each_patch_as_it_was_read(make_map) -> None:
    one = rescale(make_map([(0, 0)], attention="plain", seed=4), "relative")
    read: list[int] = []

    def patch(row: int) -> np.ndarray:
        read.append(row)
        return np.random.default_rng(row).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    sheet = contact_sheet(
        one,
        3,
        patch,
        SheetText(title="slide_1", values="attention", note="Not for diagnosis."),
        table=colour_table("viridis"),
        limits=(0, 3),
        side_px=64,
    )
    highest, lowest = extremes(one, 3)
    assert read == [*highest.tolist(), *lowest.tolist()]
    for row in read:
        pixels = np.random.default_rng(row).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        first = np.argwhere((sheet == pixels[0, 0]).all(axis=-1))
        assert any(
            np.array_equal(sheet[y : y + 64, x : x + 64], pixels)
            for y, x in first
            if y + 64 <= len(sheet) and x + 64 <= sheet.shape[1]
        )


def test_an_unrolled_region_fades_background_and_keeps_tissue() -> None:
    region = np.full((8 * 32, 8 * 32, 3), 120, np.uint8)
    background = np.zeros((8, 8), bool)
    background[:, 4:] = True
    picture = unrolled_region(
        region, background, UnrolledText(title="slide_1, region 3", verdict="64"), max_px=900
    )
    assert 850 <= max(picture.shape[:2]) <= 900
    left, right = picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]
    assert (left == 120).all(axis=-1).mean() > 0.6
    # Letters have grey edges.
    assert (right == 120).all(axis=-1).mean() < 0.001
    assert (right == 255 - (255 - 120) // 3).all(axis=-1).mean() > 0.5
