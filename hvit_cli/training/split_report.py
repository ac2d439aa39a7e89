"""What a division of slides is like: sizes, balance, groups in two parts, doubtful rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hvit_cli.training.gleason import isup_of_text
from hvit_cli.training.groups import members_of, mixing, over_inclusive, straddling
from hvit_cli.training.labels import GLEASON_HEADINGS, LabelTable
from hvit_cli.training.problems import Problem, problem


@dataclass(frozen=True, kw_only=True)
class PartCounts:
    """How many slides one part holds, in all and per value of a column.

    Attributes:
        name: The fold's number, or a test set's or table's name.
        slides: Slides in all.
        groups: Groups of two and more slides that touch it.
        counts: Slides by value, by column; the label is one of the columns.
    """

    name: str
    slides: int
    groups: int
    counts: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """What a division of slides is like.

    Attributes:
        slides: Slides in all.
        groups: Groups of two and more slides.
        largest_group: Slides of the largest group, 0 without groups.
        parts: Each fold, test set or table.
        label_deviation: Largest relative deviation of a grade's share in a drawn part from its
            share in all drawn parts; None where nothing was drawn or a part is empty.
        share_deviation: Largest difference, in percentage points, of a value's share in a drawn
            part from its share in all drawn parts, by column.
        straddling: Groups with slides in more than one part, with the parts they touch.
        straddling_slides: Slides that have company of their group in another part.
        repeated: Slides that are in more than one part.
        doubts: Rows and groups that somebody should look at; none of them stops anything.
    """

    slides: int
    groups: int
    largest_group: int
    parts: Sequence[PartCounts]
    label_deviation: float | None
    share_deviation: Mapping[str, float]
    straddling: Mapping[str, Sequence[str]]
    straddling_slides: int
    repeated: Sequence[str]
    doubts: Sequence[str]


def report(
    part_of: Mapping[str, str],
    labels: Mapping[str, int],
    columns: Mapping[str, Mapping[str, str]],
    group_of: Mapping[str, str],
    *,
    drawn: Sequence[str] | None = None,
    repeated: Sequence[str] = (),
    doubts: Sequence[Problem] = (),
) -> SplitReport:
    """Describes a division.

    Args:
        part_of: Part by slide id.
        labels: Grade by slide id, as far as known.
        columns: Further columns to count: value by slide id, by heading.
        group_of: Group by slide id.
        drawn: The parts whose balance is measured; None for all.
        repeated: Slides that are in more than one part.
        doubts: Doubts to report beside those about groups.
    """
    values: dict[str, Mapping[str, str]] = {"label": {i: str(g) for i, g in labels.items()}}
    values |= columns
    names = list(dict.fromkeys(part_of.values()))
    balanced = names if drawn is None else [name for name in names if name in drawn]
    deviations = {
        column: _deviations(part_of, of_slide, balanced) for column, of_slide in values.items()
    }
    touched = straddling(group_of, part_of)
    here = {i: group for i, group in group_of.items() if i in part_of}
    sizes = Counter(here.values())
    groups = over_inclusive(here, columns, len(part_of)) + _mixed_labels(here, labels)
    return SplitReport(
        slides=len(part_of),
        groups=sum(size > 1 for size in sizes.values()),
        largest_group=max(sizes.values(), default=0),
        parts=[_part(name, part_of, values, here) for name in names],
        label_deviation=deviations["label"][0],
        share_deviation={column: points for column, (_, points) in deviations.items()},
        straddling=touched,
        straddling_slides=sum(group_of.get(i) in touched for i in part_of),
        repeated=repeated,
        doubts=[str(doubt) for doubt in [*doubts, *groups]],
    )


def inconsistent_rows(table: LabelTable, gleason_column: str | None = None) -> list[Problem]:
    """Rows whose Gleason score is another ISUP grade than their label, or no score at all.

    Args:
        table: Labels that are ISUP grades.
        gleason_column: Heading of the scores; None looks for a usual one, and where there is
            none nothing can be compared.
    """
    first = next(iter(table.rows.values()), {})
    asked = GLEASON_HEADINGS if gleason_column is None else (gleason_column.casefold(),)
    found = [name for name in first if name.casefold() in asked]
    if len(found) != 1 or found[0] == table.label_column:
        return []
    contrary, unreadable = [], []
    for slide_id, label in table.labels.items():
        text = table.rows[slide_id][found[0]]
        isup = isup_of_text(text)
        if text and isup is None:
            unreadable.append(f"{slide_id} has {text!r}")
        elif text and isup != label:
            contrary.append(f"{slide_id} has {text} and {label}")
    return [
        *problem(f"rows whose {found[0]} contradicts the label", contrary),
        *problem(f"rows whose {found[0]} is no Gleason score", unreadable),
    ]


def mixed_cases(case_of: Mapping[str, str], labels: Mapping[str, int]) -> list[Problem]:
    """Cases whose slides have different labels, although a case has one."""
    return problem("cases whose slides have different labels", mixing(case_of, labels))


def rare_labels(
    labels: Mapping[str, int], group_of: Mapping[str, str], parts: int
) -> list[Problem]:
    """Grades that cannot be in every part, being in fewer groups than there are parts."""
    units: dict[int, set[str]] = {}
    for slide_id, label in labels.items():
        units.setdefault(label, set()).add(group_of.get(slide_id, f"slide {slide_id}"))
    return problem(
        f"grades that cannot be in each of {parts} parts",
        [
            f"{label} in {len(found)}"
            for label, found in sorted(units.items())
            if len(found) < parts
        ],
    )


def _mixed_labels(group_of: Mapping[str, str], labels: Mapping[str, int]) -> list[Problem]:
    return problem("groups whose slides have different labels", mixing(group_of, labels))


def _part(
    name: str,
    part_of: Mapping[str, str],
    values: Mapping[str, Mapping[str, str]],
    group_of: Mapping[str, str],
) -> PartCounts:
    slides = [i for i, part in part_of.items() if part == name]
    counts = {
        column: dict(sorted(Counter(of[i] for i in slides if i in of).items()))
        for column, of in values.items()
    }
    members = members_of({i: group_of[i] for i in slides if i in group_of})
    return PartCounts(name=name, slides=len(slides), groups=len(members), counts=counts)


def _deviations(
    part_of: Mapping[str, str], values: Mapping[str, str], parts: Sequence[str]
) -> tuple[float | None, float]:
    """The largest relative deviation of a share, and the largest in percentage points."""
    counts: dict[str, Counter[str]] = {part: Counter() for part in parts}
    for slide_id, part in part_of.items():
        if part in counts and slide_id in values:
            counts[part][values[slide_id]] += 1
    whole = sum(counts.values(), Counter[str]())
    if not whole or not all(counts.values()):
        return None, 0.0
    total = whole.total()
    shares = [
        (count[value] / count.total(), whole[value] / total)
        for count in counts.values()
        for value in whole
    ]
    relative = max(abs(here / overall - 1) for here, overall in shares)
    return relative, 100 * max(abs(here - overall) for here, overall in shares)
