"""What an evaluation found, and the files it leaves: numbers, figures, the worst slides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training import figures
from hvit_cli.training.calibration import Calibration
from hvit_cli.training.contact_sheet import worst_slides, write_contact_sheet
from hvit_cli.training.matching import Match
from hvit_cli.training.measures import Graded, Measures


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """The slides with one value of a column.

    Attributes:
        column: Heading, or scanner or set.
        value: The value.
        measures: Their numbers.
    """

    column: str
    value: str
    measures: Measures


@dataclass(frozen=True, kw_only=True)
class RunMeasures:
    """What one fold, or one seed of it, achieved on the slides it predicted.

    Attributes:
        fold: The fold; empty where the table does not say it.
        seed: The seed; empty where the table does not say it.
        slides: Slides it predicted.
        kappa: Quadratic weighted kappa.
        accuracy: Share of grades equal to the label.
        within_one: Share of grades at most one step from it.
    """

    fold: str
    seed: str
    slides: int
    kappa: float | None
    accuracy: float | None
    within_one: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What predictions are worth.

    Attributes:
        predictions: The table of predictions.
        labels: The table of labels.
        match: Slides expected, found and missing.
        measures: Numbers over all slides found.
        confusion: Counts; the row is the label, the column the predicted grade.
        calibration: Of the scores; None without scores.
        subgroups: Numbers by column and value.
        runs: Numbers by fold and seed; empty where there is one of each only.
        kappa_mean: Mean kappa of the folds, each the mean over its seeds; of the seeds where
            there is one fold.
        kappa_sd: Their standard deviation (ddof 1).
        label_counts: Slides expected of each grade, by set.
        draws: Draws of the bootstrap.
        seed: Their seed.
        remarks: What must be said beside the numbers.
        graded: The slides behind the numbers.
    """

    predictions: Path
    labels: Path
    match: Match
    measures: Measures
    confusion: Sequence[Sequence[int]]
    calibration: Calibration | None
    subgroups: Sequence[Subgroup]
    runs: Sequence[RunMeasures]
    kappa_mean: float | None
    kappa_sd: float | None
    label_counts: Mapping[str, Sequence[int]]
    draws: int
    seed: int
    remarks: Sequence[str]
    graded: Graded


@dataclass(frozen=True, kw_only=True)
class Written:
    """What an evaluation left on disk.

    Attributes:
        files: The files.
        without_picture: Slides of the contact sheet that have no picture in the work folder.
    """

    files: Sequence[Path]
    without_picture: Sequence[str] = ()


def summary(done: Evaluation) -> dict[str, Any]:
    """Every number of an evaluation as plain JSON values; slides only where they are missing."""
    plain: dict[str, Any] = {}
    for field in fields(done):
        value = getattr(done, field.name)
        if field.name == "graded":
            continue
        plain[field.name] = [_plain(v) for v in value] if isinstance(value, list) else _plain(value)
    return {**plain, "predictions": done.predictions.name, "labels": done.labels.name}


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def write_evaluation(
    done: Evaluation, out: Path, *, worst: int = 0, work: WorkFolder | None = None
) -> Written:
    """Writes numbers, figures and, if asked for, a contact sheet of the largest errors.

    Args:
        done: The evaluation.
        out: Folder of the files.
        worst: Slides on the contact sheet; 0 for none.
        work: Work folder with the slides' heatmaps or overviews.

    Raises:
        StorageError: A file cannot be written.
    """
    kappa = done.measures.kappa
    caption = "κ undefined" if kappa.value is None else f"quadratic weighted κ {kappa.value:.3f}"
    if kappa.low is not None and kappa.high is not None:
        caption += f" (95 % interval {kappa.low:.3f} to {kappa.high:.3f})"
    files = [out / "evaluation.json", out / "confusion.png", out / "labels.png"]
    text = json.dumps(summary(done), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(files[0], text + "\n")
    figures.confusion_figure(done.confusion, files[1], caption)
    figures.label_figure(done.label_counts, files[2])
    if done.graded.has_scores:
        files.append(out / "scores.png")
        figures.score_figure(done.graded, done.calibration, len(done.confusion), files[-1])
    without: list[str] = []
    if worst and work is not None:
        slides = worst_slides(done.graded, worst, work)
        if slides:
            files.append(out / "worst.png")
            without = write_contact_sheet(slides, files[-1])
    return Written(files=files, without_picture=without)


def files_of(done: Evaluation, out: Path, *, worst: int = 0) -> list[Path]:
    """What `write_evaluation` would write, without writing it."""
    names = ["evaluation.json", "confusion.png", "labels.png"]
    names += ["scores.png"] if done.graded.has_scores else []
    predicted = done.graded.score if done.graded.has_scores else done.graded.grade
    names += ["worst.png"] if worst and (predicted != done.graded.label).any() else []
    return [out / name for name in names]
