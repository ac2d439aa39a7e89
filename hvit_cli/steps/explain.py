"""The map of one slide that was asked for, from its features or from its pixels again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hvit_cli.attribution.explain import TOKEN_LEVELS, LoadedModel, explain
from hvit_cli.attribution.levels import ReadPatches
from hvit_cli.errors import ModelError
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.tokens import TokenMap
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.settings import HeatmapSettings
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.embed import batches, read_regions
from hvit_cli.steps.grade import Grader
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.tiles import TileFile


def needs_pixels(settings: HeatmapSettings) -> bool:
    """Whether a map shows the patch encoder's own attention, so that the slide is read again."""
    return settings.level in TOKEN_LEVELS


def explain_slide(
    grader: Grader,
    features: SlideFeatures,
    settings: HeatmapSettings,
    *,
    encoder: PatchEncoder | None = None,
    read_patches: ReadPatches | None = None,
) -> PatchMap | TokenMap:
    """Computes the raw map that the settings ask for.

    Args:
        grader: The model, loaded.
        features: The slide's features.
        settings: Which map, level, unit, head and γ.
        encoder: The model's patch encoder; only levels with the patch need it.
        read_patches: Gives the slide's pixels, see `pixels_of`; only those levels need it.

    Raises:
        UsageError: The model has no such head.
        ModelError: The features do not fit the model, or the map cannot be had of it.
    """
    grader.require_fit(features)
    if needs_pixels(settings) and features.mask_level != "region":
        raise ModelError(
            "the patch encoder's own attention is not shown of models that mask its tokens",
            where=grader.model.folder.name,
            found=f"mask level {features.mask_level}",
            hint="--level region, slide or region×slide",
        )
    model = LoadedModel(
        aggregators=grader.aggregators,
        attention=grader.model.attention,
        task=grader.model.folder.task,
        region_frozen=region_was_frozen(grader.model),
        encoder=encoder,
    )
    return explain(model, features, settings, read_patches)


def pixels_of(
    slide: Slide, tiles: TileFile, features: SlideFeatures, batch_size: int
) -> ReadPatches:
    """Reads the patches of features again, as they were read when they were embedded.

    Args:
        slide: The open slide.
        tiles: Its regions.
        features: Its features, made from these regions.
        batch_size: Patches at a time.

    Raises:
        ModelError: The features were made from other regions.
    """
    settings = {k: v for k, v in features.recipe["settings"].items() if k != "embed"}
    if settings != tiles.recipe["settings"] or features.recipe["inputs"] != tiles.recipe["inputs"]:
        raise ModelError(
            "the features were not made from the regions in the work folder, so their patches "
            "cannot be read again",
            where=features.slide_id,
            hint="--level region, slide or region×slide, which need features alone",
        )

    def read(visible: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.uint8]]:
        wanted = np.zeros((features.n_regions, features.patches_per_region), bool)
        wanted[features.region_index[visible], features.patch_index[visible]] = True
        return batches(read_regions(slide, tiles, wanted), batch_size)

    return read


def region_was_frozen(model: ChosenModel) -> bool:
    """Whether every member that runs was trained on a pretrained, frozen region Transformer."""
    records = [
        record.get("recipe", {}).get("settings", {}).get("training", {})
        for record in model.folder.training.values()
        if isinstance(record, dict)
    ]
    return bool(records) and all(record.get("freeze") == "region" for record in records)
