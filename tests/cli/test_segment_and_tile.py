from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvips
from typer.testing import CliRunner

from hvit_cli.cli.app import app

RUNNER = CliRunner()


@pytest.fixture
def slides(tmp_path: Path) -> Iterator[Path]:
    """Two slides with tissue and one of glass, 0.5 µm per pixel."""
    folder = tmp_path / "[batch1]"
    folder.mkdir()
    for name, width in (("a", 1500), ("b", 900), ("glass", 0)):
        picture = np.full((1200, 2000, 3), 243, np.uint8)
        picture[200:900, 200 : 200 + width] = (205, 130, 185)
        pyvips.Image.new_from_array(picture).tiffsave(
            str(folder / f"{name}.tiff"),
            tile=True,
            pyramid=True,
            compression="jpeg",
            Q=90,
            xres=2000.0,
            yres=2000.0,
            resunit="cm",
        )
    return iter([folder])


def run(*arguments: object, code: int = 0) -> str:
    result = RUNNER.invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.output


def statuses(work: Path, stage: str) -> dict[str, str]:
    with (work / "status.csv").open(encoding="utf-8") as file:
        return {r["slide_id"]: r["status"] for r in csv.DictReader(file) if r["stage"] == stage}


def test_segment_writes_masks_outlines_pictures_and_their_page(
    slides: Iterator[Path], tmp_path: Path
) -> None:
    work = tmp_path / "w"
    shown = run("segment", next(slides), "-w", work)
    assert "index.html" in shown
    assert statuses(work, "segment") == {"a": "done", "b": "done", "glass": "no_tissue"}
    for name in ("a", "b", "glass"):
        assert (work / "masks" / f"{name}.tiff").exists()
        assert (work / "contours" / f"{name}.geojson").exists()
        assert (work / "qc" / f"{name}.jpg").exists()
    assert (work / "qc" / "index.html").exists()
    assert not (work / "tiles").exists()


def test_tile_finds_the_tissue_itself_and_prints_json(
    slides: Iterator[Path], tmp_path: Path
) -> None:
    work = tmp_path / "w"
    result = RUNNER.invoke(
        app, ["tile", str(next(slides)), "--region", "1024", "-o", str(work), "--json"]
    )
    rows = {row["slide_id"]: row for row in json.loads(result.stdout)}
    assert result.exit_code == 0
    assert rows["a"]["n_regions"] == 2
    assert rows["glass"]["status"] == "no_tissue"
    assert (work / "tiles" / "a.h5").exists()


def test_a_failed_slide_ends_with_three_and_the_others_are_done(
    slides: Iterator[Path], tmp_path: Path
) -> None:
    folder, work = next(slides), tmp_path / "w"
    (folder / "broken.svs").write_bytes(b"no slide")
    shown = run("tile", folder, "--region", 1024, "-w", work, code=3)
    assert "[batch1]" in shown
    assert statuses(work, "tile") == {
        "a": "done",
        "b": "done",
        "broken": "failed",
        "glass": "no_tissue",
    }
    assert "broken" in (work / "qc" / "index.html").read_text()


def test_excluded_slides_are_left_out(slides: Iterator[Path], tmp_path: Path) -> None:
    (tmp_path / "exclude.csv").write_text('slide_id\n"a"\n')
    work = tmp_path / "w"
    run("segment", next(slides), "-w", work, "--exclude", tmp_path / "exclude.csv")
    assert set(statuses(work, "segment")) == {"b", "glass"}


def test_values_of_a_mask_are_numbers(slides: Iterator[Path], tmp_path: Path) -> None:
    shown = run("segment", next(slides), "-w", tmp_path, "--tissue-value", "1,x", code=2)
    assert "--tissue-value" in shown
