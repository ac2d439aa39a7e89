"""`hvit embed`: slides to patch features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from hvit_cli import __version__
from hvit_cli.engine.attempt import Step
from hvit_cli.engine.execute import ALONE, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.receipts import file_states, weight_files
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import UsageError
from hvit_cli.models.device import choose_device, choose_precision
from hvit_cli.settings import (
    EmbeddingSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
    as_recipe,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.steps.choose import (
    ChosenModel,
    ModelRequest,
    choose_model,
    reading_of,
    require_level_fits,
    tissue_at,
    tissue_of,
)
from hvit_cli.steps.encoder import model_embedder, named_embedder
from hvit_cli.steps.parts import slides_of_part
from hvit_cli.steps.prepare import Prepared, SlidePreparer
from hvit_cli.steps.segment import tissue_files
from hvit_cli.steps.watch import Watch, unwatched
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

STAGE = "embed"


@dataclass(frozen=True, kw_only=True)
class EmbedJob(SlideJob[Prepared]):
    """Embeds the patches of a slide."""

    stage: ClassVar[str] = STAGE

    model: ChosenModel | None
    reading: ReadingSettings
    tissue: TissueSettings
    tiling: TilingSettings
    embedding: EmbeddingSettings
    overwrite: bool = False

    @property
    def at_once(self) -> int:
        """One slide is read while another is embedded."""
        return 2

    def open(self) -> Step[Prepared]:
        """Loads the patch encoder.

        Raises:
            HvitError: It is not named, or cannot be loaded.
        """
        return self.open_watched(unwatched)

    def open_watched(self, watch: Watch) -> Step[Prepared]:
        """As `open`; `watch` is told how far each slide is."""
        preparer = SlidePreparer(
            work=self.work,
            reading=self.reading,
            tissue=self.tissue,
            tiling=self.tiling,
            embedder=(
                named_embedder(self.embedding)
                if self.model is None
                else model_embedder(self.model, self.embedding)
            ),
            overwrite=self.overwrite,
            watch=watch,
        )

        def step(entry: SlideEntry) -> tuple[StatusRow, Prepared]:
            prepared = preparer.features(entry)
            return prepared.row(entry, STAGE), prepared

        return step

    def asked(self) -> dict[str, Any] | None:
        """Spacing, tissue, tiling, the encoder's weights and how they are used."""
        if self.overwrite:
            return None
        encoder: object = self.embedding.encoder
        level = self.embedding.mask_level or "region"
        if self.model is not None:
            identity = self.model.folder.encoder
            encoder = [identity.weights_hash, identity.normalisation, identity.encoder_input]
            level = self.model.folder.mask_level
        elif encoder is not None and Path(str(encoder)).exists():
            encoder = file_states(weight_files(Path(str(encoder))))
        device = choose_device(self.embedding.device)
        return {
            "hvit": __version__,
            "reading": as_recipe(self.reading),
            "tissue": as_recipe(self.tissue),
            "tiling": as_recipe(self.tiling),
            "encoder": encoder,
            "attention": self.model.attention if self.model else self.embedding.attention,
            "normalisation": self.embedding.normalisation,
            "input": self.embedding.encoder_input,
            "precision": choose_precision(self.embedding.precision, device),
            **({} if level == "region" else {"mask_level": level}),
        }

    def made(self, entry: SlideEntry, product: Prepared) -> tuple[Path, ...]:
        """Mask, outlines, tiles, picture, features, and the mask of others."""
        own = (self.work.tiles(entry.slide_id), self.work.qc_picture(entry.slide_id))
        features = () if product.file is None else (product.file,)
        return (*tissue_files(entry, self.tissue, self.work), *own, *features)

    def light(self, product: Prepared) -> Prepared:
        """Leaves the features in their file."""
        return replace(product, features=None)


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
    running: RunSettings = ALONE,
    watch: Watch | None = None,
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
        running: How the slides are spread over processes, guarded and shared.
        watch: Told how far each slide is.

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
    chosen: ChosenModel | None = None
    if model is not None:
        chosen = choose_model(
            ModelRequest(
                model=model,
                attention=embedding.attention,
                encoder=embedding.encoder,
                mask_level=embedding.mask_level,
            ),
            work,
            slides=len(entries),
        )
        reading, tiling = reading_of(chosen, reading), chosen.folder.tiling
        tissue = tissue_of(chosen, tissue)
    else:
        level = embedding.mask_level or "region"
        require_level_fits(level, embedding.attention)
        tissue = tissue_at(level, tissue)
    record_exclusion(work.path, STAGE, exclude)
    job = EmbedJob(
        work=work,
        model=chosen,
        reading=reading,
        tissue=tissue,
        tiling=tiling,
        embedding=embedding,
        overwrite=overwrite,
    )
    yield from run_job(entries, job, running, watch)
