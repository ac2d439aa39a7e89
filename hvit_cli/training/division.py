"""From tables, and a draw where they leave a choice, to the parts of a division."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hvit_cli.errors import LabelError
from hvit_cli.settings import SplitSettings
from hvit_cli.training.groups import straddling
from hvit_cli.training.labels import LabelTable
from hvit_cli.training.problems import problem, refuse
from hvit_cli.training.splits import draw_parts

DRAWN_TEST = "test"


def named_test_sets(table: LabelTable, tests: Sequence[LabelTable]) -> dict[str, str]:
    """The test set of every slide that a table of test slides names.

    A test table may name slides of the table of labels, or bring slides and labels of its own.
    A set is called after its file.

    Raises:
        LabelError: The tables cannot be used together as they are; all problems are named.
    """
    test_set_of: dict[str, str] = {}
    problems = []
    for test in tests:
        name = test.path.stem
        labels = {**table.labels, **test.labels}
        twice = [i for i in test.rows if i in test_set_of]
        lacking = [i for i in test.rows if i not in labels and i not in table.rows]
        contrary = [i for i, g in test.labels.items() if table.labels.get(i, g) != g]
        # A row without a label matters only where no other table has one.
        problems += [p for p in test.problems if "without a label" not in p.what]
        problems += problem(f"slides of {name} in another test set too", twice)
        problems += problem(f"slides of {name} with another label in {table.path.name}", contrary)
        problems += problem(f"slides of {name} without a label", lacking)
        test_set_of |= dict.fromkeys(test.rows, name)
    what = "the table of labels cannot be used as it is"
    refuse(
        "labels and test sets cannot be used as they are" if tests else what,
        " and ".join(str(t.path) for t in (table, *tests)),
        [*table.problems, *problems],
    )
    return test_set_of


def drawn_folds(
    settings: SplitSettings,
    table: LabelTable,
    slides: Mapping[str, int],
    group_of: Mapping[str, str],
) -> tuple[dict[str, int], list[str]]:
    """Draws the folds, from 1, and the test slides of `test_fraction`.

    Args:
        settings: How to draw.
        table: Where the stratifying columns are.
        slides: Grade by slide id of the slides to divide.
        group_of: Group by slide id.

    Raises:
        LabelError: A stratifying column is absent, or a fold would be empty.
    """
    columns = {name: table.column(name) for name in settings.stratify if name != "label"}
    strata = {
        i: tuple(label if name == "label" else columns[name][i] for name in settings.stratify)
        for i, label in slides.items()
    }
    test = [settings.test_fraction] if settings.test_fraction else []
    share = (1 - settings.test_fraction) / settings.folds
    part_of = draw_parts(strata, group_of, [*test, *[share] * settings.folds], settings.seed)
    empty = set(range(len(test) + settings.folds)) - set(part_of.values())
    if empty:
        raise LabelError(
            "the groups are too few or too large for this many parts",
            where=table.path,
            found=f"{len(empty)} parts without a slide",
            hint="fewer --folds, or a larger --test-fraction",
        )
    # With a test part before them the folds are numbered from 1 as they are.
    fold_of = {i: part_of[i] + 1 - len(test) for i in slides if part_of[i] >= len(test)}
    return fold_of, [i for i in slides if part_of[i] < len(test)]


def given_folds(table: LabelTable, column: str, slides: Mapping[str, int]) -> dict[str, int]:
    """The folds that a column gives.

    Raises:
        LabelError: There is no such column, or it holds something else than whole numbers.
    """
    values = table.column(column)
    unfit = [f"{i} has {values[i]!r}" for i in slides if not _is_whole(values[i])]
    refuse(
        "the folds cannot be used as they are",
        table.path,
        problem(f"slides whose {column} is no whole number", unfit),
    )
    fold_of = {i: int(values[i]) for i in slides}
    if len(set(fold_of.values())) < 2:
        raise LabelError(
            "one fold is no division", where=table.path, found=f"{column} has one value"
        )
    return fold_of


def without_company(
    slides: Mapping[str, int], test_set_of: Mapping[str, str], group_of: Mapping[str, str]
) -> tuple[dict[str, int], list[str]]:
    """The slides whose group is not tested on, and the others, which this drops."""
    tested = {group_of[i] for i in test_set_of if i in group_of}
    dropped = [i for i in slides if group_of.get(i) in tested]
    return {i: label for i, label in slides.items() if group_of.get(i) not in tested}, dropped


def refuse_straddling(parts: Mapping[str, str], group_of: Mapping[str, str], where: object) -> None:
    """Refuses a division that cuts a group.

    Raises:
        LabelError: A group has slides in more than one part.
    """
    cut = straddling(group_of, parts)
    refuse(
        "the given parts divide slides that belong together",
        where,
        problem(
            "groups in more than one part",
            [f"{group} in {' and '.join(touched)}" for group, touched in cut.items()],
            "--straddling drop, which leaves out slides that have company in a test set, or keep",
        ),
    )


def part_names(fold_of: Mapping[str, int], test_set_of: Mapping[str, str]) -> dict[str, str]:
    """The name of each slide's part, for people: `fold 1` or the test set's name."""
    folds = sorted(fold_of, key=lambda i: fold_of[i])
    return {**{i: f"fold {fold_of[i]}" for i in folds}, **test_set_of}


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal()
