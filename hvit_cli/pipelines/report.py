"""`hvit report`: one page per slide, and one for the cohort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from hvit_cli import __version__
from hvit_cli.engine.attempt import Step
from hvit_cli.engine.execute import ALONE, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import LabelError, UsageError
from hvit_cli.report.cohort_page import cohort_page
from hvit_cli.report.facts import CohortSlide, Said
from hvit_cli.report.slide_page import slide_page
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    ReportSettings,
    RunSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.steps.choose import ChosenModel, ModelRequest
from hvit_cli.steps.cohort_report import COHORT, cohort_report
from hvit_cli.steps.report import Reported, SlideReporter
from hvit_cli.steps.report_inputs import report_entries, report_models, report_preparer
from hvit_cli.storage.atomic import require_writable, write_text
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.labels import read_labels, require_sound

STAGE = "report"


@dataclass(frozen=True, kw_only=True)
class PageWritten:
    """One slide's page.

    Attributes:
        slide_id: The slide.
        page: Its page; None where only the cohort's was asked for.
        said: What the model said, the attention that counts first.
    """

    slide_id: str
    page: Path | None
    said: Sequence[Said]


@dataclass(frozen=True, kw_only=True)
class SlideTold:
    """One slide's page, and what the cohort's page tells of the slide.

    Attributes:
        written: The page.
        for_cohort: What was found, without the large pictures; None where there is no such page.
    """

    written: PageWritten
    for_cohort: Reported | None


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Where labels come from.

    Attributes:
        path: The table.
        id_column: Heading of the slide ids; None finds a usual one.
        label_column: Heading of the labels; None finds a usual one.
    """

    path: Path
    id_column: str | None = None
    label_column: str | None = None


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where pages go.

    Attributes:
        cohort: The page on all slides; None for a single slide.
        slides: Page by slide id; empty where only the cohort's is wanted.
    """

    cohort: Path | None
    slides: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class ReportJob(SlideJob[SlideTold]):
    """Reports on a slide.

    Attributes:
        models: One for each kind of attention that is shown, the one that counts first.
        maps: What the maps show and how they are painted.
        settings: What a report holds.
        label_of: What is true, by slide id.
        places: Where pages go.
    """

    stage: ClassVar[str] = STAGE

    models: tuple[ChosenModel, ...]
    maps: HeatmapSettings
    settings: ReportSettings
    reading: ReadingSettings
    tissue: TissueSettings
    embedding: EmbeddingSettings
    label_of: Mapping[str, int] = field(repr=False)
    places: Places = field(repr=False)
    overwrite: bool = False

    def open(self) -> Step[SlideTold]:
        """Loads the models and their patch encoder.

        Raises:
            HvitError: They cannot be loaded.
        """
        preparer = report_preparer(
            self.models, self.work, self.reading, self.tissue, self.embedding, self.overwrite
        )
        reporter = SlideReporter(
            models=self.models,
            maps=self.maps,
            settings=self.settings,
            embedding=self.embedding,
            work=self.work,
        )

        def step(entry: SlideEntry) -> tuple[StatusRow, SlideTold]:
            prepared = preparer.features(entry)
            label = self.label_of.get(entry.slide_id)
            found = reporter.report(entry, preparer.reading, prepared, label)
            page = self.places.slides.get(entry.slide_id)
            if page is not None:
                write_text(page, slide_page(found.report, version=__version__))
            for_cohort: Reported | None = None
            if self.places.cohort is not None:
                # The large pictures are in the slide's own page.
                for_cohort = replace(
                    found, report=replace(found.report, overview=None, explained=None)
                )
            written = PageWritten(slide_id=entry.slide_id, page=page, said=found.report.said)
            told = SlideTold(written=written, for_cohort=for_cohort)
            return prepared.row(entry, STAGE), told

        return step


def report(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    out: Path | None,
    maps: HeatmapSettings,
    settings: ReportSettings,
    request: ModelRequest,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    labels: LabelSource | None = None,
    exclude: Path | None = None,
    overwrite: bool = False,
    running: RunSettings = ALONE,
) -> Iterator[SlideRecord[PageWritten]]:
    """Reports on slides, and at the end on all of them.

    Args:
        sources: Slides, folders, manifests.
        work: The work folder.
        out: For one slide its page (.html); for several the cohort's page, which then is the
            only one; or a folder for all. `reports/` in the work folder by default.
        maps: What the maps show and how they are painted.
        settings: What a report holds.
        request: Which model. Without an attention, both kinds are shown.
        reading: Where the slides' spacing comes from; the target is the model's.
        tissue: How tissue is found.
        embedding: Device, precision and batch size.
        labels: What is true; the worst errors then come first.
        exclude: Table of slides to leave out.
        overwrite: Make masks, tiles and features again that exist with other settings.
        running: How the slides are spread over processes and guarded; they are not shared with
            other runs, because the cohort's page is written by the one that has them all.

    Yields:
        A record per slide.

    Raises:
        HvitError: Nothing can be done at all (no slides, no model, unreadable labels).
    """
    entries = report_entries(sources, exclude, tissue, maps)
    places = places_of(entries, work, out)
    for folder in {path.parent for path in (places.cohort, *places.slides.values()) if path}:
        require_writable(folder)
    models = report_models(request, work, len(entries), maps)
    label_of = _labels(labels, entries, models[0])
    record_exclusion(work.path, STAGE, exclude)
    job = ReportJob(
        work=work,
        models=tuple(models),
        maps=maps,
        settings=settings,
        reading=reading,
        tissue=tissue,
        embedding=embedding,
        label_of=label_of,
        places=places,
        overwrite=overwrite,
    )
    rows: dict[str, CohortSlide] = {}
    told: dict[str, Reported] = {}
    for record in run_job(entries, job, replace(running, claim=False, shard=None)):
        slide_id, product = record.row.slide_id, record.product
        if product is not None and product.for_cohort is not None:
            told[slide_id] = product.for_cohort
        rows[slide_id] = _row(record.row, told, places, label_of)
        yield SlideRecord(
            number=record.number,
            total=record.total,
            row=record.row,
            product=None if product is None else product.written,
        )
    if places.cohort is not None:
        # In the order of the slides, whichever of them ended first.
        names = [entry.slide_id for entry in entries]
        whole = cohort_report(
            [rows[name] for name in names],
            [told[name] for name in names if name in told],
            models,
            maps,
            places.cohort,
        )
        write_text(places.cohort, cohort_page(whole, version=__version__))


def places_of(entries: Sequence[SlideEntry], work: WorkFolder, out: Path | None) -> Places:
    """Where every page goes.

    Raises:
        UsageError: The output is neither a page nor a folder, or a slide is called as the
            cohort's page.
    """
    several = len(entries) > 1
    cohort = cohort_page_of(work, out, len(entries))
    if out is not None and _is_page(out):
        return Places(cohort=cohort, slides={} if several else {entries[0].slide_id: out})
    folder = out or work.path / "reports"
    if folder.is_file():
        raise UsageError(
            "a report is a page or a folder of pages",
            where=folder,
            wanted="a name that ends in .html, or a folder",
        )
    slides = {entry.slide_id: folder / f"{entry.slide_id}.html" for entry in entries}
    if several and any(slide_id.casefold() == COHORT for slide_id in slides):
        raise UsageError(
            "a slide is called as the cohort's page",
            where=COHORT,
            hint=f"-o {folder / 'all.html'}, which writes the cohort's page alone",
        )
    return Places(cohort=cohort, slides=slides)


def cohort_page_of(work: WorkFolder, out: Path | None, slides: int) -> Path | None:
    """Where the page on all slides of a run lies; None for a single slide."""
    if slides < 2:
        return None
    return (
        out
        if out is not None and _is_page(out)
        else (out or work.path / "reports") / f"{COHORT}.html"
    )


def _is_page(out: Path) -> bool:
    return out.suffix.lower() in (".html", ".htm") and not out.is_dir()


def _labels(
    source: LabelSource | None, entries: Sequence[SlideEntry], model: ChosenModel
) -> Mapping[str, int]:
    if source is None:
        return {}
    table = require_sound(
        read_labels(
            source.path,
            id_column=source.id_column,
            label_column=source.label_column,
            grades=model.folder.task.grades,
        )
    )
    if not any(entry.slide_id in table.labels for entry in entries):
        raise LabelError(
            "no slide has a label",
            where=source.path,
            found=", ".join(list(table.labels)[:3]),
            wanted=f"ids such as {entries[0].slide_id}",
            hint="--id-column; ids without the file's suffix",
        )
    return table.labels


def _row(
    row: StatusRow, told: Mapping[str, Reported], places: Places, label_of: Mapping[str, int]
) -> CohortSlide:
    found = told.get(row.slide_id)
    if found is None:
        return CohortSlide(
            slide_id=row.slide_id,
            status=row.status,
            reason=row.reason,
            label=label_of.get(row.slide_id),
        )
    page = places.slides.get(row.slide_id)
    return replace(found.row, link=quote(page.name) if page is not None else "")
