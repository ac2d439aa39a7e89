from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image

from hvit_cli.errors import RecipeError, TissueError
from hvit_cli.settings import TissueSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.segment import FoundTissue, make_mask
from hvit_cli.storage.work import WorkFolder

WriteSlide = Callable[..., Path]
CORE = (200, 200, 1200, 600)
CORE_MM2 = 1000 * 400 * 4e-6


def found(
    path: Path,
    work: Path,
    *,
    overwrite: bool = False,
    mask_path: Path | None = None,
    **tissue: object,
) -> FoundTissue:
    entry = SlideEntry(slide_id=path.stem, path=path, mask_path=mask_path)
    with open_slide(path) as slide:
        return make_mask(
            slide,
            entry,
            TissueSettings(**tissue),
            WorkFolder(work),
            overwrite=overwrite,
        )


def write_labels(path: Path, value: int, shape: tuple[int, int] = (250, 400)) -> Path:
    labels = np.zeros(shape, np.uint8)
    labels[shape[0] // 2 :] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)
    return path


def test_mask_and_outlines_are_written(write_slide: WriteSlide, tmp_path: Path) -> None:
    result = found(write_slide("s", CORE), tmp_path / "w")
    assert result.status == "done"
    assert result.mask is not None
    assert result.mask.tissue_mm2 == pytest.approx(CORE_MM2, rel=0.03)
    written = openslide.OpenSlide(tmp_path / "w" / "masks" / "s.tiff")
    assert float(written.properties["openslide.mpp-x"]) == pytest.approx(8, rel=0.01)
    outlines = json.loads((tmp_path / "w" / "contours" / "s.geojson").read_text())
    assert len(outlines["features"]) == 1


def test_what_is_there_is_reused_and_gives_the_same_mask(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    first, second = found(path, tmp_path / "w"), found(path, tmp_path / "w")
    assert not first.reused
    assert second.reused
    assert first.mask is not None
    assert second.mask is not None
    assert np.array_equal(first.mask.pixels, second.mask.pixels)
    assert first.recipe == second.recipe


def test_other_settings_are_an_error_that_lists_them(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    found(path, tmp_path / "w")
    with pytest.raises(RecipeError, match=r"closing_um: 128.* → 64"):
        found(path, tmp_path / "w", closing_um=64.0)
    again = found(path, tmp_path / "w", closing_um=64.0, overwrite=True)
    assert not again.reused


def test_another_slide_of_the_same_name_is_an_error(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    found(write_slide("s", CORE), tmp_path / "w")
    with pytest.raises(RecipeError, match=r"inputs\.slide"):
        found(write_slide("s", (0, 0, 500, 500), folder="others"), tmp_path / "w")


def test_a_damaged_mask_is_made_again_and_the_reason_told(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    found(path, tmp_path / "w")
    mask = tmp_path / "w" / "masks" / "s.tiff"
    mask.write_bytes(mask.read_bytes()[:100])
    again = found(path, tmp_path / "w")
    assert not again.reused
    assert again.remark.startswith("masks/s.tiff made again, because")


def test_damaged_outlines_are_made_again_and_those_of_others_stay(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    found(path, tmp_path / "w")
    outlines = tmp_path / "w" / "contours" / "s.geojson"
    whole = outlines.read_bytes()
    damages = {
        whole.replace(b"Tissue", b"Tissuf", 1): "it is not what was written (checksum)",
        whole[:-20]: "it cannot be read",
        bytes(len(whole)): "it cannot be read",
    }
    for damaged, why in damages.items():
        outlines.write_bytes(damaged)
        again = found(path, tmp_path / "w")
        assert again.remark == f"contours/s.geojson made again, because {why}"
        assert again.reused
        assert outlines.read_bytes() == whole
    mine = b'{"type": "FeatureCollection", "features": []}'
    outlines.write_bytes(mine)
    assert found(path, tmp_path / "w").remark == ""
    assert outlines.read_bytes() == mine


def test_glass_alone_is_no_tissue_and_a_mask_of_zeros_is_empty(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    glass = write_slide("glass")
    assert found(glass, tmp_path / "a").status == "no_tissue"
    write_labels(tmp_path / "m" / "glass_mask.tiff", 0)
    assert found(glass, tmp_path / "b", mask_dir=tmp_path / "m").status == "empty_mask"


def test_a_mask_from_a_folder_replaces_segmentation(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    write_labels(tmp_path / "m" / "labels-s.png", 3)
    result = found(
        path,
        tmp_path / "w",
        mask_dir=tmp_path / "m",
        mask_pattern="labels-{slide_id}.png",
        tissue_values=(3,),
    )
    assert result.mask is not None
    assert result.mask.source == "external"
    assert result.mask.tissue_mm2 == pytest.approx(1600 * 500 * 4e-6)


def test_the_mask_of_a_manifest_goes_first(write_slide: WriteSlide, tmp_path: Path) -> None:
    path = write_slide("s", CORE)
    mask_path = write_labels(tmp_path / "mine.png", 1)
    result = found(path, tmp_path / "w", mask_path=mask_path, mask_dir=tmp_path / "none")
    assert result.mask is not None
    assert result.mask.tissue_mm2 == pytest.approx(1600 * 500 * 4e-6)


def test_a_missing_mask_is_an_error_or_segmented_or_skipped(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    (tmp_path / "m").mkdir()
    with pytest.raises(TissueError, match=r"s: this slide has no mask.*s_mask\.tiff"):
        found(path, tmp_path / "w", mask_dir=tmp_path / "m")
    skipped = found(path, tmp_path / "w", mask_dir=tmp_path / "m", missing_mask="skip")
    assert skipped.status == "skipped"
    assert skipped.mask is None
    segmented = found(path, tmp_path / "w", mask_dir=tmp_path / "m", missing_mask="segment")
    assert segmented.mask is not None
    assert segmented.mask.source == "segmented"


def test_edited_outlines_come_back_as_the_mask(write_slide: WriteSlide, tmp_path: Path) -> None:
    path = write_slide("s", CORE)
    found(path, tmp_path / "w")
    outlines = json.loads((tmp_path / "w" / "contours" / "s.geojson").read_text())
    square = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    outlines["features"].append(
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [square]}}
    )
    (tmp_path / "edited").mkdir()
    (tmp_path / "edited" / "s.geojson").write_text(json.dumps(outlines))
    result = found(path, tmp_path / "x", tissue_geojson=tmp_path / "edited")
    first = found(path, tmp_path / "w").mask
    assert result.mask is not None
    assert first is not None
    assert result.mask.source == "geojson"
    assert result.mask.tissue_mm2 == pytest.approx(first.tissue_mm2 + 100 * 100 * 4e-6, rel=1e-3)


def test_a_changed_mask_of_others_is_noticed(write_slide: WriteSlide, tmp_path: Path) -> None:
    path = write_slide("s", CORE)
    write_labels(tmp_path / "m" / "s_mask.tiff", 1)
    found(path, tmp_path / "w", mask_dir=tmp_path / "m")
    write_labels(tmp_path / "m" / "s_mask.tiff", 1, shape=(500, 800))
    with pytest.raises(RecipeError, match="tissue_sha256"):
        found(path, tmp_path / "w", mask_dir=tmp_path / "m")


def test_broken_geojson_names_its_file(write_slide: WriteSlide, tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "s.geojson").write_text("{")
    with pytest.raises(TissueError, match=r"s\.geojson.*cannot be read"):
        found(write_slide("s", CORE), tmp_path / "w", tissue_geojson=tmp_path / "g")
