"""A drawn slide of two cores as a tiled JPEG TIFF, and settings that make a small model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from hvit_cli.benchmarks import workload as workloads
from hvit_cli.benchmarks.fresh_model import write_fresh_model
from hvit_cli.benchmarks.workload import Workload, prepared
from hvit_cli.demo.tiff import write_picture
from hvit_cli.models.vit import VitShape
from hvit_cli.settings import AggregatorSettings, EmbeddingSettings, ReadingSettings

SIZES = AggregatorSettings(
    patch_dim=32, region_px=1024, patch_px=128, region_dim=24, region_depth=2, region_heads=3,
    slide_dim=24, slide_depth=1, slide_heads=3,
)  # fmt: skip
SHAPE = VitShape(width=32, depth=2, heads=2, token_px=16, grid_side=8)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide at 0.4 µm/px, which is reduced to 0.5."""
    rng = np.random.default_rng(5)
    picture = rng.integers(240, 247, (1800, 2600, 3), dtype=np.uint8)
    for centre in ((900, 500), (1700, 1200)):
        core = np.zeros(picture.shape[:2], np.uint8)
        cv2.ellipse(core, centre, (700, 200), 8, 0, 360, 1, -1)
        stain = np.array([205, 120, 180]) + rng.integers(-30, 30, picture.shape)
        picture[core == 1] = stain[core == 1].astype(np.uint8)
    path = tmp_path_factory.mktemp("slides") / "drawn.tiff"
    write_picture(path, [picture], spacing_um=0.4, quality=80)
    return path


@pytest.fixture(scope="module")
def workload(drawn: Path) -> Iterator[Workload]:
    """The slide with a small model of fresh weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            workloads,
            "write_fresh_model",
            lambda folder, embedding: write_fresh_model(
                folder, embedding, shape=SHAPE, sizes=SIZES
            ),
        )
        embedding = EmbeddingSettings(device="cpu", precision="float32", batch_size=4)
        with prepared(drawn, model=None, embedding=embedding, reading=ReadingSettings()) as opened:
            yield opened
