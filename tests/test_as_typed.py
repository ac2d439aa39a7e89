"""The three lines that every user types, as typed, in a fresh folder, on a real slide."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def hvit(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs `hvit ARGUMENTS` in `folder` and checks its exit code."""
    ended = subprocess.run(
        [sys.executable, "-m", "hvit_cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr
    return ended


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one real biopsy, once in `slides/` and once as `slide.tiff`."""
    folder = tmp_path_factory.mktemp("as_typed")
    (folder / "slides").mkdir()
    shutil.copy(data / "slides" / "biopsy_b.tiff", folder / "slides" / "biopsy_b.tiff")
    shutil.copy(data / "slides" / "biopsy_b.tiff", folder / "slide.tiff")
    return folder


def test_tile(folder: Path) -> None:
    ended = hvit(folder, "tile", "slides/", "--region", "2048")
    assert "biopsy_b" in ended.stdout
    out = folder / "hvit-out"
    assert {path.name for path in out.iterdir()} == {
        "contours",
        "masks",
        "qc",
        "status",
        "status.csv",
        "tiles",
    }
    with (out / "status.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["slide_id"], row["stage"], row["status"]) == ("biopsy_b", "tile", "done")
    assert '"picture":"biopsy_b.jpg"' in (out / "qc" / "index.html").read_text()


def test_predict(folder: Path) -> None:
    ended = hvit(folder, "predict", "slide.tiff", "--masked")
    assert "not for diagnosis" in ended.stdout
    with (folder / "hvit-out" / "predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["attention"] == "masked"
    assert row["grade"] == str(min(max(round(float(row["score"])), 0), 5))
    assert "trained on drawings" in row["note"]


def test_heatmap(folder: Path) -> None:
    hvit(folder, "heatmap", "slide.tiff", "-o", "out.png")
    with Image.open(folder / "out.png") as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    # A heatmap that is blank has next to no colours.
    assert len(np.unique(colours // 16, axis=0)) > 100


def test_the_score_of_the_heatmap_is_that_of_the_prediction(folder: Path) -> None:
    grades = [
        json.loads(hvit(folder, *command, "--json").stdout)[0]
        for command in (
            ("predict", "slide.tiff", "--masked"),
            ("heatmap", "slide.tiff", "-o", "out.png"),
        )
    ]
    assert grades[0]["score"] == pytest.approx(
        grades[1]["heatmap"]["verdicts"][0]["score"], abs=1e-6
    )


def test_what_masked_attention_cannot_see_changes_no_score(folder: Path) -> None:
    """Ink on the glass, in patches without tissue, is as good as absent."""
    import pyvips

    from hvit_cli.storage.tiles import read_tiles

    regions = read_tiles(folder / "hvit-out" / "tiles" / "slide.h5").regions
    image = pyvips.Image.new_from_file(str(folder / "slide.tiff"))
    background = regions.patch_xy_level0[regions.tissue_count == 0]
    side = int(regions.patch_level0)
    inside = [
        (int(x), int(y))
        for x, y in background
        if 0 <= x <= image.width - side and 0 <= y <= image.height - side
    ]
    assert len(inside) > 10
    pixels = image.numpy().copy()
    for x, y in inside:
        pixels[y : y + side, x : x + side] = (20, 60, 200)
    inked = pyvips.Image.new_from_array(pixels)
    inked.tiffsave(
        str(folder / "inked.tiff"),
        tile=True,
        compression="deflate",
        xres=image.xres,
        yres=image.yres,
    )
    image.copy().tiffsave(
        str(folder / "clean.tiff"),
        tile=True,
        compression="deflate",
        xres=image.xres,
        yres=image.yres,
    )
    # The same mask for both, so that only pixels differ.
    for name in ("inked", "clean"):
        shutil.copy(folder / "hvit-out" / "masks" / "slide.tiff", folder / f"{name}_mask.tiff")
    scores = {}
    for attention in ("--masked", "--plain"):
        ended = hvit(
            folder, "predict", "inked.tiff", "clean.tiff", attention, "--model", "demo",
            "--mask-dir", ".", "-w", f"ink{attention}", "--json",
        )  # fmt: skip
        found = {row["slide_id"]: row["score"] for row in json.loads(ended.stdout)}
        scores[attention] = abs(found["inked"] - found["clean"])
    assert scores["--masked"] == 0
    assert scores["--plain"] > 1e-3
