"""Reports of a toy model on slides with the worst names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hvit_cli.report.facts import (
    CohortReport,
    CohortSlide,
    ColourScale,
    Explained,
    MapShown,
    Measure,
    PatchSheet,
    PatchShown,
    Said,
    SlideReport,
)
from hvit_cli.report.methods import MethodFacts
from hvit_cli.report.pictures import Picture, picture_of
from hvit_cli.settings import AggregatorSettings

NASTY = "<script>alert('x')</script> & \"quoted\""


def toy_picture(alt: str = "a picture", seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    return picture_of(pixels, alt)


def toy_said(score: float, attention: str = "masked", members: int = 1) -> Said:
    spread = np.linspace(-0.3, 0.3, members) if members > 1 else [0.0]
    return Said(
        attention=attention,  # type: ignore[arg-type]
        grade=int(np.clip(np.rint(score), 0, 5)),
        score=score,
        member_scores=[(k, score + s) for k, s in enumerate(spread)],
    )


SCALE = ColourScale(
    label="attention (1 = uniform)",
    colours=("#440154", "#21908d", "#fde725"),
    limits=(0.0, 3.0),
    clipped=(False, True),
)


@pytest.fixture
def slide_report() -> Callable[..., SlideReport]:
    def make(**changes: Any) -> SlideReport:
        patch = PatchShown(
            picture=toy_picture("a patch", 4),
            value=2.5,
            xy_level0=(1234, 5678),
            tissue_fraction=0.87,
            region=3,
        )
        given: dict[str, Any] = {
            "slide_id": NASTY,
            "said": [toy_said(3.2, members=5), toy_said(2.4, "plain", members=5)],
            "grades": 6,
            "grade_name": "ISUP grade",
            "nothing": "",
            "warnings": [f"A warning on {NASTY}."],
            "overview": toy_picture(f"overview of {NASTY}"),
            "overview_keys": ["tissue", "region", "dropped"],
            "facts": [("Model", f"toy {NASTY}"), ("Size", "10 × 20 px"), ("Tissue", "1.00 mm²")],
            "explained": Explained(
                heading="Where the model looked",
                maps=[
                    MapShown(attention="plain", picture=toy_picture("plain", 1)),
                    MapShown(attention="masked", picture=toy_picture("masked", 2)),
                ],
                scale=SCALE,
                caption="What it shows.",
                sheets=[PatchSheet(attention="masked", highest=[patch], lowest=[patch])],
                measures=[Measure(name="Entropy", meaning="1 is uniform", value={"masked": "0.9"})],
            ),
            "methods": ["Slides were read."],
            "recipe": [("settings.embed.encoder", NASTY)],
        }
        return SlideReport(**{**given, **changes})

    return make


@pytest.fixture
def cohort_report() -> Callable[..., CohortReport]:
    def make(*, labelled: bool = True, **changes: Any) -> CohortReport:
        def slide(name: str, score: float | None, label: int, tissue: float | None) -> CohortSlide:
            return CohortSlide(
                slide_id=name,
                status="done" if score is not None else "no_tissue",
                said=[] if score is None else [toy_said(score), toy_said(score / 2, "plain")],
                label=label if labelled else None,
                tissue_mm2=tissue,
                dropped_mm2=0.0,
                numbers={"top patch %, masked": None if score is None else 10 - score},
                pictures=[("slide", toy_picture(name))],
                link=f"{len(name)}.html",
            )

        given: dict[str, Any] = {
            "title": NASTY,
            "model": "toy",
            "grades": 6,
            "grade_name": "ISUP grade",
            "slides": [
                slide("slide_10", 2.1, 2, 9.5),
                slide("slide_9", 0.4, 4, 11.25),
                slide(NASTY, 4.9, 4, 0.75),
                slide("glass", None, 1, None),
            ],
            "warnings": [],
            "heading": "Where the model looked",
            "scale": SCALE,
            "caption": "What they show.",
            "agreement": [("Quadratic weighted kappa", "0.5")] if labelled else [],
            "methods": ["Slides were read."],
            "recipe": [("settings.x", "1")],
        }
        return CohortReport(**{**given, **changes})

    return make


@pytest.fixture
def method_facts() -> MethodFacts:
    return MethodFacts(
        slides=1,
        spacing_um=0.5,
        spacing_tolerance=0.07,
        achieved_um=(0.486, 0.486),
        decoders=("libjpeg-turbo in simplejpeg 7.7",),
        tissue_source=("segmented",),
        tissue={
            "segment_spacing_um": 8.5,
            "median_um": 33.0,
            "saturation_floor": 0.051,
            "saturation_ceiling": 0.081,
            "closing_um": 129.0,
            "min_tissue_mm2": 0.021,
            "max_hole_mm2": 0.11,
        },
        region_px=1024,
        patch_px=128,
        grid="islands",
        min_tissue_fraction=0.13,
        background_below=0.0,
        encoder="vit_toy",
        encoder_hash="abcdef0123456789",
        precision="bfloat16",
        normalisation='{"mean": [0.5]}',
        aggregator=AggregatorSettings(
            patch_dim=77,
            region_px=1024,
            patch_px=128,
            region_dim=90,
            region_depth=5,
            region_heads=9,
            registers=4,
            slide_dim=44,
            slide_depth=3,
            slide_heads=4,
        ),
        model="five folds",
        members={"masked": 5, "plain": 1},
        trained={"masked": ("masked",) * 5, "plain": ("masked",)},
        notes=("a remark",),
        objective="regression",
        grades=6,
        map_caption="Attention from CLS.",
        versions={"hvit": "9.9", "PyTorch": "8.8"},
    )
