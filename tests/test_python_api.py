"""The page of the Python API, executed from top to bottom on a small drawn slide."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pyvips

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "python-api.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with `slide.tiff`: one core on glass, 0.5 µm per pixel."""
    rng = np.random.default_rng(5)
    picture = rng.integers(240, 247, (1000, 1500, 3), dtype=np.uint8)
    core = np.zeros(picture.shape[:2], np.uint8)
    cv2.ellipse(core, (740, 480), (650, 300), 8, 0, 360, 1, -1)
    stain = np.array([205, 120, 180]) + rng.integers(-30, 30, picture.shape)
    picture[core == 1] = stain[core == 1].astype(np.uint8)
    pyvips.Image.new_from_array(picture).tiffsave(
        str(tmp_path / "slide.tiff"), tile=True, xres=2000.0, yres=2000.0, resunit="cm"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_does_what_it_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(BLOCKS) >= 6
    names: dict[str, Any] = {"__name__": "page"}
    for number, block in enumerate(BLOCKS, start=1):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("slide ") and said[1].startswith("slide done 1 ")
    assert "not for diagnosis" in said[2]
    assert names["patch"].shape == (256, 256, 3)
    features, fraction = names["features"], names["tiles"].regions.tissue_fraction
    # Glass is not embedded: a row for every patch with tissue and for no other.
    assert len(features.features) == np.count_nonzero(fraction)
    assert fraction.shape == (1, 64)
    assert (folder / "heatmap.png").is_file()
    assert names["output"].score.shape == (1, 1)
    assert names["output"].patch_attention[0].shape == (3, 6)
