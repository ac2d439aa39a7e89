"""Whether training waits for its features: steps from feature files and from memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from hvit_cli.benchmarks.products import synchronise
from hvit_cli.benchmarks.stage import Limit, Stage
from hvit_cli.benchmarks.turns import Way
from hvit_cli.benchmarks.workload import Workload
from hvit_cli.settings import TrainingSettings
from hvit_cli.storage.features import SlideFeatures, write_features
from hvit_cli.training.bags import BagReader, bag_of, read_ahead
from hvit_cli.training.fit import new_aggregator
from hvit_cli.training.gradients import accumulate_gradients, tokens_at_once
from hvit_cli.training.kept_memory import keep_freed_memory

LOAD, FROM_FILES, FROM_MEMORY = "load features", "train from files", "train from memory"


@contextmanager
def feature_files(features: SlideFeatures, slides: int) -> Iterator[dict[str, Path]]:
    """Feature files of so many slides like one, by slide id, removed afterwards."""
    with TemporaryDirectory(prefix="hvit-bench-") as name:
        paths = {}
        for number in range(slides):
            slide_id = f"slide-{number:03}"
            paths[slide_id] = Path(name) / f"{slide_id}.h5"
            write_features(paths[slide_id], replace(features, slide_id=slide_id))
        yield paths


def loading_ways(workload: Workload, paths: dict[str, Path]) -> dict[str, Way]:
    """Reading the files alone, and a step of training from the files and from memory.

    Nothing read is kept: each turn reads, checks and unpacks every file again, as the first
    epoch does. Files come from the page cache, and a disk may be slower.
    """
    device = workload.device
    bags = [bag_of(workload.made_up_features, "masked") for _ in paths]
    labels = [number % 6 for number in range(len(paths))]
    sizes = replace(workload.model.folder.aggregator, dropout=0.0)
    aggregator = new_aggregator(sizes, TrainingSettings(), labels).to(device).train()
    optimiser = torch.optim.Adam(aggregator.parameters(), lr=1e-6, fused=True)
    budget = tokens_at_once(None, device)
    keep_freed_memory()

    def reader() -> BagReader:
        return BagReader(paths, "masked", cache_bytes=0)

    def load() -> None:
        read = reader()
        for slide_id in paths:
            read(slide_id)

    def step(from_files: bool) -> None:
        optimiser.zero_grad(set_to_none=True)
        source = read_ahead(reader(), paths) if from_files else iter(bags)
        accumulate_gradients(aggregator, source, labels, budget=budget, precision="float32")
        optimiser.step()
        synchronise(device)

    return {
        LOAD: load,
        FROM_FILES: lambda: step(True),
        FROM_MEMORY: lambda: step(False),
    }


def loading_stage(ways: dict[str, Way], slides: int) -> Stage:
    """Training from files, measured against training from memory."""
    return Stage(
        name=FROM_FILES,
        unit="slides",
        run=ways[FROM_FILES],
        amount=slides,
        per_slide=1,
        limit=Limit(name="the same from memory", way=FROM_MEMORY, amount=slides),
        of_slide=False,
    )
