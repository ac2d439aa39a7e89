"""What a training would use and take: slides, classes, parameters, epochs, time, disk."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hvit_cli.models.device import choose_device
from hvit_cli.training.bags import BagReader
from hvit_cli.training.cross_validation import CrossValidation
from hvit_cli.training.fit import Training, new_aggregator
from hvit_cli.training.folds import Fold
from hvit_cli.training.job import TrainingJob, job_of

# Slides of the epoch that is tried; a few seconds of work on a processor.
_TRIED = 12
_WEIGHT_BYTES = 4
# Beside the weights of a run that lasts: the best ones, and two moments of the optimiser.
_STATE_COPIES = 4


@dataclass(frozen=True, kw_only=True)
class MemberForecast:
    """One training.

    Attributes:
        name: Name of the member.
        train: Slides that train, by label.
        tune: Slides that choose the epoch, by label.
        is_done: Whether an equal run has trained it already.
    """

    name: str
    train: Mapping[int, int]
    tune: Mapping[int, int]
    is_done: bool


@dataclass(frozen=True, kw_only=True)
class TrainingForecast:
    """What a training, or a cross-validation, would do.

    Attributes:
        features: Folder of the features, of the first fold where each has its own.
        left_out: How many slides are not used, by reason.
        test: Slides that test.
        members: The trainings.
        parameters: Weights of each member.
        epochs: Most epochs of each; patience may end one earlier.
        steps: Slides shown for training, over all epochs of all members that are not done.
        tried: Slides of the epoch that was tried, to know how long one takes.
        seconds: Time for all members that are not done, at that rate.
        disk_bytes: Disk that the weights take, and the state of one run while it lasts.
        free_bytes: Free disk where the model folder lies, or would lie.
    """

    features: Path
    left_out: Mapping[str, int]
    test: int
    members: tuple[MemberForecast, ...]
    parameters: int
    epochs: int
    steps: int
    tried: int
    seconds: float
    disk_bytes: int
    free_bytes: int


def forecast_training(job: TrainingJob) -> TrainingForecast:
    """What one training would do; a few slides are tried in memory, and nothing is written.

    Args:
        job: From `prepare`, which found slides, labels, leaks and the model folder in order.
    """
    return _forecast([job], test=0)


def forecast_cross_validation(plan: CrossValidation) -> TrainingForecast:
    """What a cross-validation would do.

    Args:
        plan: From `plan_cross_validation`, which found all of it in order.

    Raises:
        HvitError: A member cannot be trained, or was trained otherwise.
    """
    jobs = [job_of(asked, plan.surveys[int(asked.fold or 0)]) for asked in plan.members]
    return _forecast(jobs, test=len(plan.folds.test_set_of))


def _forecast(jobs: Sequence[TrainingJob], test: int) -> TrainingForecast:
    first = jobs[0]
    told = tuple(
        MemberForecast(
            name=job.name,
            train=dict(sorted(Counter(job.fold.train.values()).items())),
            tune=dict(sorted(Counter(job.fold.tune.values()).items())),
            is_done=job.done is not None,
        )
        for job in jobs
    )
    left = [job for job in jobs if job.done is None]
    epochs = first.request.settings.epochs
    parameters, tried, seconds_a_slide = _tried(first)
    slides = sum(len(job.fold.train) + len(job.fold.tune) for job in left)
    states = _STATE_COPIES if left else 0
    place = first.request.out.absolute()
    while not place.is_dir():
        place = place.parent
    return TrainingForecast(
        features=first.folder,
        left_out={reason: len(names) for reason, names in first.left_out.items()},
        test=test,
        members=told,
        parameters=parameters,
        epochs=epochs,
        steps=epochs * sum(len(job.fold.train) for job in left),
        tried=tried,
        seconds=epochs * slides * seconds_a_slide,
        disk_bytes=parameters * _WEIGHT_BYTES * (len(left) + states),
        free_bytes=shutil.disk_usage(place).free,
    )


def _tried(job: TrainingJob) -> tuple[int, int, float]:
    """Weights of a member, the slides of a small epoch, and seconds for one of them."""
    request = job.request
    aggregator = new_aggregator(
        job.model.aggregator, request.settings, list(job.fold.train.values()), request.task
    )
    parameters = sum(weights.numel() for weights in aggregator.parameters())
    # Every label trains before any does so twice: one alone teaches nothing.
    chosen = _by_turns(job.fold.train)[:_TRIED]
    fold = Fold(
        train={i: job.fold.train[i] for i in chosen},
        tune=dict(list(job.fold.tune.items())[: max(1, _TRIED // 4)]),
        origin="tried",
    )
    aggregator.to(choose_device(request.device))
    training = Training(
        aggregator,
        fold,
        BagReader(job.paths, request.settings.attention, request.cache_bytes),
        replace(request.settings, epochs=1),
        task=request.task,
    )
    slides = len(fold.train) + len(fold.tune)
    # The first epoch reads files and wakes libraries.
    training.run_epoch()
    return parameters, slides, training.run_epoch().seconds / slides


def _by_turns(labels: Mapping[str, int]) -> list[str]:
    """Slides, each label's first before any label's second."""
    seen: Counter[int] = Counter()
    turns: list[tuple[int, str]] = []
    for slide_id, label in labels.items():
        turns.append((seen[label], slide_id))
        seen[label] += 1
    return [slide_id for _, slide_id in sorted(turns)]
