"""What the page of a cohort says: its slides together, and how far grades agree with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hvit_cli.report.facts import CohortReport, CohortSlide
from hvit_cli.report.methods import merged, paragraphs
from hvit_cli.settings import HeatmapSettings
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.paint import as_sentence
from hvit_cli.steps.report import Reported, grade_name, maps_heading
from hvit_cli.steps.report_methods import recipe_pairs
from hvit_cli.training.bootstrap import Interval
from hvit_cli.training.measures import Graded, Resampling, measure

COHORT = "cohort"
"""Name of the cohort's page where none is given."""


def cohort_report(
    rows: Sequence[CohortSlide],
    told: Sequence[Reported],
    models: Sequence[ChosenModel],
    maps: HeatmapSettings,
    page: Path,
) -> CohortReport:
    """What the page of a cohort says.

    Args:
        rows: Every slide, graded or not.
        told: What was found on those that could be looked at.
        models: One for each kind of attention, the one that counts first.
        maps: What the maps show.
        page: The page; its name is the title.
    """
    graded = [one for one in told if one.methods is not None]
    scales = [one.scale for one in graded if one.scale is not None]
    shared = scales and all(one.limits == scales[0].limits for one in scales)
    if not shared:
        own = {one.row.slide_id: one.scale for one in graded}
        rows = [replace(row, scale=own.get(row.slide_id)) for row in rows]
    clipped = tuple(any(one.clipped[end] for one in scales) for end in (0, 1))
    methods = merged([one.methods for one in graded if one.methods is not None])
    recipe = recipe_pairs({"settings": graded[0].settings} if graded else {}, models, maps)
    notes = [as_sentence(n) for n in dict.fromkeys(m.note for m in models if m.note)]
    lacking = sum(not row.said for row in rows)
    if lacking:
        notes.append(f"{lacking} of {len(rows)} slides have no grade: see their status.")
    unlooked = sum((row.dropped_mm2 or 0) > 0 for row in rows if row.said)
    if unlooked:
        notes.append(f"{unlooked} graded slides have tissue that was not looked at.")
    return CohortReport(
        title=page.stem if page.stem != COHORT else f"{len(rows)} slides",
        model=models[0].folder.name,
        grades=models[0].folder.task.grades,
        grade_name=grade_name(models[0]),
        slides=rows,
        warnings=notes,
        heading=maps_heading(maps),
        scale=replace(scales[0], clipped=(clipped[0], clipped[1])) if shared else None,
        caption=(graded[0].caption if graded else "")
        + ("" if shared or not graded else " The colours of each slide have a range of their own."),
        agreement=_agreement(rows, models[0]),
        methods=paragraphs(methods) if methods else ["Nothing was graded."],
        recipe=recipe,
    )


def _agreement(rows: Sequence[CohortSlide], model: ChosenModel) -> list[tuple[str, str]]:
    both = [row for row in rows if row.said and row.label is not None]
    if not both:
        return []
    found = measure(
        Graded(
            slide_ids=[row.slide_id for row in both],
            label=np.array([row.label for row in both], np.int64),
            grade=np.array([row.said[0].grade for row in both], np.int64),
            score=np.array([row.said[0].score for row in both], np.float64),
        ),
        Resampling(grades=model.folder.task.grades),
    )
    return [
        ("Slides with label and grade", f"{found.slides}"),
        ("Quadratic weighted kappa", _interval(found.kappa)),
        ("Grade equal to the label", _interval(found.accuracy)),
        ("At most one grade apart", _interval(found.within_one)),
        ("Mean distance of the score", _interval(found.mae)),
        ("Intervals", "95 % bootstrap over slides; groups are not known here: see hvit evaluate"),
    ]


def _interval(one: Interval) -> str:
    if one.value is None:
        return "undefined"
    if one.low is None or one.high is None:
        return f"{one.value:.3f}"
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
