"""`hvit measure`: what heatmaps are worth, slide by slide and over all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvit_cli.engine.run import SlideRecord, run_slides
from hvit_cli.errors import UsageError
from hvit_cli.measures.draws import drawn_for
from hvit_cli.measures.haematoxylin import haematoxylin_density
from hvit_cli.measures.page import page
from hvit_cli.measures.records import MEASURES, MapMeasures, MapRow
from hvit_cli.measures.summary import RowSummary, summarise
from hvit_cli.settings import (
    EmbeddingSettings,
    LabelScheme,
    MeasureSettings,
    ReadingSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.altered import altered, another_stain
from hvit_cli.steps.choose import ModelRequest, choose_model, reading_of
from hvit_cli.steps.embed import embed_slide
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.explain import pixels_of
from hvit_cli.steps.measure import MapMeasurer, MeasuredSlide, sights_of
from hvit_cli.steps.measured import measured_file, measured_recipe, store_rows, stored_rows
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.steps.slide_truth import TruthSource
from hvit_cli.steps.stored_features import feature_files, stored_entries, stored_features
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.tables import write_table
from hvit_cli.storage.tiles import read_tiles
from hvit_cli.storage.work import WorkFolder

STAGE = "measure"
_STAIN_STREAM = 304
_HALF_A_PATCH = (0.5, 0.5)
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
) -> Iterator[SlideRecord[list[MapMeasures]]]:
    """Measures the maps of slides one after another.

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
    measurer = MapMeasurer(sights_of(models, embedding), request.settings)
    pixels: _Pixels | None = None
    if not files:
        widest = replace(models[0], attention="plain")
        pixels = _Pixels(
            preparer=SlidePreparer(
                work=work,
                reading=reading_of(models[0], reading),
                tissue=tissue,
                tiling=models[0].folder.tiling,
                embedder=model_embedder(widest, embedding),
                overwrite=overwrite,
            ),
            batch_size=embedding.batch_size,
            settings=request.settings,
        )
    again = {entry.slide_id for entry in entries[: request.settings.stability_slides]}

    def step(entry: SlideEntry) -> tuple[StatusRow, list[MapMeasures]]:
        prepared = stored_features(entry) if pixels is None else pixels.preparer.features(entry)
        row = prepared.row(entry, STAGE)
        if prepared.features is None:
            return row, []
        file = measured_file(out, entry.slide_id) if out else None
        recipe = measured_recipe(
            prepared.features,
            models,
            request.truth,
            request.settings,
            from_pixels=pixels is not None,
            again=entry.slide_id in again,
        )
        stored = stored_rows(file, recipe) if file and not overwrite else None
        if stored is not None:
            return row, stored
        slide = MeasuredSlide(
            features=prepared.features,
            truth=request.truth.of(prepared.features) if request.truth else None,
        )
        if pixels is not None:
            slide = pixels.complete(slide, entry, again=entry.slide_id in again)
        measured = measurer.measure(slide)
        if file:
            store_rows(file, recipe, measured)
        return row, measured

    yield from run_slides(entries, step, stage=STAGE, work=work)


@dataclass(frozen=True, kw_only=True)
class _Pixels:
    """What is measured of the slide itself and not of its features."""

    preparer: SlidePreparer
    batch_size: int
    settings: MeasureSettings

    def complete(self, slide: MeasuredSlide, entry: SlideEntry, *, again: bool) -> MeasuredSlide:
        """Adds haematoxylin, and where the slide is embedded `again` what stability needs."""
        if self.settings.floors:
            slide = replace(slide, haematoxylin=self._haematoxylin(entry, slide.features))
        if not again:
            return slide
        shifted = replace(
            self.preparer,
            shift_patches=_HALF_A_PATCH,
            work=self.preparer.work.shifted(_HALF_A_PATCH),
        ).features(entry)
        return replace(slide, shifted=shifted.features, restained=self._restained(entry))

    def _haematoxylin(self, entry: SlideEntry, features: SlideFeatures) -> npt.NDArray[np.float64]:
        tiles = read_tiles(self.preparer.work.tiles(entry.slide_id))
        with open_slide(
            entry.path,
            self.preparer.reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            read = pixels_of(slide, tiles, features, self.batch_size)
            parts = [haematoxylin_density(p) for p in read(np.ones(len(features.features), bool))]
        return np.concatenate(parts)

    def _restained(self, entry: SlideEntry) -> SlideFeatures:
        tiles = read_tiles(self.preparer.work.tiles(entry.slide_id))
        alter = another_stain(
            np.random.default_rng([self.settings.seed, _STAIN_STREAM, drawn_for(entry.slide_id)])
        )
        embedder = self.preparer.embedder
        with altered(entry, self.preparer.reading, alter) as slide:
            return embed_slide(slide, tiles, embedder, embedder.recipe(tiles))


def write_measures(
    folder: Path, records: Sequence[MapMeasures], settings: MeasureSettings
) -> list[RowSummary]:
    """Writes `maps.csv` (slide × map), `summary.csv` and `summary.md`; returns the summary."""
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
