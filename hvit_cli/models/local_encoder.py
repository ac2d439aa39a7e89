"""Patch encoders from weight files: DINO snapshots, plain state dicts, and hvit's own folders.

An encoder folder holds `encoder.safetensors` and `encoder.json`. The description tells what
weights cannot: the number of heads, the normalisation, the spacing, the licence. The same
dictionary describes the encoder inside a model folder. A folder in timm's format that hvit
wrote (`config.json` beside `model.safetensors`) has an `encoder.json` too: what timm's own file
has no place for, the slides of the pretraining above all.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hvit_cli.errors import CheckpointError, ModelError
from hvit_cli.models.checkpoints import read_state_dict
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.loading import drop_head, load_strictly
from hvit_cli.models.vit import VisionTransformer, VitShape, infer_vit_shape
from hvit_cli.settings.seal import FILES, SEAL, alteration

DESCRIPTION_FILE = "encoder.json"
WEIGHTS_FILE = "encoder.safetensors"
PRETRAINING_SLIDES = "pretraining_slides"

TIMM_CONFIG_FILE = "config.json"
TIMM_WEIGHTS_FILE = "model.safetensors"

_KIND, _TIMM_KIND, _SCHEMA = "hvit-encoder", "hvit-timm-encoder", 1
_SPEC_FIELDS = ("name", "spacing_um", "mean", "std", "licence", "pretraining")


def describe_vit(shape: VitShape, spec: EncoderSpec) -> dict[str, Any]:
    """What `encoder.json` says: plain values from which `read_description` rebuilds both."""
    return {"kind": _KIND, "schema": _SCHEMA, **dataclasses.asdict(shape), **_facts(spec)}


def describe_timm(spec: EncoderSpec) -> dict[str, Any]:
    """What `encoder.json` says beside timm's `config.json`, which describes the network."""
    return {"kind": _TIMM_KIND, "schema": _SCHEMA, **_facts(spec)}


def is_timm_folder(folder: Path) -> bool:
    """Whether a folder holds an encoder in timm's format."""
    return (folder / TIMM_CONFIG_FILE).is_file() and not (folder / WEIGHTS_FILE).is_file()


def timm_folder_spec(folder: Path, spec: EncoderSpec) -> EncoderSpec:
    """What timm says of a folder's encoder, completed by its `encoder.json` where there is one.

    Raises:
        ModelError: There is one, and it cannot be used.
    """
    file = folder / DESCRIPTION_FILE
    if not file.is_file():
        return spec
    description = _read_json(file)
    _require_kind(description, _TIMM_KIND, file)
    _require_unaltered(description, folder)
    try:
        return dataclasses.replace(
            spec,
            name=str(description["name"]),
            spacing_um=description["spacing_um"],
            licence=str(description["licence"]),
            pretraining=str(description["pretraining"]),
            pretraining_slides=tuple(map(str, description[PRETRAINING_SLIDES])),
        )
    except (KeyError, TypeError) as error:
        raise _unusable(file, error) from error


def _facts(spec: EncoderSpec) -> dict[str, Any]:
    described = {name: getattr(spec, name) for name in _SPEC_FIELDS}
    if spec.pretraining_slides:
        described[PRETRAINING_SLIDES] = spec.pretraining_slides
    return {k: list(v) if isinstance(v, tuple) else v for k, v in described.items()}


def read_description(
    description: Mapping[str, Any], *, where: object
) -> tuple[VitShape, EncoderSpec]:
    """Rebuilds what `describe_vit` described.

    Raises:
        ModelError: The description is not one of an encoder of this version.
    """
    _require_kind(description, _KIND, where)
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
        raise _unusable(where, error) from error
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
        _require_as_large(state, shape, where=path)
    network = VisionTransformer(shape)
    load_strictly(network, state, where=path)
    return network, spec, notes


def load_vit_folder(folder: Path) -> tuple[VisionTransformer, EncoderSpec, tuple[str, ...]]:
    """Loads an encoder folder, `encoder.json` beside `encoder.safetensors`.

    Raises:
        ModelError: As `load_vit_file`, or the description is no JSON object.
    """
    description = _read_json(folder / DESCRIPTION_FILE)
    _require_unaltered(description, folder)
    return load_vit_file(folder / WEIGHTS_FILE, description)


def _require_as_large(state: Mapping[str, Tensor], shape: VitShape, *, where: Path) -> None:
    """Refuses to build a network that its file cannot fill: a description may say any size."""
    # Queries, keys, values and projection take 4 · width² a block, the two layers behind them more.
    blocks = shape.depth * (4 + 2 * shape.mlp_ratio) * shape.width**2
    least = blocks + (shape.grid_side**2 + 3 * shape.token_px**2) * shape.width
    found = sum(weight.numel() for weight in state.values())
    # A few entries too many or too few are told by their names, once the network is there.
    if 2 * found < least:
        raise CheckpointError(
            "the weights are fewer than the description says",
            where=where,
            found=f"{found:,} numbers",
            wanted=f"{least:,.0f} or more for its {shape}",
        )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            "the encoder's description cannot be read", where=file, found=error
        ) from error
    if not isinstance(description, dict):
        raise ModelError("the encoder's description is no JSON object", where=file)
    return description


def _require_unaltered(description: Mapping[str, Any], folder: Path) -> None:
    altered = alteration(description, folder)
    if altered is not None:
        raise ModelError(
            "a file of the encoder is not what was written (checksum)",
            where=folder / (altered or DESCRIPTION_FILE),
            hint=f"an undamaged copy; or without {SEAL} and {FILES} in {DESCRIPTION_FILE}, if you "
            "changed it yourself",
        )


def _require_kind(description: Mapping[str, Any], kind: str, where: object) -> None:
    if (description.get("kind"), description.get("schema")) != (kind, _SCHEMA):
        raise ModelError(
            "not an encoder description of this version",
            where=where,
            found=f"{description.get('kind')} version {description.get('schema')}",
            wanted=f"{kind} version {_SCHEMA}",
        )


def _unusable(where: object, error: Exception) -> ModelError:
    return ModelError(
        "the encoder's description cannot be used",
        where=where,
        found=f"{type(error).__name__} {error}",
    )
