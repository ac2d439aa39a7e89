"""A drawn slide, and a small model folder with a real (untrained) encoder and aggregators."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import AggregatorSettings, ReadingSettings, TilingSettings
from hvit_cli.storage.models import (
    EncoderIdentity,
    ModelFolder,
    ModelMember,
    sha256_of,
    write_model,
)

SIZES = AggregatorSettings(
    patch_dim=32,
    region_px=1024,
    patch_px=128,
    region_dim=24,
    region_depth=2,
    region_heads=3,
    slide_dim=24,
    slide_depth=1,
    slide_heads=3,
)
SHAPE = VitShape(width=32, depth=2, heads=2, token_px=16, grid_side=8)


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """A folder with one slide of two cores, `drawn.tiff`, 0.5 µm/px, and one of bare glass."""
    folder = tmp_path / "slides"
    folder.mkdir()
    rng = np.random.default_rng(5)
    glass = rng.integers(240, 247, (1200, 1800, 3), dtype=np.uint8)
    write_tiff(glass, folder / "bare.tiff")
    drawn = glass.copy()
    for centre in ((600, 350), (1150, 850)):
        core = np.zeros(drawn.shape[:2], np.uint8)
        cv2.ellipse(core, centre, (480, 120), 8, 0, 360, 1, -1)
        stain = np.array([205, 120, 180]) + rng.integers(-30, 30, drawn.shape)
        drawn[core == 1] = stain[core == 1].astype(np.uint8)
    write_tiff(drawn, folder / "drawn.tiff")
    return folder


def write_tiff(picture: np.ndarray, path: Path) -> None:
    """Writes a tiled TIFF at 0.5 µm per pixel."""
    import pyvips

    image = pyvips.Image.new_from_array(picture)
    image.tiffsave(
        str(path),
        tile=True,
        tile_width=256,
        tile_height=256,
        compression="deflate",
        xres=2000.0,
        yres=2000.0,
        resunit="cm",
    )
    with Image.open(path) as written:
        assert written.size == (1800, 1200)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with a masked and a plain member; its weights are drawn, not trained."""
    return write_model_folder(tmp_path / "model", ("masked", "plain"))


def write_model_folder(folder: Path, attentions: tuple[str, ...]) -> Path:
    """Writes a model folder with one member for each attention kind named."""
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    spec = EncoderSpec(name="small", width=32, input_px=128, token_px=16)
    encoder = PatchEncoder(VisionTransformer(SHAPE), spec)
    for parameter in encoder.network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    encoder = PatchEncoder(encoder.network, spec)
    save_file(encoder.network.state_dict(), folder / "encoder.safetensors")
    (folder / "encoder.json").write_text(json.dumps(encoder.architecture))
    members = []
    for number, attention in enumerate(attentions):
        torch.manual_seed(10 + number)
        file = f"{attention}{number}.safetensors"
        state = Aggregator(SIZES).state_dict()
        save_file({name: value * 2 for name, value in state.items()}, folder / file)
        members.append(
            ModelMember(file=file, sha256=sha256_of(folder / file), attention=attention)  # type: ignore[arg-type]
        )
    write_model(
        ModelFolder(
            path=folder,
            name=folder.name,
            note="drawn weights",
            watermark="",
            licence="",
            encoder=EncoderIdentity(
                name="small",
                source="",
                file="encoder.safetensors",
                weights_hash=encoder.weights_hash,
                normalisation=encoder.normalisation_text,
                precision="float32",
                architecture=encoder.architecture,
            ),
            reading=ReadingSettings(),
            tiling=TilingSettings(region_px=1024, patch_px=128),
            aggregator=SIZES,
            members=tuple(members),
        )
    )
    return folder
