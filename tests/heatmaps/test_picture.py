from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit_cli.errors import SettingsError, StorageError, UsageError
from hvit_cli.heatmaps.captions import caption, colour_label
from hvit_cli.heatmaps.export import (
    picture_format,
    places,
    scores_format,
    write_picture,
    write_scores,
)
from hvit_cli.heatmaps.figure import watermarked
from hvit_cli.heatmaps.maps import rescale
from hvit_cli.heatmaps.panel import Panel
from hvit_cli.heatmaps.picture import Facts, draw_figure
from hvit_cli.heatmaps.stitch import PictureFrame
from hvit_cli.settings import HeatmapSettings

SIZE = (4000, 2400)
WATERMARK = "demonstration model, trained on drawings, not for diagnosis"


def facts(**changes: object) -> Facts:
    known: dict[str, object] = {
        "slide_id": "slide_1",
        "size_level0": SIZE,
        "spacing_um_level0": 0.5,
        "verdict": "ISUP grade 2 · score 2.21",
        "model": "model: test",
        "heads": 6,
    }
    return Facts(**{**known, **changes})  # type: ignore[arg-type]


def stripes(size_px: tuple[int, int]) -> np.ndarray:
    """A picture in which no two pixels of a row are alike, so that a shift would show."""
    width, height = size_px
    column = np.arange(width)[None, :].repeat(height, axis=0)
    return np.stack([column % 251, column // 251 * 40 + 100, column % 7 + 200], -1).astype(np.uint8)


def in_strips(picture: np.ndarray, rows: int = 37) -> Iterator[np.ndarray]:
    return (picture[top : top + rows] for top in range(0, len(picture), rows))


def striped(frame: PictureFrame) -> Iterator[np.ndarray]:
    return in_strips(stripes(frame.size_px))


class Whole:
    """A finished picture, for the writer."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    @property
    def size_px(self) -> tuple[int, int]:
        return self.picture.shape[1], self.picture.shape[0]

    def strips(self) -> Iterator[np.ndarray]:
        return in_strips(self.picture)


def find(panel_rows: np.ndarray, figure: np.ndarray) -> tuple[int, int]:
    """Where a strip of pixels stands in a figure."""
    height, width = panel_rows.shape[:2]
    for y in range(len(figure) - height):
        for x in range(figure.shape[1] - width):
            if (figure[y : y + height, x : x + width] == panel_rows).all():
                return x, y
    raise AssertionError("the strip is not in the figure")


def test_in_the_figure_hidden_patches_show_the_slides_own_pixels(make_map) -> None:
    one = make_map([(800, 400)], patch_level0=400.0, seed=3)
    drawn = draw_figure(
        [Panel(title="masked", patch_map=rescale(one, "relative"))],
        facts(),
        np.ones((24, 40), np.uint8)[:, :0:-1] * 0,
        striped,
        HeatmapSettings(max_px=700),
    )
    slide = stripes(drawn.frame.size_px)
    figure = drawn.picture()
    x0, y0 = find(slide[:3, :60], figure)
    height, width = slide.shape[:2]
    panel = figure[y0 : y0 + height, x0 : x0 + width]
    hidden = np.ones((height, width), bool)
    for (x, y), seen in zip(one.patch_xy_level0, one.visible, strict=True):
        if seen:
            scale = width / SIZE[0]
            left, right = int(np.ceil(x * scale - 0.5)), int(np.ceil((x + 400) * scale - 0.5))
            scale = height / SIZE[1]
            top, bottom = int(np.ceil(y * scale - 0.5)), int(np.ceil((y + 400) * scale - 0.5))
            hidden[top:bottom, left:right] = False
    np.testing.assert_array_equal(panel[hidden], slide[hidden])
    assert (panel[~hidden] != slide[~hidden]).any(axis=-1).mean() > 0.99


@pytest.mark.parametrize("size", [(22400, 4000), (8000, 9000), (2220, 2967)])
@pytest.mark.parametrize("max_px", [600, 1500])
def test_figures_have_the_size_that_was_asked_for(make_map, size, max_px: int) -> None:
    masked = make_map([(0, 0)], patch_level0=256.0, side=8)
    plain = make_map([(0, 0)], patch_level0=256.0, side=8, attention="plain")
    panels = [
        Panel(title="tissue mask"),
        Panel(title="plain attention", patch_map=rescale(plain, "relative")),
        Panel(title="masked attention", patch_map=rescale(masked, "relative")),
    ]

    def picture(frame: PictureFrame) -> Iterator[np.ndarray]:
        yield np.full((*frame.size_px[::-1], 3), 240, np.uint8)

    figure = draw_figure(
        panels,
        facts(size_level0=size, watermark=WATERMARK),
        np.ones((50, 50), np.uint8),
        picture,
        HeatmapSettings(max_px=max_px),
    ).picture()
    assert max_px - 4 <= max(figure.shape[:2]) <= max_px
    assert figure.dtype == np.uint8


def test_a_picture_too_small_for_its_text_is_a_usage_error(make_map) -> None:
    with pytest.raises(UsageError, match="--size: the picture is too small for its text"):
        draw_figure(
            [Panel(title="masked", patch_map=make_map())],
            facts(verdict="very " * 400),
            np.ones((5, 5), np.uint8),
            striped,
            HeatmapSettings(max_px=320),
        )


def test_a_watermark_is_faint_grey_and_whole_on_long_thin_panels() -> None:
    white = np.full((180, 1200, 3), 255, np.uint8)
    marked = watermarked(white, WATERMARK, 16)
    changed = (marked != white).any(axis=-1)
    assert 0.01 < changed.mean() < 0.2
    assert marked.min() > 170
    assert (marked[..., 0] == marked[..., 1]).all()
    assert not changed[[0, -1]].any()


@pytest.mark.parametrize("level", ["region", "region×slide"])
@pytest.mark.parametrize("scale", ["relative", "rank", "minmax", "raw"])
def test_labels_name_scale_and_head(scale, level) -> None:
    label = colour_label(HeatmapSettings(scale=scale, level=level), 6)
    assert label.endswith("mean of 6 heads")
    assert ("weight of region" in label) == (level == "region×slide")
    assert colour_label(HeatmapSettings(scale=scale, head=4), 6).endswith("head 4")
    if scale == "relative" and level == "region":
        assert "within region (1 = uniform)" in label


def test_captions_say_what_was_hidden_and_that_it_is_not_for_diagnosis(make_map) -> None:
    masked, plain = make_map(), make_map(attention="plain")
    settings = HeatmapSettings()
    said = caption([masked], settings, 0.5)
    assert "hidden from the model" in said
    assert "glass included" not in said
    assert "Patches of 50 µm" in said
    assert said.endswith("Not for diagnosis.")
    assert "glass included" in caption([plain], settings, 0.5)
    assert "--tissue-only" not in caption([plain], settings, 0.5)
    hidden = caption([plain], HeatmapSettings(tissue_only=True, smooth=True), 0.5)
    assert "Glass that the model saw is hidden in this picture (--tissue-only)" in hidden
    assert "smoothed within regions" in hidden


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG")]
)
def test_the_suffix_decides_the_format(tmp_path: Path, name: str, kind: str) -> None:
    picture = stripes((100, 60))
    write_picture(tmp_path / name, Whole(picture))
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
        assert image.size == (100, 60)
        if kind == "PNG":
            np.testing.assert_array_equal(np.asarray(image), picture)


@pytest.mark.parametrize("name", ["out.tiff", "out", "out.png.gz"])
def test_other_suffixes_are_one_clear_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        picture_format(Path(name))
    assert str(caught.value).startswith(f"{name}: a heatmap cannot be written in this format")
    assert str(caught.value).endswith("wanted .png, .jpg, .jpeg")
    with pytest.raises(UsageError, match="scores are written as NPZ"):
        scores_format(Path("scores.csv"))


def test_one_slide_goes_to_the_file_and_several_into_a_folder(tmp_path: Path) -> None:
    one, folder = tmp_path / "a.png", tmp_path / "maps"
    assert places(one, ["s"], ".png", picture_format) == [one]
    assert places(tmp_path, ["s"], ".png", picture_format) == [tmp_path / "s.png"]
    found = places(folder, ["s", "t"], ".npz", scores_format)
    assert found == [folder / "s.npz", folder / "t.npz"]


def test_places_that_cannot_be_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"several slides need a folder.* found 2 slides; try "):
        places(tmp_path / "a.png", ["s", "t"], ".png", picture_format)
    with pytest.raises(UsageError, match="cannot be written in this format"):
        places(tmp_path / "a.svg", ["s"], ".png", picture_format)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not a folder"):
        places(tmp_path / "file" / "a.png", ["s"], ".png", picture_format)


def test_scores_hold_every_number_behind_the_picture(make_map, tmp_path: Path) -> None:
    raw = {"masked": make_map(seed=1), "plain": make_map(seed=1, attention="plain")}
    scaled = {key: rescale(one, "rank") for key, one in raw.items()}
    for name in ("one.npz", "two.npz"):
        write_scores(tmp_path / name, raw, scaled, {"slide_id": "slide", "score": 2.5})
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as found:
        metadata = json.loads(str(found["metadata"]))
        assert metadata["kind"] == "hvit-heatmap-scores"
        assert metadata["score"] == 2.5
        np.testing.assert_array_equal(found["raw"], raw["masked"].value)
        np.testing.assert_array_equal(found["plain_scaled"], scaled["plain"].value)
        seen = found["visible"]
        assert (found["raw"][~seen] == 0).all()
        for name in ("scaled", "relative"):
            np.testing.assert_array_equal(np.isnan(found[name]), ~seen)
        assert found["patch_xy_level0"].shape == (16, 2)
        assert found["region_xy_level0"].shape == (1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_px": 100},
        {"opacity": 1.5},
        {"head": -1},
        {"colour_range": (3.0, 1.0)},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        HeatmapSettings(**wrong)  # type: ignore[arg-type]
