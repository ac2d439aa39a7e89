"""Memory of one process that works on very many slides: it must not grow with their number.

    python tests/benchmarks/many_slides.py FOLDER [--slides 1000] [--command tile|predict|heatmap]

Draws one small slide, gives it so many names, and runs the command over all of them without
worker processes, with the bundled demonstration model. Every 50 slides prints the resident set,
what the C library holds as allocated in all of its arenas (glibc's malloc_info), both in MiB, and
Python's objects; at the end the slope of each over the second half. The resident set also
holds what was freed and not given back, which goes up and down; a leak would show in the others.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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


def allocated_mib() -> float:
    """Memory that was asked for and not freed, in all arenas and maps of glibc."""
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    library.fopen.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    library.fclose.argtypes = [ctypes.c_void_p]
    library.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
    with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        stream = library.fopen(file.name.encode(), b"w")
        library.malloc_info(0, stream)
        library.fclose(stream)
        told = ElementTree.parse(file.name).getroot()
    # The last children of the root sum over the arenas; freed blocks wait as "fast" and "rest".
    system = told.find("system[@type='current']")
    assert system is not None
    freed = sum(
        int(total.get("size", 0)) for total in told.findall("total") if total.get("type") != "mmap"
    )
    mapped = sum(int(t.get("size", 0)) for t in told.findall("total[@type='mmap']"))
    return (int(system.get("size", 0)) - freed + mapped) / 2**20


def slope(values: list[float]) -> float:
    """Growth a slide over the second half of a run, by least squares."""
    late = np.asarray(values[len(values) // 2 :])
    return float(np.polyfit(np.arange(len(late)) * _EVERY, late, 1)[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slides", type=int, default=1000)
    parser.add_argument("--command", choices=("tile", "predict", "heatmap"), default="predict")
    given = parser.parse_args()
    drawn = draw_slides(given.folder / "slides", given.slides)
    kept: list[Any] = []
    found: dict[str, list[float]] = {"resident MiB": [], "allocated MiB": [], "objects": []}
    for record in records(given.command, drawn, WorkFolder(given.folder / given.command)):
        # As the command line does, for the table at its end.
        kept.append(record)
        if len(kept) % _EVERY:
            continue
        now = (resident_mib(), allocated_mib(), float(len(gc.get_objects())))
        for values, value in zip(found.values(), now, strict=True):
            values.append(value)
        print(f"{len(kept):6} slides {now[0]:8.1f} {now[1]:8.1f} MiB {now[2]:9.0f}", flush=True)  # noqa: T201
    for name, values in found.items():
        print(f"{name}: {slope(values):+.4f} a slide over the second half")  # noqa: T201
