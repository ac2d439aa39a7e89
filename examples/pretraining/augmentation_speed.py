"""How many patches a second several libraries turn into DINO's ten crops, on this CPU.

    python examples/pretraining/augmentation_speed.py [--threads 1 2] [--patches 32] [--turns 7]

Every way makes two crops of 224 px and eight of 96 px of each patch of 256 px (8 bits), with
the same probabilities: place and size, flips and quarter turns, stain, brightness, contrast,
saturation, hue, grey, blur, inverted highlights, and floats normalised. The ways take turns, so
that a busy machine slows all alike; medians are printed. kornia is no dependency of hvit and is
left out where it is not installed.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from hvit_cli.pretraining.augment import Augmentation
from hvit_cli.pretraining.colour import LUMA
from hvit_cli.pretraining.stain import STAINS
from hvit_cli.settings import AugmentationSettings, CropSettings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROPS, CHANGES = CropSettings(), AugmentationSettings()
Way = Callable[[np.ndarray], None]
UNMIX = torch.linalg.inv(torch.tensor(STAINS, dtype=torch.float32))
STAIN = torch.tensor(STAINS, dtype=torch.float32)


def stained(x: Tensor) -> Tensor:
    """Floats (n, 3, h, w) of 0 to 1 with other amounts of stain, half of them."""
    n = len(x)
    some = (torch.rand(n, 1) < CHANGES.stain_probability).float()
    scale = 1 + CHANGES.stain_jitter * torch.randn(n, 2) * some
    shift = CHANGES.stain_jitter * torch.randn(n, 2) * some
    linear = UNMIX @ torch.diag_embed(torch.cat([scale, torch.ones(n, 1)], 1)) @ STAIN
    density = -torch.log((x * 255 + 1) / 256)
    density = torch.einsum("ncd,nchw->ndhw", linear, density)
    density = density + (shift @ STAIN[:2])[:, :, None, None]
    return (torch.exp(-density) * 256 - 1).div(255).clamp(0, 1)


def opencv() -> Way:
    """What hvit does: OpenCV on 8 bits, crop by crop."""
    augmentation = Augmentation(
        crops=CROPS, changes=CHANGES, patch_px=256, mean=MEAN, std=STD, seed=0
    )

    def run(patches: np.ndarray) -> None:
        room = augmentation.empty(len(patches))
        augmentation.fill(room, 0, list(patches), 0, range(len(patches)))
        augmentation.batch(room, len(patches)).to(torch.device("cpu"))

    return run


class _QuarterTurn(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.rot90(x, int(torch.randint(4, ())), (-2, -1))


class _Stain(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if torch.rand(()) >= CHANGES.stain_probability:
            return x
        return stained(x[None].float() / 255)[0].mul(255).round().to(torch.uint8)


def torchvision_v2() -> Way:
    """The transforms of torchvision on 8 bits, crop by crop."""

    def chain(px: int, scale: tuple[float, float], blur: float, solarize: float) -> v2.Compose:
        jitter = v2.ColorJitter(
            CHANGES.brightness, CHANGES.contrast, CHANGES.saturation, CHANGES.hue
        )
        return v2.Compose(
            [
                v2.RandomResizedCrop(px, scale, CROPS.aspect, antialias=True),
                v2.RandomHorizontalFlip(CHANGES.flip),
                _QuarterTurn(),
                _Stain(),
                v2.RandomApply([jitter], CHANGES.jitter_probability),
                v2.RandomGrayscale(CHANGES.grey_probability),
                v2.RandomApply([v2.GaussianBlur(13, (0.1, 2.0))], blur),
                v2.RandomSolarize(128, solarize),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    blur, solarize = CHANGES.blur_probability, CHANGES.solarize_probability
    chains = [
        chain(CROPS.global_px, CROPS.global_scale, blur[0], 0.0),
        chain(CROPS.global_px, CROPS.global_scale, blur[1], solarize),
        *[chain(CROPS.local_px, CROPS.local_scale, blur[2], 0.0)] * CROPS.local_crops,
    ]

    def run(patches: np.ndarray) -> None:
        tensors = [torch.from_numpy(patch).permute(2, 0, 1) for patch in patches]
        made = [[one(tensor) for tensor in tensors] for one in chains]
        torch.stack([crop for crops in made[:2] for crop in crops])
        torch.stack([crop for crops in made[2:] for crop in crops])

    return run


def kornia_batched() -> Way:
    """The augmentations of kornia on batches of floats."""
    import kornia.augmentation as K

    def chain(px: int, scale: tuple[float, float], blur: float, solarize: float) -> torch.nn.Module:
        return torch.nn.Sequential(
            K.RandomResizedCrop((px, px), scale, CROPS.aspect),
            K.RandomHorizontalFlip(p=CHANGES.flip),
            K.RandomRotation90((0, 3), p=1.0),
            _Call(stained),
            K.ColorJitter(
                CHANGES.brightness,
                CHANGES.contrast,
                CHANGES.saturation,
                CHANGES.hue,
                p=CHANGES.jitter_probability,
            ),
            K.RandomGrayscale(p=CHANGES.grey_probability),
            K.RandomGaussianBlur((13, 13), (0.1, 2.0), p=blur),
            K.RandomSolarize(0.01, 0.01, p=solarize),
            K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
        )

    blur, solarize = CHANGES.blur_probability, CHANGES.solarize_probability
    chains = [
        (chain(CROPS.global_px, CROPS.global_scale, blur[0], 0.0), 1),
        (chain(CROPS.global_px, CROPS.global_scale, blur[1], solarize), 1),
        (chain(CROPS.local_px, CROPS.local_scale, blur[2], 0.0), CROPS.local_crops),
    ]

    def run(patches: np.ndarray) -> None:
        x = torch.from_numpy(patches).permute(0, 3, 1, 2).float().div(255)
        for one, count in chains:
            one(x.repeat(count, 1, 1, 1))

    return run


class _Call(torch.nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def torch_batched() -> Way:
    """Our own operations on batches of floats: one warp, one matrix, one separable blur."""
    luma = torch.tensor(LUMA, dtype=torch.float32)
    yiq = torch.tensor([LUMA.tolist(), [0.596, -0.274, -0.322], [0.211, -0.523, 0.311]])
    rgb = torch.linalg.inv(yiq)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def warp(x: Tensor, px: int, scale: tuple[float, float]) -> Tensor:
        n = len(x)
        area = torch.empty(n).uniform_(*scale)
        ratio = torch.empty(n).uniform_(*map(math.log, CROPS.aspect)).exp()
        half = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], 1).clamp(max=1)
        centre = (torch.rand(n, 2) * 2 - 1) * (1 - half)
        angle = torch.randint(4, (n,)) * (math.pi / 2)
        flip = torch.where(torch.rand(n) < CHANGES.flip, -1.0, 1.0)
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0], theta[:, 0, 1] = angle.cos() * flip * half[:, 0], -angle.sin() * half[:, 0]
        theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * flip * half[:, 1], angle.cos() * half[:, 1]
        theta[:, :, 2] = centre
        # Twice as fine as wanted, then averaged: the antialiasing of crops that shrink.
        fine = 2 * px if px < 128 else px
        grid = F.affine_grid(theta, [n, 3, fine, fine], align_corners=False)
        warped = F.grid_sample(x, grid, align_corners=False, padding_mode="border")
        return F.avg_pool2d(warped, 2) if fine != px else warped

    def coloured(x: Tensor) -> Tensor:
        n = len(x)
        some = torch.rand(n) < CHANGES.jitter_probability
        grey = torch.rand(n) < CHANGES.grey_probability
        bright, contrast, saturation, hue = (
            most * (2 * torch.rand(n) - 1) * some
            for most in (CHANGES.brightness, CHANGES.contrast, CHANGES.saturation, CHANGES.hue)
        )
        s, angle = (1 + saturation) * ~grey, 2 * math.pi * hue
        inner = torch.zeros(n, 3, 3)
        inner[:, 0, 0] = 1
        inner[:, 1, 1] = inner[:, 2, 2] = s * angle.cos()
        inner[:, 2, 1] = s * angle.sin()
        inner[:, 1, 2] = -inner[:, 2, 1]
        linear = ((1 + bright) * (1 + contrast))[:, None, None] * (rgb @ inner @ yiq)
        lift = -(1 + bright) * contrast * (x.mean((2, 3)) @ luma)
        x = torch.einsum("ncd,ndhw->nchw", linear, x) + lift[:, None, None, None]
        return x.clamp_(0, 1)

    def blurred(x: Tensor, probability: float) -> Tensor:
        chosen = torch.nonzero(torch.rand(len(x)) < probability)[:, 0]
        if not len(chosen):
            return x
        part = x[chosen]
        sigma = torch.empty(len(part), 1).uniform_(0.1, 2.0)
        kernel = torch.exp(-(torch.arange(-6, 7)[None] ** 2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
        n, _, h, w = part.shape
        flat = F.pad(part.reshape(1, -1, h, w), (6, 6, 6, 6), mode="reflect")
        flat = F.conv2d(flat, kernel[:, None, :, None], groups=3 * n)
        flat = F.conv2d(flat, kernel[:, None, None, :], groups=3 * n)
        return x.index_copy(0, chosen, flat.reshape(n, 3, h, w))

    def run(patches: np.ndarray) -> None:
        x = torch.from_numpy(patches).permute(0, 3, 1, 2).float().div(255)
        blur, solarize = CHANGES.blur_probability, CHANGES.solarize_probability
        kinds = [
            (CROPS.global_px, CROPS.global_scale, blur[0], 0.0, 1),
            (CROPS.global_px, CROPS.global_scale, blur[1], solarize, 1),
            (CROPS.local_px, CROPS.local_scale, blur[2], 0.0, CROPS.local_crops),
        ]
        for px, scale, blur_p, solarize_p, count in kinds:
            crop = coloured(stained(warp(x.repeat(count, 1, 1, 1), px, scale)))
            crop = blurred(crop, blur_p)
            inverted = (torch.rand(len(crop)) < solarize_p)[:, None, None, None]
            crop = torch.where(inverted & (crop >= 0.5), 1 - crop, crop)
            crop.sub_(mean).div_(std)

    return run


WAYS: dict[str, Callable[[], Way]] = {
    "OpenCV, threads": opencv,
    "torchvision v2": torchvision_v2,
    "kornia, batched": kornia_batched,
    "torch, batched": torch_batched,
}


def timed(
    way: Way, patches: np.ndarray, threads: int, pool: ThreadPoolExecutor
) -> tuple[float, float]:
    """Seconds on the clock and of processor time."""
    parts = np.array_split(patches, threads)
    clock, processor = time.perf_counter(), time.process_time()
    list(pool.map(way, parts))
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--patches", type=int, default=32)
    parser.add_argument("--turns", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (asked.patches, 256, 256, 3), dtype=np.uint8)
    patches = np.stack([cv2.GaussianBlur(patch, (0, 0), 1.5) for patch in noise])
    ways = {}
    for name, make in WAYS.items():
        try:
            ways[name] = make()
        except ModuleNotFoundError as error:
            print(f"{name}: left out ({error})")
    for threads in asked.threads:
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        with ThreadPoolExecutor(threads) as pool:
            for turn in range(asked.turns + 1):
                for name, way in ways.items():
                    seconds = timed(way, patches, threads, pool)
                    if turn:
                        taken[name].append(seconds)
        for name, turns in taken.items():
            clock, processor = np.median(turns, axis=0)
            rate, cost = asked.patches / clock, 1e3 * processor / asked.patches
            print(
                f"{threads} threads  {name:16s} {rate:7.1f} patches/s, {cost:6.2f} ms CPU a patch"
            )


if __name__ == "__main__":
    main()
