"""`hvit report`: one page per slide, one for the cohort, or sheets that hide which map is which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from hvit_cli import __version__
from hvit_cli.engine.run import SlideRecord, run_slides
from hvit_cli.errors import LabelError, UsageError
from hvit_cli.heatmaps.maps import check_head
from hvit_cli.heatmaps.render import colour_table
from hvit_cli.report.blind import ANSWER_COLUMNS, KEY_COLUMNS, key_row, plan_sheets
from hvit_cli.report.cohort_page import cohort_page
from hvit_cli.report.facts import CohortSlide, Said
from hvit_cli.report.slide_page import slide_page
from hvit_cli.settings import (
    Attention,
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    ReportSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.steps.blind import BlindPainter
from hvit_cli.steps.choose import ChosenModel, ModelRequest, choose_model, reading_of
from hvit_cli.steps.cohort_report import COHORT, cohort_report
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.explain import needs_pixels
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.steps.report import Reported, SlideReporter
from hvit_cli.steps.stored_features import feature_files
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.tables import write_table
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
) -> Iterator[SlideRecord[PageWritten]]:
    """Reports on slides one after another, and at the end on all of them.

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

    Yields:
        A record per slide.

    Raises:
        HvitError: Nothing can be done at all (no slides, no model, unreadable labels).
    """
    entries = _entries(sources, exclude, tissue, maps)
    places = places_of(entries, work, out)
    models = _models(request, work, len(entries), maps)
    label_of = _labels(labels, entries, models[0])
    preparer = _preparer(models, work, reading, tissue, embedding, overwrite)
    reporter = SlideReporter(
        models=models, maps=maps, settings=settings, embedding=embedding, work=work
    )
    told: dict[str, Reported] = {}

    def step(entry: SlideEntry) -> tuple[StatusRow, PageWritten]:
        prepared = preparer.features(entry)
        found = reporter.report(entry, preparer.reading, prepared, label_of.get(entry.slide_id))
        page = places.slides.get(entry.slide_id)
        if page is not None:
            write_text(page, slide_page(found.report, version=__version__))
        if places.cohort is not None:
            # The large pictures are in the slide's own page.
            told[entry.slide_id] = replace(
                found, report=replace(found.report, overview=None, explained=None)
            )
        written = PageWritten(slide_id=entry.slide_id, page=page, said=found.report.said)
        return prepared.row(entry, STAGE), written

    rows: list[CohortSlide] = []
    for record in run_slides(entries, step, stage=STAGE, work=work):
        rows.append(_row(record.row, told, places, label_of))
        yield record
    if places.cohort is not None:
        whole = cohort_report(rows, list(told.values()), models, maps, places.cohort)
        write_text(places.cohort, cohort_page(whole, version=__version__))


def blind(
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
    exclude: Path | None = None,
    overwrite: bool = False,
) -> Iterator[SlideRecord[tuple[Path, ...]]]:
    """Draws randomised sheets of masked and plain maps, and writes the key.

    The arguments are those of `report`; `out` is a folder, `blind/` in the work folder by
    default. It gets `sheets/`, with the form for the answers, and `key.csv` beside it.

    Yields:
        A record per slide; its product is its sheets.

    Raises:
        HvitError: Nothing can be done at all.
    """
    if request.attention is not None:
        raise UsageError(
            "blinded sheets compare both kinds of attention",
            where="--blind",
            hint="without --masked and --plain",
        )
    if maps.shown_scale == "raw" and not maps.signed and maps.map != "single":
        raise UsageError(
            "raw weights of masked and plain attention differ in size, which tells them apart",
            where="--scale",
            found="raw",
            wanted="relative, rank or minmax",
        )
    folder = out or work.path / "blind"
    if folder.is_file() or folder.suffix:
        raise UsageError("blinded sheets go into a folder", where=folder)
    # Sheets that no key names would be judged for nothing, so none are ever mixed.
    if (folder / "key.csv").exists() or any((folder / "sheets").glob("*")):
        raise UsageError(
            "other sheets lie here", where=folder, hint="another folder with -o, or removing them"
        )
    entries = _entries(sources, exclude, tissue, maps)
    models = _models(request, work, len(entries), maps)
    preparer = _preparer(models, work, reading, tissue, embedding, overwrite)
    painter = BlindPainter(models=models, maps=maps, embedding=embedding, work=work)
    sheets = plan_sheets([e.slide_id for e in entries], settings.sheets, settings.seed)
    key: dict[str, dict[str, object]] = {}
    shown = (maps.map, maps.level, maps.shown_scale)

    def step(entry: SlideEntry) -> tuple[StatusRow, tuple[Path, ...]]:
        prepared = preparer.features(entry)
        row = prepared.row(entry, STAGE)
        if prepared.features is None:
            return row, ()
        mine = [sheet for sheet in sheets if sheet.slide_id == entry.slide_id]
        paths = painter.draw(entry, preparer.reading, prepared.features, mine, folder / "sheets")
        for sheet, path in zip(mine, paths, strict=True):
            key[sheet.name] = key_row(
                sheet, path, model=models[0].folder.name, shown=shown, seed=settings.seed
            )
        return row, tuple(paths)

    try:
        yield from run_slides(entries, step, stage=STAGE, work=work)
    finally:
        if key:
            drawn = [sheet for sheet in sheets if sheet.name in key]
            write_table(folder / "key.csv", KEY_COLUMNS, (key[sheet.name] for sheet in drawn))
            form = ANSWER_COLUMNS[settings.sheets]
            write_table(
                folder / "sheets" / "answers.csv", form, [{"sheet": sheet.name} for sheet in drawn]
            )


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


def _entries(
    sources: Sequence[Path], exclude: Path | None, tissue: TissueSettings, maps: HeatmapSettings
) -> list[SlideEntry]:
    colour_table(maps.shown_colour_map)
    if feature_files(sources):
        raise UsageError(
            "a report shows the slides themselves",
            found="feature files",
            hint="the slides, whose features in the work folder are reused",
        )
    if needs_pixels(maps):
        raise UsageError(
            "a report has a value for each patch and none for tokens",
            where="--level",
            found=maps.level,
            wanted="region, slide or region×slide",
        )
    return find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)


def _models(
    request: ModelRequest, work: WorkFolder, slides: int, maps: HeatmapSettings
) -> list[ChosenModel]:
    """One for each kind of attention that is shown, the one that counts first."""
    first = choose_model(request, work, slides=slides)
    check_head(maps.head, first.folder.aggregator.region_heads)
    if request.attention is not None:
        return [first]
    other: Attention = "plain" if first.attention == "masked" else "masked"
    return [first, choose_model(replace(request, attention=other), work, slides=slides)]


def _preparer(
    models: Sequence[ChosenModel],
    work: WorkFolder,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    overwrite: bool,
) -> SlidePreparer:
    # Features of all patches serve both kinds of attention.
    widest = next((model for model in models if model.attention == "plain"), models[0])
    return SlidePreparer(
        work=work,
        reading=reading_of(models[0], reading),
        tissue=tissue,
        tiling=models[0].folder.tiling,
        embedder=model_embedder(widest, embedding),
        overwrite=overwrite,
    )


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
