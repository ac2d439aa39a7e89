"""From an encoder folder to the training that refuses it: its own slides judge nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
import timm
import torch
from torch import nn
from typer.testing import CliRunner, Result

from hvit_cli.cli.app import app
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pretraining.encoder_folder import write_encoder_folder

SLIDES = tuple(f"s{n:02d}" for n in range(12))
# Slides 0-3 tune fold 0, 4-7 fold 1; 8-11 test both.
TUNE = {0: SLIDES[:4], 1: SLIDES[4:8]}
TEST = SLIDES[8:]
SMALL = [
    *("--region-dim", "8", "--region-depth", "1", "--region-heads", "2"),
    *("--slide-dim", "8", "--slide-depth", "1", "--slide-heads", "2"),
    *("--epochs", "1", "--device", "cpu"),
]


def hvit(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def own() -> nn.Module:
    return VisionTransformer(VitShape(width=8, depth=1, heads=2, grid_side=4))


def timms() -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        dynamic_img_size=True,
        img_size=64,
        embed_dim=8,
        depth=1,
        num_heads=2,
    )


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Twelve slides that are tissue in the middle, their labels and their folds."""
    rng = np.random.default_rng(0)
    (tmp_path / "slides").mkdir()
    for name in SLIDES:
        pixels = rng.integers(238, 246, (320, 320, 3), dtype=np.uint8)
        pixels[40:300, 40:300] = np.array([205, 120, 180]) + rng.integers(-30, 30, (260, 260, 3))
        pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").tiffsave(
            str(tmp_path / f"slides/{name}.tiff"), compression="deflate", tile=True,
            xres=250, yres=250, resunit="cm",
        )  # fmt: skip
    rows = [f"{name},{n % 2}" for n, name in enumerate(SLIDES)]
    (tmp_path / "labels.csv").write_text("slide_id,label\n" + "\n".join(rows) + "\n")
    where = {name: f"{k}," for k, names in TUNE.items() for name in names}
    rows = [f"{row},{where.get(row[:3], ',test')}" for row in rows]
    (tmp_path / "folds.csv").write_text("slide_id,label,fold,set\n" + "\n".join(rows) + "\n")
    return tmp_path


def pretrained(folder: Path, network: nn.Module, slides: tuple[str, ...]) -> Path:
    """An encoder folder as a pretraining on these slides leaves it."""
    spec = EncoderSpec(
        name=folder.name, width=8, input_px=64, token_px=16, pretraining_slides=slides
    )
    write_encoder_folder(folder, network, spec, recipe={"settings": {}, "inputs": {}})
    return folder


def embed(cohort: Path, encoder: Path) -> None:
    ended = hvit(
        "embed", cohort / "slides", "--encoder", encoder, "-w", cohort / "work",
        "--region", 128, "--patch", 64, "--spacing", 4, "--device", "cpu",
    )  # fmt: skip
    assert ended.exit_code == 0, ended.output


def train(cohort: Path, features: object, *more: object) -> Result:
    return hvit(
        "train", features, cohort / "labels.csv", "--folds", cohort / "folds.csv",
        "-o", cohort / "model", *more, *SMALL,
    )  # fmt: skip


@pytest.mark.parametrize("make", [own, timms])
def test_an_encoder_of_all_slides_is_refused_and_one_of_each_fold_is_not(
    make: Callable[[], nn.Module], cohort: Path
) -> None:
    torch.manual_seed(0)
    of_all = pretrained(cohort / "enc/all", make(), SLIDES)
    embed(cohort, of_all)
    # Features remember the slides without the encoder, and the encoder without the features.
    (features,) = (cohort / "work/features").glob("all-*")
    kept = json.loads((features / "encoder.json").read_text())
    assert kept["pretraining_slides"] == list(SLIDES)
    for more in ((), ("--encoder", of_all)):
        ended = train(cohort, features, *more)
        assert ended.exit_code == 1, ended.output
        said = " ".join(ended.stderr.split())
        assert "slides that trained the patch encoder would tune or test fold 0" in said
        assert "found 8 slides (s00, s01, s02, …)" in said
        assert not (cohort / "model").exists()
    for fold, other in ((0, 1), (1, 0)):
        embed(cohort, pretrained(cohort / f"enc/fold{fold}", make(), TUNE[other]))
    per_fold = (cohort / "work/features/fold{fold}-*", "--encoder", cohort / "enc/fold{fold}")
    ended = train(cohort, *per_fold)
    assert ended.exit_code == 0, ended.output
    assert (cohort / "model/fold1/model.json").is_file()
    # The wrong way round, each encoder has seen what tunes its fold.
    swapped = cohort / "work/swapped"
    swapped.mkdir()
    for fold, other in ((0, 1), (1, 0)):
        (found,) = (cohort / "work/features").glob(f"fold{other}-*")
        (swapped / f"fold{fold}-x").symlink_to(found)
    ended = train(cohort, swapped / "fold{fold}-*", "--overwrite")
    assert ended.exit_code == 1, ended.output
    assert "tune or test fold 0; found 4 slides (s00, s01, s02, …)" in " ".join(
        ended.stderr.split()
    )


def test_a_test_slide_alone_is_one_too_many(cohort: Path) -> None:
    torch.manual_seed(0)
    embed(cohort, pretrained(cohort / "enc/one", own(), (TEST[0],)))
    (features,) = (cohort / "work/features").glob("one-*")
    ended = train(cohort, features)
    assert ended.exit_code == 1
    assert "found 1 slides (s08)" in " ".join(ended.stderr.split())
