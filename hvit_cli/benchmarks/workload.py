"""What is measured: a slide that is cut into regions, and a model that looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hvit_cli.benchmarks.fresh_model import write_fresh_model
from hvit_cli.demo.slide import draw_demo_slide
from hvit_cli.errors import ModelError, TissueError
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, TissueSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.files import slide_id_of
from hvit_cli.slides.geometry import ReadingPlan
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.steps.choose import ChosenModel, ModelRequest, choose_model, reading_of
from hvit_cli.steps.embed import Embedder, embed_slide
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.tile import make_tiles
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.tiles import TileFile
from hvit_cli.storage.work import WorkFolder


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One open slide, its regions, a model, and a folder that is removed afterwards.

    Attributes:
        folder: Where products of the measurement are written.
        entry: The slide.
        slide: The same, open.
        reading: Spacing at which patches are read.
        tiles: The slide's regions.
        model: The model.
        embedder: Its patch encoder, on its device.
        embedding: Device, precision and batch size.
    """

    folder: Path
    entry: SlideEntry
    slide: Slide
    reading: ReadingSettings
    tiles: TileFile
    model: ChosenModel
    embedder: Embedder
    embedding: EmbeddingSettings

    @property
    def work(self) -> WorkFolder:
        """The work folder of the measurement."""
        return WorkFolder(self.folder / "work")

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return self.embedder.encoder.device

    @cached_property
    def plan(self) -> ReadingPlan:
        """How the slide's pixels are read."""
        return self.slide.plan(self.reading)

    @cached_property
    def wanted(self) -> npt.NDArray[np.bool_]:
        """(M, K) patches with tissue."""
        return self.tiles.regions.tissue_fraction > self.tiles.background_below

    @property
    def tissue_patches(self) -> int:
        """Patches of the slide that masked attention looks at."""
        return int(self.wanted.sum())

    def fresh_slide(self) -> Slide:
        """The slide opened anew, with no pixels kept from before."""
        return open_slide(self.entry.path, self.reading, slide_id=self.entry.slide_id)

    def part(self, patches: int) -> TileFile:
        """Some of the regions, with at most so many tissue patches; the rest count as glass."""
        regions = self.tiles.regions
        counts = self.wanted.sum(axis=1)
        # Full regions first, so that few regions suffice, kept in their order.
        needed = int(np.searchsorted(np.cumsum(np.sort(counts)[::-1]), patches)) + 1
        keep = np.zeros(len(regions), bool)
        keep[np.argsort(-counts, kind="stable")[:needed]] = True
        some = regions.select(keep)
        seen = self.wanted[keep]
        beyond = seen & (np.cumsum(seen).reshape(seen.shape) > patches)
        some = replace(some, tissue_count=np.where(beyond, 0, some.tissue_count))
        return replace(self.tiles, regions=some)

    @cached_property
    def made_up_features(self) -> SlideFeatures:
        """Features of the whole slide as its encoder would lay them out, of made-up values."""
        encoder = self.embedder.encoder
        stand_in = PatchEncoder(_Means(encoder.spec.width), encoder.spec)
        stand_in.mean, stand_in.std = encoder.mean, encoder.std
        stand_in.weights_hash = encoder.weights_hash
        quick = Embedder(stand_in, "masked", self.embedding.batch_size)
        return embed_slide(self.slide, self.tiles, quick, self.tiles.recipe)


class _Means(nn.Module):
    """Mean colours through one layer: a network that costs next to nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.mean(dim=(2, 3)))
        return out


@contextmanager
def prepared(
    slide: Path | None,
    *,
    model: str | None,
    embedding: EmbeddingSettings,
    reading: ReadingSettings,
) -> Iterator[Workload]:
    """Cuts a slide into regions and loads a model, in a temporary folder.

    Args:
        slide: The slide; one is drawn where none is named.
        model: As `--model`; an aggregator of fresh weights around the encoder by default.
        embedding: The encoder where no model is named (ViT-S/16 of fresh weights where that is
            not either), device, precision and batch size.
        reading: Where the slide's spacing comes from.

    Raises:
        SlideError: The slide cannot be read.
        TissueError: It shows no tissue to measure on.
        ModelError: Model or encoder cannot be loaded, or the model masks tokens.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="hvit-bench-")))
        work = WorkFolder(folder / "work")
        name = model or str(write_fresh_model(folder / "model", embedding))
        chosen = choose_model(ModelRequest(model=name, attention="masked"), work, slides=1)
        if chosen.folder.mask_level != "region":
            raise ModelError(
                "models that mask tokens are not measured",
                where=chosen.folder.name,
                found=f"mask level {chosen.folder.mask_level}",
                hint="another --model; tests/benchmarks/token_masking.py measures tokens",
            )
        reading = reading_of(chosen, reading)
        path = slide or draw_demo_slide(folder / "drawn.tiff").path
        entry = SlideEntry(slide_id=slide_id_of(path), path=path)
        opened = stack.enter_context(open_slide(path, reading, slide_id=entry.slide_id))
        found = make_tiles(
            opened,
            entry,
            reading=reading,
            tissue=TissueSettings(),
            tiling=chosen.folder.tiling,
            work=work,
            overwrite=False,
        )
        if found.tiles is None or found.status != "done":
            raise TissueError(
                "there is nothing to measure on this slide",
                where=path,
                found=found.status.replace("_", " "),
                hint="another slide, or none for one that hvit draws",
            )
        yield Workload(
            folder=folder,
            entry=entry,
            slide=opened,
            reading=reading,
            tiles=found.tiles,
            model=chosen,
            embedder=model_embedder(chosen, embedding),
            embedding=embedding,
        )
