"""`hvit measure`: what heatmaps are worth, slide by slide and over all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.completed import with_products
from hvit_cli.engine.execute import ALONE, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import UsageError
from hvit_cli.measures.page import page
from hvit_cli.measures.records import MEASURES, MapMeasures, MapRow
from hvit_cli.measures.summary import RowSummary, summarise
from hvit_cli.settings import (
    EmbeddingSettings,
    LabelScheme,
    MeasureSettings,
    ReadingSettings,
    RunSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.steps.choose import ChosenModel, ModelRequest, choose_model, reading_of, tissue_of
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.kept_rows import rows_file
from hvit_cli.steps.measure import MapMeasurer, MeasuredSlide, sights_of
from hvit_cli.steps.measure_pixels import PixelMeasurer
from hvit_cli.steps.measured import measured_recipe, store_rows, stored_rows
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.steps.slide_truth import TruthSource
from hvit_cli.steps.stored_features import feature_files, stored_entries, stored_features
from hvit_cli.storage.atomic import require_writable, write_text
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.tables import write_table
from hvit_cli.storage.work import WorkFolder

STAGE = "measure"
_ROW_COLUMNS = tuple(field.name for field in fields(MapRow))
_NUMBER_COLUMNS = tuple(f.name for f in fields(MapMeasures) if f.name not in ("slide_id", "row"))


@dataclass(frozen=True, kw_only=True)
class MeasureRequest:
    """What is measured.

    Attributes:
        models: Model folders, or "demo"; all of one patch encoder.
        truth: Where pathology masks lie; None leaves localisation out.
        settings: Which maps and measures.
    """

    models: tuple[str, ...]
    truth: TruthSource | None
    settings: MeasureSettings


@dataclass(frozen=True, kw_only=True)
class MeasureJob(SlideJob[list[MapMeasures]]):
    """Measures the maps of a slide.

    Attributes:
        models: The models, of one patch encoder.
        is_stored: Whether the entries are feature files, and no slides.
        truth: Where pathology masks lie; None leaves localisation out.
        settings: Which maps and measures.
        again: The slides that are embedded anew, for stability.
        out: Folder where the rows of each slide are kept; None keeps none.
    """

    stage: ClassVar[str] = STAGE

    models: tuple[ChosenModel, ...]
    is_stored: bool
    truth: TruthSource | None
    settings: MeasureSettings
    again: frozenset[str]
    reading: ReadingSettings
    tissue: TissueSettings
    embedding: EmbeddingSettings
    out: Path | None
    overwrite: bool = False

    def open(self) -> Step[list[MapMeasures]]:
        """Loads the models, and their patch encoder where slides are read.

        Raises:
            HvitError: They cannot be loaded.
        """
        measurer = MapMeasurer(sights_of(self.models, self.embedding), self.settings)
        pixels = None if self.is_stored else self._pixels()

        def step(entry: SlideEntry) -> tuple[StatusRow, list[MapMeasures]]:
            prepared = stored_features(entry) if pixels is None else pixels.preparer.features(entry)
            row = prepared.row(entry, STAGE)
            if prepared.features is None:
                return row, []
            again = entry.slide_id in self.again
            file = rows_file(self.out, entry.slide_id) if self.out else None
            recipe = measured_recipe(
                prepared.features,
                self.models,
                self.truth,
                self.settings,
                from_pixels=pixels is not None,
                again=again,
            )
            stored = stored_rows(file, recipe) if file and not self.overwrite else None
            if stored is not None:
                return row, stored
            slide = MeasuredSlide(
                features=prepared.features,
                truth=self.truth.of(prepared.features) if self.truth else None,
            )
            if pixels is not None:
                slide = pixels.complete(slide, entry, again=again)
            measured = measurer.measure(slide)
            if file:
                store_rows(file, recipe, measured)
            return row, measured

        return step

    def _pixels(self) -> PixelMeasurer:
        widest = replace(self.models[0], attention="plain")
        return PixelMeasurer(
            preparer=SlidePreparer(
                work=self.work,
                reading=self.reading,
                tissue=self.tissue,
                tiling=self.models[0].folder.tiling,
                embedder=model_embedder(widest, self.embedding),
                overwrite=self.overwrite,
            ),
            batch_size=self.embedding.batch_size,
            settings=self.settings,
        )


def truth_source(
    folder: Path | None, pattern: str, scheme: LabelScheme | None
) -> TruthSource | None:
    """Where pathology masks lie, as the options say it.

    Raises:
        UsageError: A folder of masks without the meaning of their values, the meaning without
            a folder, or a pattern without {slide_id}.
    """
    if folder is None:
        if scheme is not None:
            raise UsageError("the values of which masks?", hint="--truth FOLDER")
        return None
    if scheme is None:
        raise UsageError(
            "what do the values of the pathology masks mean?",
            where="--truth",
            hint="--preset panda-radboud, or --tumour-values and --other-values",
        )
    if "{slide_id}" not in pattern:
        raise UsageError(
            "the pattern has no place for the slide's name",
            where="--truth-pattern",
            found=pattern,
            wanted="a name that contains {slide_id}",
        )
    return TruthSource(folder=folder, pattern=pattern, scheme=scheme)


def measure(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    request: MeasureRequest,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    out: Path | None = None,
    exclude: Path | None = None,
    overwrite: bool = False,
    running: RunSettings = ALONE,
) -> Iterator[SlideRecord[list[MapMeasures]]]:
    """Measures the maps of slides.

    What was measured of a slide is kept in `slides/` of the folder `out`, and reused by a run
    with the same models, masks and settings.

    Args:
        sources: Slides, folders, manifests; or feature files, or a folder of them.
        work: The work folder.
        request: Models, truth and measures.
        reading: Where the slides' spacing comes from; the target is the model's.
        tissue: How tissue is found.
        embedding: Device, precision and batch size.
        out: Folder of the results; None keeps nothing.
        exclude: Table of slides to leave out.
        overwrite: Make masks, tiles and features again that exist with other settings.
        running: How the slides are spread over processes, guarded and shared.

    Yields:
        A record per slide; its product is a list of rows, empty where there is no region.

    Raises:
        HvitError: Nothing can be done at all.
    """
    files = feature_files(sources)
    entries = (
        stored_entries(files)
        if files
        else find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)
    )
    if files and request.settings.stability_slides:
        raise UsageError(
            "stability needs the slides themselves, to read them again",
            where="--stability",
            found="feature files",
        )
    names: Sequence[str | None] = request.models or (None,)
    models = [choose_model(ModelRequest(model=name), work, slides=len(entries)) for name in names]
    _require_own_names([model.folder.name for model in models])
    record_exclusion(work.path, STAGE, exclude)
    job = MeasureJob(
        work=work,
        models=tuple(models),
        is_stored=bool(files),
        truth=request.truth,
        settings=request.settings,
        again=frozenset(e.slide_id for e in entries[: request.settings.stability_slides]),
        reading=reading_of(models[0], reading),
        tissue=tissue_of(models[0], tissue),
        embedding=embedding,
        out=out,
        overwrite=overwrite,
    )
    if out is not None:
        require_writable(out)
    else:
        # What others measure would be kept nowhere.
        running = replace(running, claim=False)
    kept = replace(job, overwrite=False)
    yield from with_products(run_job(entries, job, running), kept, entries)


def write_measures(
    folder: Path, records: Sequence[MapMeasures], settings: MeasureSettings
) -> list[RowSummary]:
    """Writes `maps.csv` (slide × map), `summary.csv` and `summary.md`; returns the summary.

    Slides stand by name, so that the tables do not depend on which of them ended first.
    """
    records = sorted(records, key=lambda record: record.slide_id)
    summary = summarise(records, settings.draws, settings.seed)
    write_table(
        folder / "maps.csv",
        ("slide_id", *_ROW_COLUMNS, *_NUMBER_COLUMNS),
        ({**asdict(record), **asdict(record.row)} for record in records),
    )
    write_table(
        folder / "summary.csv",
        (*_ROW_COLUMNS, "measure", "slides", "mean", "low", "high", *_AGAINST),
        (line for one in summary for line in _lines(one)),
    )
    write_text(folder / "summary.md", page(summary, records, settings))
    return summary


_AGAINST = ("minus_plain", "minus_plain_low", "minus_plain_high")


def _lines(one: RowSummary) -> Iterator[dict[str, object]]:
    for name in MEASURES:
        own, other = one.measures[name], one.against_plain.get(name)
        yield {
            **asdict(one.row),
            "measure": name,
            "slides": own.slides,
            "mean": own.mean.value,
            "low": own.mean.low,
            "high": own.mean.high,
            "minus_plain": other.mean.value if other else None,
            "minus_plain_low": other.mean.low if other else None,
            "minus_plain_high": other.mean.high if other else None,
        }


def _require_own_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            "two models of one name cannot be told apart in a table",
            where="--model",
            found=", ".join(twice),
        )
