"""`hvit embed`: slides to patch features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hvit_cli.engine.run import SlideRecord, run_slides
from hvit_cli.errors import UsageError
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.steps.choose import ModelRequest, choose_model, reading_of
from hvit_cli.steps.encoder import model_embedder, named_embedder
from hvit_cli.steps.parts import slides_of_part
from hvit_cli.steps.prepare import Prepared, SlidePreparer
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

STAGE = "embed"


def embed(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    model: str | None,
    reading: ReadingSettings,
    tissue: TissueSettings,
    tiling: TilingSettings,
    embedding: EmbeddingSettings,
    exclude: Path | None = None,
    folds: Path | None = None,
    part: str | None = None,
    overwrite: bool = False,
) -> Iterator[SlideRecord[Prepared]]:
    """Embeds the patches of slides, computing masks and regions where they are missing.

    Args:
        sources: Slides, folders, manifests.
        work: The work folder.
        model: A model whose encoder, spacing and tiling are taken; None for those given.
        reading: Target spacing, and where the slides' own comes from.
        tissue: How tissue is found.
        tiling: Regions and patches.
        embedding: Encoder, attention, device, precision, batch size.
        exclude: Table of slides to leave out.
        folds: Table of folds, whose slides alone are embedded.
        part: One part of it.
        overwrite: Make products again that exist with other settings.

    Yields:
        A record per slide.

    Raises:
        HvitError: Nothing can be done at all (no slides, no encoder).
    """
    entries = find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)
    if part is not None and folds is None:
        raise UsageError("--set names a set of --folds", where="--set")
    if folds is not None:
        entries = slides_of_part(entries, folds, part)
    if model is None:
        embedder = named_embedder(embedding)
    else:
        chosen = choose_model(
            ModelRequest(model=model, attention=embedding.attention, encoder=embedding.encoder),
            work,
            slides=len(entries),
        )
        reading, tiling = reading_of(chosen, reading), chosen.folder.tiling
        embedder = model_embedder(chosen, embedding)
    preparer = SlidePreparer(
        work=work,
        reading=reading,
        tissue=tissue,
        tiling=tiling,
        embedder=embedder,
        overwrite=overwrite,
    )

    def step(entry: SlideEntry) -> tuple[StatusRow, Prepared]:
        prepared = preparer.features(entry)
        return prepared.row(entry, STAGE), prepared

    yield from run_slides(entries, step, stage=STAGE, work=work)
