"""One slide's scene for the viewer: graded, mapped on every scale, told in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np

from hvit_cli.heatmaps.captions import colour_label
from hvit_cli.heatmaps.maps import PatchMap, rescale
from hvit_cli.heatmaps.render import colour_range, colour_table
from hvit_cli.settings import GRADE_MAPS, Attention, HeatmapSettings, Scale
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.explain import explain_slide
from hvit_cli.steps.grade import Grader
from hvit_cli.steps.paint import as_sentence, in_words, verdict_of
from hvit_cli.steps.prepare import Prepared
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import TissueMask, read_mask
from hvit_cli.viewer.scene import Layer, Said, Scene, Shade

# Kinds of maps of which there are several.
_SEVERAL = ("attention", "contribution")
_NOTHING = {
    "no_tissue": "No tissue was found: nothing was graded.",
    "empty_mask": "The tissue mask is empty: nothing was graded.",
    "no_region": "No region holds enough tissue: nothing was graded.",
}


def make_scene(
    entry: SlideEntry,
    slide: Slide,
    prepared: Prepared,
    graders: Sequence[Grader],
    shown: Sequence[HeatmapSettings],
    work: WorkFolder,
) -> Scene:
    """Grades a slide with every kind of attention, and puts together what the page shows.

    Args:
        entry: The slide's entry.
        slide: The slide, open.
        prepared: Its features, or why there are none.
        graders: One for each kind of attention, the one shown first in front.
        shown: What each map shows and in which colours; their scales are not asked.
        work: Where the tissue mask lies.

    Raises:
        ModelError: The features do not fit a model.
    """
    features, folder = prepared.features, graders[0].model.folder
    mask_file = work.mask(entry.slide_id)
    mask = read_mask(mask_file)[0] if mask_file.exists() else None
    scene = Scene(
        slide_id=entry.slide_id,
        size_level0=slide.geometry.size_level0,
        spacing_um_level0=slide.geometry.spacing_um,
        model=folder.name,
        watermark=folder.watermark,
        said=(),
        layers=(),
        remarks=remarks_of(prepared, mask),
        opacity=shown[0].opacity,
        mask=None if mask is None else mask.pixels,
        region_box_level0=np.zeros((0, 4)),
    )
    if features is None:
        return scene
    layers = []
    for settings in shown:
        raw = {g.model.attention: _patch_map(g, features, settings) for g in graders}
        layers += _layers(raw, settings, folder.aggregator.region_heads)
    verdicts = [verdict_of(grader.model, grader.grade(features)) for grader in graders]
    return replace(
        scene,
        said=tuple(
            Said(
                attention=verdict.attention,
                grade=in_words(verdict).partition(" · ")[0],
                score=in_words(verdict).partition(" · ")[2],
                note=as_sentence(verdict.note) if verdict.note else "",
            )
            for verdict in verdicts
        ),
        layers=tuple(layers),
        region_box_level0=_region_boxes(features),
    )


def _patch_map(grader: Grader, features: SlideFeatures, settings: HeatmapSettings) -> PatchMap:
    one = explain_slide(grader, features, settings)
    if not isinstance(one, PatchMap):
        raise ValueError(f"level {settings.level} has no value for each patch")
    return one


def _layers(
    raw: Mapping[Attention, PatchMap], settings: HeatmapSettings, heads: int
) -> list[Layer]:
    """One map for each kind of attention, with the same colours for the same values."""
    scales = sorted(_scales(settings), key=lambda scale: scale != settings.shown_scale)
    shades: dict[Attention, dict[Scale, Shade]] = {attention: {} for attention in raw}
    for scale in scales:
        scaled = {attention: rescale(one, scale) for attention, one in raw.items()}
        limits = colour_range(scale, list(scaled.values()))
        label = colour_label(replace(settings, scale=scale), heads)
        for attention, one in scaled.items():
            shades[attention][scale] = Shade(patch_map=one, label=label, limits=limits)
    of = settings.unit if settings.map == "contribution" else settings.level
    return [
        Layer(
            key=f"{attention}-{settings.map}-{of.replace('×', '-')}",
            attention=attention,
            name=f"{settings.map} · {of}" if settings.map in _SEVERAL else settings.map,
            about=_about(raw[attention]),
            table=colour_table(settings.shown_colour_map),
            shades=shades[attention],
        )
        for attention in raw
    ]


def _scales(settings: HeatmapSettings) -> tuple[Scale, ...]:
    if settings.signed:
        return ("raw",)
    every: tuple[Scale, ...] = get_args(Scale)
    return tuple(s for s in every if s != "relative" or settings.map not in GRADE_MAPS)


def _about(one: PatchMap) -> str:
    seen = (
        "Masked: patches without tissue were hidden from the model and have no colour."
        if one.attention == "masked"
        else "Plain: the model saw every patch of its regions, glass included."
    )
    if one.signed:
        return f"{seen} Above 0 it raises the score, below 0 it lowers it."
    if one.quantity in GRADE_MAPS:
        return seen
    return f"{seen} It shows where attention went, not why a grade was given."


def remarks_of(prepared: Prepared, mask: TissueMask | None) -> tuple[str, ...]:
    """Sentences on a slide: why nothing was graded, which comes first, or what was left out."""
    said = []
    if prepared.features is None:
        said.append(_NOTHING.get(prepared.status, f"Nothing was graded: {prepared.remark}."))
    elif prepared.features.tissue_dropped_mm2 > 0:
        dropped = prepared.features.tissue_dropped_mm2
        area = f"{dropped:.2f}" if dropped >= 0.005 else "Less than 0.01"
        said.append(
            f"{area} of "
            f"{prepared.features.tissue_mm2:.2f} mm² of tissue lie outside the regions and were "
            "not looked at."
        )
    if mask is not None and mask.note:
        said.append(as_sentence(mask.note))
    return tuple(said)


def _region_boxes(features: SlideFeatures) -> np.ndarray:
    low = features.region_xy_level0.astype(np.float64)
    return np.concatenate([low, low + features.region_level0], axis=1)
