"""An encoder as a folder that `--encoder` takes, and that says which slides made it.

encoder.safetensors     weights (model.safetensors and timm's config.json for a timm network)
encoder.json            what the network is, what it expects, its licence, its slides
recipe.json             everything that decided the weights
README.md               the same for people, with what must not be claimed
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from timm.models import save_for_hf
from torch import Tensor, nn

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.local_encoder import (
    DESCRIPTION_FILE,
    TIMM_CONFIG_FILE,
    TIMM_WEIGHTS_FILE,
    WEIGHTS_FILE,
    describe_timm,
    describe_vit,
)
from hvit_cli.models.vit import VisionTransformer
from hvit_cli.pretraining.card import encoder_card
from hvit_cli.settings.seal import sealed
from hvit_cli.storage.atomic import whole_file, write_text
from hvit_cli.storage.recipe import Recipe
from hvit_cli.storage.temporaries import temporary_beside
from hvit_cli.storage.weights import write_weights

RECIPE_FILE = "recipe.json"
CARD_FILE = "README.md"


def write_encoder_folder(
    out: Path,
    network: nn.Module,
    spec: EncoderSpec,
    *,
    recipe: Recipe,
    records: Sequence[Mapping[str, object]] = (),
    notes: Sequence[str] = (),
) -> None:
    """Writes an encoder folder; other files in it stay.

    The description is removed first and written last, so that the folder of a run that is
    killed here is no encoder.

    Args:
        out: The folder.
        network: The backbone without head: ours, or one of timm's made by its factory.
        spec: Name, normalisation, spacing, licence, how it was pretrained, and on which slides.
        recipe: What decided the weights.
        records: A row per epoch, for the card.
        notes: Sentences for the card, such as which slides were skipped.

    Raises:
        ModelError: The slides are not named, the weights are not finite, or the network is of
            no kind that could be loaded again.
        StorageError: The folder cannot be written.
    """
    if not spec.pretraining_slides:
        raise ModelError(
            "an encoder is not written without the slides it was trained on", where=out
        )
    weights = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    _require_finite(out, weights)
    description = _describe(network, spec)
    out.mkdir(parents=True, exist_ok=True)
    (out / DESCRIPTION_FILE).unlink(missing_ok=True)
    if isinstance(network, VisionTransformer):
        write_weights(out / WEIGHTS_FILE, weights)
    else:
        _write_timm(out, network, spec)
    write_text(out / RECIPE_FILE, _json_text(recipe))
    card = encoder_card(spec, network, folder=out.name, recipe=recipe, records=records, notes=notes)
    write_text(out / CARD_FILE, card)
    own = isinstance(network, VisionTransformer)
    files = (WEIGHTS_FILE,) if own else (TIMM_WEIGHTS_FILE, TIMM_CONFIG_FILE)
    write_text(out / DESCRIPTION_FILE, _json_text(sealed(description, out, files)))


def _describe(network: nn.Module, spec: EncoderSpec) -> dict[str, Any]:
    if isinstance(network, VisionTransformer):
        return describe_vit(network.shape, spec)
    if not hasattr(network, "pretrained_cfg"):
        raise ModelError(
            "this network cannot be written as an encoder",
            found=type(network).__name__,
            wanted="hvit's Vision Transformer, or a network that timm made",
        )
    return describe_timm(spec)


def _require_finite(out: Path, weights: Mapping[str, Tensor]) -> None:
    bad = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(
            "the weights are not finite, and no encoder is written",
            where=out,
            found=", ".join(bad[:3]) + (", …" if len(bad) > 3 else ""),
            hint="a lower learning rate, or --precision float32",
        )


def _write_timm(out: Path, network: nn.Module, spec: EncoderSpec) -> None:
    source = {
        "input_size": [3, spec.input_px, spec.input_px],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "license": spec.licence,
        "tag": spec.folder_name,
    }
    with TemporaryDirectory(prefix=f"{temporary_beside(out / 'timm').name}-", dir=out) as saved:
        save_for_hf(
            network, saved, model_config={"pretrained_cfg": source}, safe_serialization=True
        )
        for name in (TIMM_WEIGHTS_FILE, TIMM_CONFIG_FILE):
            with whole_file(out / name) as temporary:
                (Path(saved) / name).replace(temporary)


def _json_text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
