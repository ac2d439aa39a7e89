"""`hvit train`: features and labels to a trained aggregator in a model folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from hvit_cli.errors import DamagedFileError, HvitError, RecipeError
from hvit_cli.models.device import choose_device
from hvit_cli.training import members
from hvit_cli.training.bags import BagReader
from hvit_cli.training.encoder_record import copy_encoder
from hvit_cli.training.epochs import EpochRecord, best_epoch, read_metrics, write_metrics
from hvit_cli.training.fit import Training, fit, new_aggregator
from hvit_cli.training.folds import Fold
from hvit_cli.training.job import TrainingJob, TrainingRequest, prepare
from hvit_cli.training.resume import resume_training, save_training

__all__ = ["TrainingJob", "TrainingRequest", "prepare", "train"]


def train(job: TrainingJob, watch: Callable[[int], None] | None = None) -> Iterator[EpochRecord]:
    """Trains, or goes on with a run that was stopped, and writes the model folder at the end.

    After each epoch, and before its record is yielded, the state of the run and the table of
    epochs are written. Epochs that were done before are yielded first. A run that is done
    already yields its epochs and changes nothing.

    Args:
        job: From `prepare`.
        watch: Called with the slides of the epoch seen so far.

    Yields:
        A record per epoch.
    """
    if job.done is not None and job.metrics_path.is_file():
        yield from read_metrics(job.metrics_path)
        return
    request = job.request
    sizes = job.model.aggregator
    aggregator = new_aggregator(sizes, request.settings, list(job.fold.train.values()))
    aggregator.to(choose_device(request.device))
    read_bag = BagReader(job.paths, request.settings.attention, request.cache_bytes)
    training = Training(aggregator, job.fold, read_bag, request.settings, watch=watch)
    yield from _resumed(job, training)
    yield from fit(training, lambda run: _keep(job, run))
    _finish(job, training)


def _resumed(job: TrainingJob, training: Training) -> list[EpochRecord]:
    try:
        return list(resume_training(job.state_path, training, job.recipe))
    except (RecipeError, DamagedFileError):
        if not job.request.overwrite:
            raise
        job.state_path.unlink()
        return []


def _keep(job: TrainingJob, training: Training) -> None:
    save_training(job.state_path, training, job.recipe)
    write_metrics(job.metrics_path, training.records)


def _finish(job: TrainingJob, training: Training) -> None:
    best = best_epoch(training.records)
    if best is None:
        raise HvitError("a training without epochs has no weights to keep", where=job.request.out)
    copy_encoder(job.encoder, job.request.out)
    members.add_member(
        job.model,
        job.name,
        training.best_weights,
        attention=job.request.settings.attention,
        fold=_fold_number(job.request.fold),
        metrics=_metrics(best, job.fold),
        record=_record(job),
    )
    # The model is whole now, and what it took to get there is only large.
    job.state_path.unlink(missing_ok=True)


def _metrics(best: EpochRecord, fold: Fold) -> dict[str, Any]:
    # No time goes into a model: the same command makes the same files.
    kept = {name: value for name, value in asdict(best).items() if name not in ("seconds", "best")}
    return {**kept, "tune_slides": len(fold.tune)}


def _fold_number(fold: str | None) -> int | None:
    return int(fold) if fold is not None and fold.isdecimal() else None


def _record(job: TrainingJob) -> dict[str, Any]:
    fold = job.fold
    return {
        "recipe": job.recipe,
        "division": fold.origin,
        "train_slides": list(fold.train),
        "tune_slides": list(fold.tune),
        "left_out": job.left_out,
    }
