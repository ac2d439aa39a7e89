"""Which slides train and which tune: drawn by grade, named by a table, or by a column of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hvit_cli.errors import LabelError
from hvit_cli.training.labels import LabelTable
from hvit_cli.training.problems import Problem, problem

# Every use of randomness has a number of its own, so that one seed never serves two draws.
_SPLIT_STREAM = 1


@dataclass(frozen=True, kw_only=True)
class Fold:
    """The slides that train one model and the slides that choose its epoch.

    Attributes:
        train: Grade by slide id, sorted by id.
        tune: The same for the tuning slides; no slide is in both.
        origin: How the division came about, a phrase for the model's record.
    """

    train: Mapping[str, int]
    tune: Mapping[str, int]
    origin: str

    def __post_init__(self) -> None:
        for name, part in (("training", self.train), ("tuning", self.tune)):
            if not part:
                raise LabelError(f"no slide is left for {name}", found=self.origin)
        if self.train.keys() & self.tune.keys():
            raise LabelError(
                "a slide both trains and tunes", found=min(self.train.keys() & self.tune.keys())
            )


def draw_fold(labels: Mapping[str, int], tune_fraction: float, seed: int) -> Fold:
    """Divides slides at random, every grade in the same proportion.

    Each grade gives the rounded share of its slides to tuning, but keeps at least one for
    training, and the shares are corrected by largest remainder so that their sum is the
    rounded share of all. The result depends on ids, labels and seed, not on their order.

    Args:
        labels: Grade by slide id.
        tune_fraction: Share of the slides for tuning, between 0 and 1.
        seed: Seed of the draw.

    Raises:
        LabelError: There are too few slides for the two parts.
    """
    members = {
        grade: sorted(slide_id for slide_id, label in labels.items() if label == grade)
        for grade in sorted(set(labels.values()))
    }
    wanted = {grade: tune_fraction * len(ids) for grade, ids in members.items()}
    count = {grade: int(share) for grade, share in wanted.items()}
    missing = max(round(tune_fraction * len(labels)), 1) - sum(count.values())
    by_remainder = sorted(members, key=lambda grade: (count[grade] - wanted[grade], grade))
    for grade in by_remainder[:missing]:
        count[grade] += 1
    generator = np.random.default_rng([seed, _SPLIT_STREAM])
    tune: set[str] = set()
    for grade, ids in members.items():
        order = generator.permutation(len(ids))
        tune.update(ids[i] for i in order[: min(count[grade], len(ids) - 1)])
    origin = f"{tune_fraction:g} of each grade, drawn with seed {seed}"
    return _fold(labels, tune, origin)


def fold_of_column(table: LabelTable, column: str, tune_value: str) -> Fold:
    """The rows of one fold tune, all others train.

    Raises:
        LabelError: There is no such column, no row has the value, or a row has none.
    """
    values = table.column(column)
    unplaced: list[Problem] = problem(
        f"rows without {column}", [k for k, v in values.items() if not v]
    )
    if unplaced:
        raise LabelError("a row belongs to no fold", where=table.path, found=unplaced[0])
    if tune_value not in values.values():
        raise LabelError(
            f"no row has this {column}",
            where=table.path,
            found=", ".join(sorted(set(values.values()))[:20]),
            wanted=tune_value,
        )
    tune = {slide_id for slide_id, value in values.items() if value == tune_value}
    return _fold(table.labels, tune, f"{column} = {tune_value} of {table.path.name}")


def fold_of_table(table: LabelTable, tuning: LabelTable) -> Fold:
    """The slides that a second table names tune; they never train.

    The second table may name slides of the first, or bring slides and labels of its own.

    Raises:
        LabelError: A named slide has no label in either table, or two that differ.
    """
    labels = {**table.labels, **tuning.labels}
    contrary = [
        slide_id
        for slide_id, label in tuning.labels.items()
        if table.labels.get(slide_id, label) != label
    ]
    problems = (
        *problem(f"slides with another label in {table.path.name}", contrary),
        *problem("slides without a label", [i for i in tuning.rows if i not in labels]),
    )
    if problems:
        raise LabelError(
            "the table of tuning slides cannot be used as it is",
            where=tuning.path,
            found="; ".join(map(str, problems)),
        )
    return _fold(labels, set(tuning.rows), f"the slides of {tuning.path.name}")


def restrict(fold: Fold, slide_ids: set[str]) -> Fold:
    """The fold without the slides that are not in `slide_ids`.

    Raises:
        LabelError: Nothing is left of one of the two parts.
    """
    return Fold(
        train={i: grade for i, grade in fold.train.items() if i in slide_ids},
        tune={i: grade for i, grade in fold.tune.items() if i in slide_ids},
        origin=fold.origin,
    )


def _fold(labels: Mapping[str, int], tune: set[str], origin: str) -> Fold:
    return Fold(
        train={i: labels[i] for i in sorted(labels) if i not in tune},
        tune={i: labels[i] for i in sorted(labels) if i in tune},
        origin=origin,
    )
