"""The measures of maps as a page in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hvit_cli.measures.records import MEASURES, MapMeasures, MapRow
from hvit_cli.measures.summary import MeanOverSlides, RowSummary
from hvit_cli.settings import MeasureSettings
from hvit_cli.storage.markdown import table

HEADINGS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "background_mass": "background mass",
    "gain": "relevance gain",
    "entropy": "entropy",
    "top_share": "largest share",
    "grid_shift": "shifted grid",
    "stain": "other stain",
}
_DIGITS = 3


def page(
    summary: Sequence[RowSummary], records: Sequence[MapMeasures], settings: MeasureSettings
) -> str:
    """Means with their intervals, differences from plain, and what the numbers mean."""
    shown = [name for name in MEASURES if any(one.measures[name].slides for one in summary)]
    against = [one for one in summary if one.against_plain]
    return "\n".join(
        [
            "# Measures of maps",
            "",
            *table(
                ["map", *(HEADINGS[name] for name in shown)],
                ([name_of(one.row), *(cell(one.measures[n]) for n in shown)] for one in summary),
            ),
            "",
            *(f"- {line}" for line in notes(summary, records, settings)),
            "",
            "## Less the same map of plain attention, on the same slides",
            "",
            *table(
                ["map", *(HEADINGS[name] for name in shown)],
                (
                    [name_of(one.row), *(cell(one.against_plain[n]) for n in shown)]
                    for one in against
                ),
            ),
            "",
        ]
    )


def name_of(row: MapRow) -> str:
    """A row in words, such as "demo: plain, run masked: rollout"."""
    run = row.trained if row.trained == row.run else f"{row.trained}, run {row.run}"
    glass = ", glass hidden" if row.glass == "hidden" else ""
    weights = ", fresh weights" if row.weights == "fresh" else ""
    return f"{row.model}: {run}{glass}{weights}: {row.map}"


def cell(measured: MeanOverSlides) -> str:
    """A mean with its interval."""
    mean = measured.mean
    if mean.value is None:
        return "–"
    text = f"{mean.value:.{_DIGITS}f}"
    if mean.low is None or mean.high is None:
        return text
    return f"{text} ({mean.low:.{_DIGITS}f} to {mean.high:.{_DIGITS}f})"


def notes(
    summary: Sequence[RowSummary], records: Sequence[MapMeasures], settings: MeasureSettings
) -> list[str]:
    """How many slides and patches each measure rests on."""
    slides = len({record.slide_id for record in records})
    found = [
        f"{slides} slides; means over the slides on which a measure is defined"
        + (
            f", 95 % percentile intervals of {settings.draws} draws of slides."
            if settings.draws
            else "."
        )
    ]
    judged = {r.slide_id: r for r in records if r.auroc is not None}
    if judged:
        positives = sum(r.positives for r in judged.values())
        negatives = sum(r.negatives for r in judged.values())
        prevalence = np.mean([r.positives / (r.positives + r.negatives) for r in judged.values()])
        found.append(
            f"Localisation: tissue patches of the {len(judged)} slides that have both, "
            f"{positives} with tumour (at least half of the labelled tissue) and {negatives} "
            f"without any; mean prevalence {prevalence:.3f}, which is the average precision of a "
            "map that knows nothing."
        )
    if any(one.measures["gain"].slides for one in summary):
        found.append(
            f"Relevance gain: patches hidden in {settings.steps} steps, highest first and lowest "
            "first; area between the two curves of the unrounded score, in grade points. Each "
            "map flips its own model."
        )
    shifted = max((one.measures["grid_shift"].slides for one in summary), default=0)
    if shifted:
        found.append(
            f"Rank correlations with the map on a grid shifted by half a patch and in another "
            f"stain: {shifted} slides."
        )
    found.append(
        "Background mass: 1 is as much as any patch. 0 under masked attention by construction, "
        "which is a check and no evidence."
    )
    return found
