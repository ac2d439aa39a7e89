"""Every fold, attention kind and seed, one training after another, and what they come to.

Both attention kinds see the same folds and seeds. What is done is not done again: members in
the model folder are kept, an unfinished one goes on after its last epoch, predictions that
were written stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from hvit_cli.errors import StorageError, UsageError
from hvit_cli.settings import Attention
from hvit_cli.training import cohort
from hvit_cli.training.epochs import EpochRecord
from hvit_cli.training.fold_table import Folds, read_folds
from hvit_cli.training.job import TrainingJob, job_of, refuse_region_leaks
from hvit_cli.training.leaks import refuse_leaks
from hvit_cli.training.member_predictions import (
    TUNE,
    MemberPrediction,
    ensemble,
    predict_member,
    read_predictions,
    write_ensemble,
    write_predictions,
)
from hvit_cli.training.region_start import RegionStart, region_start
from hvit_cli.training.request import TrainingRequest
from hvit_cli.training.results import Results, summarise
from hvit_cli.training.results_page import write_results
from hvit_cli.training.run import train
from hvit_cli.training.survey import Survey, fold_asked, survey
from hvit_cli.training.workers import ALONE, Workers

FOLD_PLACE = "{fold}"


@dataclass(frozen=True, kw_only=True)
class CrossValidationRequest:
    """What is to be cross-validated.

    Attributes:
        training: What all trainings share, with its table of folds. `{fold}` in the path of
            its features, or in its encoder, stands for the number of the fold: features of an
            encoder per fold. A `*` in such a path stands for what only one folder has there.
            The path of a region checkpoint may have both.
        attentions: The attention kinds to train.
        folds: Folds to train; all where empty.
        seeds: How many members to train per fold and attention, from the seed upward.
    """

    training: TrainingRequest
    attentions: tuple[Attention, ...] = ("masked",)
    folds: tuple[int, ...] = ()
    seeds: int = 1

    def __post_init__(self) -> None:
        if self.training.folds is None:
            raise UsageError("a cross-validation needs --folds, the table that hvit split writes")
        if self.seeds < 1:
            raise UsageError(
                "no seed to train", where="--seeds", found=self.seeds, wanted="1 or more"
            )
        if not self.attentions or len(set(self.attentions)) != len(self.attentions):
            raise UsageError(
                "an attention kind is named once",
                where="--attention",
                found=" ".join(self.attentions),
            )

    @property
    def per_fold(self) -> bool:
        """Whether each fold has features, and an encoder, of its own."""
        return FOLD_PLACE in str(self.training.features)


@dataclass(frozen=True, kw_only=True)
class MemberEpoch:
    """An epoch of one member.

    Attributes:
        member: Name of the member.
        number: Its number among all, from 1.
        total: Members in all.
        record: The epoch.
    """

    member: str
    number: int
    total: int
    record: EpochRecord


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """A cross-validation whose inputs have been checked.

    Attributes:
        request: What was asked for.
        folds: The table of folds.
        numbers: The folds that are trained.
        surveys: Features and labels by fold.
        regions: The pretrained region Transformer to start from by fold, if any.
        members: The trainings, in order.
    """

    request: CrossValidationRequest
    folds: Folds
    numbers: tuple[int, ...]
    surveys: dict[int, Survey]
    regions: dict[int, RegionStart]
    members: tuple[TrainingRequest, ...]
    _done: dict[str, list[MemberPrediction]] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The model folder; with an encoder per fold, the folder that holds one for each."""
        return self.request.training.out

    def run(
        self, watch: Callable[[int], None] | None = None, *, workers: Workers = ALONE
    ) -> Iterator[MemberEpoch]:
        """Trains and tests every member, yielding each epoch; `finish` ends the run.

        Raises:
            HvitError: As `prepare` and `train`.
        """
        for number, asked in enumerate(self.members, start=1):
            workers.wait()
            found = self.surveys[int(asked.fold or 0)]
            job = job_of(asked, found)
            fresh = job.done is None
            for record in train(job, watch, workers=workers):
                yield MemberEpoch(
                    member=job.name, number=number, total=len(self.members), record=record
                )
            self._done[job.name] = self._predictions(job, fresh, workers)

    def finish(self, *, workers: Workers = ALONE) -> Results:
        """Measures all members, and writes predictions and results."""
        found = [prediction for asked in self.members for prediction in self._done[asked.name]]
        results = summarise(
            found,
            self.folds,
            self.request.training.task,
            seed=self.request.training.settings.seed,
        )
        if workers.first:
            self._write(found, results)
        workers.wait()
        return results

    def _predictions(
        self, job: TrainingJob, fresh: bool, workers: Workers
    ) -> list[MemberPrediction]:
        """What a trained member says about its tuning slides and all test slides."""
        sets = {**dict.fromkeys(job.fold.tune, TUNE), **self.folds.test_set_of}
        path = job.folder_path / "predictions.csv"
        if not fresh:
            kept = _kept(path)
            if {p.slide_id: p.set for p in kept} == sets:
                return kept
        predictions = predict_member(job, sets, workers=workers)
        if workers.first:
            write_predictions(path, predictions)
        return predictions

    def _write(self, found: Sequence[MemberPrediction], results: Results) -> None:
        folder = self.out / "predictions"
        for attention in self.request.attentions:
            own = [p for p in found if p.attention == attention]
            test = [p for p in own if p.set != TUNE]
            write_predictions(folder / f"{attention}-tune.csv", [p for p in own if p.set == TUNE])
            if test:
                write_predictions(folder / f"{attention}.csv", test)
                grades = self.request.training.task.grades
                write_ensemble(folder / f"{attention}-ensemble.csv", ensemble(test, grades))
        write_results(self.out, results)


def plan_cross_validation(request: CrossValidationRequest) -> CrossValidation:
    """Checks features, labels, folds and leaks of every training before the first begins.

    Raises:
        LabelError: Tables cannot be used as they are; a fold does not exist, has one label
            only or no slide left; or slides of the encoder's own training tune or test.
        HvitError: As `prepare`.
    """
    first = survey(_of_fold(request, None)) if not request.per_fold else None
    folds = first.folds if first is not None else _folds_of(request)
    assert folds is not None  # The request has a table of folds.
    numbers = request.folds or folds.numbers
    surveys = {k: first or survey(_of_fold(request, k)) for k in numbers}
    regions = {}
    for number, found in surveys.items():
        asked = _of_fold(request, number)
        judged = {*fold_asked(asked, found).tune, *folds.test_set_of}
        what = f"tune or test fold {number}"
        refuse_leaks(found.pretrained_on, judged, where=found.folder, what=what)
        region = region_start(asked, found.header)
        if region is not None:
            refuse_region_leaks(region, judged, what)
            regions[number] = region
        for attention in request.attentions:
            cohort.require_visible_patches(found.headers, attention)
    return CrossValidation(
        request=request,
        folds=folds,
        numbers=numbers,
        surveys=surveys,
        regions=regions,
        members=tuple(_members(request, numbers)),
    )


def _members(request: CrossValidationRequest, folds: Sequence[int]) -> Iterator[TrainingRequest]:
    settings = request.training.settings
    for fold, seed, attention in product(folds, range(request.seeds), request.attentions):
        seeded = replace(settings, attention=attention, seed=settings.seed + seed)
        yield replace(
            _of_fold(request, fold),
            settings=seeded,
            member=f"{attention}-fold{fold}-seed{seeded.seed}",
        )


def _of_fold(request: CrossValidationRequest, fold: int | None) -> TrainingRequest:
    """The request with the number of a fold, also where paths have a place for it."""
    training = request.training
    if fold is None:
        return training
    training = replace(training, fold=str(fold))
    if training.encoder is not None:
        training = replace(training, encoder=training.encoder.replace(FOLD_PLACE, str(fold)))
    if training.region_checkpoint is not None:
        checkpoint = str(training.region_checkpoint).replace(FOLD_PLACE, str(fold))
        training = replace(training, region_checkpoint=_only(checkpoint, "region checkpoint"))
    if not request.per_fold:
        return training
    return replace(
        training,
        features=_only(str(training.features).replace(FOLD_PLACE, str(fold)), "folder of features"),
        out=training.out / f"fold{fold}",
    )


def _only(pattern: str, what: str) -> Path:
    path = Path(pattern)
    if "*" not in pattern:
        return path
    root = Path(path.anchor)
    found = sorted(root.glob(str(path.relative_to(root))))
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"one {what} is wanted for a fold",
        where=pattern,
        found=", ".join(map(str, found)) or "none",
    )


def _folds_of(request: CrossValidationRequest) -> Folds | None:
    path = request.training.folds
    return None if path is None else read_folds(path, grades=request.training.task.grades)


def _kept(path: Path) -> list[MemberPrediction]:
    try:
        return read_predictions(path)
    except (StorageError, ValueError, KeyError):
        # They are made again from the weights, which are verified.
        return []
