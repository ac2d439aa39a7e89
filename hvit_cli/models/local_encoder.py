"""Patch encoders from weight files: DINO snapshots, plain state dicts, and hvit's own folders.

An encoder folder holds `encoder.safetensors` and `encoder.json`. The description tells what
weights cannot: the number of heads, the normalisation, the spacing, the licence. The same
dictionary describes the encoder inside a model folder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvit_cli.errors import ModelError
from hvit_cli.models.checkpoints import read_state_dict
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.loading import drop_head, load_strictly
from hvit_cli.models.vit import VisionTransformer, VitShape, infer_vit_shape

DESCRIPTION_FILE = "encoder.json"
WEIGHTS_FILE = "encoder.safetensors"
PRETRAINING_SLIDES = "pretraining_slides"

_KIND, _SCHEMA = "hvit-encoder", 1
_SPEC_FIELDS = ("name", "spacing_um", "mean", "std", "licence", "pretraining")


def describe_vit(shape: VitShape, spec: EncoderSpec) -> dict[str, Any]:
    """What `encoder.json` says: plain values from which `read_description` rebuilds both."""
    described = {name: getattr(spec, name) for name in _SPEC_FIELDS}
    if spec.pretraining_slides:
        described[PRETRAINING_SLIDES] = spec.pretraining_slides
    return {
        "kind": _KIND,
        "schema": _SCHEMA,
        **dataclasses.asdict(shape),
        **{k: list(v) if isinstance(v, tuple) else v for k, v in described.items()},
    }


def read_description(
    description: Mapping[str, Any], *, where: object
) -> tuple[VitShape, EncoderSpec]:
    """Rebuilds what `describe_vit` described.

    Raises:
        ModelError: The description is not one of an encoder of this version.
    """
    if (description.get("kind"), description.get("schema")) != (_KIND, _SCHEMA):
        raise ModelError(
            "not an encoder description of this version",
            where=where,
            found=f"{description.get('kind')} version {description.get('schema')}",
            wanted=f"{_KIND} version {_SCHEMA}",
        )
    try:
        shape = VitShape(**{f.name: description[f.name] for f in dataclasses.fields(VitShape)})
        mean, std = (tuple(map(float, description[name])) for name in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError("mean and std are three numbers each, std above 0")
        spec = EncoderSpec(
            name=str(description["name"]),
            width=shape.width,
            input_px=shape.input_px,
            token_px=shape.token_px,
            spacing_um=description["spacing_um"],
            mean=(mean[0], mean[1], mean[2]),
            std=(std[0], std[1], std[2]),
            licence=str(description["licence"]),
            pretraining=str(description["pretraining"]),
            pretraining_slides=tuple(map(str, description.get(PRETRAINING_SLIDES, ()))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "the encoder's description cannot be used",
            where=where,
            found=f"{type(error).__name__} {error}",
        ) from error
    return shape, spec


def load_vit_file(
    path: Path, description: Mapping[str, Any] | None = None
) -> tuple[VisionTransformer, EncoderSpec, tuple[str, ...]]:
    """Loads a plain Vision Transformer from a weight file.

    Args:
        path: A DINO snapshot (its teacher is taken), a state dict, or safetensors.
        description: What `describe_vit` returned; None reads the sizes off the weights, with
            heads of width 64 and ImageNet's normalisation, as DINO has them.

    Returns:
        The network, what is known about it, and notes for the user.

    Raises:
        CheckpointError: The file cannot be read or its entries do not fit.
        ModelError: The description cannot be used.
    """
    state, notes = drop_head(read_state_dict(path))
    if description is None:
        shape = infer_vit_shape(state, where=path)
        spec = EncoderSpec(
            name=path.parent.name if path.name == WEIGHTS_FILE else path.stem,
            width=shape.width,
            input_px=shape.input_px,
            token_px=shape.token_px,
        )
    else:
        shape, spec = read_description(description, where=path)
    network = VisionTransformer(shape)
    load_strictly(network, state, where=path)
    return network, spec, notes


def load_vit_folder(folder: Path) -> tuple[VisionTransformer, EncoderSpec, tuple[str, ...]]:
    """Loads an encoder folder, `encoder.json` beside `encoder.safetensors`.

    Raises:
        ModelError: As `load_vit_file`, or the description is no JSON object.
    """
    file = folder / DESCRIPTION_FILE
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            "the encoder's description cannot be read", where=file, found=error
        ) from error
    if not isinstance(description, dict):
        raise ModelError("the encoder's description is no JSON object", where=file)
    return load_vit_file(folder / WEIGHTS_FILE, description)
