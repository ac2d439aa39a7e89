"""A run over many slides holds no more memory at its end than in its middle."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hvit_cli.pipelines.predict import predict
from hvit_cli.pipelines.tile import tile
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.storage.work import WorkFolder

_SLIDES = 150
# The picture of one of these slides takes 6 MiB, its overview as much.
_MOST_KIB_A_SLIDE = 300


def _tile(slides: list[Path], work: WorkFolder, _model: Path) -> Iterator[Any]:
    tiling = TilingSettings(region_px=1024, patch_px=128)
    reading, tissue = ReadingSettings(), TissueSettings()
    return tile(slides, work=work, reading=reading, tissue=tissue, tiling=tiling)


def _predict(slides: list[Path], work: WorkFolder, model: Path) -> Iterator[Any]:
    return predict(
        slides,
        work=work,
        out=None,
        request=ModelRequest(model=str(model)),
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        embedding=EmbeddingSettings(device="cpu"),
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("command", [_tile, _predict])
def test_memory_does_not_grow_with_the_number_of_slides(
    command: Callable[..., Iterator[Any]], slides: Path, model: Path, tmp_path: Path
) -> None:
    many = [tmp_path / f"slide-{number}.tiff" for number in range(_SLIDES)]
    for one in many:
        os.link(slides / "drawn.tiff", one)
    kept, resident = [], []
    for record in command(many, WorkFolder(tmp_path / "out"), model):
        kept.append(record)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * resource.getpagesize() / 1024)
    assert [record.row.status for record in kept] == ["done"] * _SLIDES
    # What is held between slides comes and goes by 30 MiB; the least of many is what stays.
    third = _SLIDES // 3
    grown = min(resident[-third:]) - min(resident[third:-third])
    assert grown / third < _MOST_KIB_A_SLIDE
