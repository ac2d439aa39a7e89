"""The training of one aggregator, epoch by epoch, so that it can stop after any and go on.

Protocol of the paper: region and slide Transformers trained together, mean squared error on
the ISUP grade, Adam, the learning rate halved every 20 epochs, and the epoch with the best
tuning kappa kept. Other losses are in `training.objectives`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hvit_cli.errors import LabelError, ModelError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.settings import AggregatorSettings, TaskSettings, TrainingSettings
from hvit_cli.training.bags import ReadBag, read_ahead
from hvit_cli.training.epochs import EpochRecord, best_epoch
from hvit_cli.training.folds import Fold
from hvit_cli.training.gradients import (
    accumulate_gradients,
    device_of,
    outputs_of,
    tokens_at_once,
)
from hvit_cli.training.kept_memory import keep_freed_memory
from hvit_cli.training.metrics import auroc, grade_of, mean_absolute_error, quadratic_kappa
from hvit_cli.training.objectives import loss_sum, mean_outputs, score_of
from hvit_cli.training.repeatable import repeatable
from hvit_cli.training.sampling import batches, dropout_seed, epoch_order
from hvit_cli.training.workers import ALONE, Workers

Weights = dict[str, Tensor]
_ISUP = TaskSettings()


def new_aggregator(
    settings: AggregatorSettings,
    training: TrainingSettings,
    labels: Sequence[int],
    task: TaskSettings = _ISUP,
) -> Aggregator:
    """An aggregator with fresh weights, a function of the seed alone.

    Every layer keeps the initialisation of its module. With `mean_label_bias` the last
    layer's bias starts at what the labels are on average, which spares the first epochs the
    way up from 0.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        aggregator = Aggregator(settings)
    if training.mean_label_bias:
        with torch.no_grad():
            aggregator.slide_transformer.classifier.bias.copy_(mean_outputs(labels, task))
    return aggregator


def learning_rate(settings: TrainingSettings, epoch: int) -> float:
    """The learning rate of an epoch (from 1): halved after every `step_epochs` epochs."""
    return float(settings.learning_rate * 0.5 ** ((epoch - 1) // settings.step_epochs))


class Training:
    """A training run between two epochs.

    Randomness of an epoch (which slides, dropout) is a function of the run's seed and the
    epoch's number, so that the state below is all that a resumed run needs.

    Args:
        aggregator: Trained in place, on its device.
        fold: Which slides train and which tune.
        read_bag: Gives the visible patches of a slide.
        settings: How to train.
        task: What the labels are and which loss teaches them.
        workers: The processes that train this model together.
        watch: Called with the number of slides of the epoch seen so far, after each step.

    Raises:
        LabelError: All training slides have one grade.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        fold: Fold,
        read_bag: ReadBag,
        settings: TrainingSettings,
        *,
        task: TaskSettings = _ISUP,
        workers: Workers = ALONE,
        watch: Callable[[int], None] | None = None,
    ) -> None:
        if len(set(fold.train.values())) < 2:
            raise LabelError(
                "all training slides have one grade, and there is nothing to learn",
                found=f"{len(fold.train)} slides of grade {next(iter(fold.train.values()))}",
            )
        self.aggregator = aggregator
        self.settings = settings
        self.task = task
        self.workers = workers
        self.records: list[EpochRecord] = []
        self.best_weights: Weights = _copy(aggregator.state_dict())
        self._fold = fold
        self._read_bag = read_bag
        self._watch = watch
        self._budget = tokens_at_once(settings.micro_batch_tokens, device_of(aggregator))
        if device_of(aggregator).type == "cpu":
            keep_freed_memory()
        if settings.freeze == "region":
            aggregator.region_transformer.requires_grad_(False)
        self._trained = [p for p in aggregator.parameters() if p.requires_grad]
        # Adam with weight decay added to the gradient, as the original; not AdamW.
        self._optimiser = torch.optim.Adam(
            self._trained,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device_of(aggregator).type in ("cpu", "cuda"),
        )

    @property
    def finished(self) -> bool:
        """Whether every epoch is done, or none has been better for long enough."""
        best, patience = best_epoch(self.records), self.settings.patience
        done = len(self.records)
        if best is not None and patience is not None and done - best.epoch >= patience:
            return True
        return done >= self.settings.epochs

    def run_epoch(self) -> EpochRecord:
        """Trains one epoch, then scores the tuning slides.

        Raises:
            ModelError: The loss is not a finite number any more.
            StorageError: A feature file is missing or damaged.
        """
        started = time.perf_counter()
        epoch = len(self.records) + 1
        train_loss = self._train(epoch)
        labels = list(self._fold.tune.values())
        outputs = self._outputs(list(self._fold.tune))
        scores = score_of(outputs, self.task).numpy()
        wanted = torch.tensor(labels, dtype=torch.float64)
        tune_loss = float(loss_sum(outputs, wanted, self.task)) / len(labels)
        tune_mae = mean_absolute_error(labels, scores)
        if tune_mae is None or not math.isfinite(tune_loss + train_loss):
            raise ModelError(
                "training diverged: the loss is no finite number",
                where=f"epoch {epoch}",
                found=f"training {train_loss}, tuning {tune_loss}",
                hint="a lower --learning-rate, or --precision float32",
            )
        record = EpochRecord(
            epoch=epoch,
            train_loss=train_loss,
            tune_loss=tune_loss,
            tune_kappa=self._kappa(labels, scores),
            tune_auroc=auroc(labels, scores) if self.task.task == "binary" else None,
            tune_mae=tune_mae,
            learning_rate=learning_rate(self.settings, epoch),
            seconds=time.perf_counter() - started,
            best=False,
        )
        before = best_epoch(self.records)
        if before is None or record.merit > before.merit:
            record = replace(record, best=True)
            self.best_weights = _copy(self.aggregator.state_dict())
        self.records.append(record)
        return record

    def score(self, slide_ids: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The score of each slide by the weights as they are, without dropout."""
        scores: np.ndarray[tuple[int], np.dtype[np.float64]] = score_of(
            self._outputs(slide_ids), self.task
        ).numpy()
        return scores

    def _kappa(
        self, labels: Sequence[int], scores: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> float | None:
        grades = self.task.grades
        return quadratic_kappa(labels, grade_of(scores, grades), grades)

    def _outputs(self, slide_ids: Sequence[str]) -> Tensor:
        """(slides, outputs) float64 on the CPU, computed by all processes together."""
        self.aggregator.eval()
        outputs = torch.zeros(len(slide_ids), self.task.outputs, dtype=torch.float64)
        mine = self.workers.share(range(len(slide_ids)))
        computed = outputs_of(
            self.aggregator,
            read_ahead(self._read_bag, (slide_ids[i] for i in mine)),
            budget=self._budget,
            precision=self.settings.precision,
        )
        for i, output in zip(mine, computed, strict=True):
            outputs[i] = output
        return self.workers.add(outputs)

    def _train(self, epoch: int) -> float:
        """Mean loss over the slides drawn in this epoch."""
        settings, fold = self.settings, self._fold
        slide_ids, grades = list(fold.train), list(fold.train.values())
        order = epoch_order(
            grades, weighted=settings.weighted_sampling, seed=settings.seed, epoch=epoch
        )
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(settings, epoch)
        self.aggregator.train()
        device = device_of(self.aggregator)
        total, seen = 0.0, 0
        workers = self.workers
        shares = [workers.share(b.tolist()) for b in batches(order, settings.batch_slides)]
        bags = read_ahead(self._read_bag, (slide_ids[i] for share in shares for i in share))
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), repeatable(device):
            torch.manual_seed(dropout_seed(settings.seed, epoch, workers.rank))
            for share, batch in zip(shares, batches(order, settings.batch_slides), strict=True):
                self._optimiser.zero_grad(set_to_none=True)
                total += accumulate_gradients(
                    self.aggregator,
                    (next(bags) for _ in share),
                    [grades[i] for i in share],
                    budget=self._budget,
                    precision=settings.precision,
                    task=self.task,
                    batch_slides=len(batch),
                )
                workers.add_gradients(self._trained)
                self._optimiser.step()
                seen += len(batch)
                if self._watch is not None:
                    self._watch(seen)
        return float(workers.add(torch.tensor(total, dtype=torch.float64))) / seen

    def state(self) -> dict[str, object]:
        """Everything a resumed run needs, for `training.resume`."""
        return {
            "weights": self.aggregator.state_dict(),
            "best_weights": self.best_weights,
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, records: Sequence[EpochRecord], state: Mapping[str, object]) -> None:
        """Goes back to where `state` was taken, after the epochs of `records`."""
        self.aggregator.load_state_dict(state["weights"])  # type: ignore[arg-type]  # as saved
        self.best_weights = dict(state["best_weights"])  # type: ignore[call-overload]  # as saved
        self._optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]  # as saved
        self.records = list(records)


def fit(
    training: Training, keep: Callable[[Training], None] | None = None
) -> Iterator[EpochRecord]:
    """Trains until the last epoch, yielding the record of each.

    Args:
        training: Fresh or restored.
        keep: Called after each epoch and before its record is yielded, to save the run.
    """
    while not training.finished:
        record = training.run_epoch()
        if keep is not None:
            keep(training)
        yield record


def _copy(weights: Mapping[str, Tensor]) -> Weights:
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
