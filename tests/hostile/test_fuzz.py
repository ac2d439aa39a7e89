"""Whatever a file holds, reading it gives a value or one of our errors, soon, and in little memory.

Files that hvit reads are made from valid ones by replacing, cutting and adding bytes, and from
nothing at all. A normal run tries 40 of each kind, `-m slow` 2,000; each try may take 10 s of
processor time and 64 MiB of memory.
"""

from __future__ import annotations

import dataclasses
import io
import json
import runpy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openslide  # noqa: F401 - before torch
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_of

from hvit_cli.demo.model import demo_model_folder
from hvit_cli.errors import HvitError
from hvit_cli.models.checkpoints import read_state_dict
from hvit_cli.pretraining.labelled_patches import read_patch_table
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
from hvit_cli.storage.foreign.clam import read_clam
from hvit_cli.storage.foreign.slide2vec import read_slide2vec
from hvit_cli.storage.foreign.tensors import read_npy, read_tensor
from hvit_cli.storage.foreign.trident import read_trident
from hvit_cli.storage.models import read_model
from hvit_cli.storage.plan import read_plan
from hvit_cli.storage.status import read_status
from hvit_cli.storage.tables import read_table
from hvit_cli.storage.tiles import TileFile, read_tiles, write_tiles
from hvit_cli.tissue.contours import geojson_to_mask
from hvit_cli.tissue.external import read_external_mask
from hvit_cli.tissue.mask import TissueMask, read_mask, write_mask
from hvit_cli.training.fold_table import read_folds
from hvit_cli.training.labels import read_labels
from hvit_cli.training.predictions import read_predictions

Bounds: Any = runpy.run_path(str(Path(__file__).with_name("bounds.py")))["Bounds"]

FEW, MANY = 40, 2000
MEMORY_MIB = 64.0
_SPEED: dict[str, Any] = {"deadline": 10_000, "suppress_health_check": list(HealthCheck)}

MANIFEST = b"slide_id,path,spacing_um,mask_path\na,a.svs,0.25,\n'=b,b.svs,,m.tiff\n"
LABELS = b"slide_id,isup_grade\na,0\nb,5\n007,3\n"
PREDICTIONS = b"slide_id,grade,score,model,attention\na,1,1.2,m,masked\nb,0,0.3,m,masked\n"
FOLDS = b"slide_id,label,fold,set\na,0,1,\nb,5,2,\nc,2,,test\n"
PATCHES = b"slide_id,path,x_level0,y_level0,label,group,part\na,a.tiff,0,256,tumour,,\n"
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
WEIGHTS = {"teacher.blocks.0.weight": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(2)}


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def npy_bytes() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(12.0).reshape(3, 4))
    return file.getvalue()


def npz_bytes() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, features=np.ones((3, 4), np.float32), x=np.arange(3), y=np.arange(3))
    return file.getvalue()


def foreign_bytes() -> bytes:
    """A file in TRIDENT's and CLAM's layout."""
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made["features"] = np.ones((3, 4), np.float32)
        made["coords"] = np.arange(6).reshape(3, 2) * 256
        made["coords"].attrs.update(patch_size=256, patch_size_level0=256, target_magnification=20)
    return file.getvalue()


def mask_bytes() -> bytes:
    pixels = np.zeros((60, 80), np.uint8)
    pixels[10:30, 20:50] = 1
    mask = TissueMask(pixels=pixels, size_level0=(640, 480), spacing_um=8.0, source="segmented")
    with tempfile.TemporaryDirectory() as folder:
        write_mask(Path(folder) / "m.tiff", mask, {"settings": {}, "inputs": {}})
        return (Path(folder) / "m.tiff").read_bytes()


MASK = mask_bytes()
MODEL = (demo_model_folder() / "model.json").read_bytes()


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """Valid content with some bytes replaced, cut out or added; or anything."""
    if draw(st.booleans()):
        # Nesting is cheap to write and deep to read.
        deep = st.sampled_from((b"[" * 5000, b'{"a":' * 5000, b"(" * 5000))
        return draw(st.one_of(st.binary(max_size=400), deep))
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


def _mask_of_others(path: Path) -> None:
    # By its suffix, libvips would take another for a matrix of text.
    picture = path.rename(path.with_name("mask.tiff"))
    read_external_mask(picture, (640, 480), 1.0, (1,))


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
    "predictions": (PREDICTIONS, read_predictions),
    "folds": (FOLDS, read_folds),
    "labelled patches": (PATCHES, read_patch_table),
    "mask": (MASK, read_mask),
    "mask of others": (MASK, _mask_of_others),
    "TRIDENT": (foreign_bytes(), lambda path: read_trident("s", path)),
    "CLAM": (foreign_bytes(), lambda path: read_clam("s", path)),
    "slide2vec": (npz_bytes(), lambda path: read_slide2vec("s", path)),
    "npy": (npy_bytes(), read_npy),
    "tensor": (saved(WEIGHTS["b"]), read_tensor),
    "checkpoint": (saved({"teacher": WEIGHTS, "epoch": 3}), read_state_dict),
    "safetensors": (safetensors_of(WEIGHTS), read_state_dict),
    "plan": (b"slide_id,path,wanted\na,a.svs,yes\nb,,no\n", _plan),
}


def reads_or_refuses(content: bytes, reader: Callable[[Path], object], bounds: Any) -> None:
    with bounds.one(content[:80]), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.csv"
        path.write_bytes(content)
        try:
            reader(path)
        except HvitError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(kind: str) -> None:
    valid, reader = READERS[kind]
    bounds = Bounds(MEMORY_MIB)

    @settings(max_examples=FEW, **_SPEED)
    @given(damaged(valid))
    def trying(content: bytes) -> None:
        reads_or_refuses(content, reader, bounds)

    trying()
    print(f"{kind}: {bounds.most_mib:.0f} MiB, {bounds.longest_s:.2f} s")  # noqa: T201


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_many_damaged_files_are_read_or_refused(kind: str) -> None:
    valid, reader = READERS[kind]
    bounds = Bounds(MEMORY_MIB)

    @settings(max_examples=MANY, **_SPEED)
    @given(damaged(valid))
    def trying(content: bytes) -> None:
        reads_or_refuses(content, reader, bounds)

    trying()
    print(f"{kind}: {bounds.most_mib:.0f} MiB, {bounds.longest_s:.2f} s")  # noqa: T201


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


def test_any_geojson_is_a_mask_or_refused() -> None:
    # Of a slide of this size, whose mask has 8 µm per pixel, 6 MB would be its own pixels.
    bounds = Bounds(MEMORY_MIB)

    @settings(max_examples=300, **_SPEED)
    @given(GEOJSON)
    def trying(value: Any) -> None:
        try:
            with bounds.one(value):
                mask = geojson_to_mask(value, (3000, 2000), 0.5, where="x.geojson")
        except HvitError:
            return
        # The picture is that of the slide, whatever the outlines say.
        assert mask.pixels.size <= 3000 * 2000

    trying()
    print(f"GeoJSON: {bounds.most_mib:.0f} MiB, {bounds.longest_s:.2f} s")  # noqa: T201


SETTINGS: tuple[type[Any], ...] = (
    AggregatorSettings,
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
)


def test_any_settings_are_taken_or_refused() -> None:
    bounds = Bounds(MEMORY_MIB)

    @settings(max_examples=300, **_SPEED)
    @given(st.data())
    def trying(data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(SETTINGS))
        names = st.sampled_from(
            [*(field.name for field in dataclasses.fields(kind)), "no_such_setting"]
        )
        recipe = data.draw(st.dictionaries(names, JSON, max_size=4))
        try:
            with bounds.one(recipe):
                from_recipe(kind, recipe)
        except HvitError as error:
            json.dumps(str(error))

    trying()
    print(f"settings: {bounds.most_mib:.0f} MiB, {bounds.longest_s:.2f} s")  # noqa: T201
