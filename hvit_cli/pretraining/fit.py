"""A pretraining run, step by step, so that it can stop after any and go on.

What is generic here: the networks read whatever the source of crops gives, pixels of patches
or regions of features. The result is the teacher's weights without its head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from hvit_cli.errors import UsageError
from hvit_cli.pretraining import watch
from hvit_cli.pretraining.distillation import Distillation, StepRecord
from hvit_cli.pretraining.epoch_sums import EpochSums
from hvit_cli.pretraining.networks import Backbones, plain_weights
from hvit_cli.pretraining.records import PretrainingRecord, best_record
from hvit_cli.pretraining.schedules import Schedules
from hvit_cli.pretraining.views import CropBatch, CropSource
from hvit_cli.settings import PretrainingSettings
from hvit_cli.training.repeatable import repeatable
from hvit_cli.training.workers import ALONE, Workers

Probe = Callable[[nn.Module], float]
"""Says what the features of a backbone are worth; higher is better."""


def steps_per_epoch(settings: PretrainingSettings, pool: int) -> int:
    """Whole batches that an epoch has.

    Args:
        settings: The batch and the patches of an epoch.
        pool: Patches (regions) there are.

    Raises:
        UsageError: There are not enough for one batch.
    """
    patches = pool if settings.patches_per_epoch is None else settings.patches_per_epoch
    if min(patches, pool) < settings.batch:
        things = "patches" if settings.level == "patch" else "regions"
        raise UsageError(
            f"there are fewer {things} than a batch holds",
            where="--batch",
            found=f"{min(patches, pool)} {things}, a batch of {settings.batch}",
            hint=f"more slides, or --batch {2 ** (max(min(patches, pool), 1).bit_length() - 1)}",
        )
    return patches // settings.batch


class Pretraining:
    """A pretraining run between two steps.

    Randomness of a step (crops, skipped blocks) is a function of the run's seed, the step's
    number and the process, so that the state below is all that a resumed run needs.

    Args:
        backbones: Trained in place, on their device.
        source: Gives the batches.
        settings: How to pretrain.
        workers: The processes that train these networks together.
        probe: Asked of the teacher's backbone, in evaluation, by the first process.
        watch_step: Called after each step, by every process.

    Raises:
        UsageError: There are fewer patches than a batch holds, or a batch has fewer patches
            than there are processes.
    """

    def __init__(
        self,
        backbones: Backbones,
        source: CropSource,
        settings: PretrainingSettings,
        *,
        workers: Workers = ALONE,
        probe: Probe | None = None,
        watch_step: Callable[[StepRecord], None] | None = None,
    ) -> None:
        if settings.batch < workers.count:
            raise UsageError(
                "a batch has fewer patches than there are processes",
                where="--batch",
                found=settings.batch,
                wanted=f"{workers.count} or more",
            )
        self.settings = settings
        self.schedules = Schedules(
            settings=settings, steps_per_epoch=steps_per_epoch(settings, len(source))
        )
        self.workers = workers
        self.records: list[PretrainingRecord] = []
        self.step = 0
        self._distillation = Distillation(backbones, self.schedules, workers)
        self._source = source
        self._probe = probe
        self._watch_step = watch_step
        self._sums = EpochSums()
        self._best_weights: dict[str, Tensor] | None = None
        self._batches: Iterator[CropBatch] | None = None

    @property
    def finished(self) -> bool:
        """Whether every epoch is done, or no probe has been better for long enough."""
        best, patience = best_record(self.records), self.settings.patience
        if best is not None and patience is not None:
            later = [r for r in self.records if r.probe is not None and r.epoch > best.epoch]
            if len(later) >= patience:
                return True
        return len(self.records) >= self.settings.epochs

    @property
    def result(self) -> dict[str, Tensor]:
        """The teacher's weights on the CPU: of the best probe, or as they are without one."""
        if self._best_weights is not None:
            return self._best_weights
        return plain_weights(self._distillation.backbones.teacher)

    def run_epoch(self, keep: Callable[[], None] | None = None) -> PretrainingRecord:
        """Runs the steps of an epoch that are left, then measures the teacher.

        Args:
            keep: Called every `save_steps` steps but for the last of the epoch, to save the run
                as it stands then.

        Raises:
            ModelError: The loss is not a finite number any more, or memory ran out.
        """
        end = (len(self.records) + 1) * self.schedules.steps_per_epoch
        device = self._distillation.device
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), repeatable(device):
            while self.step < end:
                self._run_step()
                due = self.step % self.settings.save_steps == 0 and self.step < end
                if keep is not None and due:
                    keep()
            record = self._measured()
        self.records.append(record)
        self._sums = EpochSums()
        return record

    def close(self) -> None:
        """Lets go of the source."""
        self._batches = None
        self._source.close()

    def state(self) -> dict[str, object]:
        """Everything a resumed run needs, for `pretraining.state`."""
        return {
            "step": self.step,
            "sums": self._sums.state(),
            "best_weights": self._best_weights,
            **self._distillation.state(),
        }

    def restore(self, records: Sequence[PretrainingRecord], state: Mapping[str, object]) -> None:
        """Goes back to where `state` was taken, after the epochs of `records`."""
        self._distillation.restore(state)
        self._sums = EpochSums()
        self._sums.restore(state["sums"], self._distillation.device)  # type: ignore[arg-type]  # as saved
        self._best_weights = state["best_weights"]  # type: ignore[assignment]  # as saved
        self.step = int(state["step"])  # type: ignore[call-overload]  # as saved
        self.records = list(records)
        self._batches = None

    def _run_step(self) -> None:
        started = time.perf_counter()
        if self._batches is None:
            # One iterator for the whole run: what reads ahead need not stop between epochs.
            self._batches = self._source.batches(range(self.step, self.schedules.steps))
        record = self._distillation.step(next(self._batches), self.step)
        self.step += 1
        self._sums.add(record, time.perf_counter() - started)
        if self._watch_step is not None:
            self._watch_step(record)

    def _measured(self) -> PretrainingRecord:
        """The record of the epoch whose last step is done."""
        last = self.step - 1
        sums, epoch = self._sums, len(self.records) + 1
        entropy = sums.entropy / sums.steps
        loss = sums.loss / sums.steps
        told = watch.information(sums.said(self.workers), entropy)
        rank, sd = watch.effective_rank(sums.features), watch.feature_sd(sums.features)
        probe = self._ask(epoch)
        before = best_record(self.records)
        best = probe is not None and (
            before is None or before.probe is None or probe > before.probe
        )
        if best:
            self._best_weights = plain_weights(self._distillation.backbones.teacher)
        return PretrainingRecord(
            epoch=epoch,
            step=self.step,
            loss=loss,
            teacher_entropy=entropy,
            kl=loss - entropy,
            information=told,
            effective_rank=rank,
            feature_sd=sd,
            learning_rate=self.schedules.learning_rate(last),
            weight_decay=self.schedules.weight_decay(last),
            teacher_momentum=self.schedules.teacher_momentum(last),
            patches_per_s=sums.patches / sums.seconds,
            seconds=sums.seconds,
            probe=probe,
            best=best,
            skipped_slides=len(self._source.skipped),
            alarm=watch.alarm(
                entropy=entropy,
                outputs=self.settings.out_dim,
                information=told,
                rank=rank,
                sd=sd,
                warmed_up=epoch > self.settings.warmup_epochs,
            ),
        )

    def _ask(self, epoch: int) -> float | None:
        """What the probe says where it is its turn; the same in every process."""
        last = epoch == self.settings.epochs
        if self._probe is None or (epoch % self.settings.probe_every and not last):
            return None
        said = torch.zeros(1, dtype=torch.float64)
        if self.workers.first:
            with torch.no_grad():
                said[0] = self._probe(self._distillation.backbones.teacher)
        return float(self.workers.add(said))


def pretrain(
    pretraining: Pretraining, keep: Callable[[Pretraining], None] | None = None
) -> Iterator[PretrainingRecord]:
    """Runs until the last epoch, yielding the record of each.

    Args:
        pretraining: Fresh or restored.
        keep: Called every `save_steps` steps, and after each epoch before its record is
            yielded, to save the run.
    """

    def save() -> None:
        if keep is not None:
            keep(pretraining)

    while not pretraining.finished:
        record = pretraining.run_epoch(save)
        save()
        yield record
