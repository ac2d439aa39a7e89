"""Pretrained region Transformers: hvit's own folders, and region-level DINO snapshots.

A region folder holds `region.safetensors` and `region.json`. The description tells what
weights cannot: the heads, the patch encoder whose features were learned from, the slides. A
snapshot of the original holds weights alone, and its reader has to be told the heads.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hvit_cli.errors import CheckpointError, HvitError, ModelError
from hvit_cli.models.checkpoints import read_state_dict
from hvit_cli.models.loading import (
    drop_head,
    infer_region_sizes,
    load_strictly,
    to_our_region_names,
)
from hvit_cli.models.local_encoder import PRETRAINING_SLIDES
from hvit_cli.models.region import RegionTransformer
from hvit_cli.settings import AggregatorSettings
from hvit_cli.settings.seal import alteration

DESCRIPTION_FILE = "region.json"
WEIGHTS_FILE = "region.safetensors"
SIZES = ("region_dim", "region_depth", "region_heads", "registers")
"""Settings of an aggregator that a region Transformer decides, whatever the features are."""

_KIND, _SCHEMA = "hvit-region", 1
_FITTED = ("patch_dim", "region_px", "patch_px", "position_region_px")


@dataclass(frozen=True, kw_only=True)
class FeatureOrigin:
    """What the features that a region Transformer reads were made by.

    Attributes:
        encoder: Name of the patch encoder.
        weights_hash: SHA-256 over its weights.
        normalisation: JSON text of the input's mean and standard deviation.
        spacing_um: The spacing that its patches were read at.
        mask_level: What was masked: patches (region), tokens of the patch encoder, or both.
    """

    encoder: str
    weights_hash: str
    normalisation: str
    spacing_um: float
    mask_level: str = "region"


@dataclass(frozen=True, kw_only=True)
class RegionCheckpoint:
    """A pretrained region Transformer.

    Attributes:
        path: The weight file.
        weights: Name → tensor, under our names, without a training head.
        sizes: An aggregator's settings with the region Transformer's sizes.
        origin: What made the features it learned from; None where that is not recorded.
        slides: The slides it learned from, as far as they are recorded.
        notes: What the user should know.
    """

    path: Path
    weights: Mapping[str, Tensor]
    sizes: AggregatorSettings
    origin: FeatureOrigin | None = None
    slides: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def describe_region(
    sizes: AggregatorSettings, origin: FeatureOrigin, slides: tuple[str, ...]
) -> dict[str, Any]:
    """What `region.json` says: plain values from which a reader rebuilds all three."""
    return {
        "kind": _KIND,
        "schema": _SCHEMA,
        **{name: getattr(sizes, name) for name in (*_FITTED, *SIZES)},
        "features": dataclasses.asdict(origin),
        PRETRAINING_SLIDES: list(slides),
    }


def read_region_checkpoint(path: Path, *, heads: int | None = None) -> RegionCheckpoint:
    """Reads a region folder, a file of one, or a region-level snapshot of the original.

    Args:
        path: The folder, its `region.json` or `region.safetensors`, or a weight file alone.
        heads: Attention heads, which a weight file alone does not tell; None takes the
            paper's. A folder's description wins.

    Raises:
        ModelError: There is no such folder or file, or its description cannot be used.
        CheckpointError: The weights cannot be read or are not those of a region Transformer.
    """
    if not path.exists():
        raise ModelError(
            "there is no such region checkpoint",
            where=path,
            wanted=f"a folder with {DESCRIPTION_FILE}, or a weight file",
            hint="hvit pretrain --level region, which writes one",
        )
    folder = path if path.is_dir() else path.parent
    ours = path.name in (DESCRIPTION_FILE, WEIGHTS_FILE)
    if path.is_dir() or (ours and (folder / DESCRIPTION_FILE).is_file()):
        return _read_folder(folder)
    return _read_snapshot(path, heads)


def _read_folder(folder: Path) -> RegionCheckpoint:
    file = folder / DESCRIPTION_FILE
    if not file.is_file():
        raise ModelError(
            "not a folder of a region Transformer",
            where=folder,
            wanted=f"a folder with {DESCRIPTION_FILE}",
            hint="the folder that hvit pretrain --level region wrote",
        )
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
        found = (described.get("kind"), described.get("schema"))
        if found != (_KIND, _SCHEMA):
            raise ModelError(
                "not a description of a region Transformer of this version",
                where=file,
                found=f"{found[0]} version {found[1]}",
                wanted=f"{_KIND} version {_SCHEMA}",
            )
        altered = alteration(described, folder)
        if altered is not None:
            raise ModelError(
                "a file of the region Transformer is not what was written (checksum)",
                where=folder / (altered or DESCRIPTION_FILE),
                hint="an undamaged copy",
            )
        sizes = AggregatorSettings(**{name: described[name] for name in (*_FITTED, *SIZES)})
        origin = FeatureOrigin(**described["features"])
        slides = frozenset(_texts(described[PRETRAINING_SLIDES]))
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HvitError) as error:
        raise ModelError(
            "the description of the region Transformer cannot be used",
            where=file,
            found=f"{type(error).__name__} {error}",
        ) from error
    weights = folder / WEIGHTS_FILE
    state = read_state_dict(weights)
    _require_sizes(infer_region_sizes(state, sizes, where=weights), sizes, weights)
    load_strictly(RegionTransformer(sizes), state, where=weights)
    return RegionCheckpoint(path=weights, weights=state, sizes=sizes, origin=origin, slides=slides)


def _read_snapshot(path: Path, heads: int | None) -> RegionCheckpoint:
    state, notes = drop_head(read_state_dict(path))
    state = to_our_region_names(state)
    fallback = AggregatorSettings()
    # Only the heads of this are taken; a width they do not divide is an error of the sizes.
    sizes = infer_region_sizes(
        state, fallback, where=path, region_heads=heads or fallback.region_heads
    )
    load_strictly(RegionTransformer(sizes), state, where=path)
    return RegionCheckpoint(
        path=path,
        weights=state,
        sizes=sizes,
        notes=(
            *notes,
            f"{path.name} does not say which patch encoder and slides it learned from: neither "
            "the encoder of the features nor leaks of tuning or test slides can be checked",
        ),
    )


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{PRETRAINING_SLIDES} is no list of slide ids")
    return values


def _require_sizes(found: AggregatorSettings, wanted: AggregatorSettings, file: Path) -> None:
    names = ("patch_dim", "region_dim", "region_depth", "registers")
    differing = [name for name in names if getattr(found, name) != getattr(wanted, name)]
    if found.position_side != wanted.position_side:
        differing.append("position_side")
    if differing:
        raise CheckpointError(
            f"the weights are not those that {DESCRIPTION_FILE} describes",
            where=file,
            found=", ".join(f"{name} {getattr(found, name)}" for name in differing),
            wanted=", ".join(f"{name} {getattr(wanted, name)}" for name in differing),
        )
