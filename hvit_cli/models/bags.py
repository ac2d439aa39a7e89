"""The visible patches of slides, packed for the region Transformer without a masked token.

A patch that must not be seen has no row here, so hiding costs nothing: no reading, no
embedding, no token. What remains ragged is the number of patches in a region; regions of
like length are padded together, and a key mask hides the padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hvit_cli.errors import ModelError

# Tokens that pass through the blocks at once. Larger steps are no faster on a processor
# (they leave its cache) and cost memory where no gradient is kept.
_TOKENS_PER_STEP = 16384


@dataclass(frozen=True, kw_only=True)
class PatchBag:
    """The patches of one slide that the model may attend to.

    Masked attention: patches with tissue. Plain attention: all of them. Rows may come in any
    order; a region without rows is legal and is read from CLS and registers alone.

    Attributes:
        features: (P, D) float, a row per visible patch.
        region_index: (P,) long, the region of each row, 0 … regions-1.
        patch_index: (P,) long, the position of each row inside its region, 0 … K-1.
        regions: M, the regions of the slide, at least 1.

    Raises:
        ModelError: The arrays do not belong together.
    """

    features: Tensor
    region_index: Tensor
    patch_index: Tensor
    regions: int

    def __post_init__(self) -> None:
        rows = len(self.features)
        if self.features.ndim != 2 or {self.region_index.shape, self.patch_index.shape} != {
            torch.Size([rows])
        }:
            raise ModelError(
                "the arrays of a patch bag do not belong together",
                found=f"features {tuple(self.features.shape)}, "
                f"region_index {tuple(self.region_index.shape)}, "
                f"patch_index {tuple(self.patch_index.shape)}",
                wanted="(P, D), (P,) and (P,)",
            )
        if self.regions < 1:
            raise ModelError("a slide without any region cannot be scored", found=self.regions)
        if rows and not (
            int(self.region_index.min()) >= 0
            and int(self.region_index.max()) < self.regions
            and int(self.patch_index.min()) >= 0
        ):
            raise ModelError(
                "a patch of the bag belongs to no region",
                found=f"regions {int(self.region_index.min())} to {int(self.region_index.max())}, "
                f"patches from {int(self.patch_index.min())}",
                wanted=f"regions 0 to {self.regions - 1}, patches from 0",
            )

    def to(self, device: torch.device | str) -> PatchBag:
        """The same bag on another device."""
        return PatchBag(
            features=self.features.to(device),
            region_index=self.region_index.to(device),
            patch_index=self.patch_index.to(device),
            regions=self.regions,
        )


@dataclass(frozen=True, kw_only=True)
class PackedBags:
    """The rows of several bags, one after another.

    Attributes:
        features: (ΣP, D).
        region_index: (ΣP,) region of each row, counted over all bags.
        patch_index: (ΣP,).
        region_offsets: (S + 1,) first region of each bag, then their number.
        row_offsets: (S + 1,) first row of each bag, then their number.
    """

    features: Tensor
    region_index: Tensor
    patch_index: Tensor
    region_offsets: tuple[int, ...]
    row_offsets: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Regions padded to one length.

    Attributes:
        regions: (B,) long, which regions.
        rows: (B, L) long, the row of each token, 0 at padding.
        visible: (B, L) bool, False at padding; None where nothing is padded.
    """

    regions: Tensor
    rows: Tensor
    visible: Tensor | None


def _offsets(counts: Sequence[int]) -> tuple[int, ...]:
    return (0, *torch.tensor(counts, dtype=torch.long).cumsum(0).tolist())


def pack(bags: Sequence[PatchBag]) -> PackedBags:
    """Lays bags end to end and counts their regions through."""
    region_offsets = _offsets([bag.regions for bag in bags])
    return PackedBags(
        features=torch.cat([bag.features for bag in bags]),
        region_index=torch.cat(
            [bag.region_index + first for bag, first in zip(bags, region_offsets, strict=False)]
        ),
        patch_index=torch.cat([bag.patch_index for bag in bags]),
        region_offsets=region_offsets,
        row_offsets=_offsets([len(bag.features) for bag in bags]),
    )


def buckets(packed: PackedBags, patches_per_region: int) -> Iterator[Bucket]:
    """Sorts regions by their number of rows and pads those of like length together.

    A region's padded length depends on itself alone (its rows, rounded up to the next of at
    most seventeen lengths), so the company it is computed in changes nothing but float noise.

    Args:
        packed: The rows of all regions.
        patches_per_region: K.
    """
    regions = packed.region_offsets[-1]
    device = packed.region_index.device
    order = packed.region_index.argsort(stable=True)
    counts = torch.bincount(packed.region_index, minlength=regions)
    starts = counts.cumsum(0) - counts
    step = max(4, patches_per_region // 16)
    lengths = ((counts + step - 1) // step * step).clamp(max=patches_per_region)
    # Duplicate rows would exceed K; they are still each a token.
    lengths = torch.maximum(lengths, counts)
    for length in sorted(set(lengths.tolist())):
        same = (lengths == length).nonzero().squeeze(1)
        column = torch.arange(length, device=device)
        for part in same.split(max(_TOKENS_PER_STEP // (length + 1), 1)):
            visible = column < counts[part, None]
            rows = torch.where(visible, starts[part, None] + column, 0)
            rows = order[rows] if length else rows
            yield Bucket(regions=part, rows=rows, visible=None if visible.all() else visible)


def steps(found: Iterable[Bucket]) -> Iterator[list[Bucket]]:
    """Groups buckets that pass through the blocks together, up to a number of tokens."""
    step: list[Bucket] = []
    filled = 0
    for bucket in found:
        size = bucket.rows.numel() + len(bucket.regions)
        if step and filled + size > _TOKENS_PER_STEP:
            yield step
            step, filled = [], 0
        step.append(bucket)
        filled += size
    if step:
        yield step
