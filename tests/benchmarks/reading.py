"""Reading a slide's regions with OpenSlide and with `hvit`, in turns, beside the JPEG library.

    python tests/benchmarks/reading.py SLIDE… [--repeats 7] [--clock wall|processor]

OpenSlide reads whole regions of 2048 px, as plain readers do. `hvit` is given the same pixels, and
then only patches with tissue, in one thread and in two. A slide is opened anew for each turn, but
for OpenSlide's handle all is inside of the time. "The library alone" decodes the tiles under
tissue, each once, from memory into the same memory: in one thread and in two, the latter to say
how far two threads get on this machine at all. Prints a JSON object per slide.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import openslide
import torch

from hvit_cli.benchmarks.jpeg_tiles import JpegTiles, decode_streams, jpeg_tiles
from hvit_cli.benchmarks.machine import describe_machine
from hvit_cli.benchmarks.reading import read_tissue, tissue_rectangles
from hvit_cli.benchmarks.turns import Cold, Way, ratio_of, take_turns
from hvit_cli.benchmarks.workload import Workload, prepared
from hvit_cli.settings import EmbeddingSettings, ReadingSettings
from hvit_cli.slides.ahead import Request, read_ahead
from hvit_cli.slides.reader import Slide

OPENSLIDE, WHOLE, TISSUE, TISSUE_2 = "OpenSlide", "whole regions", "tissue", "tissue, 2 threads"
ALONE, ALONE_2 = "library alone", "library alone, 2 threads"
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def with_openslide(workload: Workload, handle: openslide.OpenSlide) -> None:
    """Every region, at the level hvit reads."""
    tiles = workload.tiles
    side = round(tiles.regions.region_level0 / tiles.downsample)
    for x, y in tiles.regions.xy_level0.tolist():
        np.asarray(handle.read_region((x, y), tiles.level, (side, side)).convert("RGB"))


def read_whole(workload: Workload, slide: Slide) -> None:
    """Every patch of every region through hvit."""
    regions = workload.tiles.regions
    index = np.arange(regions.side**2)
    with slide:
        for x, y in regions.origin_level0.tolist():
            slide.read_patches(workload.plan, (x, y), regions.patch_px, regions.side, index)


def read_some(workload: Workload, slide: Slide) -> None:
    """Patches with tissue."""
    with slide:
        for _ in read_tissue(slide, workload.tiles):
            pass


def read_two(workload: Workload, slide: Slide) -> None:
    """The same in two threads, as `embed` and `predict` read."""
    regions, wanted = workload.tiles.regions, workload.wanted
    requests: list[Request] = [
        (tuple(regions.origin_level0[n].tolist()), np.flatnonzero(wanted[n]))
        for n in np.flatnonzero(wanted.any(axis=1))
    ]
    with slide:
        for _ in read_ahead(
            slide, workload.plan, requests,
            patch_px=regions.patch_px, side=regions.side, threads=2, waiting=4,
        ):  # fmt: skip
            pass


def alone(tiles: JpegTiles, threads: int) -> Way:
    """The JPEG library, its tiles shared out between threads."""
    streams = tiles.streams()
    if threads == 1:
        return lambda: decode_streams(streams, tiles.tile_px)

    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            shares = [
                pool.submit(decode_streams, streams[n::threads], tiles.tile_px)
                for n in range(threads)
            ]
            for share in shares:
                share.result()

    return run


def measure(path: Path, repeats: int, clock: Callable[[], float]) -> dict[str, object]:
    """Seconds of all ways on one slide, and their ratios."""
    embedding = EmbeddingSettings(device="cpu", precision="float32")
    with prepared(path, model="demo", embedding=embedding, reading=ReadingSettings()) as workload:
        handle = openslide.OpenSlide(path)
        ways: dict[str, Way] = {
            OPENSLIDE: lambda: with_openslide(workload, handle),
            WHOLE: Cold(workload.fresh_slide, partial(read_whole, workload)),
            TISSUE: Cold(workload.fresh_slide, partial(read_some, workload)),
            TISSUE_2: Cold(workload.fresh_slide, partial(read_two, workload)),
        }
        tiles = jpeg_tiles(workload.slide, workload.plan.level, tissue_rectangles(workload))
        if tiles is not None:
            ways |= {ALONE: alone(tiles, 1), ALONE_2: alone(tiles, 2)}
        for way in ways.values():
            way()
        seconds = take_turns(ways, repeats, clock=clock)
        ratios = {
            "same pixels, times OpenSlide": ratio_of(seconds[OPENSLIDE], seconds[WHOLE]),
            "per slide, times OpenSlide": ratio_of(seconds[OPENSLIDE], seconds[TISSUE]),
            "two threads, efficiency": ratio_of(seconds[TISSUE], seconds[TISSUE_2], 0.5),
        }
        if tiles is not None:
            ratios |= {
                "of the library alone": ratio_of(seconds[ALONE], seconds[TISSUE]),
                "library, two threads, efficiency": ratio_of(seconds[ALONE], seconds[ALONE_2], 0.5),
            }
        return {
            "slide": path.name,
            "decoder": workload.slide.decoder_name,
            "resampled": workload.tiles.resampled,
            "kept": float(workload.wanted.mean()),
            "median seconds": {name: median(turns) for name, turns in seconds.items()},
            "ratios": {name: [round(v, 3) for v in found] for name, found in ratios.items()},
            "machine": describe_machine(torch.device("cpu")).__dict__,
        }


def main() -> None:
    """Prints a JSON object per slide."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("slides", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    asked = parser.parse_args()
    for path in asked.slides:
        print(json.dumps(measure(path, asked.repeats, CLOCKS[asked.clock])), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
