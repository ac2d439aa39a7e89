"""The card of a pretrained encoder: what a person must know before using it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from torch import nn

from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.vit import VisionTransformer
from hvit_cli.storage.markdown import as_text
from hvit_cli.storage.recipe import Recipe

_SLIDES_SHOWN = 20


def encoder_card(
    spec: EncoderSpec,
    network: nn.Module,
    *,
    folder: str,
    recipe: Recipe,
    records: Sequence[Mapping[str, object]],
    notes: Sequence[str],
) -> str:
    """The card as Markdown.

    Args:
        spec: What is known about the encoder.
        network: The network, which is counted and described.
        folder: The name of its folder.
        recipe: What decided its weights; its settings are quoted.
        records: A row of numbers per epoch; the first and the last are shown.
        notes: Sentences to be told.
    """
    return "\n\n".join(
        part
        for part in (
            f"# Patch encoder {as_text(spec.name)}",
            "Research software, not a medical device: not for diagnosis.",
            _what_it_is(spec, network),
            _slides(spec.pretraining_slides),
            _settings(recipe),
            _numbers(records),
            "\n".join(["## To know", "", *(f"- {as_text(note)}" for note in notes)])
            if notes
            else "",
            _CLAIMS,
            _USE.format(folder=folder),
        )
        if part
    )


def _what_it_is(spec: EncoderSpec, network: nn.Module) -> str:
    if isinstance(network, VisionTransformer):
        s = network.shape
        kind = f"Vision Transformer, width {s.width}, depth {s.depth}, {s.heads} heads"
    else:
        kind = f"{getattr(network, 'pretrained_cfg', {}).get('architecture')} (timm)"
    parameters = sum(p.numel() for p in network.parameters())
    token = "" if spec.token_px is None else f", tokens of {spec.token_px} px"
    spacing = "not stated" if spec.spacing_um is None else f"{spec.spacing_um:g} µm per pixel"
    rows = (
        ("network", f"{kind}; {parameters / 1e6:.2f} million weights"),
        ("returns", f"{spec.width} numbers per patch"),
        ("trained on", f"images of {spec.input_px} px{token}"),
        ("spacing", spacing),
        ("normalisation", f"mean {_three(spec.mean)}, standard deviation {_three(spec.std)}"),
        ("method", spec.pretraining or "not stated"),
        ("licence of the weights", spec.licence or "not stated; ask whom the slides belong to"),
    )
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {as_text(value)} |" for name, value in rows)]
    )


def _slides(slides: Sequence[str]) -> str:
    shown = "\n".join(f"- {as_text(slide)}" for slide in slides[:_SLIDES_SHOWN])
    more = len(slides) - _SLIDES_SHOWN
    rest = f"\n- and {more} more, all in `encoder.json`" if more > 0 else ""
    return (
        "## Slides\n\n"
        f"Trained on {len(slides)} slides. They must neither tune nor test what is built on this "
        f"encoder; `hvit train` refuses it.\n\n{shown}{rest}"
    )


def _settings(recipe: Recipe) -> str:
    settings = json.dumps(recipe.get("settings", {}), indent=2, ensure_ascii=False)
    return (
        "## Settings\n\nWith the identity of what was read, in `recipe.json`:\n\n"
        f"```json\n{settings}\n```"
    )


def _numbers(records: Sequence[Mapping[str, object]]) -> str:
    if not records:
        return ""
    first, last = records[0], records[-1]
    rows = [f"| {name} | {_cell(first.get(name))} | {_cell(last[name])} |" for name in last]
    return "\n".join(
        [
            "## While it trained",
            "",
            f"The first and the last of {len(records)} epochs; all are in `metrics.csv`.",
            "",
            "| | first | last |",
            "|---|---|---|",
            *rows,
        ]
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _three(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


_CLAIMS = """\
## What must not be claimed

- That its features mean anything clinically. No pathologist judged them.
- That a lower loss or a better probe makes better grades: measure the grades, on slides that
  trained neither the encoder nor the aggregator.
- That it serves slides of other scanners, stains or organs than those it was trained on.
- Any number on slides that are listed above."""

_USE = """\
## Use

    hvit embed SLIDES --encoder {folder}
    hvit probe PATCHES.csv --encoder {folder} --baseline colour-histogram random
"""
