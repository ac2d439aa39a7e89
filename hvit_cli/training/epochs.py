"""What one epoch of training came to, and the table of all of them, `metrics.csv`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvit_cli.errors import DamagedFileError
from hvit_cli.storage.tables import read_table, write_table


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        train_loss: Mean loss over the slides drawn, dropout active.
        tune_loss: Mean loss over the tuning slides.
        tune_kappa: Quadratic weighted kappa over the tuning slides; None where undefined.
        tune_mae: Mean absolute error of the score over the tuning slides.
        learning_rate: Learning rate of the epoch.
        seconds: Wall-clock time of the epoch.
        best: Whether no earlier epoch was better.
        tune_auroc: Area under the ROC curve over the tuning slides, of a binary task; None
            for other tasks and where undefined.
    """

    epoch: int
    train_loss: float
    tune_loss: float
    tune_kappa: float | None
    tune_mae: float
    learning_rate: float
    seconds: float
    best: bool
    tune_auroc: float | None = None

    @property
    def merit(self) -> tuple[float, float]:
        """What the best epoch has most of: tuning kappa, and on a tie the lower tuning loss.

        A binary task is judged by its AUROC instead. An undefined value is worse than any.
        """
        judged = self.tune_kappa if self.tune_auroc is None else self.tune_auroc
        return -math.inf if judged is None else judged, -self.tune_loss


def best_epoch(records: Sequence[EpochRecord]) -> EpochRecord | None:
    """The record of highest merit, the earliest of equals; None of nothing."""
    return max(records, key=lambda record: record.merit, default=None)


_COLUMNS = tuple(field.name for field in dataclasses.fields(EpochRecord))


def write_metrics(path: Path, records: Sequence[EpochRecord]) -> None:
    """Writes one row per epoch; an undefined kappa is an empty cell."""
    write_table(
        path,
        _COLUMNS,
        ({**dataclasses.asdict(record), "seconds": round(record.seconds, 3)} for record in records),
    )


def read_metrics(path: Path) -> list[EpochRecord]:
    """Reads what `write_metrics` wrote.

    Raises:
        StorageError: There is no such table.
        DamagedFileError: It is not a table of epochs.
    """
    _, rows = read_table(path)
    try:
        return [
            EpochRecord(
                epoch=int(row["epoch"]),
                train_loss=float(row["train_loss"]),
                tune_loss=float(row["tune_loss"]),
                tune_kappa=float(row["tune_kappa"]) if row["tune_kappa"] else None,
                tune_mae=float(row["tune_mae"]),
                learning_rate=float(row["learning_rate"]),
                seconds=float(row["seconds"]),
                best=row["best"] == "True",
                tune_auroc=float(row["tune_auroc"]) if row.get("tune_auroc") else None,
            )
            for row in rows
        ]
    except (KeyError, ValueError) as error:
        raise DamagedFileError("not a table of epochs", where=path, found=error) from error
