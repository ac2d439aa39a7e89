from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit_cli.errors import StorageError
from hvit_cli.heatmaps.encode import encode
from hvit_cli.heatmaps.export import write_picture
from hvit_cli.heatmaps.maps import rescale
from hvit_cli.heatmaps.panel import Panel
from hvit_cli.heatmaps.picture import Facts, Window, draw_figure
from hvit_cli.heatmaps.stitch import PictureFrame
from hvit_cli.settings import HeatmapSettings

SIZE = (4000, 2400)


def noise(frame: PictureFrame) -> Iterator[np.ndarray]:
    """The same speckled slide whatever the strips, in strips of changing height."""
    width, height = frame.size_px
    picture = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    top = 0
    for rows in [1, 50, 3, 128] * height:
        if top < height:
            yield picture[top : top + rows]
            top += rows


def drawn(make_map, **changes: object):
    masked = make_map([(300, 200), (1900, 200)], patch_level0=400.0, seed=3)
    plain = make_map([(300, 200), (1900, 200)], patch_level0=400.0, attention="plain", seed=4)
    window = changes.pop("window", None)
    scale = "relative"
    if changes.get("map"):
        scale = "raw"
        masked, plain = (
            dataclasses.replace(one, signed=True, quantity="contribution", value=0.01 - one.value)
            for one in (masked, plain)
        )
    return draw_figure(
        [
            Panel(title="tissue mask"),
            Panel(title="plain", patch_map=rescale(plain, scale)),
            Panel(title="masked", patch_map=rescale(masked, scale)),
            Panel(title="regions", patch_map=masked, kind="regions"),
            Panel(title="slide", kind="slide"),
        ],
        Facts(
            slide_id="slide_1",
            size_level0=SIZE,
            spacing_um_level0=0.5,
            verdict="ISUP grade 2",
            model="model: test",
            heads=3,
            watermark="for tests only, not for diagnosis",
        ),
        (np.random.default_rng(1).random((24, 40)) < 0.6).astype(np.uint8),
        noise,
        HeatmapSettings(**{"max_px": 600, **changes}),  # type: ignore[arg-type]
        window,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("rows", [7, 61])
@pytest.mark.parametrize(
    "changes",
    [
        {"contour": True, "outline": True},
        {"smooth": True, "opacity": 0.8},
        {"highlight": 0.2},
        {"map": "contribution"},
        {"threshold": 1.0, "percentile": (5, 95), "tissue_only": True},
    ],
)
def test_a_figure_in_strips_equals_the_whole_canvas(make_map, rows: int, changes) -> None:
    figure = drawn(make_map, **changes)
    width, height = figure.size_px
    whole = np.concatenate(list(figure.strips(rows=height)))
    assert whole.shape == (height, width, 3)
    np.testing.assert_array_equal(np.concatenate(list(figure.strips(rows=rows))), whole)


def test_a_window_shows_the_same_pixels_as_the_whole_slide_there(make_map) -> None:
    # The window has whole multiples of the slide's pixels, so both frames share their pixels.
    masked = rescale(make_map([(300, 200)], patch_level0=400.0), "relative")
    from hvit_cli.heatmaps.stitch import stitch

    whole = stitch(masked, PictureFrame(size_px=(400, 240), size_level0=SIZE))
    part = stitch(
        masked,
        PictureFrame(size_px=(160, 160), size_level0=(1600, 1600), origin_level0=(300, 200)),
    )
    np.testing.assert_array_equal(part, whole[20:180, 30:190])


def test_a_figure_of_a_window_has_the_windows_proportions(make_map) -> None:
    window = Window(origin_level0=(300.0, 200.0), size_level0=(1600.0, 1600.0))
    figure = drawn(make_map, window=window)
    assert figure.frame.size_px[0] == figure.frame.size_px[1]
    assert figure.picture().shape == (*figure.size_px[::-1], 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_figure_is_written_as_it_is(make_map, tmp_path: Path, name: str) -> None:
    figure = drawn(make_map)
    write_picture(tmp_path / name, figure)
    with Image.open(tmp_path / name) as written:
        found = np.asarray(written)
    if name == "a.png":
        np.testing.assert_array_equal(found, figure.picture())
    else:
        assert found.shape == figure.picture().shape


def test_writing_where_nothing_can_be_written_is_one_line(tmp_path: Path) -> None:
    def strips() -> Iterator[np.ndarray]:
        for _ in range(400):
            yield np.zeros((10, 500, 3), np.uint8)

    with pytest.raises(StorageError, match="the picture cannot be written") as caught:
        encode(
            tmp_path / "nowhere" / "a.png",
            strips(),
            (500, 4000),
            lambda image, name: image.pngsave(name),
        )
    assert "\n" not in str(caught.value)


def test_a_slide_that_breaks_while_it_is_drawn_tells_its_own_error(tmp_path: Path) -> None:
    def strips() -> Iterator[np.ndarray]:
        yield np.zeros((10, 500, 3), np.uint8)
        raise ValueError("the slide broke")

    with pytest.raises(ValueError, match="the slide broke"):
        encode(tmp_path / "a.png", strips(), (500, 4000), lambda image, name: image.pngsave(name))
