"""How much faster the packed training step is than a loop over slides, one at a time.

All ways compute the same thing, the gradient of one batch and a step of Adam, from the same
features and with the same weights, and their losses are compared before they are timed.
They take turns, so that a busy machine slows all of them alike; medians are reported.

    packed        this package: tissue patches only, regions of all slides in one row of tokens,
                  nothing but CLS leaves the last block
    all slots     one slide after another, every patch of a region a token, background hidden by
                  a key mask, attention written out as matrix products, as the original does
    all slots,    the same with PyTorch's fused attention
    fused
    dropping      one slide after another, tissue patches only: what packing alone gains
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hvit_cli.errors import ModelError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.attention import Block
from hvit_cli.models.bags import PatchBag
from hvit_cli.settings import AggregatorSettings, Precision, TrainingSettings
from hvit_cli.training.fit import new_aggregator
from hvit_cli.training.gradients import accumulate_gradients, autocast, tokens_at_once
from hvit_cli.training.kept_memory import keep_freed_memory

PACKED = "packed"
ALL_SLOTS = "all slots"
ALL_SLOTS_FUSED = "all slots, fused"
DROPPING = "dropping"


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """What is timed.

    Attributes:
        slides: Slides of the batch.
        regions: Fewest and most regions of a slide.
        background: Share of the patches that are background.
        repeats: Timed turns of each way; one more is not timed.
        device: Where.
        precision: Number format, of all ways alike.
        sizes: Sizes of the aggregator; without dropout all ways must have the same loss.
        seed: Seed of features and weights.
    """

    slides: int = 32
    regions: tuple[int, int] = (3, 10)
    background: float = 0.6
    repeats: int = 5
    device: str = "cpu"
    precision: Precision = "float32"
    sizes: AggregatorSettings = field(default_factory=lambda: AggregatorSettings(dropout=0))
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DenseSlide:
    """A made-up slide: every patch's features, and which patches hold tissue.

    Attributes:
        features: (M, K, D) float16.
        visible: (M, K) bool.
        label: Its grade.
    """

    features: Tensor
    visible: Tensor
    label: int

    @property
    def bag(self) -> PatchBag:
        """The patches with tissue."""
        region, patch = self.visible.nonzero(as_tuple=True)
        return PatchBag(
            features=self.features[self.visible],
            region_index=region,
            patch_index=patch,
            regions=len(self.features),
        )


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """Seconds per step.

    Attributes:
        seconds: Of every timed turn, by way.
        median: Median seconds, by way.
        ratio: Median of the way over that of `packed`.
        slides: Slides of a step.
        regions: Their regions.
        patches: Their patches, and how many hold tissue.
        threads: Threads of PyTorch.
        device: Where it ran.
        precision: Number format.
    """

    seconds: dict[str, tuple[float, ...]]
    median: dict[str, float]
    ratio: dict[str, float]
    slides: int
    regions: int
    patches: tuple[int, int]
    threads: int
    device: str
    precision: str


def draw_slides(settings: BenchmarkSettings) -> list[DenseSlide]:
    """Slides of different sizes whose regions hold different shares of tissue."""
    rng = np.random.default_rng(settings.seed)
    sizes, drawn = settings.sizes, []
    for number in range(settings.slides):
        regions = int(rng.integers(settings.regions[0], settings.regions[1], endpoint=True))
        share = np.clip(rng.normal(1 - settings.background, 0.15, (regions, 1)), 0.05, 1)
        shape = (regions, sizes.side**2)
        features = rng.standard_normal((*shape, sizes.patch_dim)).astype(np.float16)
        drawn.append(
            DenseSlide(
                features=torch.from_numpy(features),
                visible=torch.from_numpy(rng.random(shape) < share),
                label=number % 6,
            )
        )
    return drawn


def run_benchmark(settings: BenchmarkSettings) -> BenchmarkResult:
    """Times a training step each way.

    Raises:
        ModelError: Two ways do not compute the same loss, and cannot be compared.
    """
    keep_freed_memory()
    slides = [_on(settings.device, slide) for slide in draw_slides(settings)]
    ways = {name: _way(name, slides, settings) for name in (PACKED, *_LOOPS)}
    _require_same_loss({name: step() for name, step in ways.items()}, settings)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(settings.repeats):
        for name, step in ways.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    visible = [slide.visible for slide in slides]
    return BenchmarkResult(
        seconds={name: tuple(values) for name, values in seconds.items()},
        median=median,
        ratio={name: value / median[PACKED] for name, value in median.items()},
        slides=len(slides),
        regions=sum(map(len, visible)),
        patches=(sum(v.numel() for v in visible), sum(int(v.sum()) for v in visible)),
        threads=torch.get_num_threads(),
        device=settings.device,
        precision=settings.precision,
    )


def _require_same_loss(losses: Mapping[str, float], settings: BenchmarkSettings) -> None:
    # With dropout every way draws its own; half precision rounds differently.
    tolerance = 1e-4 if settings.precision == "float32" else 5e-2
    apart = any(abs(loss / losses[PACKED] - 1) > tolerance for loss in losses.values())
    if apart and settings.sizes.dropout == 0:
        raise ModelError(
            "the ways of training do not compute the same loss",
            found=", ".join(f"{name} {loss:.6f}" for name, loss in losses.items()),
        )


def _on(device: str, slide: DenseSlide) -> DenseSlide:
    return DenseSlide(
        features=slide.features.to(device), visible=slide.visible.to(device), label=slide.label
    )


Loop = Callable[[Aggregator, DenseSlide], Tensor]


def _way(
    name: str, slides: Sequence[DenseSlide], settings: BenchmarkSettings
) -> Callable[[], float]:
    """A step of one way, with an aggregator and optimiser of its own; returns its mean loss."""
    labels = [slide.label for slide in slides]
    aggregator = new_aggregator(settings.sizes, TrainingSettings(), labels)
    aggregator.to(settings.device).train()
    optimiser = torch.optim.Adam(aggregator.parameters(), lr=1e-6, fused=name == PACKED)
    bags = [slide.bag for slide in slides]
    budget = tokens_at_once(None, torch.device(settings.device))

    def packed() -> float:
        return accumulate_gradients(
            aggregator, bags, labels, budget=budget, precision=settings.precision
        )

    def looped() -> float:
        total = torch.zeros((), device=settings.device)
        for slide in slides:
            with autocast(torch.device(settings.device), settings.precision):
                score = _LOOPS[name](aggregator, slide)[0, 0]
            loss = (score.float() - slide.label).square()
            torch.autograd.backward(loss / len(slides))
            total += loss.detach()
        return float(total)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = packed() if name == PACKED else looped()
        optimiser.step()
        if settings.device.startswith("cuda"):
            torch.cuda.synchronize()
        return loss / len(slides)

    return step


def _all_slots(aggregator: Aggregator, slide: DenseSlide, *, fused: bool) -> Tensor:
    """(1, outputs) of a slide, every patch a token and every token in every block."""
    region = aggregator.region_transformer
    features = slide.features.float()
    patch = torch.arange(features.shape[1], device=features.device)
    x = region.embed_patches(features, patch)
    cls = (region.cls_token + region.pos_embed[:, :1]).expand(len(x), -1, -1)
    x = torch.cat([cls, x], dim=1)
    seen = torch.cat([slide.visible.new_ones(len(x), 1), slide.visible], dim=1)
    for block in region.blocks:
        assert isinstance(block, Block)
        x = x + _attend(block, block.norm1(x), seen, fused=fused)
        x = x + block.mlp(block.norm2(x))
    embeddings = region.norm(x)[:, 0]
    score: Tensor = aggregator.slide_transformer(embeddings[None])[0]
    return score


def _attend(block: Block, x: Tensor, seen: Tensor, *, fused: bool) -> Tensor:
    attention = block.attn
    shape = (*x.shape[:2], 3, attention.num_heads, attention.head_dim)
    q, k, v = attention.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4)
    mask = seen[:, None, None, :]
    if fused:
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    else:
        logits = (q @ k.transpose(-2, -1)) * attention.head_dim**-0.5
        x = logits.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ v
    out: Tensor = attention.proj(x.transpose(1, 2).flatten(2))
    return out


def _dropping(aggregator: Aggregator, slide: DenseSlide) -> Tensor:
    bag = slide.bag
    score: Tensor = aggregator(
        [
            PatchBag(
                features=bag.features.float(),
                region_index=bag.region_index,
                patch_index=bag.patch_index,
                regions=bag.regions,
            )
        ]
    ).score
    return score


_LOOPS: dict[str, Loop] = {
    ALL_SLOTS: lambda aggregator, slide: _all_slots(aggregator, slide, fused=False),
    ALL_SLOTS_FUSED: lambda aggregator, slide: _all_slots(aggregator, slide, fused=True),
    DROPPING: _dropping,
}
