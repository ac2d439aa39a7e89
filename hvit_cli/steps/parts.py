"""The slides of one part of a table of folds, and whether a model may be judged on them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hvit_cli.errors import LabelError, ManifestError
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.training.fold_table import read_folds
from hvit_cli.training.problems import problem

_LOG = logging.getLogger(__name__)
# As many as a task may have: which labels a slide has does not matter here.
_MOST_GRADES = 100


def slides_of_part(
    entries: Sequence[SlideEntry], table: Path, part: str | None
) -> list[SlideEntry]:
    """The slides of a run that a table of folds names, with the cases it says.

    Slides of the table that are not in the run are told in the log.

    Args:
        entries: The slides of the run.
        table: Table of folds.
        part: A test set, `tests` for all of them, `folds` for the slides of the folds; None for
            every slide of the table.

    Raises:
        LabelError: The table cannot be used, or has no such part.
        ManifestError: None of its slides is in the run.
    """
    folds = read_folds(table, grades=_MOST_GRADES)
    wanted = folds.labels if part is None else folds.part(part)
    kept = [
        replace(entry, case_id=entry.case_id or folds.case_of.get(entry.slide_id))
        for entry in entries
        if entry.slide_id in wanted
    ]
    if not kept:
        raise ManifestError(
            "none of these slides is in the part asked for",
            where=table,
            found=f"{len(entries)} slides, such as {entries[0].slide_id}" if entries else "none",
            wanted=f"{len(wanted)} slides" + (f" of {part}" if part else ""),
        )
    present = {entry.slide_id for entry in kept}
    for lacking in problem(
        "slides of the table are not here", [i for i in wanted if i not in present]
    ):
        _LOG.warning("%s: %s", table, lacking)
    return kept


def refuse_trained_on(model: ChosenModel, entries: Sequence[SlideEntry]) -> None:
    """Refuses to grade, for judging, slides that a member of the model has trained on.

    Raises:
        LabelError: A slide is in the recorded list of training slides.
    """
    trained: set[str] = set()
    for member in model.members:
        record = model.folder.training.get(Path(member.file).stem, {})
        trained |= set(record.get("train_slides", ()))
    for seen in problem("slides", [e.slide_id for e in entries if e.slide_id in trained]):
        raise LabelError(
            "the model has trained on slides that it is to be judged by",
            where=model.folder.path,
            found=seen,
            hint="--set tests; hvit train writes what each fold says of its own tuning slides",
        )
