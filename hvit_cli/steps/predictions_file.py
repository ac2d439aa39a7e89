"""`predictions.csv`: the grades of a work folder, those of other runs and models beside ours.

Every row has a checksum elsewhere, so that one which was altered is told from one that stands.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from hvit_cli.errors import StorageError, UsageError
from hvit_cli.settings import Attention
from hvit_cli.storage.atomic import write_bytes
from hvit_cli.storage.journal import Journal
from hvit_cli.storage.models import sha256_of
from hvit_cli.storage.row_checksums import RowChecksums, altered_rows
from hvit_cli.storage.status import Status
from hvit_cli.storage.tables import read_table, write_table
from hvit_cli.storage.work import WorkFolder

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One row of `predictions.csv`.

    Attributes:
        slide_id: The slide's name without suffix.
        grade: ISUP grade, 0-5; None where there is no score.
        score: The regressed number, not clipped.
        score_sd: Standard deviation over the model's members (ddof 1), where there are several.
        members: Aggregators whose scores were averaged.
        attention: masked or plain, as it ran.
        n_regions: Regions of the slide.
        n_patches: Patches the model saw.
        spacing_um: Spacing at which the slide was read.
        tissue_mm2: Tissue found.
        tissue_dropped_mm2: Tissue that no region holds, so that the model did not look at it.
        status: done, failed, no_tissue, empty_mask, no_region or skipped.
        reason: Why there is no grade.
        model: The model's name.
        note: What must be said beside the grade.
        path: The slide, or its feature file.
    """

    slide_id: str
    grade: int | None
    score: float | None
    score_sd: float | None
    members: int
    attention: Attention
    n_regions: int | None
    n_patches: int | None
    spacing_um: float | None
    tissue_mm2: float | None
    tissue_dropped_mm2: float | None
    status: Status
    reason: str
    model: str
    note: str
    path: str


COLUMNS = tuple(field.name for field in fields(Prediction))


def require_table(table: Path, work: WorkFolder) -> None:
    """Refuses to write over a file that is not a table of predictions.

    One that hvit wrote and that is no table any more is put aside.

    Raises:
        UsageError: The file exists and has other columns.
    """
    if table.is_dir():
        raise UsageError(
            "the table of predictions cannot be a folder",
            where=table,
            hint=f"-o {table / 'predictions.csv'}",
        )
    if not table.exists():
        return
    try:
        found, why = tuple(read_table(table)[0]), "it has other columns"
    except StorageError as error:
        found, why = (), str(error.found or error.what)
    if found == COLUMNS:
        return
    if not RowChecksums(work.path, table).path.exists():
        raise UsageError(
            "this file exists and is not a table of predictions of this version",
            where=table,
            found=why,
            hint="another file with -o",
        )
    aside = _aside(table)
    table.replace(aside)
    _LOG.warning(
        "%s made again, because it is no table of predictions any more (%s); what was there is "
        "kept as %s",
        table,
        why,
        aside.name,
    )


def _aside(table: Path) -> Path:
    """Where a table goes that is not what was written: a name by its content."""
    return table.with_name(f"{table.stem}-damaged-{sha256_of(table)[:8]}{table.suffix}")


def write_merged(table: Path, predictions: Sequence[Prediction], work: WorkFolder) -> None:
    """Writes the rows of this run, keeping those of other slides, models and attentions.

    Rows of other processes, of which some may have been killed, are taken along.
    """
    journal, checksums = Journal(work.path, table), RowChecksums(work.path, table)
    rows: dict[tuple[str, ...], Mapping[str, object]] = {}
    if table.exists():
        rows = {_key(row): row for row in read_table(table)[1]}
    known = checksums.read()
    altered, gone = altered_rows(known, rows), known.keys() - rows.keys()
    strange = rows.keys() - known.keys() if known else set()
    waiting, files = journal.read()
    made: dict[tuple[str, ...], Mapping[str, object]] = {
        _key(row): row
        for row in (*waiting, *map(asdict, predictions))
        if row.keys() == set(COLUMNS)
    }
    _tell_altered(table, altered.keys() - made.keys(), gone - made.keys())
    if strange - made.keys():
        aside = _aside(table)
        write_bytes(aside, table.read_bytes())
        _LOG.warning(
            "%s: %d rows were not written by hvit and are left out; the table as it was is kept "
            "as %s",
            table,
            len(strange - made.keys()),
            aside.name,
        )
    rows = {key: row for key, row in rows.items() if key not in strange} | made
    write_table(table, COLUMNS, (rows[key] for key in sorted(rows)))
    checksums.write(rows, {key: was for key, was in altered.items() if key not in made})
    journal.remove(files)


def _tell_altered(
    table: Path, altered: Collection[tuple[str, ...]], gone: Collection[tuple[str, ...]]
) -> None:
    """Says which rows that this run did not make are not what was written, or not there."""
    for keys, what in (
        (altered, "are not what was written (checksum) and stay as they are"),
        (gone, "were written once and are not there any more"),
    ):
        if keys:
            names = sorted({key[0] for key in keys})
            _LOG.warning(
                "%s: rows of %d slides %s; predicting these slides makes them again: %s",
                table,
                len(names),
                what,
                ", ".join(names[:5]) + (", …" if len(names) > 5 else ""),
            )


def _key(row: Mapping[str, object]) -> tuple[str, ...]:
    return str(row["slide_id"]), str(row["model"]), str(row["attention"])
