"""Writes a slide of any size in seconds, to see what memory it takes to work on it.

    python tests/benchmarks/large_slide.py FILE [--size 100000 60000] [--spacing 0.5] [--tissue 0.3]

A pyramidal TIFF (levels 1, 4, 16, 64; JPEG tiles of 512 px) with drawn tissue in round islands
on white glass. The tissue repeats every 2048 px and equal tiles are stored once, so that the
file takes a few megabytes whatever the size; whoever reads it decodes every tile all the same.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.biopsy import BiopsyPlan, draw_biopsy
from hvit_cli.demo.gleason import Pattern
from hvit_cli.demo.tiff import TiledLevel, jpeg_tile, write_levels

Raster = npt.NDArray[np.uint8]
TILE_PX = 512
DOWNSAMPLES = (1, 4, 16, 64)
_PERIOD = 4  # tiles after which the tissue repeats
_GLASS = (244, 243, 245)
_QUALITY = 80


def drawn_tissue(seed: int) -> Raster:
    """(2048, 2048, 3) drawn prostate tissue without glass at its edges."""
    side = _PERIOD * TILE_PX
    biopsy = draw_biopsy(
        BiopsyPlan(
            slide_id="tissue",
            seed=seed,
            scanner="alder",
            tumour_share=0.5,
            mix={Pattern.GLEASON_3: 0.5, Pattern.GLEASON_4: 0.5},
            tissue_length_um=1800.0,
            thickness_um=(1500.0, 1500.0),
        )
    )
    tissue = (biopsy.classes > 0).astype(np.uint8)
    scale = biopsy.picture.shape[0] / tissue.shape[0]
    inside = cv2.distanceTransform(tissue, cv2.DIST_C, 3)
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    top = int(np.clip(row * scale - side / 2, 0, biopsy.picture.shape[0] - side))
    left = int(np.clip(column * scale - side / 2, 0, biopsy.picture.shape[1] - side))
    return np.ascontiguousarray(biopsy.picture[top : top + side, left : left + side])


def islands(columns: int, rows: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """(rows, columns) which tiles hold tissue: round islands that cover about this share."""
    rng = np.random.default_rng([seed, 1])
    y, x = np.mgrid[:rows, :columns]
    covered = np.zeros((rows, columns), bool)
    while covered.mean() < share:
        radius = rng.uniform(0.05, 0.16) * min(rows, columns)
        cy, cx = rng.uniform(radius, rows - radius), rng.uniform(radius, columns - radius)
        covered |= (x - cx) ** 2 + (y - cy) ** 2 < radius**2
    return covered


def level_tiles(holds_tissue: npt.NDArray[np.bool_], tissue: Raster, by: int) -> Iterator[bytes]:
    """The tiles of a level, compressed; each kind of tile is drawn and compressed once."""
    part_px = TILE_PX // by
    small = cv2.resize(tissue, (_PERIOD * part_px,) * 2, interpolation=cv2.INTER_AREA)
    parts = small.reshape(_PERIOD, part_px, _PERIOD, part_px, 3).swapaxes(1, 2)
    rows, columns = (-(-n // by) for n in holds_tissue.shape)
    padded = np.pad(
        holds_tissue,
        [(0, n * by - m) for n, m in zip((rows, columns), holds_tissue.shape, strict=True)],
    )
    known: dict[tuple[int, int, bytes], bytes] = {}
    for row, column in itertools.product(range(rows), range(columns)):
        held = padded[row * by : (row + 1) * by, column * by : (column + 1) * by]
        # Finer than the period, a tile's place in it matters too; without tissue nothing does.
        phase = (row * by % _PERIOD, column * by % _PERIOD) if held.any() else (0, 0)
        kind = (*phase, held.tobytes())
        if kind not in known:
            tile = np.full((by, by, part_px, part_px, 3), _GLASS, np.uint8)
            for i, j in np.argwhere(held):
                tile[i, j] = parts[(phase[0] + i) % _PERIOD, (phase[1] + j) % _PERIOD]
            whole = tile.swapaxes(1, 2).reshape(TILE_PX, TILE_PX, 3)
            known[kind] = jpeg_tile(whole, _QUALITY)
        yield known[kind]


def write_large_slide(
    path: Path,
    size_px: tuple[int, int] = (100_000, 60_000),
    *,
    spacing_um: float = 0.5,
    tissue_share: float = 0.3,
    seed: int = 7,
) -> None:
    """Writes the slide.

    Args:
        path: The file.
        size_px: (width, height) of level 0.
        spacing_um: Micrometres per pixel of level 0.
        tissue_share: Share of the slide that is tissue.
        seed: Of where the islands lie.
    """
    tissue = drawn_tissue(seed)
    columns, rows = (-(-n // TILE_PX) for n in size_px)
    holds_tissue = islands(columns, rows, tissue_share, seed)
    levels = [
        TiledLevel(
            size_px=(-(-size_px[0] // by), -(-size_px[1] // by)),
            is_picture=True,
            tiles=level_tiles(holds_tissue, tissue, by),
        )
        for by in DOWNSAMPLES
    ]
    write_levels(path, levels, spacing_um=spacing_um, tile_px=TILE_PX, share_tiles=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(100_000, 60_000))
    parser.add_argument("--spacing", type=float, default=0.5)
    parser.add_argument("--tissue", type=float, default=0.3)
    given = parser.parse_args()
    width, height = given.size
    write_large_slide(
        given.file, (width, height), spacing_um=given.spacing, tissue_share=given.tissue
    )
