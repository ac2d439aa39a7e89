"""A pretrained region Transformer as a folder that `hvit train --region-checkpoint` takes.

region.safetensors      weights
region.json             sizes, the patch encoder of the features, the slides it learned from
recipe.json             everything that decided the weights
README.md               the same for people, with what must not be claimed
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from hvit_cli.errors import ModelError
from hvit_cli.models.region_checkpoint import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    FeatureOrigin,
    describe_region,
)
from hvit_cli.pretraining.region_card import region_card
from hvit_cli.pretraining.region_network import RegionBackbone
from hvit_cli.pretraining.region_source import RegionSource
from hvit_cli.settings.seal import sealed
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.recipe import Recipe
from hvit_cli.storage.weights import write_weights

RECIPE_FILE = "recipe.json"
CARD_FILE = "README.md"


def write_region_folder(
    out: Path,
    backbone: RegionBackbone,
    source: RegionSource,
    *,
    recipe: Recipe,
    records: Sequence[Mapping[str, object]] = (),
    notes: Sequence[str] = (),
) -> None:
    """Writes the folder; other files in it stay.

    The description is removed first and written last, so that the folder of a run that is
    killed here is no checkpoint.

    Args:
        out: The folder.
        backbone: The teacher without its head.
        source: The regions that it learned from.
        recipe: What decided the weights.
        records: A row per epoch, for the card.
        notes: Sentences for the card, such as which slides were skipped.

    Raises:
        ModelError: The weights are not finite.
        StorageError: The folder cannot be written.
    """
    state = backbone.network.state_dict()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    bad = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(
            "the weights are not finite, and no region Transformer is written",
            where=out,
            found=", ".join(bad[:3]) + (", …" if len(bad) > 3 else ""),
            hint="a lower learning rate, or --precision float32",
        )
    header = source.grids.header
    origin = FeatureOrigin(
        encoder=header.encoder,
        weights_hash=header.encoder_hash,
        normalisation=header.normalisation,
        spacing_um=header.spacing_um_target,
        mask_level=header.mask_level,
    )
    description = describe_region(backbone.sizes, origin, source.slides)
    out.mkdir(parents=True, exist_ok=True)
    (out / DESCRIPTION_FILE).unlink(missing_ok=True)
    write_weights(out / WEIGHTS_FILE, weights)
    write_text(out / RECIPE_FILE, _json_text(recipe))
    card = region_card(backbone, source, origin, recipe=recipe, records=records, notes=notes)
    write_text(out / CARD_FILE, card)
    write_text(out / DESCRIPTION_FILE, _json_text(sealed(description, out, (WEIGHTS_FILE,))))


def _json_text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
