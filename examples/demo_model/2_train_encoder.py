"""Trains the patch encoder of the demonstration model on patches of the training slides.

    python examples/demo_model/2_train_encoder.py /tmp/demo-model

Supervised: the encoder learns which share of a patch is glass, benign, Gleason 3, 4 and 5, from
the truth of the **training** slides, and to give back a 4 x 4 thumbnail of the patch. The
thumbnail keeps colour and layout in the features: an encoder that was taught classes alone
would be half blind to whatever is on the glass. No patch with the label dot is shown to it, and
no glass with ink of any kind. Writes the folder `encoder/` (weights as float16),
which `hvit embed --encoder` takes.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyvips
import timm.layers
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from hvit_cli.demo.gleason import Pattern
from hvit_cli.demo.outline import TRUTH_DOWNSAMPLE
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.local_encoder import DESCRIPTION_FILE, WEIGHTS_FILE, describe_vit
from hvit_cli.models.vit import VitShape
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.reader import Slide, open_slide

PATCH_PX, TOKEN_PX, WIDTH, DEPTH, HEADS = 256, 16, 192, 4, 3
CLASSES = tuple(Pattern)
PATCHES_PER_SLIDE = 60
GLASS_PER_SLIDE = 6
THUMBNAIL_SIDE = 4
# Tokens of a patch that the encoder sees while it trains, epoch by epoch: few at first,
# because that is several times as fast, more towards the end.
TOKENS_BY_EPOCH = (64, 64, 64, 64, 128)
LEARNING_RATE, WEIGHT_DECAY, BATCH = 1e-3, 0.03, 64
THUMBNAIL_WEIGHT = 0.2
SEED = 21
MEAN = torch.tensor([0.485, 0.456, 0.406]) * 255
STD = torch.tensor([0.229, 0.224, 0.225]) * 255

Pixels = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.float32]


def main() -> None:
    """Samples the patches, trains, and writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that 1_draw_cohort.py filled")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    train = sample_cohort(arguments.out, "train", arguments.jobs)
    tune = sample_cohort(arguments.out, "tune", arguments.jobs, every=4)
    encoder = train_encoder(*train, *tune)
    write_encoder(encoder, arguments.out / "encoder")


def write_encoder(encoder: nn.Module, folder: Path) -> None:
    """Writes the weights as float16, and beside them what `--encoder` must know of them."""
    folder.mkdir(exist_ok=True)
    weights = {name: tensor.half().contiguous() for name, tensor in encoder.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE)
    shape = VitShape(
        width=WIDTH, depth=DEPTH, heads=HEADS, token_px=TOKEN_PX, grid_side=PATCH_PX // TOKEN_PX
    )
    spec = EncoderSpec(
        name="demo_vit",
        width=WIDTH,
        input_px=PATCH_PX,
        token_px=TOKEN_PX,
        spacing_um=ReadingSettings.spacing_um,
        licence="Apache-2.0",
        pretraining="synthetic biopsies drawn by hvit, supervised; not for diagnosis",
    )
    description = json.dumps(describe_vit(shape, spec), indent=2)
    (folder / DESCRIPTION_FILE).write_text(description + "\n", encoding="utf-8")


def sample_cohort(out: Path, cohort: str, jobs: int, every: int = 1) -> tuple[Tensor, Tensor]:
    """(n, 256, 256, 3) uint8 patches of every n-th slide, and (n, 5) shares of the classes."""
    with (out / f"{cohort}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tasks = [(out, cohort, row["slide_id"], seed) for seed, row in enumerate(rows[::every])]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(_sample_slide, tasks, chunksize=4))
    pixels = np.concatenate([part[0] for part in parts])
    shares = np.concatenate([part[1] for part in parts])
    print(f"{cohort}: {len(pixels)} patches, mean shares {shares.mean(axis=0).round(3).tolist()}")
    return torch.from_numpy(pixels), torch.from_numpy(shares)


def _sample_slide(task: tuple[Path, str, str, int]) -> tuple[Pixels, Shares]:
    out, cohort, slide_id, seed = task
    truth_path = out / "truth" / cohort / f"{slide_id}_truth.tiff"
    truth: Pixels = pyvips.Image.new_from_file(str(truth_path)).numpy()
    rng = np.random.default_rng([SEED, seed])
    with open_slide(out / "slides" / cohort / f"{slide_id}.tiff") as slide:
        plan = slide.plan(ReadingSettings())
        side = PATCH_PX * plan.level0_per_px
        pixels, shares = [], []
        for origin in _origins(rng, truth, side):
            found = _shares(truth, origin, side)
            if found is not None:
                pixels.append(slide.read_patch(plan, origin, PATCH_PX))
                shares.append(found)
        for patch in _clean_glass(rng, slide, truth, side):
            pixels.append(patch)
            shares.append(np.eye(len(CLASSES), dtype=np.float32)[CLASSES.index(Pattern.GLASS)])
    return np.stack(pixels), np.stack(shares)


def _origins(rng: np.random.Generator, truth: Pixels, side: float) -> Iterator[tuple[float, float]]:
    """Corners of patches around random pixels of each pattern.

    Rare patterns as often as others, but no small focus so often that its patches repeat.
    """
    present = [p for p in CLASSES if p != Pattern.GLASS and (truth == p).any()]
    for pattern in present:
        row, column = np.nonzero(truth == pattern)
        wanted = PATCHES_PER_SLIDE // 2
        if pattern != Pattern.BENIGN:
            patches_held = len(row) * (TRUTH_DOWNSAMPLE / side) ** 2
            wanted = min(PATCHES_PER_SLIDE // (len(present) - 1) // 2, 6 + int(4 * patches_held))
        for index in rng.integers(0, len(row), wanted):
            shift = rng.uniform(-5 / 6, -1 / 6, 2) * side
            yield (
                column[index] * TRUTH_DOWNSAMPLE + shift[0],
                row[index] * TRUTH_DOWNSAMPLE + shift[1],
            )


def _shares(truth: Pixels, origin: tuple[float, float], side: float) -> Shares | None:
    """Share of each class in a patch, or None where it leaves the slide."""
    x, y = (round(v / TRUTH_DOWNSAMPLE) for v in origin)
    steps = round(side / TRUTH_DOWNSAMPLE)
    if x < 0 or y < 0 or y + steps > truth.shape[0] or x + steps > truth.shape[1]:
        return None
    held = truth[y : y + steps, x : x + steps]
    return np.array([(held == p).mean() for p in CLASSES], np.float32)


def _clean_glass(
    rng: np.random.Generator, slide: Slide, truth: Pixels, side: float
) -> Iterator[Pixels]:
    """Patches of glass without tissue, pen or dot."""
    plan = slide.plan(ReadingSettings())
    left = GLASS_PER_SLIDE
    for origin in rng.uniform(0, np.array(slide.geometry.size_level0) - side, (60, 2)):
        shares = _shares(truth, tuple(origin), side)
        if left and shares is not None and shares[CLASSES.index(Pattern.GLASS)] == 1:
            patch = slide.read_patch(plan, tuple(origin), PATCH_PX)
            if int(patch.max(axis=2).min()) > 200 and int(patch.min()) > 185:
                left -= 1
                yield patch


def train_encoder(pixels: Tensor, shares: Tensor, tune_x: Tensor, tune_y: Tensor) -> nn.Module:
    """Trains the encoder; prints the loss and the tuning accuracy of every epoch."""
    # Fused attention's backward pass is the slower one for so few tokens on a processor.
    timm.layers.set_fused_attn(False)
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    encoder = VisionTransformer(
        img_size=PATCH_PX,
        patch_size=TOKEN_PX,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=0,
    )
    classify = nn.Linear(WIDTH, len(CLASSES))
    picture = nn.Linear(WIDTH, 3 * THUMBNAIL_SIDE**2)
    trained = [p for module in (encoder, classify, picture) for p in module.parameters()]
    optimiser = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    rarity = 1 / (shares.mean(0) + 0.05)
    rarity /= (rarity * shares.mean(0)).sum()
    steps, step, started = len(TOKENS_BY_EPOCH) * (len(pixels) // BATCH), 0, time.perf_counter()
    for epoch, tokens in enumerate(TOKENS_BY_EPOCH, start=1):
        order, losses = torch.randperm(len(pixels), generator=generator), []
        for batch in order[: len(pixels) // BATCH * BATCH].split(BATCH):
            for group in optimiser.param_groups:
                cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
                group["lr"] = LEARNING_RATE * min(1, (step + 1) / 200) * cosine
            x = _turned(pixels[batch], generator)
            feature = encode(encoder, x, tokens, generator)
            target = shares[batch] * rarity
            loss = -(F.log_softmax(classify(feature), 1) * target).sum(1).mean()
            losses.append(loss.item())
            loss = loss + THUMBNAIL_WEIGHT * F.mse_loss(picture(feature), _thumbnail(x))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            step += 1
        accuracy = _accuracy(encoder, classify, tune_x, tune_y)
        seconds = time.perf_counter() - started
        print(
            f"epoch {epoch}: {tokens} tokens, loss {np.mean(losses):.3f}, tuning accuracy "
            f"on pure patches {accuracy:.3f}, {seconds:.0f} s",
            flush=True,
        )
    return encoder


def encode(
    encoder: VisionTransformer, pixels: Tensor, tokens: int, generator: torch.Generator | None
) -> Tensor:
    """CLS of (n, 256, 256, 3) uint8 patches, from `tokens` random ones of their 256 tokens.

    With a generator the colours of each patch are changed a little, too.
    """
    n, side = len(pixels), PATCH_PX // TOKEN_PX
    x = pixels.reshape(n, side, TOKEN_PX, side, TOKEN_PX, 3).permute(0, 1, 3, 2, 4, 5)
    x = x.reshape(n, side**2, TOKEN_PX**2, 3)
    position = encoder.pos_embed[0, 1:]
    if tokens < side**2:
        kept = torch.rand(n, side**2, generator=generator).topk(tokens, 1).indices
        x = x.gather(1, kept[..., None, None].expand(-1, -1, TOKEN_PX**2, 3))
        position = position[kept]
    gain = torch.ones(n, 1, 1, 3)
    if generator is not None:
        gain = gain + 0.06 * torch.randn(n, 1, 1, 3, generator=generator)
    x = ((x.float() * gain - MEAN) / STD).reshape(n, tokens, -1)
    weight = encoder.patch_embed.proj.weight.permute(0, 2, 3, 1).flatten(1)
    with torch.autocast("cpu", torch.bfloat16):
        x = F.linear(x, weight, encoder.patch_embed.proj.bias) + position
        first = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(n, -1, -1)
        x = encoder.blocks(torch.cat([first, x], 1))
        return encoder.norm(x)[:, 0].float()


def _turned(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """The batch in one of the eight orientations of a square."""
    turn = int(torch.randint(8, (1,), generator=generator))
    pixels = torch.rot90(pixels, turn % 4, (1, 2))
    return pixels.flip(2) if turn > 3 else pixels


def _thumbnail(pixels: Tensor) -> Tensor:
    small = F.adaptive_avg_pool2d(pixels[:, ::4, ::4].permute(0, 3, 1, 2).float(), THUMBNAIL_SIDE)
    return small.flatten(1) / 60 - 3


@torch.inference_mode()
def _accuracy(encoder: VisionTransformer, classify: nn.Linear, x: Tensor, y: Tensor) -> float:
    """Share of patches with more than 70 % of one class whose class is found."""
    every = (PATCH_PX // TOKEN_PX) ** 2
    guess = torch.cat([classify(encode(encoder, part, every, None)) for part in x.split(BATCH)])
    pure = y.amax(1) > 0.7
    return float((guess.argmax(1) == y.argmax(1))[pure].float().mean())


if __name__ == "__main__":
    main()
