"""The pretrained region Transformer that a training starts from, checked against features.

Weights that learned from another encoder's features would load without a complaint and mean
nothing, so whatever the checkpoint records about its features must be true of these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hvit_cli.errors import ModelError, UsageError
from hvit_cli.models.loading import infer_region_sizes
from hvit_cli.models.region_checkpoint import RegionCheckpoint, read_region_checkpoint
from hvit_cli.settings import AggregatorSettings
from hvit_cli.storage.feature_headers import FeatureHeader
from hvit_cli.storage.models import sha256_of
from hvit_cli.training.request import TrainingRequest


@dataclass(frozen=True, kw_only=True)
class RegionStart:
    """Where the region Transformer's weights come from.

    Attributes:
        checkpoint: The pretrained region Transformer.
        sizes: Sizes of an aggregator that it fits into.
        sha256: SHA-256 of its weight file.
        notes: What the user should know.
    """

    checkpoint: RegionCheckpoint
    sizes: AggregatorSettings
    sha256: str
    notes: tuple[str, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What a model's description says of it; no path, which means nothing elsewhere."""
        origin = self.checkpoint.origin
        return {
            "sha256": self.sha256,
            "encoder": None if origin is None else origin.encoder,
            "pretraining_slides": sorted(self.checkpoint.slides),
        }


def region_start(request: TrainingRequest, header: FeatureHeader) -> RegionStart | None:
    """The checkpoint that a request names, or None where it names none.

    Raises:
        ModelError: The checkpoint cannot be read, or learned from other features.
        UsageError: A size that was asked for by name is not the checkpoint's.
    """
    path = request.region_checkpoint
    if path is None:
        return None
    checkpoint = read_region_checkpoint(path, heads=request.region_sizes.get("region_heads"))
    _require_features(checkpoint, header)
    _require_sizes(checkpoint, request)
    held = checkpoint.sizes
    sizes = infer_region_sizes(
        checkpoint.weights,
        replace(request.sizes, region_px=header.region_px, patch_px=header.patch_px),
        where=checkpoint.path,
        region_heads=held.region_heads,
    )
    notes = checkpoint.notes
    if sizes.position_region_px is not None:
        notes += (
            f"the region Transformer learned positions on a grid of {sizes.position_side}×"
            f"{sizes.position_side}, regions of {sizes.position_region_px} px; they are resized "
            f"to the {sizes.side}×{sizes.side} patches of these regions",
        )
    return RegionStart(
        checkpoint=checkpoint, sizes=sizes, sha256=sha256_of(checkpoint.path), notes=notes
    )


def _require_features(checkpoint: RegionCheckpoint, header: FeatureHeader) -> None:
    origin, sizes = checkpoint.origin, checkpoint.sizes
    if origin is not None and origin.weights_hash != header.encoder_hash:
        raise ModelError(
            "the region Transformer learned from features of another patch encoder",
            where=checkpoint.path,
            found=f"{origin.encoder} ({origin.weights_hash[:12]})",
            wanted=f"{header.encoder} ({header.encoder_hash[:12]}), which made these features",
        )
    learned: dict[str, object] = {"width": sizes.patch_dim}
    given: dict[str, object] = {"width": header.width}
    if origin is not None:
        learned |= {
            "normalisation": origin.normalisation,
            "spacing in µm": origin.spacing_um,
            "patch": sizes.patch_px,
            "mask level": origin.mask_level,
        }
        given |= {
            "normalisation": header.normalisation,
            "spacing in µm": header.spacing_um_target,
            "patch": header.patch_px,
            "mask level": header.mask_level,
        }
    differing = [field for field in learned if learned[field] != given[field]]
    if differing:
        raise ModelError(
            "the region Transformer learned from features of another making",
            where=checkpoint.path,
            found=", ".join(f"{field} {learned[field]}" for field in differing),
            wanted=", ".join(f"{field} {given[field]}" for field in differing),
        )


def _require_sizes(checkpoint: RegionCheckpoint, request: TrainingRequest) -> None:
    asked = request.region_sizes
    differing = [name for name in asked if asked[name] != getattr(checkpoint.sizes, name)]
    if differing:
        raise UsageError(
            "a size was asked for that the region checkpoint does not have",
            where=", ".join("--" + name.replace("_", "-") for name in differing),
            found=", ".join(str(asked[name]) for name in differing),
            wanted=", ".join(str(getattr(checkpoint.sizes, name)) for name in differing),
            hint="leaving sizes of the region Transformer to the checkpoint",
        )
