"""`hvit heatmap`: where the model looked, stitched over the slide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hvit_cli.engine.run import SlideRecord, run_slides
from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.export import (
    picture_format,
    places,
    scores_format,
)
from hvit_cli.heatmaps.maps import check_head
from hvit_cli.heatmaps.render import colour_table
from hvit_cli.settings import (
    Attention,
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.steps.choose import ModelRequest, choose_model, reading_of
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.paint import Heatmap, HeatmapPainter
from hvit_cli.steps.prepare import Prepared, SlidePreparer
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

STAGE = "heatmap"


def heatmap(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    out: Path | None,
    scores: Path | None,
    side_by_side: bool,
    settings: HeatmapSettings,
    request: ModelRequest,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    exclude: Path | None = None,
    overwrite: bool = False,
) -> Iterator[SlideRecord[Heatmap | None]]:
    """Draws slides one after another, computing what is missing and reusing what is there.

    Args:
        sources: Slides, folders, manifests.
        work: The work folder.
        out: A PNG or JPEG for one slide, a folder for several; `heatmaps/` in the work folder
            by default.
        scores: An NPZ for one slide, a folder for several; None writes none.
        side_by_side: Show tissue mask, plain and masked map together.
        settings: What the maps show and how they are painted.
        request: Which model, and settings that must agree with it.
        reading: Where the slides' spacing comes from; the target is the model's.
        tissue: How tissue is found.
        embedding: Device, precision and batch size.
        exclude: Table of slides to leave out.
        overwrite: Make masks, tiles and features again that exist with other settings.

    Yields:
        A record per slide; its product is None where there is nothing to draw.

    Raises:
        HvitError: Nothing can be done at all (no slides, no model, an output that cannot be).
    """
    if side_by_side and request.attention is not None:
        raise UsageError("--side-by-side shows both kinds of attention", hint="without --masked")
    colour_table(settings.shown_colour_map)
    entries = find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)
    targets = _targets(entries, work, out, scores)
    kinds: tuple[Attention | None, ...] = ("masked", "plain") if side_by_side else (None,)
    models = [
        choose_model(
            replace(request, attention=kind or request.attention), work, slides=len(entries)
        )
        for kind in kinds
    ]
    check_head(settings.head, models[0].folder.aggregator.region_heads)
    painter = HeatmapPainter(models=models, settings=settings, embedding=embedding, work=work)
    # Features of all patches serve both kinds of attention.
    widest = next((model for model in models if model.attention == "plain"), models[0])
    target_reading = reading_of(models[0], reading)
    preparer = SlidePreparer(
        work=work,
        reading=target_reading,
        tissue=tissue,
        tiling=models[0].folder.tiling,
        embedder=model_embedder(widest, embedding),
        overwrite=overwrite,
    )

    def step(entry: SlideEntry) -> tuple[StatusRow, Heatmap | None]:
        prepared: Prepared = preparer.features(entry)
        row = prepared.row(entry, STAGE)
        if prepared.features is None:
            return row, None
        picture, numbers = targets[entry.slide_id]
        return row, painter.draw(entry, target_reading, prepared.features, picture, numbers)

    yield from run_slides(entries, step, stage=STAGE, work=work)


def _targets(
    entries: Sequence[SlideEntry], work: WorkFolder, out: Path | None, scores: Path | None
) -> dict[str, tuple[Path, Path | None]]:
    """Picture and numbers of each slide, refused before any work where they cannot be written."""
    ids = [entry.slide_id for entry in entries]
    pictures = (
        [work.heatmap(slide_id) for slide_id in ids]
        if out is None
        else places(out, ids, ".png", picture_format)
    )
    numbers: Sequence[Path | None] = (
        [None] * len(ids) if scores is None else places(scores, ids, ".npz", scores_format)
    )
    slides = {entry.path.resolve() for entry in entries}
    for picture in pictures:
        if picture.resolve() in slides:
            raise UsageError("the heatmap would replace the slide itself", where=picture)
    return dict(zip(ids, zip(pictures, numbers, strict=True), strict=True))
