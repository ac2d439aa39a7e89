"""Who gets which grade, and which nuisances: the plans of a whole cohort of slides.

Grades are balanced. Everything else (tumour share, scanner, cores, folds, pen, stain) is
drawn from streams of its own and so independent of the grade; the one exception is the
**confounder**, whose correlation with the grade is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hvit_cli.demo.biopsy import BiopsyPlan, outline_of
from hvit_cli.demo.gleason import Pattern
from hvit_cli.demo.marks import PEN_COLOURS, dot_places
from hvit_cli.demo.outline import TRUTH_DOWNSAMPLE
from hvit_cli.demo.scanner import TRAINING_SCANNERS
from hvit_cli.errors import SettingsError

GRADES = 6
HIGH_GRADE = 3
"""Grades from here on are "high" for the confounder."""
TUMOUR_SHARE = (0.01, 0.80)

_SEEDS_PER_SLIDE = 64


@dataclass(frozen=True, kw_only=True)
class Confounder:
    """How the label dot on the glass goes with the grade.

    In `share` of the slides the dot stands on a high grade with probability
    (1 + correlation) / 2, on a low one with (1 - correlation) / 2; the others have none.
    With balanced grades `correlation` is the phi coefficient of dot and high grade there.
    """

    correlation: float = 0.0
    """From -1 to 1; 0 leaves the dot to chance."""
    share: float = 1.0
    """Share of the slides that can bear a dot at all."""

    def __post_init__(self) -> None:
        if not -1 <= self.correlation <= 1:
            raise SettingsError(
                "no such correlation", found=self.correlation, wanted="from -1 to 1"
            )
        if not 0 <= self.share <= 1:
            raise SettingsError("no such share", found=self.share, wanted="from 0 to 1")

    def dots(self, grades: Sequence[int], seed: int) -> list[bool]:
        """Which slides of these grades bear the dot."""
        rng = np.random.default_rng([seed, 7])
        able = rng.random(len(grades)) < self.share
        sign = np.where(np.asarray(grades) >= HIGH_GRADE, 1.0, -1.0)
        bears = rng.random(len(grades)) < (1 + sign * self.correlation) / 2
        return [bool(dot) for dot in able & bears]


@dataclass(frozen=True, kw_only=True)
class CohortPlan:
    """What decides a cohort."""

    name: str
    """Prefix of the slides' names."""
    slides: int
    seed: int
    scanners: tuple[str, ...] = TRAINING_SCANNERS
    """Used equally often in every grade."""
    confounder: Confounder | None = None
    """None draws no dot at all."""


def plan_cohort(cohort: CohortPlan) -> Iterator[tuple[BiopsyPlan, int]]:
    """Yields the plan of each slide and the grade that it was planned for.

    Two cohorts that differ only in the confounder show the same tissue.
    """
    grades = [index % GRADES for index in range(cohort.slides)]
    confounder = cohort.confounder
    dots = [False] * len(grades) if confounder is None else confounder.dots(grades, cohort.seed)
    for index, (grade, dot) in enumerate(zip(grades, dots, strict=True)):
        yield _plan(cohort, index, grade, dot), grade


def _plan(cohort: CohortPlan, index: int, grade: int, dot: bool) -> BiopsyPlan:
    pattern_rng = np.random.default_rng([cohort.seed, index, 0])
    rng = np.random.default_rng([cohort.seed, index, 1])
    low, high = np.log(TUMOUR_SHARE)
    plan = BiopsyPlan(
        slide_id=f"{cohort.name}_{index:04d}",
        seed=0,
        scanner=cohort.scanners[(index // GRADES) % len(cohort.scanners)],
        tumour_share=float(np.exp(rng.uniform(low, high))) if grade else 0.0,
        mix=pattern_mix(pattern_rng, grade),
        foci=int(rng.integers(1, 3)),
        cores=int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])),
        tissue_length_um=float(rng.uniform(1900, 3100)),
        upright=bool(rng.random() < 0.4),
        folds=int(rng.random() < 0.25),
        pen=str(rng.choice(list(PEN_COLOURS))) if rng.random() < 0.3 else None,
        dot=dot,
    )
    # Every slide must have room for a dot, whether it bears one or not; otherwise the layout
    # would tell which slides could have borne it.
    for seed in range(_SEEDS_PER_SLIDE):
        tried = replace(plan, seed=(cohort.seed * 100_000 + index) * _SEEDS_PER_SLIDE + seed)
        outline = outline_of(tried)
        if dot_places(outline.coarse_mask(), TRUTH_DOWNSAMPLE, outline.spacing_um).any():
            return tried
    raise SettingsError("no layout has room for a label dot", where=plan.slide_id)


def pattern_mix(rng: np.random.Generator, grade: int) -> dict[Pattern, float]:
    """Shares of the tumour by pattern that make this grade, in random order of growth."""
    three, four, five = Pattern.GLEASON_3, Pattern.GLEASON_4, Pattern.GLEASON_5
    less = float(rng.uniform(0.10, 0.44))
    more = 1 - less
    choices: dict[int, list[dict[Pattern, float]]] = {
        0: [{}],
        1: [{three: 1.0}],
        2: [{three: more, four: less}],
        3: [{four: more, three: less}],
        4: [{four: 1.0}, {four: 1.0}, {three: more, five: less}, {five: more, three: less}],
        5: [{four: more, five: less}, {five: more, four: less}, {five: 1.0}],
    }
    mix = choices[grade][int(rng.integers(len(choices[grade])))]
    order = rng.permutation(len(mix))
    patterns = list(mix)
    return {patterns[i]: mix[patterns[i]] for i in order}
