"""Pretrains a patch encoder on the training slides alone, without any label.

    python examples/demo_model/2_pretrain_encoder.py /tmp/demo-model

The same as

    hvit pretrain slides/train -w work/fit --cache cache -o pretrained ...

with the settings below. The last layer normalisation is then rescaled, so that every feature has
mean 0 and deviation 1 over patches of the training slides: what differs between patches is a
small part of what DINO's features are, and the aggregator's first layer would see little of it.
The weights are rounded to float16, the format in which a model is shipped, and written with their
description as the folder `encoder/`, which `hvit embed --encoder` takes. A run that is stopped goes
on where it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from hvit_cli.demo.model import DEMO_NOTE
from hvit_cli.models.local_encoder import DESCRIPTION_FILE, WEIGHTS_FILE
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.pipelines.pretrain import (
    PretrainingRequest,
    cache_patches,
    find_patches,
    list_slides,
    pool_of,
    prepare_patches,
    pretrain,
)
from hvit_cli.pretraining.cache import CachedPatches
from hvit_cli.settings import AugmentationSettings, CropSettings, PretrainingSettings
from hvit_cli.storage.work import WorkFolder

# All crops are cut at the patch's own magnification and shape, because the patterns differ in the
# size and number of lumina: crops of several scales teach the network to overlook just that.
# Tokens of 32 px hold a patch in 64, a quarter of the usual number; on a processor the number of
# patches that are seen decides.
CROPS = CropSettings(
    global_px=192,
    global_scale=(0.5625, 0.5625),
    local_crops=4,
    local_px=96,
    local_scale=(0.140625, 0.140625),
    aspect=(1.0, 1.0),
)
# Colours and stains vary from slide to slide, whatever the pattern.
AUGMENTATION = AugmentationSettings(
    brightness=0.3,
    contrast=0.3,
    grey_probability=0.5,
    solarize_probability=0.0,
    blur_probability=(0.0, 0.0, 0.0),
    stain_probability=0.8,
    stain_jitter=0.2,
)
STANDARDISED_ON = 4096
SETTINGS = PretrainingSettings(
    width=192,
    depth=4,
    heads=3,
    token_px=32,
    drop_path=0.0,
    out_dim=2048,
    head_hidden=512,
    head_bottleneck=128,
    batch=64,
    patches_per_epoch=6400,
    epochs=6,
    warmup_epochs=1,
    learning_rate=0.004,
    weight_decay_end=0.2,
    clip=1.0,
    teacher_momentum=0.99,
    save_steps=100,
    precision="bfloat16",
    seed=21,
)


def main() -> None:
    """Pretrains, and writes the encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that 1_draw_cohort.py filled")
    out = parser.parse_args().out
    request = PretrainingRequest(
        sources=(out / "slides" / "train",),
        work=WorkFolder(out / "work" / "fit"),
        cache=out / "cache",
        out=out / "pretrained",
        name="demo",
        crops=CROPS,
        augmentation=AUGMENTATION,
        settings=SETTINGS,
        licence="Apache-2.0",
        note=f"{DEMO_NOTE[0].upper()}{DEMO_NOTE[1:]}.",
        device="cpu",
    )
    torch.set_num_threads(os.cpu_count() or 1)
    pool = pool_of(request, list(find_patches(request, list_slides(request))))
    for slide in cache_patches(request, pool):
        print(f"{slide.number}/{slide.total} {slide.slide_id}: {slide.status}", flush=True)
    for epoch in pretrain(prepare_patches(request, pool)):
        print(
            f"epoch {epoch.epoch}: loss {epoch.loss:.3f}, teacher entropy "
            f"{epoch.teacher_entropy:.3f}, rank {epoch.effective_rank:.1f}, "
            f"{epoch.patches_per_s:.0f} patches/s {epoch.alarm or ''}",
            flush=True,
        )
    reader = CachedPatches(pool, out / "cache")
    chosen = np.random.default_rng(SETTINGS.seed).permutation(len(pool))[:STANDARDISED_ON]
    embed = load_encoder(out / "pretrained", precision="bfloat16").embed
    features = np.concatenate(
        [embed(np.stack([reader.read(int(patch))])) for patch in np.sort(chosen)]
    )
    write_rounded(out / "pretrained", out / "encoder", features)


def write_rounded(pretrained: Path, encoder: Path, features: npt.NDArray[np.float32]) -> None:
    """Copies an encoder folder, its features standardised, with every weight as float16.

    Args:
        pretrained: The encoder as it was trained.
        encoder: Where the copy goes.
        features: (n, D) of patches of the training slides.
    """
    shutil.copytree(pretrained, encoder, dirs_exist_ok=True)
    weights = load_file(pretrained / WEIGHTS_FILE)
    mean, deviation = (torch.from_numpy(f(axis=0)) for f in (features.mean, features.std))
    weights["norm.weight"] /= deviation
    weights["norm.bias"] = (weights["norm.bias"] - mean) / deviation
    save_file({name: tensor.half() for name, tensor in weights.items()}, encoder / WEIGHTS_FILE)
    (encoder / WEIGHTS_FILE).chmod((encoder / DESCRIPTION_FILE).stat().st_mode)


if __name__ == "__main__":
    main()
