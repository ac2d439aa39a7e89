"""What one epoch of pretraining came to, and the table of all of them, `metrics.csv`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvit_cli.errors import DamagedFileError
from hvit_cli.storage.tables import read_table, write_table


@dataclass(frozen=True, kw_only=True)
class PretrainingRecord:
    """One epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        step: Steps of the run that are done.
        loss: Mean cross-entropy between teacher and student, nats.
        teacher_entropy: Mean entropy of what the teacher says of a crop, nats.
        kl: Mean divergence of the student from the teacher, nats: loss less entropy.
        information: What the teacher's outputs tell of a crop, nats; see `watch`.
        effective_rank: Directions along which the teacher's features spread.
        feature_sd: How differently they point, 0 to 1.
        learning_rate: Of the last step.
        weight_decay: Of the last step.
        teacher_momentum: Of the last step.
        patches_per_s: Patches a second, reading them included, probe excluded.
        seconds: Wall-clock time of the epoch, probe excluded.
        probe: What the probe said of the teacher; None where it was not asked.
        best: Whether no earlier probe was better.
        skipped_slides: Slides that have died so far while being read.
        alarm: A sentence where it looks like collapse; "" where it does not.
    """

    epoch: int
    step: int
    loss: float
    teacher_entropy: float
    kl: float
    information: float
    effective_rank: float
    feature_sd: float
    learning_rate: float
    weight_decay: float
    teacher_momentum: float
    patches_per_s: float
    seconds: float
    probe: float | None = None
    best: bool = False
    skipped_slides: int = 0
    alarm: str = ""


_FIELDS = dataclasses.fields(PretrainingRecord)
_TIMES = {"patches_per_s": 1, "seconds": 3}


def best_record(records: Sequence[PretrainingRecord]) -> PretrainingRecord | None:
    """The record of the best probe, the earliest of equals; None where none was asked."""
    asked = [record for record in records if record.probe is not None]
    return max(asked, key=lambda r: -math.inf if r.probe is None else r.probe, default=None)


def write_metrics(path: Path, records: Sequence[PretrainingRecord]) -> None:
    """Writes one row per epoch; an epoch without a probe has an empty cell."""
    write_table(
        path,
        tuple(field.name for field in _FIELDS),
        (
            {
                name: round(value, _TIMES[name]) if name in _TIMES else value
                for name, value in dataclasses.asdict(record).items()
            }
            for record in records
        ),
    )


def read_metrics(path: Path) -> list[PretrainingRecord]:
    """Reads what `write_metrics` wrote.

    Raises:
        StorageError: There is no such table.
        DamagedFileError: It is not a table of epochs of pretraining.
    """
    _, rows = read_table(path)
    try:
        return [_record(row) for row in rows]
    except (KeyError, ValueError) as error:
        raise DamagedFileError(
            "not a table of epochs of pretraining", where=path, found=error
        ) from error


def _record(row: Mapping[str, str]) -> PretrainingRecord:
    values: dict[str, Any] = {f.name: _parsed(str(f.type), row[f.name]) for f in _FIELDS}
    return PretrainingRecord(**values)


def _parsed(kind: str, cell: str) -> int | float | bool | str | None:
    if kind == "str":
        return cell
    if kind == "bool":
        return cell == "True"
    if kind == "float | None" and not cell:
        return None
    return int(cell) if kind == "int" else float(cell)
