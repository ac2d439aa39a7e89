"""What a report says, as plain values: filled by whoever has slides and models, drawn here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hvit_cli.report.pictures import Picture
from hvit_cli.settings import Attention

Pairs = Sequence[tuple[str, str]]
"""Names with what they are, in the order in which they are told."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a model said with one kind of attention.

    Attributes:
        attention: How it looked.
        grade: The rounded score, kept within the classes.
        score: The regressed number, not clipped.
        member_scores: The score of each member; the fold that was its tuning set, or nothing,
            beside it.
        note: What must be said beside the grade.
    """

    attention: Attention
    grade: int
    score: float
    member_scores: Sequence[tuple[int | None, float]]
    note: str = ""

    @property
    def score_sd(self) -> float | None:
        """Standard deviation over the members (ddof 1); None for a single one."""
        scores = [score for _, score in self.member_scores]
        if len(scores) < 2:
            return None
        mean = sum(scores) / len(scores)
        return float((sum((s - mean) ** 2 for s in scores) / (len(scores) - 1)) ** 0.5)


@dataclass(frozen=True, kw_only=True)
class ColourScale:
    """What colours mean.

    Attributes:
        label: What the values are.
        colours: As #rrggbb, evenly spaced, lowest value first.
        limits: Values at both ends.
        clipped: Whether values lie below the lower end, and above the upper one.
    """

    label: str
    colours: Sequence[str]
    limits: tuple[float, float]
    clipped: tuple[bool, bool]


@dataclass(frozen=True, kw_only=True)
class MapShown:
    """One map over the slide.

    Attributes:
        attention: How the model looked.
        picture: The slide under the colours.
    """

    attention: Attention
    picture: Picture


@dataclass(frozen=True, kw_only=True)
class PatchShown:
    """One patch of a sheet.

    Attributes:
        picture: Its pixels.
        value: On the scale of the map.
        xy_level0: Its top-left corner.
        tissue_fraction: Its share of tissue.
        region: Its region, 0 first.
    """

    picture: Picture
    value: float
    xy_level0: tuple[int, int]
    tissue_fraction: float
    region: int


@dataclass(frozen=True, kw_only=True)
class PatchSheet:
    """The foremost and the last patches of a map.

    Attributes:
        attention: How the model looked.
        highest: Highest value first.
        lowest: Lowest value first.
    """

    attention: Attention
    highest: Sequence[PatchShown]
    lowest: Sequence[PatchShown]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number about the maps.

    Attributes:
        name: What it is called.
        meaning: How to read it.
        value: In words, by attention.
    """

    name: str
    meaning: str
    value: Mapping[Attention, str]


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The maps of one slide.

    Attributes:
        heading: What they show, in a few words.
        maps: One for each kind of attention, in the order in which they are shown.
        scale: The colours that they share.
        caption: What the reader must know of them.
        sheets: Foremost and last patches.
        measures: Numbers about the maps.
    """

    heading: str
    maps: Sequence[MapShown]
    scale: ColourScale
    caption: str
    sheets: Sequence[PatchSheet]
    measures: Sequence[Measure]


@dataclass(frozen=True, kw_only=True)
class SlideReport:
    """Everything that the report on one slide says.

    Attributes:
        slide_id: The slide.
        said: One for each kind of attention, the one that counts first; none without a grade.
        grades: Number of classes.
        grade_name: What a grade is called.
        nothing: Why there is no grade, or "".
        warnings: Sentences that must be seen first.
        overview: The slide with its tissue and regions; None where it cannot be read.
        overview_keys: Which marks the overview has: tissue, region, dropped.
        facts: Numbers about slide, tissue and regions.
        explained: The maps; None without a grade.
        methods: The paragraphs on what was done.
        recipe: Everything that decided the result.
        label: What is true, where it is known.
    """

    slide_id: str
    said: Sequence[Said]
    grades: int
    grade_name: str
    nothing: str
    warnings: Sequence[str]
    overview: Picture | None
    overview_keys: Sequence[str]
    facts: Pairs
    explained: Explained | None
    methods: Sequence[str]
    recipe: Pairs
    label: int | None = None


@dataclass(frozen=True, kw_only=True)
class CohortSlide:
    """One slide of a cohort.

    Attributes:
        slide_id: The slide.
        status: done, failed, or why there is no grade.
        reason: More on that, or "".
        said: One for each kind of attention, the one that counts first; none without a grade.
        label: What is true, where it is known.
        tissue_mm2: Tissue found.
        dropped_mm2: Tissue in no region.
        numbers: Further numbers, by the heading of their column.
        pictures: Small ones: overview and maps.
        scale: The colours of its maps, where they are not those of all slides.
        link: Address of the slide's own report beside this page, or "".
    """

    slide_id: str
    status: str
    reason: str = ""
    said: Sequence[Said] = ()
    label: int | None = None
    tissue_mm2: float | None = None
    dropped_mm2: float | None = None
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    pictures: Sequence[tuple[str, Picture]] = ()
    scale: ColourScale | None = None
    link: str = ""

    @property
    def error(self) -> float | None:
        """Score less label; None where one of them is not known."""
        if not self.said or self.label is None:
            return None
        return self.said[0].score - self.label


@dataclass(frozen=True, kw_only=True)
class CohortReport:
    """Everything that the report on a cohort says.

    Attributes:
        title: What it is about.
        model: The model's name.
        grades: Number of classes.
        grade_name: What a grade is called.
        slides: In the order of the run.
        warnings: Sentences that must be seen first.
        heading: What the maps show, in a few words.
        scale: The colours that all maps share; None where each slide has its own.
        caption: What the reader must know of the maps.
        agreement: Numbers that compare grades with labels, in words; empty without labels.
        methods: The paragraphs on what was done.
        recipe: Everything that decided the results and is the same for all slides.
    """

    title: str
    model: str
    grades: int
    grade_name: str
    slides: Sequence[CohortSlide]
    warnings: Sequence[str]
    heading: str
    scale: ColourScale | None
    caption: str
    agreement: Pairs
    methods: Sequence[str]
    recipe: Pairs
