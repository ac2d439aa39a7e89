"""Pretrains a patch encoder on the training slides alone, without any label.

    python examples/demo_model/2_pretrain_encoder.py /tmp/demo-model

The same as

    hvit pretrain slides/train -w work/fit --cache cache -o pretrained ...

with the settings below. The weights are then rounded to float16, the format in which a model
is shipped, and written with their description as the folder `encoder/`, which
`hvit embed --encoder` takes. A run that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hvit_cli.demo.model import DEMO_NOTE
from hvit_cli.models.local_encoder import DESCRIPTION_FILE, WEIGHTS_FILE
from hvit_cli.pipelines.pretrain import (
    PretrainingRequest,
    cache_patches,
    find_patches,
    list_slides,
    pool_of,
    prepare_patches,
    pretrain,
)
from hvit_cli.settings import AugmentationSettings, CropSettings, PretrainingSettings
from hvit_cli.storage.work import WorkFolder

# A patch of 128 µm is brought to 96 px, so that 36 tokens hold all of it: on a processor the
# number of patches seen decides, and 256 tokens a patch would leave few.
CROPS = CropSettings(
    global_px=96, global_scale=(0.4, 1.0), local_crops=4, local_px=48, local_scale=(0.1, 0.4)
)
# Blurred crops teach it to overlook the small lumina that tell the patterns apart; stains vary
# from slide to slide, whatever the pattern.
AUGMENTATION = AugmentationSettings(
    grey_probability=0.1,
    solarize_probability=0.0,
    blur_probability=(0.0, 0.0, 0.0),
    stain_probability=0.8,
    stain_jitter=0.2,
)
SETTINGS = PretrainingSettings(
    width=192,
    depth=4,
    heads=3,
    drop_path=0.0,
    out_dim=2048,
    head_hidden=512,
    head_bottleneck=128,
    batch=32,
    patches_per_epoch=6400,
    epochs=8,
    warmup_epochs=1,
    learning_rate=0.0024,
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
    write_rounded(out / "pretrained", out / "encoder")


def write_rounded(pretrained: Path, encoder: Path) -> None:
    """Copies an encoder folder with every weight as float16."""
    shutil.copytree(pretrained, encoder, dirs_exist_ok=True)
    weights = load_file(pretrained / WEIGHTS_FILE)
    save_file({name: tensor.half() for name, tensor in weights.items()}, encoder / WEIGHTS_FILE)
    (encoder / WEIGHTS_FILE).chmod((encoder / DESCRIPTION_FILE).stat().st_mode)


if __name__ == "__main__":
    main()
