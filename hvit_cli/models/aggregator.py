"""The aggregator: region Transformer, then slide Transformer, for several slides at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hvit_cli.errors import ModelError
from hvit_cli.models.bags import PackedBags, PatchBag, buckets, pack, steps
from hvit_cli.models.region import RegionTransformer
from hvit_cli.models.slide import SlideTransformer
from hvit_cli.settings import AggregatorSettings


@dataclass(frozen=True, kw_only=True)
class AggregatorOutput:
    """What the aggregator says about S slides with ΣM regions together.

    Attributes:
        score: (S, outputs), not clipped.
        region_embeddings: (ΣM, region_dim).
        slide_attention: (ΣM,) weight of each region, summing to 1 inside each slide.
        region_offsets: (S + 1,) first region of each slide, then their number.
        patch_attention: Per slide (P, H), attention from CLS to each row of the bag in the
            region Transformer's last block; None unless asked for.
        prefix_attention: (ΣM, H), what CLS gives to itself and the registers; None unless
            asked for. With the patch attention of a region it sums to 1.
    """

    score: Tensor
    region_embeddings: Tensor
    slide_attention: Tensor
    region_offsets: tuple[int, ...]
    patch_attention: tuple[Tensor, ...] | None = None
    prefix_attention: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class DenseOutput:
    """What the aggregator says about one slide when every slot is a token.

    Attributes:
        score: (1, outputs).
        region_embeddings: (M, region_dim).
        slide_attention: (M,).
        region_cls_attention: (M, H, 1 + registers + K), CLS first; exactly 0 at background.
    """

    score: Tensor
    region_embeddings: Tensor
    slide_attention: Tensor
    region_cls_attention: Tensor


class Aggregator(nn.Module):
    """Grades slides from the features of their patches.

    Letters: S slides, M regions of a slide, K patches of a region, P visible patches of a
    slide, D width of the features, H heads.
    """

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__()
        self.settings = settings
        self.region_transformer = RegionTransformer(settings)
        self.slide_transformer = SlideTransformer(settings)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights; features are converted to it."""
        return self.region_transformer.cls_token.dtype

    def forward(
        self, bags: Sequence[PatchBag], *, with_attention: bool = False
    ) -> AggregatorOutput:
        """Scores slides from their visible patches.

        Args:
            bags: One per slide, at least one, on the device of the weights.
            with_attention: Also return where CLS looked.

        Raises:
            ModelError: The features do not fit this model.
        """
        if not bags:
            raise ModelError("there is no slide to score", found="no patch bag")
        for bag in bags:
            self._check(bag)
        packed = pack(bags)
        embeddings, patches, prefix = self._read_regions(packed)
        score, weights = self._read_slides(embeddings, packed.region_offsets)
        rows = packed.row_offsets
        return AggregatorOutput(
            score=score,
            region_embeddings=embeddings,
            slide_attention=weights,
            region_offsets=packed.region_offsets,
            patch_attention=tuple(patches[first:last] for first, last in pairwise(rows))
            if with_attention
            else None,
            prefix_attention=prefix if with_attention else None,
        )

    def forward_dense(self, patch_features: Tensor, visible: Tensor | None = None) -> DenseOutput:
        """Scores one slide with every patch a token, background hidden by a key mask.

        This is the model as the paper writes it; `forward` gives the same numbers for less.

        Args:
            patch_features: (M, K, D), patches in row-major order. What stands at hidden
                patches is never used, NaN included.
            visible: (M, K) bool; None attends to all (plain attention).

        Raises:
            ModelError: The features do not fit this model.
        """
        settings = self.settings
        wanted = (settings.side**2, settings.patch_dim)
        if patch_features.ndim != 3 or patch_features.shape[1:] != wanted:
            raise ModelError(
                "the features do not fit the model",
                found=f"shape {tuple(patch_features.shape)}",
                wanted=f"(regions, {wanted[0]}, {wanted[1]})",
            )
        features = patch_features.to(self.dtype)
        if visible is not None:
            features = torch.where(visible[..., None], features, 0)
        patch_index = torch.arange(wanted[0], device=features.device)
        tokens = self.region_transformer.embed_patches(features, patch_index)
        embeddings, attention = self.region_transformer(tokens, visible)
        score, weights = self._read_slides(embeddings, (0, len(embeddings)))
        return DenseOutput(
            score=score,
            region_embeddings=embeddings,
            slide_attention=weights,
            region_cls_attention=attention,
        )

    def _check(self, bag: PatchBag) -> None:
        settings = self.settings
        if bag.features.shape[1] != settings.patch_dim:
            raise ModelError(
                "the features are not those of the model's patch encoder",
                found=f"width {bag.features.shape[1]}",
                wanted=f"width {settings.patch_dim}",
            )
        if len(bag.patch_index) and int(bag.patch_index.max()) >= settings.side**2:
            raise ModelError(
                "the patches are not those of the model's regions",
                found=f"patch {int(bag.patch_index.max())}",
                wanted=f"patches 0 to {settings.side**2 - 1} of regions of {settings.region_px} px",
            )

    def _read_regions(self, packed: PackedBags) -> tuple[Tensor, Tensor, Tensor]:
        """Region embeddings (ΣM, C), patch (ΣP, H) and prefix attention (ΣM, H)."""
        region = self.region_transformer
        tokens = region.embed_patches(packed.features.to(self.dtype), packed.patch_index)
        order, row_order = [], []
        embeddings, patches, prefixes = [], [], []
        for step in steps(buckets(packed, self.settings.side**2)):
            parts = []
            for bucket in step:
                x, rows = tokens[bucket.rows], bucket.rows.flatten()
                if bucket.visible is not None:
                    x = torch.where(bucket.visible[..., None], x, 0)
                    rows = bucket.rows[bucket.visible]
                parts.append(x)
                order.append(bucket.regions)
                row_order.append(rows)
            cls, attentions = region.forward_packed(parts, [bucket.visible for bucket in step])
            embeddings.append(cls)
            for bucket, attention in zip(step, attentions, strict=True):
                prefix = attention[..., : region.prefix_tokens]
                patch = attention[..., region.prefix_tokens :].transpose(1, 2)  # (B, L, H)
                prefixes.append(prefix.sum(-1))
                patches.append(
                    patch.flatten(0, 1) if bucket.visible is None else patch[bucket.visible]
                )
        back, rows_back = torch.cat(order).argsort(), torch.cat(row_order).argsort()
        return (
            torch.cat(embeddings)[back],
            torch.cat(patches)[rows_back],
            torch.cat(prefixes)[back],
        )

    def _read_slides(
        self, embeddings: Tensor, region_offsets: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Scores (S, outputs) and region weights (ΣM,) of slides laid end to end."""
        counts = torch.tensor(region_offsets, device=embeddings.device).diff()
        x = pad_sequence(list(torch.split(embeddings, counts.tolist())), batch_first=True)
        present: Tensor | None = None
        if len(set(counts.tolist())) > 1:
            column = torch.arange(x.shape[1], device=embeddings.device)
            present = column < counts[:, None]
        score, weights = self.slide_transformer(x, present)
        return score, weights.flatten() if present is None else weights[present]
