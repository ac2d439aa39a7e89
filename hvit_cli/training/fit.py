"""The training of one aggregator, epoch by epoch, so that it can stop after any and go on.

Protocol of the paper: region and slide Transformers trained together, mean squared error on
the ISUP grade, Adam, the learning rate halved every 20 epochs, and the epoch with the best
tuning kappa kept.
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
from hvit_cli.settings import AggregatorSettings, TrainingSettings
from hvit_cli.training.bags import ReadBag, read_ahead
from hvit_cli.training.epochs import EpochRecord, best_epoch
from hvit_cli.training.folds import Fold
from hvit_cli.training.gradients import accumulate_gradients, device_of, scores_of
from hvit_cli.training.metrics import (
    grade_of,
    mean_absolute_error,
    mean_squared_error,
    quadratic_kappa,
)
from hvit_cli.training.sampling import batches, dropout_seed, epoch_order

Weights = dict[str, Tensor]


def new_aggregator(
    settings: AggregatorSettings, training: TrainingSettings, labels: Sequence[int]
) -> Aggregator:
    """An aggregator with fresh weights, a function of the seed alone.

    Every layer keeps the initialisation of its module. With `mean_label_bias` the last
    layer's bias starts at the mean label, which spares the first epochs the way up from 0.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        aggregator = Aggregator(settings)
    if training.mean_label_bias:
        with torch.no_grad():
            aggregator.slide_transformer.classifier.bias.fill_(sum(labels) / len(labels))
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
        watch: Callable[[int], None] | None = None,
    ) -> None:
        if len(set(fold.train.values())) < 2:
            raise LabelError(
                "all training slides have one grade, and there is nothing to learn",
                found=f"{len(fold.train)} slides of grade {next(iter(fold.train.values()))}",
            )
        self.aggregator = aggregator
        self.settings = settings
        self.records: list[EpochRecord] = []
        self.best_weights: Weights = _copy(aggregator.state_dict())
        self._fold = fold
        self._read_bag = read_bag
        self._watch = watch
        if settings.freeze == "region":
            aggregator.region_transformer.requires_grad_(False)
        self._trained = [p for p in aggregator.parameters() if p.requires_grad]
        # Adam with weight decay added to the gradient, as the original; not AdamW.
        self._optimiser = torch.optim.Adam(
            self._trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    @property
    def finished(self) -> bool:
        """Whether every epoch is done."""
        return len(self.records) >= self.settings.epochs

    def run_epoch(self) -> EpochRecord:
        """Trains one epoch, then scores the tuning slides.

        Raises:
            ModelError: The loss is not a finite number any more.
            StorageError: A feature file is missing or damaged.
        """
        started = time.perf_counter()
        epoch = len(self.records) + 1
        train_loss = self._train(epoch)
        scores = self.score(list(self._fold.tune))
        labels = list(self._fold.tune.values())
        tune_loss = mean_squared_error(labels, scores)
        tune_mae = mean_absolute_error(labels, scores)
        if tune_loss is None or tune_mae is None or not math.isfinite(tune_loss + train_loss):
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
            tune_kappa=quadratic_kappa(labels, grade_of(scores)),
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
        self.aggregator.eval()
        scores = scores_of(
            self.aggregator,
            read_ahead(self._read_bag, slide_ids),
            budget=self.settings.micro_batch_tokens,
            precision=self.settings.precision,
        )
        return np.array([float(score[0]) for score in scores], np.float64)

    def _train(self, epoch: int) -> float:
        """Mean squared error over the slides drawn in this epoch."""
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
        bags = read_ahead(self._read_bag, (slide_ids[i] for i in order))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(dropout_seed(settings.seed, epoch))
            for batch in batches(order, settings.batch_slides):
                self._optimiser.zero_grad(set_to_none=True)
                total += accumulate_gradients(
                    self.aggregator,
                    (next(bags) for _ in batch),
                    [grades[i] for i in batch],
                    budget=settings.micro_batch_tokens,
                    precision=settings.precision,
                )
                self._optimiser.step()
                seen += len(batch)
                if self._watch is not None:
                    self._watch(seen)
        return total / seen

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
