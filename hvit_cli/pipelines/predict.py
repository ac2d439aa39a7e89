"""`hvit predict`: slides, or features, to scores and ISUP grades."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.execute import ALONE, one_at_a_time, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import StorageError, UsageError
from hvit_cli.settings import (
    Attention,
    EmbeddingSettings,
    ReadingSettings,
    RunSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.steps.case import CasePrediction, CaseRule, grade_cases, with_cases
from hvit_cli.steps.choose import ChosenModel, ModelRequest, choose_model, reading_of, tissue_of
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.grade import Grader
from hvit_cli.steps.parts import refuse_trained_on, slides_of_part
from hvit_cli.steps.prepare import Prepared, SlidePreparer
from hvit_cli.steps.stored_features import feature_files, stored_entries, stored_features
from hvit_cli.steps.watch import Watch, unwatched
from hvit_cli.storage.atomic import require_writable, write_bytes
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.journal import Journal
from hvit_cli.storage.models import sha256_of
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.row_checksums import RowChecksums, altered_rows
from hvit_cli.storage.status import Status, StatusRow
from hvit_cli.storage.tables import read_table, write_table
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.fold_table import IN_TESTS

STAGE = "predict"
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
CASE_COLUMNS = tuple(field.name for field in fields(CasePrediction))


@dataclass(frozen=True, kw_only=True)
class PredictJob(SlideJob[Prediction]):
    """Grades a slide.

    Attributes:
        model: The model.
        is_stored: Whether the entries are feature files, and no slides.
        table: The table of predictions, for which each one waits on disk.
    """

    stage: ClassVar[str] = STAGE

    model: ChosenModel
    is_stored: bool
    table: Path
    reading: ReadingSettings
    tissue: TissueSettings
    embedding: EmbeddingSettings
    overwrite: bool = False

    @property
    def at_once(self) -> int:
        """One slide is read while another is embedded."""
        return 1 if self.is_stored else 2

    def open(self) -> Step[Prediction]:
        """Loads the model, and its patch encoder where slides are graded.

        Raises:
            HvitError: They cannot be loaded.
        """
        return self.open_watched(unwatched)

    def open_watched(self, watch: Watch) -> Step[Prediction]:
        """As `open`; `watch` is told how far each slide is."""
        grader = Grader(self.model, self.embedding)
        features_of = self.features_of(watch)
        journal = Journal(self.work.path, self.table)

        def step(entry: SlideEntry) -> tuple[StatusRow, Prediction]:
            prepared = features_of(entry)
            row = prepared.row(entry, STAGE)
            if prepared.features is None:
                return row, _ungraded(row, self.model)
            prediction = _graded(row, grader, prepared.features)
            journal.append(asdict(prediction))
            return row, prediction

        return step

    def features_of(self, watch: Watch = unwatched) -> Callable[[SlideEntry], Prepared]:
        """Finds or makes the features of a slide, or reads them from its feature file."""
        if self.is_stored:
            return stored_features
        return SlidePreparer(
            work=self.work,
            reading=reading_of(self.model, self.reading),
            tissue=tissue_of(self.model, self.tissue),
            tiling=self.model.folder.tiling,
            embedder=model_embedder(self.model, self.embedding),
            overwrite=self.overwrite,
            watch=watch,
        ).features


def predict(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    out: Path | None,
    request: ModelRequest,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    exclude: Path | None = None,
    overwrite: bool = False,
    cases: CaseRule | None = None,
    case_table: Path | None = None,
    folds: Path | None = None,
    part: str = IN_TESTS,
    running: RunSettings = ALONE,
    watch: Watch | None = None,
) -> Iterator[SlideRecord[Prediction]]:
    """Grades slides one after another, computing what is missing and reusing what is there.

    Args:
        sources: Slides, folders, manifests; or feature files, or a folder of them.
        work: The work folder.
        out: The table; `predictions.csv` in the work folder by default.
        request: Which model, and settings that must agree with it.
        reading: Where the slides' spacing comes from; the target is the model's.
        tissue: How tissue is found.
        embedding: Device, precision and batch size.
        exclude: Table of slides to leave out.
        overwrite: Make products again that exist with other settings.
        cases: Also grade cases, as one bag of all their regions or by the highest score of
            their slides, into a table beside the other.
        case_table: Table with columns slide_id and case_id, where no manifest says them.
        folds: Table of folds, of which one part is graded, to judge the model by.
        part: The part: a test set, `tests` for all of them, or `folds`.
        running: How the slides are spread over processes, guarded and shared.
        watch: Told how far each slide is.

    Yields:
        A record per slide; a slide that fails has one too.

    Raises:
        HvitError: Nothing can be done at all (no slides, no model, unreadable table).
    """
    table = out or work.predictions
    _require_table(table, work)
    require_writable(table.parent)
    files = feature_files(sources)
    entries = (
        stored_entries(files)
        if files
        else find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)
    )
    if folds is not None:
        entries = slides_of_part(entries, folds, part)
    if cases is not None:
        if running.shard is not None:
            raise UsageError(
                "a part of the slides is not all of a case",
                where="--cases",
                found=f"--shard {running.shard}",
                hint="--cases without --shard once every part is graded, which is quick",
            )
        entries = with_cases(entries, case_table)
        # A case is graded here, by all of its slides.
        running = replace(running, claim=False)
    model = choose_model(request, work, slides=len(entries))
    if folds is not None:
        refuse_trained_on(model, entries)
    record_exclusion(work.path, STAGE, exclude)
    job = PredictJob(
        work=work,
        model=model,
        is_stored=bool(files),
        table=table,
        reading=reading,
        tissue=tissue,
        embedding=embedding,
        overwrite=overwrite,
    )
    predictions: list[Prediction] = []
    try:
        for record in run_job(entries, job, running, watch):
            if record.is_elsewhere:
                yield record
                continue
            prediction = record.product or _ungraded(record.row, model)
            predictions.append(prediction)
            yield replace(record, product=prediction)
    finally:
        if predictions:
            with one_at_a_time(work, "predictions"):
                _write_merged(table, predictions, work)
    if cases is not None:
        features_of = job.features_of()
        found = grade_cases(
            entries,
            {prediction.slide_id: prediction for prediction in predictions},
            cases,
            Grader(model, embedding),
            # The slides were graded a moment ago, so that their features lie ready.
            lambda entry: features_of(entry).features,
        )
        write_table(cases_path(table), CASE_COLUMNS, map(asdict, found))


def cases_path(table: Path) -> Path:
    """Where the table of cases lies: `predictions-cases.csv` beside `predictions.csv`."""
    return table.with_name(f"{table.stem}-cases{table.suffix}")


def _graded(row: StatusRow, grader: Grader, features: SlideFeatures) -> Prediction:
    grading = grader.grade(features)
    return replace(
        _ungraded(row, grader.model),
        grade=grading.grade,
        score=round(grading.score, 6),
        score_sd=None if grading.score_sd is None else round(grading.score_sd, 6),
        n_patches=int(grading.visible.sum()),
    )


def _ungraded(row: StatusRow, model: ChosenModel) -> Prediction:
    return Prediction(
        slide_id=row.slide_id,
        grade=None,
        score=None,
        score_sd=None,
        members=len(model.members),
        attention=model.attention,
        n_regions=row.n_regions,
        n_patches=row.n_patches,
        spacing_um=row.spacing_um,
        tissue_mm2=row.tissue_mm2,
        tissue_dropped_mm2=row.tissue_dropped_mm2,
        status=row.status,
        reason=row.reason if row.status != "done" else "",
        model=model.folder.name,
        note=model.note,
        path=row.path,
    )


def _require_table(table: Path, work: WorkFolder) -> None:
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


def _write_merged(table: Path, predictions: Sequence[Prediction], work: WorkFolder) -> None:
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
