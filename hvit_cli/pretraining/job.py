"""A pretraining whose inputs have been checked, from its first step or from where it stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from hvit_cli.errors import DamagedFileError, RecipeError
from hvit_cli.models.device import choose_device
from hvit_cli.models.local_encoder import DESCRIPTION_FILE as ENCODER_FILE
from hvit_cli.models.region_checkpoint import DESCRIPTION_FILE as REGION_FILE
from hvit_cli.pretraining.curves import draw_curves
from hvit_cli.pretraining.distillation import StepRecord
from hvit_cli.pretraining.fit import Pretraining, Probe, steps_per_epoch
from hvit_cli.pretraining.fit import pretrain as fit
from hvit_cli.pretraining.networks import Backbones
from hvit_cli.pretraining.records import PretrainingRecord, read_metrics, write_metrics
from hvit_cli.pretraining.state import STATE_FILE, resume_pretraining, save_pretraining
from hvit_cli.pretraining.views import CropSource
from hvit_cli.settings import PretrainingSettings
from hvit_cli.settings.seal import alteration
from hvit_cli.storage.atomic import require_writable
from hvit_cli.storage.recipe import Recipe, require_same_recipe
from hvit_cli.training.workers import ALONE, Workers

RECIPE_FILE = "recipe.json"
_DESCRIPTIONS = (ENCODER_FILE, REGION_FILE)
_LOG = logging.getLogger(__name__)

WriteResult = Callable[[nn.Module, Sequence[PretrainingRecord]], None]
"""Writes the teacher's backbone as a folder."""


@dataclass(frozen=True, kw_only=True)
class PretrainingJob:
    """Everything a run needs.

    Attributes:
        out: Folder of the result, and of the run while it lasts.
        title: What the pictures call it.
        settings: How to pretrain.
        recipe: What decides the weights.
        backbones: Student and teacher.
        source: Gives the batches.
        slides: The slides that are learned from.
        probe: Judges the features as they grow, or None.
        write: Writes the result.
        device: Where to compute.
        overwrite: Start anew where another run's files lie.
        notes: What the user should know beforehand.
    """

    out: Path
    title: str
    settings: PretrainingSettings
    recipe: Recipe
    backbones: Backbones
    source: CropSource
    slides: tuple[str, ...]
    probe: Probe | None
    write: WriteResult
    device: str
    overwrite: bool = False
    notes: tuple[str, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return steps_per_epoch(self.settings, len(self.source))

    @property
    def metrics_path(self) -> Path:
        """Table of the epochs."""
        return self.out / "metrics.csv"

    @property
    def state_path(self) -> Path:
        """State of the run while it is unfinished."""
        return self.out / STATE_FILE

    @property
    def done(self) -> bool:
        """Whether an equal run has ended here.

        Raises:
            RecipeError: Another run has, and it is not to be overwritten.
        """
        path = self.out / RECIPE_FILE
        if self.overwrite or self.state_path.exists() or not path.is_file():
            return False
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DamagedFileError(
                "the recipe of an earlier run cannot be read",
                where=path,
                found=error,
                hint="--overwrite, or another folder with -o",
            ) from error
        require_same_recipe(self.out, found, self.recipe)
        return self.metrics_path.is_file() and not _is_damaged(self.out)


def _is_damaged(out: Path) -> bool:
    """Whether the result of an equal run is there and is not what was written; says so."""
    for file in (out / name for name in _DESCRIPTIONS if (out / name).is_file()):
        try:
            altered = alteration(json.loads(file.read_text(encoding="utf-8")), out)
        except (OSError, ValueError, AttributeError):
            altered = ""
        if altered is not None:
            _LOG.warning(
                "%s is not what was written (checksum): the pretraining begins anew",
                out / (altered or file.name),
            )
            return True
    return False


def run_job(
    job: PretrainingJob,
    watch: Callable[[int], None] | None = None,
    *,
    workers: Workers = ALONE,
) -> Iterator[PretrainingRecord]:
    """Trains, or goes on, and writes the result at the end; epochs done before come first.

    A run that is done already yields its epochs and changes nothing.

    Args:
        job: What to do.
        watch: Called with the steps of the run that are done, after each.
        workers: The processes that train together; the first writes, all yield.

    Yields:
        A record per epoch.
    """
    if job.done:
        yield from read_metrics(job.metrics_path)
        return
    if workers.first:
        require_writable(job.out)
    backbones = job.backbones.to(choose_device(job.device))

    def stepped(_: StepRecord) -> None:
        if watch is not None:
            watch(training.step)

    training = Pretraining(
        backbones,
        job.source,
        job.settings,
        workers=workers,
        probe=job.probe,
        watch_step=stepped,
    )
    try:
        _resume(job, training, workers)
        yield from training.records
        yield from fit(training, (lambda run: _keep(job, run)) if workers.first else None)
        if workers.first:
            _finish(job, training)
        workers.wait()
    finally:
        training.close()


def _resume(job: PretrainingJob, training: Pretraining, workers: Workers) -> None:
    try:
        resume_pretraining(job.state_path, training, job.recipe)
    except RecipeError:
        if not job.overwrite:
            raise
    except DamagedFileError as error:
        # Nothing of it can be used, and the same command is to finish what it began.
        _LOG.warning("the pretraining begins anew, because %s", error)
    # Nobody writes the state before everybody has read it.
    workers.wait()


def _keep(job: PretrainingJob, training: Pretraining) -> None:
    save_pretraining(job.state_path, training, job.recipe)
    # Inside an epoch there is nothing new to tell.
    if training.records and training.step == training.records[-1].step:
        _tell(job, training)


def _tell(job: PretrainingJob, training: Pretraining) -> None:
    write_metrics(job.metrics_path, training.records)
    draw_curves(
        job.out / "curves.png",
        training.records,
        title=job.title,
        outputs=job.settings.out_dim,
    )


def _finish(job: PretrainingJob, training: Pretraining) -> None:
    teacher = job.backbones.teacher
    teacher.load_state_dict(training.result)
    # Again, because a run may have been killed after its last state and before telling of it.
    _tell(job, training)
    job.write(teacher, training.records)
    # The result is whole now, and what it took to get there is only large.
    job.state_path.unlink(missing_ok=True)


def card_rows(records: Sequence[PretrainingRecord]) -> list[dict[str, object]]:
    """The epochs for a card, without times: the same command writes the same card."""
    return [
        {k: v for k, v in asdict(record).items() if k not in ("seconds", "patches_per_s")}
        for record in records
    ]
