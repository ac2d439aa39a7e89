"""How much scores move when only the glass changes: over slides, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hvit_cli.measures.page import cell
from hvit_cli.measures.summary import MeanOverSlides, mean_over_slides
from hvit_cli.settings import Attention, GlassKind, StressSettings
from hvit_cli.storage.markdown import as_text, table

GLASS = {
    "white": "white",
    "other": "another slide's glass",
    "ink": "ink stroke",
    "dust": "dust",
    "edge": "coverslip edge",
}


@dataclass(frozen=True, kw_only=True)
class StressRow:
    """One slide on one kind of glass, graded with one kind of attention.

    Attributes:
        slide_id: The slide.
        model: The model's name.
        attention: How it looked.
        glass: What the glass became.
        edges: Whether glass inside patches with tissue changed too.
        score: Unrounded score of the slide as it is.
        stressed_score: Unrounded score on the other glass.
        grade: Grade of the slide as it is.
        stressed_grade: Grade on the other glass.
        glass_patches: Patches without tissue in the slide's regions.
        tissue_patches: The others.
        glass_changed: Patches without tissue whose pixels changed.
        tissue_changed: Patches with tissue whose pixels changed.
        note: What must be said beside the grade.
    """

    slide_id: str
    model: str
    attention: Attention
    glass: GlassKind
    edges: bool
    score: float
    stressed_score: float
    grade: int
    stressed_grade: int
    glass_patches: int
    tissue_patches: int
    glass_changed: int
    tissue_changed: int
    note: str = ""

    @property
    def change(self) -> float:
        """Score on the other glass less the score of the slide as it is."""
        return self.stressed_score - self.score


@dataclass(frozen=True, kw_only=True)
class StressSummary:
    """One kind of glass and of attention over all slides whose glass changed.

    Attributes:
        attention: How the model looked.
        glass: What the glass became.
        change: Mean magnitude of the change of the score.
        largest: Largest magnitude; None of no slide.
        other_grade: Share of slides with another grade.
    """

    attention: Attention
    glass: GlassKind
    change: MeanOverSlides
    largest: float | None
    other_grade: MeanOverSlides


def summarise_stress(rows: Sequence[StressRow], draws: int, seed: int) -> list[StressSummary]:
    """Means over the slides on which some patch changed, in the order of the rows.

    Args:
        rows: One for each slide, attention and glass.
        draws: Draws of the bootstrap over slides; 0 gives no intervals.
        seed: Their seed.
    """
    groups: dict[tuple[GlassKind, Attention], list[StressRow]] = {}
    for row in rows:
        groups.setdefault((row.glass, row.attention), []).append(row)
    found = []
    for (glass, attention), group in groups.items():
        concerned = [r for r in group if r.glass_changed + r.tissue_changed]
        change = np.array([abs(r.change) for r in concerned], np.float64)
        other = np.array([r.grade != r.stressed_grade for r in concerned], np.float64)
        found.append(
            StressSummary(
                attention=attention,
                glass=glass,
                change=mean_over_slides(change, draws, seed),
                largest=float(change.max()) if len(change) else None,
                other_grade=mean_over_slides(other, draws, seed),
            )
        )
    return found


def stress_page(rows: Sequence[StressRow], settings: StressSettings) -> str:
    """The result on one page, in Markdown."""
    summary = summarise_stress(rows, settings.draws, settings.seed)
    slides = {row.slide_id: row for row in rows}
    unmoved = [s for s in summary if s.attention == "masked" and s.largest == 0]
    masked = [s for s in summary if s.attention == "masked"]
    where = (
        "The glass of all patches changed, also of those that hold tissue; tissue pixels did not."
        if settings.edges
        else "Patches without tissue changed; patches that hold tissue stayed as they are, pixel "
        "for pixel, glass at the tissue's edge included."
    )
    interval = (
        f", with 95 % percentile intervals of {settings.draws} draws of slides"
        if settings.draws
        else ""
    )
    models = as_text(", ".join(sorted({row.model for row in rows})))
    verdict = []
    if masked and not settings.edges:
        verdict = [
            "Masked scores did not move at all."
            if len(unmoved) == len(masked)
            else "**Masked scores moved, which must not be: please report it.**",
            "",
        ]
    return "\n".join(
        [
            "# The same tissue on other glass",
            "",
            f"{len(slides)} slides, model {models}. {where} "
            "The tissue mask and the regions are those of the slide as it is.",
            "",
            *verdict,
            *table(
                [
                    "glass",
                    "attention",
                    "slides",
                    "mean change of the score",
                    "largest",
                    "share with another grade",
                ],
                (
                    [
                        GLASS[s.glass],
                        s.attention,
                        str(s.change.slides),
                        cell(s.change),
                        "–" if s.largest is None else f"{s.largest:.3f}",
                        cell(s.other_grade),
                    ]
                    for s in summary
                ),
            ),
            "",
            "Changes are magnitudes, in grade points, means over the slides whose pixels changed"
            f"{interval}.",
            "",
            "## Slide by slide",
            "",
            *table(
                ["slide", "glass", "attention", "score", "on the other glass", "grade", "patches"],
                (
                    [
                        row.slide_id,
                        GLASS[row.glass],
                        row.attention,
                        f"{row.score:.3f}",
                        f"{row.stressed_score:.3f}",
                        f"{row.grade}"
                        if row.grade == row.stressed_grade
                        else f"{row.grade} → {row.stressed_grade}",
                        f"{row.glass_changed} of {row.glass_patches} glass, "
                        f"{row.tissue_changed} of {row.tissue_patches} tissue",
                    ]
                    for row in rows
                ),
            ),
            "",
            *(f"Note: {as_text(note)}." for note in sorted({row.note for row in rows if row.note})),
            "",
            "Research software, not a medical device: not for diagnosis.",
            "",
        ]
    )
