"""`hvit demo`: a drawn biopsy through the whole path, for a first look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hvit_cli.demo.slide import DEMO_SEED, draw_demo_slide
from hvit_cli.errors import ModelError
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.steps.artwork import Targets
from hvit_cli.steps.choose import DEMO, ChosenModel, ModelRequest, choose_model, reading_of
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.paint import Heatmap, HeatmapPainter
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.storage.atomic import require_writable
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.work import WorkFolder


@dataclass(frozen=True, kw_only=True)
class DemoFile:
    """A file that the demonstration wrote.

    Attributes:
        path: The file.
        what: What it shows, in a few words.
    """

    path: Path
    what: str


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demonstration ended with.

    Attributes:
        true_grade: ISUP grade of what was drawn.
        true_gleason: Its Gleason score, or "benign".
        heatmap: The side-by-side picture, with what each aggregator said.
        note: What must be said beside the grades.
    """

    true_grade: int
    true_gleason: str
    heatmap: Heatmap
    note: str


def demo(
    folder: Path, *, seed: int | None, embedding: EmbeddingSettings
) -> Iterator[DemoFile | DemoResult]:
    """Draws a biopsy, grades it with the bundled model, and paints where the model looked.

    Args:
        folder: Where everything is written; earlier files of a demonstration are replaced.
        seed: Which biopsy is drawn; None takes the one of the documentation.
        embedding: Device, precision and batch size.

    Yields:
        Each file as soon as it is written, and the result last.

    Raises:
        HvitError: Something could not be written or computed.
    """
    require_writable(folder)
    work = WorkFolder(folder / "hvit-out")
    slide = draw_demo_slide(folder / "biopsy.tiff", DEMO_SEED if seed is None else seed)
    yield DemoFile(path=slide.path, what="the drawn slide")
    entry = SlideEntry(slide_id=slide.path.stem, path=slide.path)
    masked, plain = (
        choose_model(ModelRequest(model=DEMO, attention=kind), work, slides=1)
        for kind in ("masked", "plain")
    )
    reading = reading_of(plain, ReadingSettings())
    # Features of all patches serve both kinds of attention.
    features = _features(entry, plain, reading, embedding, work)
    yield DemoFile(path=work.qc_picture(entry.slide_id), what="tissue, regions and patches")
    pictures: tuple[tuple[str, str, list[ChosenModel]], ...] = (
        ("masked.png", "masked attention", [masked]),
        ("plain.png", "plain attention", [plain]),
        ("side-by-side.png", "tissue mask, plain and masked attention", [masked, plain]),
    )
    for name, what, models in pictures:
        painter = HeatmapPainter(
            models=models, settings=HeatmapSettings(), embedding=embedding, work=work
        )
        heatmap = painter.draw(entry, reading, features, Targets(pictures=(folder / name,)))
        yield DemoFile(path=heatmap.picture, what=what)
    yield DemoResult(
        true_grade=slide.isup, true_gleason=slide.gleason, heatmap=heatmap, note=masked.note
    )


def _features(
    entry: SlideEntry,
    model: ChosenModel,
    reading: ReadingSettings,
    embedding: EmbeddingSettings,
    work: WorkFolder,
) -> SlideFeatures:
    preparer = SlidePreparer(
        work=work,
        reading=reading,
        tissue=TissueSettings(),
        tiling=model.folder.tiling,
        embedder=model_embedder(model, replace(embedding, attention="plain")),
        overwrite=True,
    )
    prepared = preparer.features(entry)
    if prepared.features is None:
        raise ModelError(
            "the drawn slide holds nothing to grade", where=entry.path, found=prepared.status
        )
    return prepared.features
