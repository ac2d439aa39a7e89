from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hvit_cli.pipelines.info import COLUMNS, ProductInfo, SlideInfo, inspect
from hvit_cli.settings import ReadingSettings, TilingSettings
from hvit_cli.storage.arrays import write_arrays


def look(*sources: Path, **reading: object) -> list[SlideInfo]:
    found = inspect(
        sources,
        reading=ReadingSettings(**reading),  # type: ignore[arg-type]  # keywords of one test
        tiling=TilingSettings(),
    )
    return [record for record in found if isinstance(record, SlideInfo)]


def test_what_a_biopsy_is_and_what_would_be_done_with_it(data: Path) -> None:
    (info,) = look(data / "slides" / "biopsy_c.tiff")
    assert (info.slide_id, info.vendor, info.decoder) == (
        "biopsy_c",
        "generic-tiff",
        "libjpeg-turbo",
    )
    assert [level.size for level in info.levels] == [(8000, 9000), (2000, 2250), (500, 562)]
    assert info.levels[1].spacing_um == pytest.approx(4 * 0.4523)
    assert (info.spacing_source, info.problem) == ("tiff", "")
    assert info.spacing_um_level0 == pytest.approx(0.4523)
    assert (info.level, info.resampled, info.spacing_um) == (0, True, 0.5)
    assert info.region_um == 1024
    assert info.region_level0 == pytest.approx(2048 * 0.5 / 0.4523)


def test_the_tolerance_decides_whether_pixels_are_resampled(data: Path) -> None:
    (info,) = look(data / "slides" / "biopsy_c.tiff", spacing_tolerance=0.11)
    assert (info.resampled, info.spacing_um) == (False, pytest.approx(0.4523))
    assert info.region_level0 == 2048


def test_every_source_is_listed_with_its_verdict(data: Path) -> None:
    (info,) = look(data / "slides" / "CMU-1-Small-Region.svs", spacing_override=0.51)
    assert [(s.kind, s.accepted) for s in info.sources] == [
        ("override", True),
        ("vendor", True),
        ("objective", False),
    ]
    assert (info.spacing_source, info.spacing_um_level0) == ("override", 0.51)


def test_a_slide_with_a_problem_is_a_record_with_what_is_known(data: Path) -> None:
    (missing,) = look(data / "slides" / "TCGA-CR-7395-01A-01-TS1.svs")
    assert missing.problem == "the slide states no spacing"
    assert "--spacing-override" in missing.hint
    assert missing.levels[0].size == (4443, 3567)
    assert missing.level is None
    (coarse,) = look(data / "slides" / "panda_ink_1.944um.tif")
    assert "never enlarges pixels; found 1.944 µm/px" in coarse.problem
    assert coarse.spacing_source == "tiff"


def test_a_folder_gives_a_record_for_each_slide_readable_or_not(data: Path) -> None:
    records = look(data / "malformed")
    assert len(records) == len(list((data / "malformed").iterdir()))
    problems = {record.slide_id: record.problem for record in records}
    assert problems["empty"] == "the file is empty"
    assert "cut off" in problems["truncated_70pct"]
    # Damage inside the pixels shows when they are read, not before.
    assert [name for name, problem in problems.items() if not problem] == [
        "one_tile_zeroed",
        "zeroed_4k_mid",
    ]


def test_a_manifest_passes_on_its_spacing(data: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    slide = data / "slides" / "TCGA-CR-7395-01A-01-TS1.svs"
    manifest.write_text(f"slide_id,path,spacing_um\n007,{slide},0.25\n")
    (info,) = look(manifest)
    assert (info.slide_id, info.spacing_source, info.level) == ("007", "manifest", 1)


def test_a_mask_named_alone_and_a_missing_file_are_records(data: Path) -> None:
    mask, gone = look(data / "masks" / "biopsy_a_mask.tiff", data / "gone.svs")
    assert mask.levels[0].size == (12000, 6000)
    assert gone.problem == "there is no such file"


def test_records_are_frozen_and_their_rows_have_every_column(data: Path) -> None:
    readable, broken = look(data / "slides" / "biopsy_a.tiff", data / "malformed" / "empty.svs")
    with pytest.raises(dataclasses.FrozenInstanceError):
        readable.problem = "none"  # type: ignore[misc]  # what is tested
    assert tuple(readable.row()) == tuple(broken.row()) == COLUMNS
    assert (readable.row()["width_level0"], readable.row()["n_levels"]) == (12000, 3)
    assert broken.row()["width_level0"] is None


def test_files_of_hvit_are_described_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    header = {"kind": "hvit-tiles", "schema": 1, "slide_id": "a"}
    write_arrays(path, {"region_xy_level0": np.zeros((3, 2), np.int64)}, header)
    sound, foreign = inspect(
        [path, tmp_path / "foreign.h5"], reading=ReadingSettings(), tiling=TilingSettings()
    )
    assert isinstance(sound, ProductInfo)
    assert sound.facts["kind"] == "hvit-tiles"
    assert sound.facts["region_xy_level0"] == "int64 3 × 2"
    assert isinstance(foreign, ProductInfo)
    assert "cannot be read" in foreign.problem


def test_a_model_folder_is_described(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"kind": "hvit-model", "schema": 1, "folds": [1, 2]}')
    (found,) = inspect([tmp_path], reading=ReadingSettings(), tiling=TilingSettings())
    assert isinstance(found, ProductInfo)
    assert found.facts == {"kind": "hvit-model", "schema": "1", "folds": "[1, 2]"}
