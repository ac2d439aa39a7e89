"""The stages that compute: embed, aggregate, heatmap, and a step of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from hvit_cli.benchmarks.products import flop_of, products_of, synchronise
from hvit_cli.benchmarks.reading import read_tissue
from hvit_cli.benchmarks.stage import Limit, Stage
from hvit_cli.benchmarks.turns import Cold, Way
from hvit_cli.benchmarks.workload import Workload
from hvit_cli.models.bags import PatchBag
from hvit_cli.settings import HeatmapSettings, Precision, TrainingSettings
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.artwork import Targets
from hvit_cli.steps.embed import embed_slide
from hvit_cli.steps.grade import Grader, patch_bag
from hvit_cli.steps.paint import HeatmapPainter
from hvit_cli.training.benchmark import BenchmarkSettings, draw_slides
from hvit_cli.training.fit import new_aggregator
from hvit_cli.training.gradients import accumulate_gradients, tokens_at_once
from hvit_cli.training.kept_memory import keep_freed_memory

EMBED, AGGREGATE, HEATMAP, TRAIN = "embed", "aggregate", "heatmap", "train step"
TOGETHER = "read to score"
EMBED_LIMIT, AGGREGATE_LIMIT, TRAIN_LIMIT = "embed limit", "aggregate limit", "train limit"
# Passes over the shapes of a block in a turn: enough to be timed, a fraction of a network.
_EMBED_PASSES, _SMALL_PASSES = 2, 20


def embed_stage(workload: Workload, patches: int) -> tuple[Stage, dict[str, Way]]:
    """The patch encoder alone on patches that lie in memory, and its matrix products."""
    encoder, batch = workload.embedder.encoder, workload.embedding.batch_size
    pixels = np.concatenate(list(read_tissue(workload.slide, workload.part(patches))))
    size = encoder.network_px(pixels.shape[1])
    one = torch.zeros(1, 3, size, size, device=encoder.device)
    flop = flop_of(lambda: encoder.network(one))
    limit: Limit | None = None
    ways: dict[str, Way] = {}
    token_px = encoder.spec.token_px
    if token_px is not None:
        rows = batch * ((size // token_px) ** 2 + 1)
        products = products_of(
            encoder.network,
            rows,
            device=encoder.device,
            precision=encoder.precision,
            times=_EMBED_PASSES,
        )
        if products is not None:
            ways[EMBED_LIMIT] = products
            limit = Limit(
                name="matrix products of its own shapes",
                way=EMBED_LIMIT,
                amount=products.flop / flop,
            )

    def run() -> None:
        for first in range(0, len(pixels), batch):
            encoder.embed(pixels[first : first + batch])

    stage = Stage(
        name=EMBED,
        unit="patches",
        run=run,
        amount=len(pixels),
        per_slide=workload.tissue_patches,
        limit=limit,
    )
    return stage, ways


def products_at(workload: Workload, precision: Precision) -> Way | None:
    """The encoder's matrix products in another number format, as many as for its limit."""
    encoder = workload.embedder.encoder
    token_px = encoder.spec.token_px
    if token_px is None:
        return None
    size = encoder.network_px(workload.tiles.regions.patch_px)
    return products_of(
        encoder.network,
        workload.embedding.batch_size * ((size // token_px) ** 2 + 1),
        device=encoder.device,
        precision=precision,
        times=_EMBED_PASSES,
    )


def together(workload: Workload, patches: int) -> Stage:
    """From the first region read to the score, measured against the patch encoder alone."""
    tiles, grader = workload.part(patches), Grader(workload.model, workload.embedding)
    amount = int((tiles.regions.tissue_fraction > tiles.background_below).sum())

    def run(slide: Slide) -> None:
        with slide:
            features = embed_slide(slide, tiles, workload.embedder, tiles.recipe)
        grader.grade(features)
        synchronise(workload.device)

    return Stage(
        name=TOGETHER,
        unit="patches",
        run=Cold(workload.fresh_slide, run),
        amount=amount,
        per_slide=workload.tissue_patches,
        limit=Limit(name="the patch encoder alone", way=EMBED, amount=amount),
        of_slide=False,
    )


def aggregate_stage(workload: Workload) -> tuple[Stage, dict[str, Way]]:
    """The aggregator alone: all regions of the slide to its score."""
    grader, features = Grader(workload.model, workload.embedding), workload.made_up_features
    aggregator = grader.aggregators[0]
    visible = features.visible("masked")
    bag = patch_bag(features, visible).to(workload.device)
    flop = flop_of(lambda: aggregator([bag])) * len(grader.aggregators)
    products = products_of(
        aggregator.region_transformer.blocks,
        len(bag.features) + bag.regions,
        device=workload.device,
        precision="float32",
        times=_SMALL_PASSES,
    )
    regions = features.n_regions
    limit: Limit | None = None
    ways: dict[str, Way] = {}
    if products is not None:
        ways[AGGREGATE_LIMIT] = products
        limit = Limit(
            name="matrix products of its own shapes",
            way=AGGREGATE_LIMIT,
            amount=products.flop / flop * regions,
        )

    def run() -> None:
        grader.grade(features)
        synchronise(workload.device)

    stage = Stage(
        name=AGGREGATE, unit="regions", run=run, amount=regions, per_slide=regions, limit=limit
    )
    return stage, ways


def train_stage(workload: Workload, slides: int) -> tuple[Stage, dict[str, Way]]:
    """A step of training the aggregator, from features in memory to changed weights."""
    sizes = replace(workload.model.folder.aggregator, dropout=0.0)
    drawn = draw_slides(BenchmarkSettings(slides=slides, sizes=sizes))
    bags, labels = [slide.bag.to(workload.device) for slide in drawn], [s.label for s in drawn]
    step = training_step(workload, bags, labels)
    aggregator = new_aggregator(sizes, TrainingSettings(), labels).to(workload.device).eval()
    floats = [replace(bag, features=bag.features.float()) for bag in bags]
    # A step computes the forward pass, and twice as much for the gradient.
    flop = 3 * flop_of(lambda: aggregator(floats))
    products = products_of(
        aggregator.region_transformer.blocks,
        tokens_at_once(None, workload.device),
        device=workload.device,
        precision="float32",
        backward=True,
        times=_SMALL_PASSES,
    )
    limit: Limit | None = None
    ways: dict[str, Way] = {}
    if products is not None:
        ways[TRAIN_LIMIT] = products
        limit = Limit(
            name="matrix products of its own shapes",
            way=TRAIN_LIMIT,
            amount=products.flop / flop * slides,
        )
    stage = Stage(
        name=TRAIN,
        unit="slides",
        run=step,
        amount=slides,
        per_slide=1,
        limit=limit,
        of_slide=False,
    )
    return stage, ways


def training_step(
    workload: Workload, bags: list[PatchBag], labels: list[int]
) -> Callable[[], object]:
    """A step of the packed training on bags in memory, with an aggregator of its own."""
    sizes = replace(workload.model.folder.aggregator, dropout=0.0)
    aggregator = new_aggregator(sizes, TrainingSettings(), labels).to(workload.device).train()
    optimiser = torch.optim.Adam(aggregator.parameters(), lr=1e-6, fused=True)
    budget = tokens_at_once(None, workload.device)
    keep_freed_memory()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        accumulate_gradients(aggregator, bags, labels, budget=budget, precision="float32")
        optimiser.step()
        synchronise(workload.device)

    return step


def heatmap_stage(workload: Workload) -> Stage:
    """Grading with attention, and the slide's map as a PNG."""
    painter = HeatmapPainter(
        models=[workload.model],
        settings=HeatmapSettings(),
        embedding=workload.embedding,
        work=workload.work,
        encoder=workload.embedder.encoder,
    )
    targets = Targets(pictures=(workload.folder / "map.png",))
    features = workload.made_up_features

    def run() -> None:
        painter.draw(workload.entry, workload.reading, features, targets)

    return Stage(name=HEATMAP, unit="slides", run=run, amount=1, per_slide=1)
