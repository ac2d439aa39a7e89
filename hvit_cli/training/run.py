"""One training from its first epoch, or from where it stopped, to a member of the model folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from hvit_cli.errors import DamagedFileError, HvitError, RecipeError
from hvit_cli.models.device import choose_device
from hvit_cli.models.loading import load_region_weights
from hvit_cli.storage.atomic import require_writable
from hvit_cli.training import members
from hvit_cli.training.bags import BagReader
from hvit_cli.training.curves import draw_curves
from hvit_cli.training.encoder_record import copy_encoder
from hvit_cli.training.epochs import EpochRecord, best_epoch, read_metrics, write_metrics
from hvit_cli.training.fit import Training, fit, new_aggregator
from hvit_cli.training.folds import Fold
from hvit_cli.training.job import TrainingJob
from hvit_cli.training.resume import resume_training, save_training
from hvit_cli.training.workers import ALONE, Workers

_LOG = logging.getLogger(__name__)


def train(
    job: TrainingJob,
    watch: Callable[[int], None] | None = None,
    *,
    workers: Workers = ALONE,
) -> Iterator[EpochRecord]:
    """Trains, or goes on with a run that was stopped, and writes the model folder at the end.

    After each epoch, and before its record is yielded, the state of the run and the table of
    epochs are written. Epochs that were done before are yielded first. A run that is done
    already yields its epochs and changes nothing.

    Args:
        job: From `prepare`.
        watch: Called with the slides of the epoch seen so far.
        workers: The processes that train together; the first writes, all yield.

    Yields:
        A record per epoch.
    """
    if job.done is not None and job.metrics_path.is_file():
        yield from read_metrics(job.metrics_path)
        return
    if workers.first:
        require_writable(job.folder_path)
    request = job.request
    aggregator = new_aggregator(
        job.model.aggregator, request.settings, list(job.fold.train.values()), request.task
    )
    if job.region is not None:
        load_region_weights(
            aggregator, job.region.checkpoint.weights, where=job.region.checkpoint.path
        )
    aggregator.to(choose_device(workers.device(request.device)))
    read_bag = BagReader(job.paths, request.settings.attention, request.cache_bytes)
    training = Training(
        aggregator,
        job.fold,
        read_bag,
        request.settings,
        task=request.task,
        workers=workers,
        watch=watch,
    )
    resumed = _resumed(job, training, workers)
    yield from resumed
    yield from fit(training, (lambda run: _keep(job, run)) if workers.first else None)
    if workers.first:
        _finish(job, training)
    workers.wait()


def _resumed(job: TrainingJob, training: Training, workers: Workers) -> list[EpochRecord]:
    try:
        records = list(resume_training(job.state_path, training, job.recipe))
    except RecipeError:
        if not job.request.overwrite:
            raise
        records = []
    except DamagedFileError as error:
        # Nothing of it can be used, and the same command is to finish what it began.
        _LOG.warning("the training begins anew, because %s", error)
        records = []
    # Nobody writes the state before everybody has read it.
    workers.wait()
    return records


def _keep(job: TrainingJob, training: Training) -> None:
    save_training(job.state_path, training, job.recipe)
    write_metrics(job.metrics_path, training.records)


def _finish(job: TrainingJob, training: Training) -> None:
    best = best_epoch(training.records)
    if best is None:
        raise HvitError("a training without epochs has no weights to keep", where=job.request.out)
    # Again, because a run may have been killed after its last state and before telling of it.
    write_metrics(job.metrics_path, training.records)
    draw_curves(job.folder_path / "curves.png", training.records, title=job.name)
    copy_encoder(job.encoder, job.request.out)
    members.add_member(
        job.model,
        job.name,
        training.best_weights,
        attention=job.request.settings.attention,
        fold=_fold_number(job.request.fold),
        # One member of an attention kind is known by that alone.
        seed=job.request.settings.seed if job.request.member else None,
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
        **({} if job.region is None else {"region_checkpoint": job.region.record}),
    }
