from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from hvit_cli.errors import DamagedFileError
from hvit_cli.pretraining.curves import draw_curves
from hvit_cli.pretraining.records import (
    PretrainingRecord,
    best_record,
    read_metrics,
    write_metrics,
)
from hvit_cli.storage.tables import read_table


def record(epoch: int, **changes: object) -> PretrainingRecord:
    made = PretrainingRecord(
        epoch=epoch,
        step=10 * epoch,
        loss=3.0 / epoch,
        teacher_entropy=2.0 / epoch,
        kl=1.0 / epoch,
        information=0.1 * epoch,
        effective_rank=5.0 + epoch,
        feature_sd=0.5,
        learning_rate=1e-4,
        weight_decay=0.04,
        teacher_momentum=0.996,
        patches_per_s=123.4,
        seconds=1.25,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


RECORDS = [
    record(1),
    record(2, probe=0.5, best=True, skipped_slides=2),
    record(3, probe=0.5, alarm="collapse: one output, of all; try this"),
]


def test_the_table_of_epochs_survives_being_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, RECORDS)
    assert read_metrics(path) == RECORDS
    columns, rows = read_table(path)
    assert columns == [field.name for field in dataclasses.fields(PretrainingRecord)]
    assert [row["probe"] for row in rows] == ["", "0.5", "0.5"]


def test_the_best_is_the_first_of_equal_probes() -> None:
    assert best_record(RECORDS) == RECORDS[1]
    assert best_record(RECORDS[:1]) is None


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,loss\n1,2\n")
    with pytest.raises(DamagedFileError, match="not a table of epochs of pretraining"):
        read_metrics(path)


@pytest.mark.parametrize("records", [RECORDS[:1], RECORDS])
def test_curves_are_drawn_with_and_without_a_probe(
    tmp_path: Path, records: list[PretrainingRecord]
) -> None:
    path = tmp_path / "curves.png"
    draw_curves(path, records, title="vit [a]", outputs=256)
    with Image.open(path) as picture:
        # A third panel where a probe was asked, and more than white.
        assert picture.width == (1500 if len(records) > 1 else 1032)
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 20
