"""The stages that read: bytes, pixels of a level, pixels at the target spacing, tissue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hvit_cli.benchmarks.jpeg_tiles import LIBRARY, JpegTiles, decode_streams, jpeg_tiles
from hvit_cli.benchmarks.stage import Limit, Stage
from hvit_cli.benchmarks.turns import Cold, Way
from hvit_cli.benchmarks.workload import Workload
from hvit_cli.settings import TissueSettings
from hvit_cli.slides.geometry import ReadingPlan, source_rectangles
from hvit_cli.slides.reader import Slide
from hvit_cli.slides.reduction import reduce_area
from hvit_cli.storage.tiles import TileFile
from hvit_cli.tissue.segmentation import segment_slide

READ, DECODE, REDUCE, SEGMENT = "read", "decode", "reduce", "segment"
READ_LIMIT, DECODE_LIMIT, REDUCE_LIMIT = "read limit", "decode limit", "reduce limit"
_CHUNK_BYTES = 1 << 20

Pixels = npt.NDArray[np.uint8]


def reading_stages(workload: Workload) -> tuple[list[Stage], dict[str, Way]]:
    """Stages and the ways of their limits, each for all tissue patches of the slide."""
    stages: list[Stage] = []
    ways: dict[str, Way] = {}
    tiles = jpeg_tiles(workload.slide, workload.plan.level, tissue_rectangles(workload))
    if tiles is not None:
        stages.append(_read_stage(workload, tiles))
        ways[READ_LIMIT] = lambda: _read_through(workload)
        ways[DECODE_LIMIT] = _decoding_alone(tiles)
    stages.append(_decode_stage(workload, tiles))
    if workload.plan.resampled:
        reduce, copy = _reduce_stage(workload)
        stages.append(reduce)
        ways[REDUCE_LIMIT] = copy
    stages.append(_segment_stage(workload))
    return stages, ways


def tissue_rectangles(workload: Workload) -> npt.NDArray[np.int64]:
    """(n, 4) left, top, right, bottom of the tissue patches, in pixels of the level read."""
    regions = workload.tiles.regions
    origins = regions.patch_origin_level0[workload.wanted]
    return source_rectangles(workload.plan, origins, regions.patch_px)


def read_tissue(slide: Slide, tiles: TileFile, *, level_pixels: bool = False) -> Iterator[Pixels]:
    """Yields the tissue patches of each region, (n, side, side, 3).

    Args:
        slide: The open slide.
        tiles: Its regions.
        level_pixels: Give the level's own pixels of about the same squares, not reduced.
    """
    regions, patch_px = tiles.regions, tiles.regions.patch_px
    plan = ReadingPlan(
        level=tiles.level,
        downsample=tiles.downsample,
        spacing_um_level0=tiles.spacing_um_level0,
        spacing_um=tiles.spacing_um,
        resampled=tiles.resampled,
    )
    if level_pixels and plan.resampled:
        plan = replace(plan, resampled=False, spacing_um=plan.spacing_um_level0 * plan.downsample)
        patch_px = round(regions.patch_level0 / tiles.downsample)
    wanted = regions.tissue_fraction > tiles.background_below
    for region in np.flatnonzero(wanted.any(axis=1)):
        x, y = regions.origin_level0[region]
        index = np.flatnonzero(wanted[region])
        yield slide.read_patches(plan, (float(x), float(y)), patch_px, regions.side, index)


def _read_stage(workload: Workload, tiles: JpegTiles) -> Stage:
    megabytes = tiles.stored_bytes / 1e6

    def run() -> None:
        for _ in tiles.read():
            pass

    return Stage(
        name=READ,
        unit="MB",
        run=run,
        amount=megabytes,
        per_slide=megabytes,
        limit=Limit(
            name="the whole file in one go; both from the page cache",
            way=READ_LIMIT,
            amount=workload.entry.path.stat().st_size / 1e6,
        ),
    )


def _read_through(workload: Workload) -> None:
    with workload.entry.path.open("rb", buffering=0) as file:
        while file.read(_CHUNK_BYTES):
            pass


def _decoding_alone(tiles: JpegTiles) -> Way:
    streams = tiles.streams()

    return lambda: decode_streams(streams, tiles.tile_px)


def _decode_stage(workload: Workload, tiles: JpegTiles | None) -> Stage:
    def run(slide: Slide) -> None:
        with slide:
            for _ in read_tissue(slide, workload.tiles, level_pixels=True):
                pass

    rectangles = tissue_rectangles(workload)
    sides = rectangles[:, 2:] - rectangles[:, :2]
    megapixels = float(sides.prod(axis=1).sum()) / 1e6
    limit = None
    if tiles is not None:
        # The same work: each tile under a tissue patch once.
        limit = Limit(
            name=f"{LIBRARY} alone, the same tiles in memory",
            way=DECODE_LIMIT,
            amount=megapixels,
        )
    return Stage(
        name=DECODE,
        unit="Mpx",
        run=Cold(workload.fresh_slide, run),
        amount=megapixels,
        per_slide=megapixels,
        limit=limit,
        contains="" if tiles is None else READ,
    )


def _reduce_stage(workload: Workload) -> tuple[Stage, Way]:
    """Level pixels to the target spacing, beside copying the same pixels."""
    regions = workload.tiles.regions
    # One region's worth, for the pixels of a whole slide need not fit into memory.
    patches = next(read_tissue(workload.slide, workload.tiles, level_pixels=True))
    size = (regions.patch_px, regions.patch_px)

    def run() -> None:
        for patch in patches:
            reduce_area(patch, size)

    each = patches.shape[1] * patches.shape[2] / 1e6
    amount = len(patches) * each
    stage = Stage(
        name=REDUCE,
        unit="Mpx",
        run=run,
        amount=amount,
        per_slide=workload.tissue_patches * each,
        limit=Limit(name="copying the same pixels", way=REDUCE_LIMIT, amount=amount),
    )
    return stage, lambda: [patch.copy() for patch in patches]


def _segment_stage(workload: Workload) -> Stage:
    settings = TissueSettings()
    height, width = workload.slide.at_spacing(settings.segment_spacing_um)[0].shape[:2]
    megapixels = height * width / 1e6

    def run(slide: Slide) -> None:
        with slide:
            segment_slide(slide, settings)

    return Stage(
        name=SEGMENT,
        unit="Mpx",
        run=Cold(workload.fresh_slide, run),
        amount=megapixels,
        per_slide=megapixels,
    )
