"""Slides that belong together: one case, one patient, near-duplicates of one specimen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hvit_cli.errors import LabelError
from hvit_cli.training.labels import ID_HEADINGS, choose_heading, read_rows
from hvit_cli.training.problems import Problem, problem

GROUP_HEADINGS = ("group", "group_id", "patient", "patient_id", "case_id", "case")
# A group of more than this share of all slides decides folds by itself.
LARGE_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class GroupSource:
    """One statement of which slides belong together.

    Attributes:
        name: Where it comes from, a column or a file.
        members: Slide ids by group.
    """

    name: str
    members: Mapping[str, tuple[str, ...]]


def source_of_column(name: str, values: Mapping[str, str]) -> GroupSource:
    """Slides with one value in a column belong together; an empty cell stands alone."""
    return _source(name, ((value, i) for i, value in values.items()))


def read_group_table(path: Path, *, id_column: str | None = None) -> GroupSource:
    """Reads a table of slide ids and groups; a slide may occur in several groups.

    The column of ids is one of the usual headings, the column of groups one of
    `GROUP_HEADINGS`.

    Raises:
        StorageError: The file is no table.
        LabelError: A column is absent or not the only candidate.
    """
    heading, rows = read_rows(path)
    asked = id_column if id_column in heading else None
    identity = choose_heading(path, heading, asked, ID_HEADINGS, "--id-column")
    grouping = choose_heading(path, heading, None, GROUP_HEADINGS, "a table of groups")
    return _source(path.name, ((row[grouping], row[identity]) for row in rows if row[identity]))


def join_groups(slide_ids: Iterable[str], sources: Sequence[GroupSource]) -> dict[str, str]:
    """The group of every slide that has company, all sources taken together.

    Two slides are in one group if any source says so, or a chain of such slides joins them.
    A group is called after its first value in the first source that names it; with several
    sources the source's name stands before it.

    Args:
        slide_ids: The slides to group; others in the sources are ignored.
        sources: What belongs together.

    Returns:
        Group by slide id; slides that stand alone are absent.
    """
    known = dict.fromkeys(slide_ids)
    leader = {i: i for i in known}

    def find(i: str) -> str:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for source in sources:
        for members in source.members.values():
            for one, other in pairwise(i for i in members if i in known):
                leader[find(one)] = find(other)
    sizes = Counter(map(find, known))
    names: dict[str, str] = {}
    for source in sources:
        prefix = f"{source.name} " if len(sources) > 1 else ""
        for value, members in source.members.items():
            for i in members:
                if i in known:
                    names.setdefault(find(i), prefix + value)
    return {i: names[find(i)] for i in known if sizes[find(i)] > 1}


def members_of(group_of: Mapping[str, str]) -> dict[str, list[str]]:
    """Slide ids by group."""
    members: dict[str, list[str]] = {}
    for slide_id, group in group_of.items():
        members.setdefault(group, []).append(slide_id)
    return members


def straddling(group_of: Mapping[str, str], part_of: Mapping[str, str]) -> dict[str, list[str]]:
    """Groups with slides in more than one part, and the parts they touch.

    Args:
        group_of: Group by slide id.
        part_of: Part by slide id; slides of no part are ignored.
    """
    parts: dict[str, dict[str, None]] = {}
    for slide_id, part in part_of.items():
        if slide_id in group_of:
            parts.setdefault(group_of[slide_id], {})[part] = None
    return {group: list(touched) for group, touched in parts.items() if len(touched) > 1}


def mixing(group_of: Mapping[str, str], values: Mapping[str, object]) -> list[str]:
    """Groups whose slides have more than one value; slides without a value are ignored."""
    members = members_of(group_of)
    return [
        group for group, ids in members.items() if len({values[i] for i in ids if i in values}) > 1
    ]


def over_inclusive(
    group_of: Mapping[str, str], columns: Mapping[str, Mapping[str, str]], slides: int
) -> list[Problem]:
    """Groups that may hold more than belongs together, as things to look at.

    Args:
        group_of: Group by slide id.
        columns: Columns in which slides of one specimen cannot differ, such as the hospital:
            value by slide id, by heading.
        slides: Number of all slides, by which a group is large.
    """
    sizes = Counter(group_of.values()).most_common()
    large = [f"{group} of {size} slides" for group, size in sizes if size > LARGE_SHARE * slides]
    found = problem(f"groups of more than {LARGE_SHARE:.0%} of all slides", large)
    for name, values in columns.items():
        found += problem(f"groups that mix values of {name}", mixing(group_of, values))
    return found


def _source(name: str, pairs: Iterable[tuple[str, str]]) -> GroupSource:
    members: dict[str, list[str]] = {}
    for value, slide_id in pairs:
        if value:
            members.setdefault(value, []).append(slide_id)
    if not members:
        raise LabelError("no slide has a group here", where=name)
    return GroupSource(name=name, members={value: tuple(ids) for value, ids in members.items()})
