"""Several slides of one case: graded as one bag of regions, or by the worst of its slides.

No region of a slide knows of another slide's, so that a case is a slide with more regions: the
region Transformer sees each region as before, and the slide Transformer all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from hvit_cli.errors import ManifestError, ModelError, UsageError
from hvit_cli.settings import Attention
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.grade import Grader
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.tables import read_table

CaseRule = Literal["bag", "max"]


class SlideGrade(Protocol):
    """What was said about one slide of a case."""

    @property
    def score(self) -> float | None:
        """The regressed number; None where the slide has none."""

    @property
    def grade(self) -> int | None:
        """The rounded score."""

    @property
    def score_sd(self) -> float | None:
        """Standard deviation over the model's members."""


@dataclass(frozen=True, kw_only=True)
class CasePrediction:
    """One row of the table of cases.

    Attributes:
        case_id: The case; a slide without one is a case of its own.
        grade: ISUP grade, 0-5; None where no slide of the case has one.
        score: Of all regions of all slides together (bag), or the highest of a slide (max).
        score_sd: Standard deviation over the model's members (ddof 1), where there are several.
        rule: bag or max.
        slides: Slides of the case in this run.
        graded: Those that have a grade.
        attention: masked or plain, as it ran.
        model: The model's name.
        note: What must be said beside the grade.
    """

    case_id: str
    grade: int | None
    score: float | None
    score_sd: float | None
    rule: CaseRule
    slides: int
    graded: int
    attention: Attention
    model: str
    note: str


def grade_cases(
    entries: Sequence[SlideEntry],
    graded: Mapping[str, SlideGrade],
    rule: CaseRule,
    grader: Grader,
    features_of: Callable[[SlideEntry], SlideFeatures | None],
) -> list[CasePrediction]:
    """Grades the cases of a run whose slides have been graded.

    Args:
        entries: All slides of the run.
        graded: What was said about each, by slide id.
        rule: How a case is graded.
        grader: The model.
        features_of: Reads a graded slide's features again; one case is held at a time.

    Returns:
        A row for each case, in the order of their names.

    Raises:
        ModelError: The slides of a case were embedded differently.
    """
    cases: dict[str, list[SlideEntry]] = {}
    for entry in entries:
        cases.setdefault(case_of(entry), []).append(entry)
    return [
        _case(case, slides, graded, rule, grader, features_of)
        for case, slides in sorted(cases.items())
    ]


def _case(
    case: str,
    slides: Sequence[SlideEntry],
    graded: Mapping[str, SlideGrade],
    rule: CaseRule,
    grader: Grader,
    features_of: Callable[[SlideEntry], SlideFeatures | None],
) -> CasePrediction:
    known = [
        (said.score, entry, said)
        for entry in slides
        if (said := graded[entry.slide_id]).score is not None
    ]
    score, grade, score_sd = None, None, None
    if known:
        score, _, worst = max(known, key=lambda one: one[0])
        grade, score_sd = worst.grade, worst.score_sd
    if rule == "bag" and len(known) > 1:
        parts = [features_of(entry) for _, entry, _ in known]
        grading = grader.grade(join_slides(case, [part for part in parts if part is not None]))
        score, grade = round(grading.score, 6), grading.grade
        score_sd = None if grading.score_sd is None else round(grading.score_sd, 6)
    lacking = len(slides) - len(known)
    remark = f"{lacking} of {len(slides)} slides have no grade" if lacking else ""
    return CasePrediction(
        case_id=case,
        grade=grade,
        score=score,
        score_sd=score_sd,
        rule=rule,
        slides=len(slides),
        graded=len(known),
        attention=grader.model.attention,
        model=grader.model.folder.name,
        note="; ".join(text for text in (grader.model.note, remark) if text),
    )


def with_cases(entries: Sequence[SlideEntry], table: Path | None) -> list[SlideEntry]:
    """The slides with the cases that a table says, and those they have already.

    Raises:
        ManifestError: The table has no columns slide_id and case_id.
        UsageError: No slide belongs to a case.
    """
    named: dict[str, str] = {}
    if table is not None:
        heading, rows = read_table(table)
        names = [name for name in ("slide_id", "image_id") if name in heading]
        if not names or "case_id" not in heading:
            raise ManifestError(
                "the table does not say the cases of slides",
                where=table,
                found="the columns " + ", ".join(heading),
                wanted="slide_id and case_id",
            )
        named = {row[names[0]]: row["case_id"] for row in rows if row["case_id"]}
    known = [replace(e, case_id=named.get(e.slide_id, e.case_id)) for e in entries]
    if not any(entry.case_id for entry in known):
        raise UsageError(
            "no slide belongs to a case",
            where="--cases",
            wanted="a column case_id in the manifest",
            hint="--case-table with the columns slide_id and case_id",
        )
    return known


def case_of(entry: SlideEntry) -> str:
    """The case of a slide; a slide without one is a case of its own."""
    return entry.case_id or entry.slide_id


def join_slides(case_id: str, slides: Sequence[SlideFeatures]) -> SlideFeatures:
    """The slides of a case as one slide with the regions of all, in the order given.

    Coordinates stay those of each slide; nothing in the model depends on them.

    Raises:
        ModelError: The slides were embedded differently.
    """
    first = slides[0]
    fields = (
        "encoder_hash",
        "normalisation",
        "mask_level",
        "token_px",
        "patches",
        "patches_per_region",
        "background_below",
    )
    differing = [name for name in fields if len({getattr(slide, name) for slide in slides}) > 1]
    if differing:
        raise ModelError(
            "slides of one case were embedded differently",
            where=case_id,
            found=", ".join(differing),
        )
    bits = [slide.token_bits for slide in slides if slide.token_bits is not None]
    offsets = np.cumsum([0, *(slide.n_regions for slide in slides)])[:-1]
    return replace(
        first,
        slide_id=case_id,
        features=np.concatenate([slide.features for slide in slides]),
        coords=np.concatenate([slide.coords for slide in slides]),
        region_index=np.concatenate(
            [slide.region_index + offset for slide, offset in zip(slides, offsets, strict=True)]
        ),
        patch_index=np.concatenate([slide.patch_index for slide in slides]),
        tissue_fraction=np.concatenate([slide.tissue_fraction for slide in slides]),
        region_xy_level0=np.concatenate([slide.region_xy_level0 for slide in slides]),
        region_tissue_fraction=np.concatenate([slide.region_tissue_fraction for slide in slides]),
        token_bits=np.concatenate(bits) if bits else None,
        tissue_mm2=sum(slide.tissue_mm2 for slide in slides),
        tissue_dropped_mm2=sum(slide.tissue_dropped_mm2 for slide in slides),
    )
