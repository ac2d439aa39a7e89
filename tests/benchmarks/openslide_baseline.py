"""A slide's score the way it is commonly computed today, beside `hvit`, masked and plain.

    python tests/benchmarks/openslide_baseline.py SLIDE… [--regions 3] [--repeats 5] [--workers 1]

The baseline is honest code that a careful user would write: OpenSlide reads each region of
2048 px, Pillow reduces it where the spacing asks for it, a DataLoader with `--workers` processes
reads ahead of the network, timm's ViT-S/16 embeds **all** patches in float32, 32 a step, and
the aggregator attends to all of them. Both sides have the same regions, weights, threads and
number format unless said otherwise, and take turns. Time counts from the first region read to
the score; model loading and tissue segmentation are outside of it on both sides.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import openslide
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from hvit_cli.benchmarks.fresh_model import write_fresh_model
from hvit_cli.benchmarks.machine import describe_machine
from hvit_cli.benchmarks.turns import Cold, Way, take_turns
from hvit_cli.benchmarks.workload import Workload, prepared
from hvit_cli.models.vit import VitShape
from hvit_cli.settings import EmbeddingSettings, Precision, ReadingSettings
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.choose import ModelRequest, choose_model
from hvit_cli.steps.embed import embed_slide
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.grade import Grader
from hvit_cli.storage.tiles import TileFile

BASELINE, PLAIN, MASKED = "OpenSlide and timm", "hvit --plain", "hvit --masked"
# The processor's own seconds are for a machine that others use as well; without workers, which
# are processes of their own, and with one thread.
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
# Positions for 16 × 16 tokens, so that neither side resizes them.
SHAPE = VitShape(grid_side=16)
BATCH = 32


class RegionPatches(torch.utils.data.Dataset[torch.Tensor]):
    """Every patch of every region, (64, 3, 256, 256) uint8, through OpenSlide."""

    def __init__(self, path: Path, tiles: TileFile) -> None:
        self.path, self.tiles = path, tiles
        self.slide: openslide.OpenSlide | None = None

    def __len__(self) -> int:
        return len(self.tiles.regions)

    def __getitem__(self, number: int) -> torch.Tensor:
        if self.slide is None:
            self.slide = openslide.OpenSlide(self.path)
        tiles, regions = self.tiles, self.tiles.regions
        x, y = (int(v) for v in regions.xy_level0[number])
        side = round(regions.region_level0 / tiles.downsample)
        picture = self.slide.read_region((x, y), tiles.level, (side, side)).convert("RGB")
        if picture.size != (regions.region_px, regions.region_px):
            picture = picture.resize((regions.region_px, regions.region_px), Image.Resampling.BOX)
        pixels = torch.from_numpy(np.asarray(picture).copy())
        n, px = regions.side, regions.patch_px
        return pixels.view(n, px, n, px, 3).permute(0, 2, 4, 1, 3).reshape(n * n, 3, px, px)


@dataclass(frozen=True)
class Baseline:
    """timm's network and the aggregator, with the weights of the model."""

    network: torch.nn.Module
    grader: Grader
    mean: torch.Tensor
    std: torch.Tensor

    @torch.inference_mode()
    def score(self, path: Path, tiles: TileFile, workers: int) -> float:
        """Reads, embeds and grades all patches of all regions."""
        dataset = RegionPatches(path, tiles)
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=None, num_workers=workers, prefetch_factor=2 if workers else None
        )
        regions = []
        for patches in loader:
            features = []
            for part in patches.split(BATCH):
                x = (part.float() / 255 - self.mean) / self.std
                features.append(self.network(x))
            # As hvit rounds what it stores.
            regions.append(torch.cat(features).half().float())
        aggregator = self.grader.aggregators[0]
        return float(aggregator.forward_dense(torch.stack(regions)).score[0, 0])


def baseline_of(workload: Workload) -> Baseline:
    """The same weights in timm's network."""
    network = timm.create_model("vit_small_patch16_224", img_size=256, num_classes=0)
    weights = load_file(workload.model.folder.path / workload.model.folder.encoder.file)
    network.load_state_dict(weights, strict=True)
    encoder = workload.embedder.encoder
    mean, std = (torch.tensor(v)[:, None, None] for v in (encoder.mean, encoder.std))
    plain = replace(workload.model, attention="plain")
    return Baseline(network.eval(), Grader(plain, workload.embedding), mean, std)


def first_regions(tiles: TileFile, regions: int | None) -> TileFile:
    """Evenly spread regions of a slide, or all of them."""
    if regions is None or regions >= len(tiles.regions):
        return tiles
    keep = np.zeros(len(tiles.regions), bool)
    keep[np.linspace(0, len(tiles.regions) - 1, regions).round().astype(int)] = True
    return replace(tiles, regions=tiles.regions.select(keep))


def own_way(workload: Workload, tiles: TileFile, attention: str, scores: dict[str, float]) -> Way:
    """hvit from the first region read to the score."""
    embedder = replace(workload.embedder, attention=attention)  # type: ignore[arg-type]
    grader = Grader(replace(workload.model, attention=attention), workload.embedding)  # type: ignore[arg-type]

    def run(slide: Slide) -> None:
        features = embed_slide(slide, tiles, embedder, tiles.recipe)
        scores[attention] = grader.grade(features).score

    return Cold(workload.fresh_slide, run)


@contextmanager
def loaded(slide: Path, precision: Precision) -> Iterator[Workload]:
    """A slide with ViT-S/16 of fresh weights."""
    embedding = EmbeddingSettings(device="cpu", precision=precision, batch_size=BATCH)
    with TemporaryDirectory() as folder:
        model = write_fresh_model(Path(folder) / "model", embedding, shape=SHAPE)
        with prepared(
            slide, model=str(model), embedding=embedding, reading=ReadingSettings()
        ) as workload:
            yield workload


def measure(
    slide: Path, regions: int | None, repeats: int, workers: int, precision: Precision, clock: str
) -> dict[str, object]:
    """Seconds of the three ways on one slide, and what they scored."""
    with loaded(slide, "float32") as workload:
        tiles = first_regions(workload.tiles, regions)
        patches, seen = tiles.regions.tissue_fraction.size, tiles.regions.tissue_fraction > 0
        scores: dict[str, float] = {}
        common = baseline_of(workload)

        def baseline() -> None:
            scores["baseline"] = common.score(workload.entry.path, tiles, workers)

        ways: dict[str, Way] = {
            BASELINE: baseline,
            PLAIN: own_way(workload, tiles, "plain", scores),
            MASKED: own_way(workload, tiles, "masked", scores),
        }
        if precision != "float32":
            embedding = replace(workload.embedding, precision=precision)
            model = choose_model(
                ModelRequest(model=str(workload.model.folder.path), attention="masked"),
                workload.work,
                slides=1,
            )
            other = replace(
                workload, embedding=embedding, embedder=model_embedder(model, embedding)
            )
            for name, attention in ((PLAIN, "plain"), (MASKED, "masked")):
                ways[f"{name}, {precision}"] = own_way(other, tiles, attention, {})
        # Warm: the smallest part of the work, so that kernels and files are there.
        one = first_regions(workload.tiles, 1)
        common.score(workload.entry.path, one, 0)
        own_way(workload, one, "masked", {})()
        seconds = take_turns(ways, repeats, clock=CLOCKS[clock])
        return {
            "slide": slide.name,
            "regions": len(tiles.regions),
            "patches": patches,
            "tissue patches": int(seen.sum()),
            "kept": float(seen.mean()),
            "workers": workers,
            "clock": clock,
            "seconds": seconds,
            "median": {name: median(turns) for name, turns in seconds.items()},
            "times as fast": {
                name: median(a / b for a, b in zip(seconds[BASELINE], turns, strict=True))
                for name, turns in seconds.items()
            },
            "scores": scores,
            "machine": describe_machine(torch.device("cpu")).__dict__,
        }


def main() -> None:
    """Prints a JSON object per slide."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("slides", nargs="+", type=Path)
    parser.add_argument("--regions", type=int, help="regions of each slide; all by default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="of the baseline's DataLoader")
    parser.add_argument("--threads", type=int, help="of PyTorch, for all ways")
    parser.add_argument("--precision", default="float32", help="also hvit in this number format")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    for slide in asked.slides:
        found = measure(
            slide, asked.regions, asked.repeats, asked.workers, asked.precision, asked.clock
        )
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
