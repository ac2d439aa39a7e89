"""`hvit predict`: slides, or features, to scores and ISUP grades."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.execute import ALONE, one_at_a_time, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import UsageError
from hvit_cli.settings import (
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
from hvit_cli.steps.predictions_file import Prediction, require_table, write_merged
from hvit_cli.steps.prepare import Prepared, SlidePreparer
from hvit_cli.steps.stored_features import feature_files, stored_entries, stored_features
from hvit_cli.steps.watch import Watch, unwatched
from hvit_cli.storage.atomic import require_writable
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.journal import Journal
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.tables import write_table
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.fold_table import IN_TESTS

STAGE = "predict"
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
    require_table(table, work)
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
                write_merged(table, predictions, work)
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
