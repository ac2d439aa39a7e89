"""What each member of a cross-validation says about the slides that it has not trained on.

    predictions/<attention>.csv            test slides, a row per slide, fold and seed
    predictions/<attention>-ensemble.csv   test slides, the mean score of all members, rounded
    predictions/<attention>-tune.csv       tuning slides, each by the members it has tuned

All of them are tables that `hvit evaluate` and `hvit compare` take.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from hvit_cli.errors import StorageError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.device import choose_device
from hvit_cli.models.loading import load_aggregator_weights
from hvit_cli.settings import Attention
from hvit_cli.storage.tables import read_table, write_table
from hvit_cli.training.bags import BagReader
from hvit_cli.training.fit import Training
from hvit_cli.training.job import TrainingJob
from hvit_cli.training.metrics import grade_of
from hvit_cli.training.workers import ALONE, Workers

TUNE = "tune"


@dataclass(frozen=True, kw_only=True)
class MemberPrediction:
    """One member's word on one slide.

    Attributes:
        slide_id: The slide.
        grade: The rounded score; None where the slide could not be scored.
        score: On the scale of the label, not clipped.
        fold: The fold that tuned the member.
        seed: The seed of the member.
        attention: The attention it was trained and run with.
        set: The slide's test set, or "tune".
    """

    slide_id: str
    grade: int | None
    score: float | None
    fold: int
    seed: int
    attention: Attention
    set: str


COLUMNS = tuple(field.name for field in fields(MemberPrediction))
ENSEMBLE_COLUMNS = ("slide_id", "grade", "score", "score_sd", "members", "attention", "set")


def predict_member(
    job: TrainingJob, sets: dict[str, str], *, workers: Workers = ALONE
) -> list[MemberPrediction]:
    """Scores slides by the best weights of a trained member.

    Args:
        job: The training, whose member is done.
        sets: Set by slide id; slides without features or region get no score.
        workers: The processes that share the slides.
    """
    request = job.request
    aggregator = Aggregator(job.model.aggregator)
    file = request.out / f"{job.name}.safetensors"
    load_aggregator_weights(aggregator, load_file(file), where=file)
    aggregator.float().to(choose_device(workers.device(request.device)))
    # Every slide is read once, so that nothing is worth keeping.
    read_bag = BagReader(job.paths, request.settings.attention, cache_bytes=0)
    network = Training(
        aggregator, job.fold, read_bag, request.settings, task=request.task, workers=workers
    )
    without_region = set(job.left_out.get("without a region", ()))
    present = [i for i in sets if i in job.paths and i not in without_region]
    scores = dict(zip(present, network.score(present).tolist(), strict=True))
    grades = request.task.grades
    return [
        MemberPrediction(
            slide_id=i,
            grade=int(grade_of([scores[i]], grades)[0]) if i in scores else None,
            score=scores.get(i),
            fold=int(request.fold or 0),
            seed=request.settings.seed,
            attention=request.settings.attention,
            set=name,
        )
        for i, name in sets.items()
    ]


def write_predictions(path: Path, predictions: Iterable[MemberPrediction]) -> None:
    """Writes predictions, a row each; scores keep every digit."""
    write_table(path, COLUMNS, (asdict(prediction) for prediction in predictions))


def read_predictions(path: Path) -> list[MemberPrediction]:
    """Reads what `write_predictions` wrote.

    Raises:
        StorageError: There is no such table, or it is another one.
    """
    heading, rows = read_table(path)
    if tuple(heading) != COLUMNS:
        raise StorageError("not a table of members' predictions", where=path, found=heading)
    return [
        MemberPrediction(
            slide_id=row["slide_id"],
            grade=int(row["grade"]) if row["grade"] else None,
            score=float(row["score"]) if row["score"] else None,
            fold=int(row["fold"]),
            seed=int(row["seed"]),
            attention="plain" if row["attention"] == "plain" else "masked",
            set=row["set"],
        )
        for row in rows
    ]


@dataclass(frozen=True, kw_only=True)
class EnsemblePrediction:
    """The mean of all members' scores of one slide, and the grade it rounds to."""

    slide_id: str
    grade: int
    score: float
    score_sd: float | None
    members: int
    attention: Attention
    set: str


def ensemble(predictions: Sequence[MemberPrediction], grades: int) -> list[EnsemblePrediction]:
    """One prediction per slide that was scored, in the order of the predictions.

    Args:
        predictions: Of members of one attention kind.
        grades: Number of classes.
    """
    of_slide: dict[str, list[MemberPrediction]] = {}
    for prediction in predictions:
        of_slide.setdefault(prediction.slide_id, []).append(prediction)
    joined = []
    for slide_id, given in of_slide.items():
        scores = [p.score for p in given if p.score is not None]
        if scores:
            score = float(np.mean(scores))
            joined.append(
                EnsemblePrediction(
                    slide_id=slide_id,
                    grade=int(grade_of([score], grades)[0]),
                    score=score,
                    score_sd=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
                    members=len(scores),
                    attention=given[0].attention,
                    set=given[0].set,
                )
            )
    return joined


def write_ensemble(path: Path, predictions: Iterable[EnsemblePrediction]) -> None:
    """Writes an ensemble's predictions, a row per slide."""
    write_table(path, ENSEMBLE_COLUMNS, (asdict(prediction) for prediction in predictions))
