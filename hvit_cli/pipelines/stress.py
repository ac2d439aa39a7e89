"""`hvit stress`: does the grade depend on the glass? A test that needs no labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.completed import with_products
from hvit_cli.engine.execute import ALONE, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import UsageError
from hvit_cli.measures.stress import StressRow, StressSummary, stress_page, summarise_stress
from hvit_cli.settings import (
    Attention,
    EmbeddingSettings,
    ReadingSettings,
    RunSettings,
    StressSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.steps.choose import ChosenModel, ModelRequest, choose_model, reading_of, tissue_of
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.grade import Grader
from hvit_cli.steps.kept_rows import rows_file
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.steps.stored_features import feature_files
from hvit_cli.steps.stress import Stress
from hvit_cli.steps.stressed import keep_stressed, kept_stressed, stressed_recipe
from hvit_cli.storage.atomic import require_writable, write_text
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.tables import write_table
from hvit_cli.storage.work import WorkFolder

STAGE = "stress"
_KINDS: tuple[Attention, ...] = ("masked", "plain")
COLUMNS = (*(one.name for one in fields(StressRow)), "change")


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written, and its summary.

    Attributes:
        table: A row for each slide, glass and attention.
        page: The result on one page.
        summary: Over all slides.
    """

    table: Path
    page: Path
    summary: list[StressSummary]


@dataclass(frozen=True, kw_only=True)
class StressJob(SlideJob[list[StressRow]]):
    """Grades a slide on its own glass and on other glass.

    Attributes:
        models: The model, once for each kind of attention that is tried.
        donors: The slide whose glass each slide gets, by slide id; None where there is none.
        settings: What the glass becomes, and where.
        out: Folder where the rows of each slide are kept; None keeps none.
    """

    stage: ClassVar[str] = STAGE

    models: tuple[ChosenModel, ...]
    donors: dict[str, SlideEntry | None] = field(repr=False)
    settings: StressSettings
    reading: ReadingSettings
    tissue: TissueSettings
    embedding: EmbeddingSettings
    out: Path | None
    overwrite: bool = False

    def open(self) -> Step[list[StressRow]]:
        """Loads the models and their patch encoder.

        Raises:
            HvitError: They cannot be loaded.
        """
        one = Stress(
            preparer=SlidePreparer(
                work=self.work,
                reading=self.reading,
                tissue=self.tissue,
                tiling=self.models[0].folder.tiling,
                # All patches, whatever the attention: glass is what is tested.
                embedder=model_embedder(replace(self.models[0], attention="plain"), self.embedding),
                overwrite=self.overwrite,
            ),
            graders=[Grader(model, self.embedding) for model in self.models],
            settings=self.settings,
        )

        def step(entry: SlideEntry) -> tuple[StatusRow, list[StressRow]]:
            prepared = one.preparer.features(entry)
            row = prepared.row(entry, STAGE)
            if prepared.features is None:
                return row, []
            donor = self.donors[entry.slide_id] if "other" in self.settings.kinds else None
            file = rows_file(self.out, entry.slide_id) if self.out else None
            recipe = stressed_recipe(
                prepared.features, self.models, donor, self.settings, self.tissue
            )
            kept = kept_stressed(file, recipe) if file and not self.overwrite else None
            if kept is not None:
                return row, kept
            rows = one.rows(entry, prepared.features, donor)
            if file:
                keep_stressed(file, recipe, rows)
            return row, rows

        return step


def stress(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    settings: StressSettings,
    request: ModelRequest,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    glass_from: Path | None = None,
    out: Path | None = None,
    exclude: Path | None = None,
    overwrite: bool = False,
    running: RunSettings = ALONE,
) -> Iterator[SlideRecord[list[StressRow]]]:
    """Grades slides on their own glass and on other glass.

    What came of a slide is kept in `slides/` of the folder `out`, and reused by a run with the
    same model, slides and settings.

    Args:
        sources: Slides, folders, manifests.
        work: The work folder.
        settings: What the glass becomes, and where.
        request: Which model; its attention limits the run to one kind.
        reading: Where the slides' spacing comes from; the target is the model's.
        tissue: How tissue is found.
        embedding: Device, precision and batch size.
        glass_from: The slide whose glass others get; the next slide of the run by default.
        out: Folder of the results; None keeps nothing.
        exclude: Table of slides to leave out.
        overwrite: Make masks, tiles and features again that exist with other settings.
        running: How the slides are spread over processes, guarded and shared.

    Yields:
        A record per slide; its product is empty where there is nothing to grade.

    Raises:
        HvitError: Nothing can be done at all.
    """
    if feature_files(sources):
        raise UsageError(
            "stress changes pixels, which feature files do not hold",
            found="feature files",
            wanted="the slides themselves",
        )
    entries = find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)
    donors = _donors(entries, glass_from)
    if "other" in settings.kinds and not any(donors.values()) and settings.kinds == ("other",):
        raise UsageError(
            "there is no other slide whose glass this one could get",
            where="--glass other",
            hint="--glass-from SLIDE",
        )
    runs = (request.attention,) if request.attention else _KINDS
    models = [
        choose_model(replace(request, attention=run), work, slides=len(entries)) for run in runs
    ]
    record_exclusion(work.path, STAGE, exclude)
    job = StressJob(
        work=work,
        models=tuple(models),
        donors=donors,
        settings=settings,
        reading=reading_of(models[0], reading),
        tissue=tissue_of(models[0], tissue),
        embedding=embedding,
        out=out,
        overwrite=overwrite,
    )
    if out is not None:
        require_writable(out)
    else:
        # What others find would be kept nowhere.
        running = replace(running, claim=False)
    kept = replace(job, overwrite=False)
    yield from with_products(run_job(entries, job, running), kept, entries)


def _donors(entries: Sequence[SlideEntry], glass_from: Path | None) -> dict[str, SlideEntry | None]:
    """Whose glass each slide gets: the one asked for, or the next slide's, round in a ring."""
    if glass_from is not None:
        (donor,) = find_slides([glass_from])
        return dict.fromkeys((entry.slide_id for entry in entries), donor)
    if len(entries) < 2:
        return {entry.slide_id: None for entry in entries}
    following = [*entries[1:], entries[0]]
    return {entry.slide_id: donor for entry, donor in zip(entries, following, strict=True)}


def write_stress(folder: Path, rows: Sequence[StressRow], settings: StressSettings) -> Written:
    """Writes `stress.csv` and `stress.md`.

    Slides stand by name, so that the tables do not depend on which of them ended first.
    """
    rows = sorted(rows, key=lambda row: row.slide_id)
    table, page = folder / "stress.csv", folder / "stress.md"
    write_table(table, COLUMNS, ({**asdict(row), "change": row.change} for row in rows))
    write_text(page, stress_page(rows, settings))
    return Written(
        table=table,
        page=page,
        summary=summarise_stress(rows, settings.draws, settings.seed),
    )
