"""Whatever a file holds, reading it gives a value or one of our errors, and soon.

Files that hvit reads are made from valid ones by replacing, cutting and adding bytes, and from
nothing at all. A normal run tries 40 of each kind, `-m slow` 2,000.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvit_cli.demo.model import demo_model_folder
from hvit_cli.errors import HvitError
from hvit_cli.settings import (
    AggregatorSettings,
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
    from_recipe,
)
from hvit_cli.slides.grid import Regions
from hvit_cli.slides.table import read_manifest, read_slide_ids
from hvit_cli.storage.feature_headers import read_feature_header
from hvit_cli.storage.features import read_features
from hvit_cli.storage.models import read_model
from hvit_cli.storage.plan import read_plan
from hvit_cli.storage.status import read_status
from hvit_cli.storage.tables import read_table
from hvit_cli.storage.tiles import TileFile, read_tiles, write_tiles
from hvit_cli.tissue.contours import geojson_to_mask
from hvit_cli.training.labels import read_labels

FEW, MANY = 40, 2000
_SPEED: dict[str, Any] = {"deadline": 10_000, "suppress_health_check": list(HealthCheck)}

MANIFEST = b"slide_id,path,spacing_um,mask_path\na,a.svs,0.25,\n'=b,b.svs,,m.tiff\n"
LABELS = b"slide_id,isup_grade\na,0\nb,5\n007,3\n"
STATUS = b'{"time": 1.5, "slide_id": "a", "stage": "tile", "status": "done", "seconds": 2}\n'


def tile_bytes() -> bytes:
    counts = np.arange(8, dtype=np.int64).reshape(2, 4)
    tiles = TileFile(
        slide_id="s",
        regions=Regions(
            origin_level0=np.array([[0.0, 0.0], [1024.5, 0.0]]),
            patch_level0=512.25,
            region_px=512,
            patch_px=256,
            tissue_count=counts,
            pixel_count=np.full((2, 4), 16, np.int64),
        ),
        size_level0=(4000, 2000),
        spacing_um_level0=0.25,
        spacing_um_target=0.5,
        spacing_um=0.5,
        level=0,
        downsample=1.0,
        resampled=True,
        background_below=0.0,
        tissue_mm2=1.5,
        tissue_dropped_mm2=0.25,
        recipe={"settings": {}, "inputs": {}},
    )
    with tempfile.TemporaryDirectory() as folder:
        write_tiles(Path(folder) / "s.h5", tiles)
        return (Path(folder) / "s.h5").read_bytes()


TILES = tile_bytes()
MODEL = (demo_model_folder() / "model.json").read_bytes()


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """Valid content with some bytes replaced, cut out or added; or anything."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=400))
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(("flip", "cut", "add", "end")))
        if kind == "flip" and at < len(content):
            content[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 40))]
        elif kind == "add":
            content[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif kind == "end":
            del content[max(1, at) :]
    return bytes(content)


def _status(path: Path) -> None:
    log = path.parent / "status" / "main-host-1.jsonl"
    log.parent.mkdir()
    log.write_bytes(path.read_bytes())
    read_status(path.parent)


def _plan(path: Path) -> None:
    table = path.parent / "status" / "plan" / "tile-0.csv"
    table.parent.mkdir(parents=True)
    table.write_bytes(path.read_bytes())
    read_plan(path.parent, "tile")


def _model(path: Path) -> None:
    path.rename(path.with_name("model.json"))
    read_model(path.parent)


READERS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "manifest": (MANIFEST, read_manifest),
    "exclude": (MANIFEST, read_slide_ids),
    "table": (LABELS, read_table),
    "labels": (LABELS, read_labels),
    "tiles": (TILES, read_tiles),
    "features": (TILES.replace(b"hvit-tiles", b"hvit-featu"), read_features),
    "feature header": (TILES, read_feature_header),
    "model": (MODEL, _model),
    "status log": (STATUS, _status),
    "plan": (b"slide_id,path,wanted\na,a.svs,yes\nb,,no\n", _plan),
}


def reads_or_refuses(content: bytes, reader: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.csv"
        path.write_bytes(content)
        try:
            reader(path)
        except HvitError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(kind: str) -> None:
    valid, reader = READERS[kind]

    @settings(max_examples=FEW, **_SPEED)
    @given(damaged(valid))
    def trying(content: bytes) -> None:
        reads_or_refuses(content, reader)

    trying()


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_many_damaged_files_are_read_or_refused(kind: str) -> None:
    valid, reader = READERS[kind]

    @settings(max_examples=MANY, **_SPEED)
    @given(damaged(valid))
    def trying(content: bytes) -> None:
        reads_or_refuses(content, reader)

    trying()


_NUMBER = st.one_of(st.integers(-(10**6), 10**6), st.floats(), st.none(), st.text(max_size=3))
JSON = st.recursive(
    st.one_of(_NUMBER, st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
_RINGS = st.lists(st.lists(st.lists(_NUMBER, max_size=3), max_size=6), max_size=3)
GEOJSON = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(("FeatureCollection", "Feature", "Polygon", "Point", "x")),
            "features": st.lists(
                st.fixed_dictionaries(
                    {
                        "type": st.just("Feature"),
                        "geometry": st.fixed_dictionaries(
                            {
                                "type": st.sampled_from(("Polygon", "MultiPolygon", "Point")),
                                "coordinates": st.one_of(_RINGS, st.lists(_RINGS), JSON),
                            }
                        ),
                        "properties": JSON,
                    }
                ),
                max_size=3,
            ),
            "coordinates": _RINGS,
        }
    ),
)


@settings(max_examples=300, **_SPEED)
@given(GEOJSON)
def test_any_geojson_is_a_mask_or_refused(value: Any) -> None:
    try:
        mask = geojson_to_mask(value, (3000, 2000), 0.5, where="x.geojson")
    except HvitError:
        return
    # The picture is that of the slide, whatever the outlines say.
    assert mask.pixels.size <= 3000 * 2000


SETTINGS: tuple[type[Any], ...] = (
    AggregatorSettings,
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
)


@settings(max_examples=300, **_SPEED)
@given(st.data())
def test_any_settings_are_taken_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(SETTINGS))
    names = st.sampled_from(
        [*(field.name for field in dataclasses.fields(kind)), "no_such_setting"]
    )
    recipe = data.draw(st.dictionaries(names, JSON, max_size=4))
    try:
        from_recipe(kind, recipe)
    except HvitError as error:
        json.dumps(str(error))
