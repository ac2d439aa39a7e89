"""A trained aggregator joins its model folder, where `predict` and `heatmap` find it.

A model folder holds one patch encoder and any number of aggregators trained on its features:
the masked and the plain one of a comparison, the folds of an ensemble. Each run of training
adds its member and leaves the others as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from hvit_cli.errors import ModelError
from hvit_cli.settings import (
    AggregatorSettings,
    Attention,
    ReadingSettings,
    TaskSettings,
    TilingSettings,
    as_recipe,
)
from hvit_cli.storage.feature_headers import FeatureHeader
from hvit_cli.storage.models import (
    MODEL_FILE,
    ModelFolder,
    ModelMember,
    read_model,
    sha256_of,
    write_model,
)
from hvit_cli.storage.recipe import Recipe, require_same_recipe
from hvit_cli.storage.weights import write_weights

TRAINING_FOLDER = "training"
_LOG = logging.getLogger(__name__)


def reading_of(header: FeatureHeader) -> ReadingSettings:
    """The spacing at which a model trained on these features reads slides."""
    return ReadingSettings(
        spacing_um=header.spacing_um_target,
        **_recorded(header, "reading", "spacing_tolerance"),
    )


def tiling_of(header: FeatureHeader) -> TilingSettings:
    """How a model trained on these features cuts tissue into regions.

    The kind of grid and the least tissue of a region stand in the recipe of features that
    hvit embedded; features converted from elsewhere do not say, and take the defaults.
    """
    return TilingSettings(
        region_px=header.region_px,
        patch_px=header.patch_px,
        background_below=header.background_below,
        **_recorded(header, "tiling", "grid", "min_tissue_fraction"),
    )


def aggregator_of(
    header: FeatureHeader, sizes: AggregatorSettings, task: TaskSettings
) -> AggregatorSettings:
    """The asked sizes with what the features (width, region) and the task (outputs) dictate."""
    return replace(
        sizes,
        patch_dim=header.width,
        region_px=header.region_px,
        patch_px=header.patch_px,
        outputs=task.outputs,
        head=task.head,
    )


def existing_model(model: ModelFolder, *, overwrite: bool) -> ModelFolder | None:
    """The model that the folder holds already, if a member like these can join it.

    Args:
        model: The model that is to be written.
        overwrite: Give up an existing model that is damaged, or that no member of this one can
            join.

    Raises:
        ModelError: The folder's model is damaged, and `overwrite` is false.
        RecipeError: It has another encoder, spacing, tiling or sizes, and `overwrite` is
            false.
    """
    if not (model.path / MODEL_FILE).is_file():
        return None
    try:
        found = read_model(model.path)
    except ModelError as error:
        if overwrite:
            _LOG.warning("the model is made anew, because %s", error)
            return None
        raise ModelError(
            error.what,
            where=error.where,
            found=error.found,
            wanted=error.wanted,
            hint="--overwrite to train anew, or another folder with -o",
        ) from error
    if _shared(found) == _shared(model):
        return found
    if overwrite:
        return None
    require_same_recipe(model.path / MODEL_FILE, _shared(found), _shared(model))
    return None


def add_member(
    model: ModelFolder,
    name: str,
    weights: Mapping[str, Tensor],
    *,
    attention: Attention,
    fold: int | None,
    seed: int | None = None,
    metrics: dict[str, Any],
    record: dict[str, Any],
) -> ModelFolder:
    """Writes weights as `<name>.safetensors` and the folder's description that names them.

    The description is written last: until then, the folder's previous model stands.

    Args:
        model: The model as it is so far, with the members that stay.
        name: Name of the member; one of the same name is replaced.
        weights: State dict of the aggregator.
        attention: The attention it was trained with.
        fold: The fold it was tuned on.
        seed: The seed of its weights, where several are trained.
        metrics: Numbers of the epoch whose weights these are.
        record: How it was trained, for `training` in the description.
    """
    file = f"{name}.safetensors"
    write_weights(model.path / file, weights)
    member = ModelMember(
        file=file,
        sha256=sha256_of(model.path / file),
        attention=attention,
        fold=fold,
        seed=seed,
        metrics=metrics,
    )
    members = {m.file: m for m in (*model.members, member)}
    written = replace(
        model,
        members=tuple(members[key] for key in sorted(members)),
        training={**model.training, name: record},
    )
    write_model(written)
    return written


def training_folder(model: Path, name: str) -> Path:
    """Where metrics, and the state of an unfinished run, of one member lie."""
    return model / TRAINING_FOLDER / name


def _shared(model: ModelFolder) -> Recipe:
    return {
        "encoder": {
            "weights": model.encoder.weights_hash,
            "normalisation": model.encoder.normalisation,
            "precision": model.encoder.precision,
        },
        "reading": as_recipe(model.reading),
        "tiling": as_recipe(model.tiling),
        "aggregator": as_recipe(model.aggregator),
        "task": as_recipe(model.task),
        **({} if model.mask_level == "region" else {"mask_level": model.mask_level}),
    }


def _recorded(header: FeatureHeader, section: str, *names: str) -> dict[str, Any]:
    """Settings that one section of the features' recipe holds, as far as it does."""
    recorded = header.recipe.get("settings", {}).get(section, {})
    return {name: recorded[name] for name in names if name in recorded}
