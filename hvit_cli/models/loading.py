"""State dicts into networks: every entry accounted for, or an error that names it.

The original's aggregator calls its entries by other names than ours; `OUR_NAMES` is the
whole difference.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hvit_cli.errors import CheckpointError, ModelError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.position import grid_side
from hvit_cli.models.region import RegionTransformer
from hvit_cli.settings import AggregatorSettings

OUR_NAMES: dict[str, str] = {
    "vit_region.phi.0.": "region_transformer.project.",
    "vit_region.": "region_transformer.",
    "global_phi.0.": "slide_transformer.project.",
    "global_transformer.": "slide_transformer.encoder.",
    "global_attn_pool.attention_a.0.": "slide_transformer.pool.tanh.",
    "global_attn_pool.attention_b.0.": "slide_transformer.pool.sigmoid.",
    "global_attn_pool.attention_c.": "slide_transformer.pool.logit.",
    "global_rho.0.": "slide_transformer.rho.",
    "classifier.": "slide_transformer.classifier.",
}
"""Beginning of a name in the original's state dicts → ours; the first that fits counts."""

ORIGINAL_NORMALISATION_NOTE = (
    "this aggregator was trained by the original implementation, which embedded patches with "
    "normalisation none (pixels 0-1), although its encoder was pretrained with imagenet: features "
    "embedded otherwise are not what it learned from; --normalisation none repeats the original"
)


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        theirs = next((start for start in names if name.startswith(start)), "")
        renamed[names.get(theirs, "") + name.removeprefix(theirs)] = tensor
    return renamed


def is_original(state: Mapping[str, Tensor]) -> bool:
    """Whether an aggregator's state dict carries the original implementation's names."""
    return any(name.startswith(("vit_region.", "global_")) for name in state)


def to_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The original's names replaced by ours; other names stay."""
    return _renamed(state, OUR_NAMES)


def to_original_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names replaced by the original's, for whoever goes on with it."""
    return _renamed(state, {ours: theirs for theirs, ours in OUR_NAMES.items()})


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], *, where: object) -> None:
    """Loads a state dict that must fit entry by entry.

    Args:
        network: Receives the weights, in its own number format.
        state: Name → tensor.
        where: What to call the source in an error.

    Raises:
        CheckpointError: Names every missing, unexpected and mis-shaped entry, and every one
            that holds numbers that are not finite.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shared = [name for name in own if name in state]
    misshaped = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in shared
        if state[name].shape != own[name].shape
    ]
    broken = [name for name in shared if not torch.isfinite(state[name]).all()]
    faults = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshaped,
        "not finite": broken,
    }
    if any(faults.values()):
        raise CheckpointError(
            "the weights do not fit the network",
            where=where,
            found="; ".join(
                f"{len(names)} {fault}: {', '.join(names)}"
                for fault, names in faults.items()
                if names
            ),
            wanted=f"exactly the {len(own)} entries of this {type(network).__name__}",
        )
    network.load_state_dict(dict(state))


def _take_position_grid(
    region: RegionTransformer, state: Mapping[str, Tensor], name: str, where: object
) -> int | None:
    """Lets the network hold the file's position grid; its side where it is another one.

    The grid is kept as it was learned and resized once, when it is used. Resizing it here
    as well would blur it twice.
    """
    learned = state.get(name)
    if learned is None or learned.shape == region.pos_embed.shape:
        return None
    try:
        side = grid_side(learned)
    except ModelError as error:
        raise CheckpointError(error.what, where=f"{where}: {name}", found=error.found) from error
    if learned.shape[-1] != region.pos_embed.shape[-1]:
        return None  # another width: load_strictly names it
    region.pos_embed = nn.Parameter(torch.empty_like(learned, dtype=region.pos_embed.dtype))
    return side


def _position_note(learned: int, used: int) -> str:
    return (
        f"the position embedding was learned on a {learned}×{learned} grid and is resized to "
        f"{used}×{used}"
    )


def load_aggregator_weights(
    aggregator: Aggregator, state: Mapping[str, Tensor], *, where: object = "state dict"
) -> tuple[str, ...]:
    """Loads an aggregator's weights, under our names or the original's.

    A position embedding of another grid is accepted: the aggregator then holds that grid,
    says so in its settings (`position_region_px`), and resizes it when it is used.
    Call this before an optimiser is given the parameters.

    Args:
        aggregator: Receives the weights.
        state: Name → tensor, as `read_state_dict` returns it.
        where: What to call the source in an error.

    Returns:
        What the user should know, a sentence each; none for weights that simply fit.

    Raises:
        CheckpointError: An entry is missing, unexpected, mis-shaped or not finite; all are
            named, and the aggregator keeps what it held.
    """
    notes = []
    if is_original(state):
        notes.append(ORIGINAL_NORMALISATION_NOTE)
    state = to_our_names(state)
    region, settings = aggregator.region_transformer, aggregator.settings
    before = region.pos_embed
    side = _take_position_grid(region, state, "region_transformer.pos_embed", where)
    try:
        load_strictly(aggregator, state, where=where)
    except CheckpointError:
        region.pos_embed = before
        raise
    if side is not None:
        notes.append(_position_note(side, settings.side))
        aggregator.settings = dataclasses.replace(
            settings, position_region_px=_region_px_of_grid(side, settings.patch_px)
        )
    return tuple(notes)


def load_region_weights(
    aggregator: Aggregator, state: Mapping[str, Tensor], *, where: object = "state dict"
) -> tuple[str, ...]:
    """Loads a pretrained region Transformer (a region-level DINO snapshot) into an aggregator.

    The slide Transformer is left as it is. A DINO head is dropped, and the notes say so.

    Args:
        aggregator: Receives the weights of its region Transformer.
        state: Name → tensor of a region Transformer alone, under our names or the original's.
        where: What to call the source in an error.

    Returns:
        What the user should know, a sentence each.

    Raises:
        CheckpointError: As `load_aggregator_weights`.
    """
    state, notes = drop_head(state)
    state = to_our_region_names(state)
    region, settings = aggregator.region_transformer, aggregator.settings
    before = region.pos_embed
    side = _take_position_grid(region, state, "pos_embed", where)
    try:
        load_strictly(region, state, where=where)
    except CheckpointError:
        region.pos_embed = before
        raise
    if side is not None:
        notes = (*notes, _position_note(side, settings.side))
        aggregator.settings = dataclasses.replace(
            settings, position_region_px=_region_px_of_grid(side, settings.patch_px)
        )
    return notes


def to_our_region_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of a region Transformer alone: the original's replaced by ours; others stay."""
    return _renamed(state, {"phi.0.": "project."})


def drop_head(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Leaves out the projection head of self-supervised training, and says so."""
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    dropped = len(state) - len(kept)
    return kept, (f"the training head is not used (head.*, {dropped} in all)",) * bool(dropped)


def _region_px_of_grid(side: int, patch_px: int) -> int:
    """The region whose position grid has `side` positions; inverts int(region · 0.875 / patch)."""
    return patch_px * math.ceil(side / 0.875)


def infer_aggregator_settings(
    state: Mapping[str, Tensor],
    *,
    where: object = "state dict",
    region_px: int = AggregatorSettings.region_px,
    patch_px: int = AggregatorSettings.patch_px,
    region_heads: int = AggregatorSettings.region_heads,
    slide_heads: int = AggregatorSettings.slide_heads,
    dropout: float = AggregatorSettings.dropout,
) -> AggregatorSettings:
    """Reads an aggregator's sizes off its weights; what weights cannot tell is an argument.

    Raises:
        CheckpointError: The entries that show the sizes are absent.
        SettingsError: The sizes found contradict the arguments.
    """
    state = to_our_names(state)
    names = {
        "project": "region_transformer.project.weight",
        "pos_embed": "region_transformer.pos_embed",
        "slide": "slide_transformer.project.weight",
        "classifier": "slide_transformer.classifier.weight",
    }
    absent = [name for name in names.values() if name not in state]
    if absent:
        raise CheckpointError(
            "these are not the weights of an aggregator",
            where=where,
            found=f"{len(absent)} missing: {', '.join(absent)}",
        )
    start = "region_transformer."
    rest = AggregatorSettings(
        region_px=region_px,
        patch_px=patch_px,
        slide_dim=state[names["slide"]].shape[0],
        slide_depth=_depth(state, "slide_transformer.encoder.layers."),
        slide_heads=slide_heads,
        dropout=dropout,
        outputs=state[names["classifier"]].shape[0],
    )
    region = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
    return infer_region_sizes(region, rest, where=where, region_heads=region_heads)


def infer_region_sizes(
    state: Mapping[str, Tensor],
    settings: AggregatorSettings,
    *,
    where: object = "state dict",
    region_heads: int | None = None,
) -> AggregatorSettings:
    """Settings with the sizes that a region Transformer's weights show.

    Args:
        state: Name → tensor of a region Transformer alone, under our names.
        settings: What weights cannot tell: heads, region, patch, and the slide Transformer.
        where: What to call the source in an error.
        region_heads: Heads, where not those of `settings`.

    Raises:
        CheckpointError: The entries that show the sizes are absent.
        SettingsError: The heads do not divide the width.
    """
    absent = [name for name in ("project.weight", "pos_embed") if name not in state]
    if absent:
        raise CheckpointError(
            "these are not the weights of a region Transformer",
            where=where,
            found=f"{len(absent)} missing: {', '.join(absent)}",
        )
    registers = state.get("register_tokens")
    sizes = dataclasses.replace(
        settings,
        patch_dim=state["project.weight"].shape[1],
        position_region_px=None,
        region_dim=state["project.weight"].shape[0],
        region_depth=_depth(state, "blocks."),
        region_heads=region_heads or settings.region_heads,
        registers=0 if registers is None else registers.shape[1],
    )
    learned = grid_side(state["pos_embed"])
    if learned == sizes.position_side:
        return sizes
    return dataclasses.replace(
        sizes, position_region_px=_region_px_of_grid(learned, settings.patch_px)
    )


def _depth(state: Mapping[str, Tensor], start: str) -> int:
    return len({name.split(".")[start.count(".")] for name in state if name.startswith(start)})
