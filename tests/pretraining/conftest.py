"""Pools of patches on small slides written for a test, and a pool of coloured noise."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pyvips

from hvit_cli.pretraining.pool import PatchPool, PoolSlide
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.reader import open_slide

SIDE = 32
WritePool = Callable[..., PatchPool]


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """What `toy_source.py` declares; test folders are no packages to import from."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("toy_source.py"))))


@pytest.fixture
def write_pool(tmp_path: Path) -> WritePool:
    """Writes slides of noise, 0.5 µm/px without loss, all of whose 32 px patches are the pool."""

    def write(patches: tuple[int, ...] = (6, 12, 4), tile_px: int = 64) -> PatchPool:
        slides = []
        for number, count in enumerate(patches):
            path = tmp_path / "slides" / f"s{number}.tiff"
            path.parent.mkdir(exist_ok=True)
            rng = np.random.default_rng(number)
            pixels = rng.integers(0, 256, (2 * SIDE, -(-count // 2) * SIDE, 3), dtype=np.uint8)
            pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").tiffsave(
                str(path),
                tile=True,
                tile_width=tile_px,
                tile_height=tile_px,
                compression="deflate",
                xres=2000.0,
                yres=2000.0,
                resunit="cm",
            )
            column, row = np.divmod(np.arange(count), 2)
            with open_slide(path) as slide:
                plan = slide.plan(ReadingSettings())
            slides.append(
                PoolSlide(
                    slide_id=f"s{number}",
                    path=path,
                    manifest_spacing_um=None,
                    plan=plan,
                    origin_level0=np.stack([column, row], axis=1) * float(SIDE),
                    recipe={"settings": {"tiling": {"patch_px": SIDE}}, "inputs": {"n": number}},
                )
            )
        return PatchPool(slides=tuple(slides), patch_px=SIDE)

    return write
