"""The card of a pretrained region Transformer: what a person must know before using it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hvit_cli.models.region_checkpoint import FeatureOrigin
from hvit_cli.pretraining.region_crops import crop_sides
from hvit_cli.pretraining.region_network import RegionBackbone
from hvit_cli.pretraining.region_source import RegionSource
from hvit_cli.storage.markdown import as_text
from hvit_cli.storage.recipe import Recipe, recipe8

_SLIDES_SHOWN = 20


def region_card(
    backbone: RegionBackbone,
    source: RegionSource,
    origin: FeatureOrigin,
    *,
    recipe: Recipe,
    records: Sequence[Mapping[str, object]],
    notes: Sequence[str],
) -> str:
    """The card as Markdown.

    Args:
        backbone: The network, which is counted and described.
        source: The regions that it learned from.
        origin: What made their features.
        recipe: What decided the weights.
        records: A row of numbers per epoch; the first and the last are shown.
        notes: Sentences to be told.
    """
    return "\n\n".join(
        part
        for part in (
            f"# Region Transformer on features of {as_text(origin.encoder)}",
            "Research software, not a medical device: not for diagnosis.",
            _what_it_is(backbone, source, origin, recipe),
            _slides(source),
            _numbers(records),
            "\n".join(["## To know", "", *(f"- {as_text(note)}" for note in notes)])
            if notes
            else "",
            _CLAIMS,
            _USE,
        )
        if part
    )


def _what_it_is(
    backbone: RegionBackbone, source: RegionSource, origin: FeatureOrigin, recipe: Recipe
) -> str:
    s = backbone.sizes
    weights = sum(p.numel() for p in backbone.network.parameters())
    large, small = crop_sides(s.side)
    rows = (
        (
            "network",
            f"width {s.region_dim}, depth {s.region_depth}, {s.region_heads} heads; "
            f"{weights / 1e6:.2f} million weights",
        ),
        (
            "reads",
            f"regions of {s.region_px} px at {origin.spacing_um:g} µm per pixel, patches of "
            f"{s.patch_px} px, patches with tissue alone",
        ),
        ("features of", f"{as_text(origin.encoder)}, weights {origin.weights_hash[:12]}"),
        ("method", f"DINO on crops of {large}×{large} and {small}×{small} patches"),
        ("learned from", f"{len(source)} regions of {len(source.slides)} slides"),
        ("left out", f"{source.grids.without_tissue} regions without tissue"),
        ("recipe", f"{recipe8(recipe.get('settings', {}))}, in `recipe.json`"),
    )
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _slides(source: RegionSource) -> str:
    shown = "\n".join(f"- {as_text(slide)}" for slide in source.slides[:_SLIDES_SHOWN])
    more = len(source.slides) - _SLIDES_SHOWN
    rest = f"\n- and {more} more, all in `region.json`" if more > 0 else ""
    return (
        "## Slides\n\nThese must neither tune nor test what is built on it; `hvit train` refuses "
        f"it.\n\n{shown}{rest}"
    )


def _numbers(records: Sequence[Mapping[str, object]]) -> str:
    if not records:
        return ""
    first, last = records[0], records[-1]
    rows = [f"| {name} | {_cell(first.get(name))} | {_cell(last[name])} |" for name in last]
    head = f"The first and the last of {len(records)} epochs; all are in `metrics.csv`."
    table = "\n".join(["| | first | last |", "|---|---|---|", *rows])
    return f"## While it trained\n\n{head}\n\n{table}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_CLAIMS = """\
## What must not be claimed

- That its embeddings mean anything clinically. No pathologist judged them.
- That starting from it makes better grades: measure them, on slides that trained neither it,
  nor the patch encoder, nor the aggregator.
- That it serves features of any other encoder. `hvit train` refuses them."""

_USE = """\
## Use

    hvit train FEATURES LABELS --region-checkpoint FOLDER
    hvit train FEATURES LABELS --region-checkpoint FOLDER --freeze region
"""
