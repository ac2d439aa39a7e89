"""A drawn slide with a pyramid, two made-up maps on it, and the site that shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pyvips

from hvit_cli.heatmaps.maps import PatchMap, rescale
from hvit_cli.heatmaps.render import colour_range, colour_table
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.viewer.pixels import SlidePixels
from hvit_cli.viewer.scene import Layer, Said, Scene, Shade
from hvit_cli.viewer.server import ViewerServer
from hvit_cli.viewer.site import Site

SIZE = (2900, 1700)
SIDE, PATCH = 4, 130.5
CORNERS = np.array([[200, 150], [722, 150], [1900, 900]])
KEY = "k" * 22


def draw(size: tuple[int, int], seed: int = 3) -> np.ndarray:
    """Blurred noise: every pixel its own, and means that are not all grey."""
    random = np.random.default_rng(seed)
    coarse = random.integers(90, 256, (size[1] // 50 + 1, size[0] // 50 + 1, 3))
    picture = coarse.repeat(50, 0).repeat(50, 1)[: size[1], : size[0]]
    return np.clip(picture + random.integers(-25, 26, picture.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiled pyramidal TIFF, 0.5 µm per pixel, levels 1, 2 and 4, without loss."""
    path = tmp_path_factory.mktemp("viewed") / "drawn.tiff"
    pyvips.Image.new_from_array(draw(SIZE)).tiffsave(
        str(path),
        tile=True,
        tile_width=256,
        tile_height=256,
        pyramid=True,
        depth="onetile",
        compression="deflate",
        xres=2000.0,
        yres=2000.0,
        resunit="cm",
    )
    return path


@pytest.fixture(scope="session")
def open_one(slide_path: Path) -> Callable[[], Slide]:
    return partial(open_slide, slide_path, ReadingSettings())


@pytest.fixture
def pixels(open_one: Callable[[], Slide]) -> Iterator[SlidePixels]:
    read = SlidePixels(open_one)
    yield read
    read.close()


@pytest.fixture(scope="session")
def raw_map() -> PatchMap:
    """Three regions of 4×4 patches of 130.5 px; two of them touch; five patches are glass."""
    random = np.random.default_rng(1)
    count = len(CORNERS) * SIDE**2
    region = np.repeat(np.arange(len(CORNERS)), SIDE**2)
    patch = np.tile(np.arange(SIDE**2), len(CORNERS))
    row, column = np.divmod(patch, SIDE)
    offset = np.floor(np.stack([column, row], axis=1) * PATCH + 0.5).astype(np.int64)
    fraction = random.uniform(0.05, 1, count).astype(np.float32)
    fraction[[0, 3, 17, 30, 40]] = 0
    value = np.exp(random.standard_normal(count)) * (fraction > 0)
    for m in range(len(CORNERS)):
        value[region == m] *= 0.7 / value[region == m].sum()
    return PatchMap(
        slide_id="drawn",
        attention="masked",
        within="region",
        region_xy_level0=CORNERS,
        region_level0=SIDE * PATCH,
        patch_level0=PATCH,
        patch_xy_level0=CORNERS[region] + offset,
        region_index=region,
        patch_index=patch,
        tissue_fraction=fraction,
        background_below=0.0,
        visible=fraction > 0,
        value=value,
    )


@pytest.fixture(scope="session")
def scene(raw_map: PatchMap) -> Scene:
    plain = replace(
        raw_map,
        attention="plain",
        visible=np.ones(len(raw_map.value), bool),
        value=raw_map.value[::-1] + 0.001,
    )
    mask = np.zeros((106, 181), np.uint8)
    mask[12:50, 14:80] = 1
    mask[80:100, 20:40] = 1  # in no region
    mask[60:95, 120:150] = 1
    low = CORNERS.astype(np.float64)
    return Scene(
        slide_id="drawn <b>&amp;</b>",
        size_level0=SIZE,
        spacing_um_level0=0.5,
        model="toy",
        watermark="a toy, not for diagnosis",
        said=(
            Said(attention="masked", grade="ISUP grade 2", score="score 1.87", note="A toy."),
            Said(attention="plain", grade="ISUP grade 4", score="score 3.60", note="A toy."),
        ),
        layers=tuple(layer_of(one) for one in (raw_map, plain)),
        remarks=("0.10 mm² were not looked at.",),
        opacity=0.5,
        mask=mask,
        region_box_level0=np.concatenate([low, low + SIDE * PATCH], axis=1),
    )


def layer_of(raw: PatchMap) -> Layer:
    scaled = {scale: rescale(raw, scale) for scale in ("relative", "rank", "raw")}
    return Layer(
        key=f"{raw.attention}-attention-region",
        attention=raw.attention,
        name="attention, region",
        about=f"How {raw.attention} attention looked.",
        table=colour_table("viridis"),
        shades={
            scale: Shade(patch_map=one, label=scale, limits=colour_range(scale, [one]))
            for scale, one in scaled.items()
        },
    )


@pytest.fixture
def site(scene: Scene, pixels: SlidePixels) -> Site:
    return Site(KEY, scene, pixels)


@pytest.fixture
def server(site: Site) -> Iterator[ViewerServer]:
    serving = ViewerServer(site)
    yield serving
    serving.close()
