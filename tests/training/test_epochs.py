from __future__ import annotations

from pathlib import Path

import pytest

from hvit_cli.errors import DamagedFileError
from hvit_cli.training.epochs import EpochRecord, best_epoch, read_metrics, write_metrics


def record(epoch: int, kappa: float | None, tune_loss: float = 1.0) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        train_loss=0.1 + epoch / 3,
        tune_loss=tune_loss,
        tune_kappa=kappa,
        tune_mae=2 / 7,
        learning_rate=2e-4,
        seconds=1.25,
        best=epoch == 1,
    )


def test_the_best_epoch_has_the_highest_kappa_then_the_lowest_loss_then_comes_first() -> None:
    def best(*records: EpochRecord) -> int | None:
        found = best_epoch(records)
        return found and found.epoch

    assert best() is None
    assert best(record(1, 0.5), record(2, 0.7), record(3, 0.6)) == 2
    assert best(record(1, 0.7, 1.0), record(2, 0.7, 0.9), record(3, 0.7, 0.9)) == 2
    assert best(record(1, None, 0.1), record(2, -0.4, 3.0)) == 2
    assert best(record(1, None, 0.2), record(2, None, 0.1)) == 2


def test_metrics_survive_their_table_exactly(tmp_path: Path) -> None:
    records = [record(1, 0.123456789012345678), record(2, None), record(3, -1 / 3)]
    write_metrics(tmp_path / "metrics.csv", records)
    assert read_metrics(tmp_path / "metrics.csv") == records
    heading, first, second, _ = (tmp_path / "metrics.csv").read_text().splitlines()
    assert heading.startswith("epoch,train_loss,tune_loss,tune_kappa,tune_mae")
    assert second.split(",")[3] == ""
    assert first.split(",")[-2:] == ["True", ""]


def test_another_table_is_not_taken_for_metrics(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(DamagedFileError, match="not a table of epochs"):
        read_metrics(tmp_path / "metrics.csv")
