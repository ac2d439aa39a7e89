"""`hvit heatmap`: where the model looked, stitched over the slide."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.execute import ALONE, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.export import output_kind, places, scores_format, suffix_of
from hvit_cli.heatmaps.maps import check_head
from hvit_cli.heatmaps.render import colour_table
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.token_attention import require_token_attention
from hvit_cli.settings import (
    Attention,
    EmbeddingSettings,
    FigureSettings,
    HeatmapSettings,
    ReadingSettings,
    RunSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.steps.artwork import Targets
from hvit_cli.steps.choose import ChosenModel, ModelRequest, choose_model, reading_of, tissue_of
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.explain import needs_pixels
from hvit_cli.steps.paint import Heatmap, HeatmapPainter
from hvit_cli.steps.prepare import Prepared, SlidePreparer
from hvit_cli.steps.shifted import shifted_features
from hvit_cli.steps.stored_features import feature_files, stored_entries, stored_features
from hvit_cli.steps.watch import Watch, unwatched
from hvit_cli.storage.atomic import require_writable
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

STAGE = "heatmap"
_ONE_MAP = FigureSettings()


@dataclass(frozen=True, kw_only=True)
class HeatmapJob(SlideJob[Heatmap | None]):
    """Draws a slide.

    Attributes:
        models: The model, once for each kind of attention that is shown.
        is_stored: Whether the entries are feature files, and no slides.
        targets: Where each slide's files go, by slide id.
    """

    stage: ClassVar[str] = STAGE

    models: tuple[ChosenModel, ...]
    is_stored: bool
    reading: ReadingSettings
    tissue: TissueSettings
    embedding: EmbeddingSettings
    settings: HeatmapSettings
    figure: FigureSettings
    targets: dict[str, Targets] = field(repr=False)
    overwrite: bool = False

    @property
    def at_once(self) -> int:
        """One slide is read while another is embedded.

        Maps of the patch encoder's own attention change the encoder while they look into it.
        """
        return 1 if self.is_stored or needs_pixels(self.settings) else 2

    def open(self) -> Step[Heatmap | None]:
        """Loads the models, and their patch encoder where slides are read.

        Raises:
            HvitError: They cannot be loaded, or do not have the map.
        """
        return self.open_watched(unwatched)

    def open_watched(self, watch: Watch) -> Step[Heatmap | None]:
        """As `open`; `watch` is told how far each slide is."""
        features_of: Callable[[SlideEntry], Prepared] = stored_features
        encoder: PatchEncoder | None = None
        preparer: SlidePreparer | None = None
        if not self.is_stored:
            preparer = self._preparer(watch)
            encoder = preparer.embedder.encoder
            features_of = preparer.features
        if needs_pixels(self.settings) and encoder is not None:
            require_token_attention(encoder)
        painter = HeatmapPainter(
            models=self.models,
            settings=self.settings,
            embedding=self.embedding,
            work=self.work,
            encoder=encoder,
            figure=self.figure,
        )

        drawing = threading.Lock()

        def step(entry: SlideEntry) -> tuple[StatusRow, Heatmap | None]:
            prepared = features_of(entry)
            row = prepared.row(entry, STAGE)
            if prepared.features is None:
                return row, None
            others: Iterator[SlideFeatures] = iter(())
            if preparer is not None:
                others = shifted_features(preparer, entry, prepared.features, self.settings.overlap)
            # Some maps hang themselves into the model's layers while they look.
            with drawing:
                return row, painter.draw(
                    entry, self.reading, prepared.features, self.targets[entry.slide_id], others
                )

        return step

    def _preparer(self, watch: Watch) -> SlidePreparer:
        # Features of all patches serve both kinds of attention.
        widest = next((m for m in self.models if m.attention == "plain"), self.models[0])
        return SlidePreparer(
            work=self.work,
            reading=self.reading,
            tissue=self.tissue,
            tiling=self.models[0].folder.tiling,
            embedder=model_embedder(widest, self.embedding),
            overwrite=self.overwrite,
            watch=watch,
        )


def heatmap(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    out: Path | None,
    scores: Path | None,
    settings: HeatmapSettings,
    request: ModelRequest,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    figure: FigureSettings = _ONE_MAP,
    formats: Sequence[str] = (),
    exclude: Path | None = None,
    overwrite: bool = False,
    running: RunSettings = ALONE,
    watch: Watch | None = None,
) -> Iterator[SlideRecord[Heatmap | None]]:
    """Draws slides one after another, computing what is missing and reusing what is there.

    Args:
        sources: Slides, folders, manifests; or feature files, or a folder of them.
        work: The work folder.
        out: A file for one slide, its suffix deciding what is written; a folder for several;
            `heatmaps/` in the work folder by default.
        scores: An NPZ for one slide, a folder for several; None writes none.
        settings: What the maps show and how they are painted.
        request: Which model, and settings that must agree with it.
        reading: Where the slides' spacing comes from; the target is the model's.
        tissue: How tissue is found.
        embedding: Device, precision and batch size.
        figure: Which figure is drawn, and whether patches are shown beside it.
        formats: Suffixes of the files in a folder, or beside the file that `out` names; PNG
            alone where nothing is said.
        exclude: Table of slides to leave out.
        overwrite: Make masks, tiles and features again that exist with other settings.
        running: How the slides are spread over processes, guarded and shared.
        watch: Told how far each slide is.

    Yields:
        A record per slide; its product is None where there is nothing to draw.

    Raises:
        HvitError: Nothing can be done at all (no slides, no model, an output that cannot be).
    """
    if figure.needs_both and request.attention is not None:
        asked = "--side-by-side" if figure.figure == "6" else f"--figure {figure.figure}"
        raise UsageError(f"{asked} shows both kinds of attention", hint="without --masked")
    colour_table(settings.shown_colour_map)
    files = feature_files(sources)
    if files and needs_pixels(settings):
        raise UsageError(
            "this map shows the patch encoder's attention, which feature files do not hold",
            where="--level",
            found=settings.level,
            wanted="the slides themselves, to read them again",
            hint="--level region, slide or region×slide",
        )
    entries = (
        stored_entries(files)
        if files
        else find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)
    )
    targets = _targets(entries, work, out, scores, formats, figure)
    for folder in {path.parent for target in targets.values() for path in target.files}:
        require_writable(folder)
    kinds: tuple[Attention | None, ...] = ("masked", "plain") if figure.needs_both else (None,)
    models = [
        choose_model(
            replace(request, attention=kind or request.attention), work, slides=len(entries)
        )
        for kind in kinds
    ]
    if settings.level != "patch":
        check_head(settings.head, models[0].folder.aggregator.region_heads)
    if files and (settings.overlap > 1 or figure.figure in ("1", "4") or figure.top):
        raise UsageError(
            "this needs the slides themselves, to read them again",
            where="--overlap, --figure, --top",
            found="feature files",
        )
    record_exclusion(work.path, STAGE, exclude)
    job = HeatmapJob(
        work=work,
        models=tuple(models),
        is_stored=bool(files),
        reading=reading_of(models[0], reading),
        tissue=tissue_of(models[0], tissue),
        embedding=embedding,
        settings=settings,
        figure=figure,
        targets=targets,
        overwrite=overwrite,
    )
    yield from run_job(entries, job, running, watch)


def _targets(
    entries: Sequence[SlideEntry],
    work: WorkFolder,
    out: Path | None,
    scores: Path | None,
    formats: Sequence[str],
    figure: FigureSettings,
) -> dict[str, Targets]:
    """Where each slide's files go, refused before any work where they cannot be written."""
    ids = [entry.slide_id for entry in entries]
    suffixes = [f".{name.lower().removeprefix('.')}" for name in formats]
    for suffix in suffixes:
        output_kind(Path(f"a{suffix}"))
    first = suffixes[0] if suffixes else ".png"
    pictures = (
        [work.heatmap(slide_id, first) for slide_id in ids]
        if out is None
        else places(out, ids, first, output_kind)
    )
    numbers: Sequence[Path | None] = (
        [None] * len(ids) if scores is None else places(scores, ids, ".npz", scores_format)
    )
    slides = {entry.path.resolve() for entry in entries}
    targets = {}
    for slide_id, picture, number in zip(ids, pictures, numbers, strict=True):
        stem = picture.name.removesuffix(suffix_of(picture))
        every = dict.fromkeys([picture, *(picture.with_name(stem + end) for end in suffixes)])
        for path in every:
            if path.resolve() in slides:
                raise UsageError("the heatmap would replace the slide itself", where=path)
            if figure.figure != "map" and output_kind(path) in ("overlay", "ome"):
                raise UsageError(
                    "an overlay holds one map, and no figure",
                    where=path,
                    wanted="a PNG or JPEG",
                    hint="without --figure and --side-by-side",
                )
        targets[slide_id] = Targets(
            pictures=tuple(every),
            scores=number,
            sheet=picture.with_name(f"{stem}_patches.png") if figure.top else None,
        )
    return targets
