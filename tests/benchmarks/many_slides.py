"""Memory of one process that works on very many slides: it must not grow with their number.

    python tests/benchmarks/many_slides.py FOLDER [--slides 1000] [--command tile|predict|heatmap]

Draws one small slide, gives it so many names, and runs the command over all of them without
worker processes, with the bundled demonstration model. Prints the memory (resident set) after
every 50 slides, and the slope over the second half in KiB a slide.
"""

from __future__ import annotations

import argparse
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hvit_cli.demo.biopsy import BiopsyPlan, draw_biopsy
from hvit_cli.demo.slide import write_biopsy
from hvit_cli.pipelines.heatmap import heatmap
from hvit_cli.pipelines.predict import predict
from hvit_cli.pipelines.tile import tile
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    TilingSettings,
    TissueSettings,
)
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.storage.work import WorkFolder

_EVERY = 50


def draw_slides(folder: Path, count: int) -> list[Path]:
    """So many slides of one drawing, each a name of its own for the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "drawn.tiff"
    if not first.exists():
        plan = BiopsyPlan(
            slide_id="drawn",
            seed=1,
            scanner="alder",
            tissue_length_um=700.0,
            thickness_um=(300.0, 300.0),
        )
        write_biopsy(draw_biopsy(plan), first, folder.parent / "truth.tiff")
    slides = [folder / f"slide-{number:05}.tiff" for number in range(count)]
    for slide in slides:
        if not slide.exists():
            os.link(first, slide)
    return slides


def records(command: str, slides: list[Path], work: WorkFolder) -> Iterator[Any]:
    """The records of a run."""
    reading, tissue = ReadingSettings(), TissueSettings()
    if command == "tile":
        return tile(slides, work=work, reading=reading, tissue=tissue, tiling=TilingSettings())
    shared: dict[str, Any] = {
        "work": work,
        "request": ModelRequest(model="demo"),
        "reading": reading,
        "tissue": tissue,
        "embedding": EmbeddingSettings(),
    }
    if command == "predict":
        return predict(slides, out=None, **shared)
    out = work.path / "maps"
    out.mkdir(parents=True, exist_ok=True)
    settings = HeatmapSettings(max_px=320)
    return heatmap(slides, out=out, scores=None, settings=settings, **shared)


def resident_mib() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def slope_kib(resident: list[float]) -> float:
    """Growth a slide over the second half of a run, in KiB, by least squares."""
    late = np.asarray(resident[len(resident) // 2 :])
    return float(np.polyfit(np.arange(len(late)), late, 1)[0] * 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slides", type=int, default=1000)
    parser.add_argument("--command", choices=("tile", "predict", "heatmap"), default="predict")
    given = parser.parse_args()
    drawn = draw_slides(given.folder / "slides", given.slides)
    kept, memory = [], []
    for record in records(given.command, drawn, WorkFolder(given.folder / given.command)):
        # As the command line does, for the table at its end.
        kept.append(record)
        memory.append(resident_mib())
        if len(kept) % _EVERY == 0:
            print(f"{len(kept):6} slides {memory[-1]:8.1f} MiB", flush=True)  # noqa: T201
    print(f"{slope_kib(memory):.1f} KiB a slide over the second half")  # noqa: T201
