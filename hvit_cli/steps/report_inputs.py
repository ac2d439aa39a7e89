"""What reports and blinded sheets begin with: the slides, the models, and who makes features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hvit_cli.errors import UsageError
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
from hvit_cli.steps.choose import ChosenModel, ModelRequest, choose_model, reading_of, tissue_of
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.explain import needs_pixels
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.steps.stored_features import feature_files
from hvit_cli.storage.work import WorkFolder


def report_entries(
    sources: Sequence[Path], exclude: Path | None, tissue: TissueSettings, maps: HeatmapSettings
) -> list[SlideEntry]:
    """The slides, once it is known that a report can show what is asked.

    Raises:
        UsageError: Feature files, tokens, or colours that there are not.
        ManifestError: The slides cannot be listed.
    """
    colour_table(maps.shown_colour_map)
    if feature_files(sources):
        raise UsageError(
            "a report shows the slides themselves",
            found="feature files",
            hint="the slides, whose features in the work folder are reused",
        )
    if needs_pixels(maps):
        raise UsageError(
            "a report has a value for each patch and none for tokens",
            where="--level",
            found=maps.level,
            wanted="region, slide or region×slide",
        )
    return find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)


def report_models(
    request: ModelRequest, work: WorkFolder, slides: int, maps: HeatmapSettings
) -> list[ChosenModel]:
    """One for each kind of attention that is shown, the one that counts first."""
    first = choose_model(request, work, slides=slides)
    check_head(maps.head, first.folder.aggregator.region_heads)
    if request.attention is not None:
        return [first]
    other: Attention = "plain" if first.attention == "masked" else "masked"
    return [first, choose_model(replace(request, attention=other), work, slides=slides)]


def report_preparer(
    models: Sequence[ChosenModel],
    work: WorkFolder,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    overwrite: bool,
) -> SlidePreparer:
    """Makes the features that all of the models need."""
    # Features of all patches serve both kinds of attention.
    widest = next((model for model in models if model.attention == "plain"), models[0])
    return SlidePreparer(
        work=work,
        reading=reading_of(models[0], reading),
        tissue=tissue_of(models[0], tissue),
        tiling=models[0].folder.tiling,
        embedder=model_embedder(widest, embedding),
        overwrite=overwrite,
    )
