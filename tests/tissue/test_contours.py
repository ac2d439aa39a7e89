from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hvit_cli.errors import TissueError
from hvit_cli.tissue.contours import geojson_to_mask, mask_to_geojson
from hvit_cli.tissue.external import read_external_mask
from hvit_cli.tissue.mask import TissueMask, mask_over_slide

MaskOf = Callable[..., TissueMask]
SQUARE = [[100, 100], [300, 100], [300, 300], [100, 300], [100, 100]]
HOLE = [[150, 150], [250, 150], [250, 250], [150, 250], [150, 150]]


def round_trip(mask: TissueMask) -> TissueMask:
    geojson = json.loads(json.dumps(mask_to_geojson(mask)))
    return geojson_to_mask(
        geojson, mask.size_level0, mask.spacing_um_level0, shape_px=mask.pixels.shape
    )


def ring_area(ring: list[list[float]]) -> float:
    """Shoelace formula."""
    points = np.asarray(ring)
    x, y = points[:, 0], points[:, 1]
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]))) / 2


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1))
)
def test_any_mask_comes_back_exactly(pixels: np.ndarray) -> None:
    height, width = pixels.shape
    mask = mask_over_slide(pixels, (width * 16 + 3, height * 16 - 5), 0.5, "segmented")
    assert np.array_equal(round_trip(mask).pixels, pixels)


def test_a_rectangle_with_a_hole_is_outlined_along_its_edges(mask_of: MaskOf) -> None:
    mask = mask_of((10, 20, 60, 80))
    mask.pixels[40:50, 30:40] = 0
    (feature,) = mask_to_geojson(mask)["features"]
    outer, hole = feature["geometry"]["coordinates"]
    assert sorted({x for x, _ in outer}) == [160, 960]
    assert sorted({y for _, y in outer}) == [320, 1280]
    assert ring_area(outer) == 50 * 60 * 16**2
    # The corners of a hole are cut by half a mask pixel.
    assert ring_area(hole) == pytest.approx(10 * 10 * 16**2, rel=0.01)
    assert outer[0] == outer[-1]


def test_qupath_finds_annotations_called_tissue(mask_of: MaskOf) -> None:
    collection = mask_to_geojson(mask_of((10, 20, 60, 80), (100, 100, 120, 130)))
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == 2
    for feature in collection["features"]:
        assert feature["properties"]["objectType"] == "annotation"
        assert feature["properties"]["classification"]["name"] == "Tissue"
        assert len(feature["properties"]["classification"]["color"]) == 3


def test_no_tissue_is_an_empty_collection(mask_of: MaskOf) -> None:
    assert mask_to_geojson(mask_of())["features"] == []
    assert round_trip(mask_of()).is_empty


def test_a_real_mask_comes_back_exactly(data: Path) -> None:
    path = data / "masks" / "biopsy_c_mask.tiff"
    mask = read_external_mask(path, (8000, 9000), 0.4523, (1,))
    assert np.array_equal(round_trip(mask).pixels, mask.pixels)


def test_on_another_grid_the_mask_agrees_but_for_its_boundary(mask_of: MaskOf) -> None:
    mask = mask_of((10, 20, 160, 180))
    mask.pixels[60:90, 50:100] = 0
    again = geojson_to_mask(mask_to_geojson(mask), mask.size_level0, mask.spacing_um_level0)
    assert again.spacing_um == pytest.approx(2.0)
    assert again.tissue_mm2 == pytest.approx(mask.tissue_mm2, rel=1e-3)
    assert again.pixels[4 * 75, 4 * 75] == 0


def feature(geometry: dict, name: str | None = None) -> dict:
    properties = {} if name is None else {"classification": {"name": name}}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


POLYGON = {"type": "Polygon", "coordinates": [SQUARE, HOLE]}


@pytest.mark.parametrize(
    "geojson",
    [
        POLYGON,
        [POLYGON],
        feature(POLYGON),
        [feature(POLYGON, "Tissue")],
        {"type": "FeatureCollection", "features": [feature(POLYGON, "tissue")]},
        {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE]]},
        {"type": "GeometryCollection", "geometries": [POLYGON]},
        {
            "type": "FeatureCollection",
            "features": [
                feature(POLYGON),
                feature({"type": "Polygon", "coordinates": [[[0, 0], [90, 0], [90, 90]]]}, "Pen"),
            ],
        },
        # Open rings and a third coordinate are met in the wild.
        {"type": "Polygon", "coordinates": [[[*p, 0] for p in SQUARE[:-1]], HOLE[:-1]]},
    ],
)
def test_every_way_to_write_a_square_with_a_hole(geojson: object) -> None:
    mask = geojson_to_mask(geojson, (400, 400), 0.5, shape_px=(400, 400))
    expected = np.zeros((400, 400), np.uint8)
    expected[100:300, 100:300] = 1
    expected[150:250, 150:250] = 0
    assert np.array_equal(mask.pixels, expected)
    assert mask.source == "geojson"


def test_shapes_that_overlap_are_united() -> None:
    shifted = [[x + 100, y] for x, y in SQUARE]
    shapes = [{"type": "Polygon", "coordinates": [ring]} for ring in (SQUARE, shifted)]
    mask = geojson_to_mask(shapes, (500, 400), 0.5, shape_px=(400, 500))
    assert mask.pixels.sum() == 300 * 200


def test_a_slanted_outline_is_filled_by_pixel_centres() -> None:
    triangle = {"type": "Polygon", "coordinates": [[[0, 0], [100, 0], [0, 100]]]}
    mask = geojson_to_mask(triangle, (100, 100), 0.5, shape_px=(100, 100))
    rows, columns = np.mgrid[:100, :100] + 0.5
    assert np.array_equal(
        mask.pixels[rows + columns != 100], (rows + columns < 100)[rows + columns != 100]
    )


def test_what_reaches_over_the_edge_is_cut() -> None:
    wide = {"type": "Polygon", "coordinates": [[[-50, -50], [50, -50], [50, 950], [-50, 950]]]}
    mask = geojson_to_mask(wide, (100, 100), 0.5, shape_px=(100, 100))
    assert mask.pixels[:, :50].all()
    assert not mask.pixels[:, 50:].any()


@pytest.mark.parametrize(
    ("geojson", "message"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "cannot be understood; found Point"),
        ({"type": "Polygon", "coordinates": [[[1, 2], [3]]]}, "broken coordinates"),
        ({"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}, "fewer than three points"),
        ("text", "found str"),
        ([feature(POLYGON, "Pen"), feature(POLYGON, "Fold")], "the classes Fold, Pen"),
        (
            {"type": "Polygon", "coordinates": [[[9000, 9000], [9500, 9000], [9500, 9500]]]},
            "outside the slide; found x 9000 to 9500",
        ),
    ],
)
def test_what_cannot_be_an_outline_is_said(geojson: object, message: str) -> None:
    with pytest.raises(TissueError, match=message) as caught:
        geojson_to_mask(geojson, (400, 400), 0.5, where="s.geojson")
    assert str(caught.value).startswith("s.geojson: ")
