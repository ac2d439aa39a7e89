"""One slide's report: graded and mapped with every kind of attention that is shown, and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hvit_cli.heatmaps.captions import caption, colour_label
from hvit_cli.heatmaps.maps import PatchMap, rescale
from hvit_cli.heatmaps.render import RgbImage
from hvit_cli.heatmaps.tokens import TokenMap
from hvit_cli.report.facts import (
    CohortSlide,
    ColourScale,
    Explained,
    MapShown,
    PatchSheet,
    Said,
    SlideReport,
)
from hvit_cli.report.methods import MethodFacts, paragraphs
from hvit_cli.report.pictures import Picture, picture_of
from hvit_cli.settings import (
    GRADE_MAPS,
    Attention,
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    ReportSettings,
)
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.steps.artwork import CloseUp
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.explain import explain_slide
from hvit_cli.steps.grade import Grader, Grading
from hvit_cli.steps.paint import as_sentence
from hvit_cli.steps.prepare import Prepared
from hvit_cli.steps.report_measures import measures_in_words, measures_of
from hvit_cli.steps.report_methods import method_facts, recipe_pairs
from hvit_cli.steps.report_pictures import (
    Canvas,
    canvas_of,
    colour_scale,
    map_picture,
    overview,
    patch_sheet,
    with_scale_bar,
)
from hvit_cli.steps.scene import remarks_of
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.tiles import read_tiles
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import TissueMask, read_mask

# Longer side of the pictures of a slide among many.
_SMALL_PX = 420


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What is told of one slide.

    Attributes:
        report: Its own report.
        row: Its place in the cohort's.
        methods: What was done; None without a grade.
        scale: The colours of its maps; None without any.
        caption: What the reader must know of the maps.
        settings: The part of the recipe that all slides of a run share; empty without a grade.
    """

    report: SlideReport
    row: CohortSlide
    methods: MethodFacts | None
    scale: ColourScale | None
    caption: str
    settings: Mapping[str, Any]


class SlideReporter:
    """Grades slides with every kind of attention that is shown, and tells what was found.

    Args:
        models: One for each kind of attention, the one that counts first.
        maps: What the maps show and how they are painted.
        settings: What a report holds.
        embedding: Says on which device the aggregators run.
        work: Where tissue masks and regions lie.
    """

    def __init__(
        self,
        *,
        models: Sequence[ChosenModel],
        maps: HeatmapSettings,
        settings: ReportSettings,
        embedding: EmbeddingSettings,
        work: WorkFolder,
    ) -> None:
        self.models = models
        self.maps = maps
        self.settings = settings
        self.work = work
        self.graders = [Grader(model, embedding) for model in models]

    def report(
        self, entry: SlideEntry, reading: ReadingSettings, prepared: Prepared, label: int | None
    ) -> Reported:
        """Tells everything about one slide.

        Args:
            entry: The slide.
            reading: Where its spacing comes from, and at which patches are read.
            prepared: Its features, or why there are none.
            label: What is true, where it is known.

        Raises:
            ModelError: The features do not fit a model.
            PixelError: The slide cannot be decoded.
        """
        file = self.work.mask(entry.slide_id)
        mask = read_mask(file)[0] if file.exists() else None
        with open_slide(
            entry.path,
            reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            canvas = canvas_of(
                slide,
                None if mask is None else mask.pixels,
                self.settings.picture_px,
                self.models[0].folder.watermark,
            )
            if prepared.features is None:
                return self._nothing(entry, slide, canvas, prepared, mask, label)
            return self._graded(
                entry, slide, canvas, prepared, prepared.features, mask, reading, label
            )

    def _nothing(
        self,
        entry: SlideEntry,
        slide: Slide,
        canvas: Canvas,
        prepared: Prepared,
        mask: TissueMask | None,
        label: int | None,
    ) -> Reported:
        pixels, marks = overview(canvas, None)
        picture = picture_of(
            with_scale_bar(pixels, canvas, canvas.em_px), f"Slide {entry.slide_id}"
        )
        nothing, *remarks = remarks_of(prepared, mask)
        task = self.models[0].folder.task
        report = SlideReport(
            slide_id=entry.slide_id,
            said=(),
            grades=task.grades,
            grade_name=grade_name(self.models[0]),
            nothing=nothing,
            warnings=[*self._notes(), *remarks],
            overview=picture,
            overview_keys=marks,
            facts=[*self._facts(slide), ("Tissue", _mm2(prepared.tissue_mm2))],
            explained=None,
            methods=["Nothing was graded, so that no method is told."],
            recipe=[],
            label=label,
        )
        row = CohortSlide(
            slide_id=entry.slide_id,
            status=prepared.status,
            reason=prepared.remark,
            label=label,
            tissue_mm2=prepared.tissue_mm2,
            dropped_mm2=prepared.tissue_mm2,
            pictures=[("slide", _small(pixels, picture.alt))],
        )
        return Reported(report=report, row=row, methods=None, scale=None, caption="", settings={})

    def _graded(
        self,
        entry: SlideEntry,
        slide: Slide,
        canvas: Canvas,
        prepared: Prepared,
        features: SlideFeatures,
        mask: TissueMask | None,
        reading: ReadingSettings,
        label: int | None,
    ) -> Reported:
        gradings = [grader.grade(features) for grader in self.graders]
        said = [_said(g.model, grading) for g, grading in zip(self.graders, gradings, strict=True)]
        raw = {g.model.attention: self._map(g, features) for g in self.graders}
        # Plain on the left and masked on the right, as in the paper.
        scaled = {
            kind: rescale(raw[kind], self.maps.shown_scale) for kind in sorted(raw, reverse=True)
        }
        every = list(scaled.values())
        words = caption(every, self.maps, features.spacing_um_level0)
        methods = method_facts(features, self.models, words, slide.decoder_name)
        pixels, marks = overview(canvas, every[0])
        picture = picture_of(
            with_scale_bar(pixels, canvas, canvas.em_px),
            f"Slide {entry.slide_id} with its tissue and regions",
        )
        drawn = {kind: map_picture(canvas, one, every, self.maps) for kind, one in scaled.items()}
        heads = self.models[0].folder.aggregator.region_heads
        scale = colour_scale(every, self.maps, colour_label(self.maps, heads))
        measured = measures_of(raw)
        report = SlideReport(
            slide_id=entry.slide_id,
            said=said,
            grades=self.models[0].folder.task.grades,
            grade_name=grade_name(self.models[0]),
            nothing="",
            warnings=[*self._notes(), *remarks_of(prepared, mask)],
            overview=picture,
            overview_keys=marks,
            facts=[*self._facts(slide), *_feature_facts(features)],
            explained=Explained(
                heading=maps_heading(self.maps),
                maps=[
                    MapShown(
                        attention=kind,
                        picture=picture_of(
                            # Two maps stand side by side, at half the size.
                            with_scale_bar(one, canvas, 2 * canvas.em_px),
                            f"Slide {entry.slide_id} under its map of {kind} attention",
                        ),
                    )
                    for kind, one in drawn.items()
                ],
                scale=scale,
                caption=words,
                sheets=self._sheets(scaled, slide, reading, features, gradings),
                measures=measures_in_words(measured),
            ),
            methods=paragraphs(methods),
            recipe=recipe_pairs(features.recipe, self.models, self.maps),
            label=label,
        )
        row = CohortSlide(
            slide_id=entry.slide_id,
            status="done",
            said=said,
            label=label,
            tissue_mm2=features.tissue_mm2,
            dropped_mm2=features.tissue_dropped_mm2,
            numbers={
                f"{short}, {kind}": numbers[name]
                for name, short in _SHORT.items()
                for kind, numbers in measured.items()
                if not (name == "background" and kind == "masked")
            },
            pictures=[
                ("tissue and regions", _small(pixels, picture.alt)),
                *(
                    (f"{kind} attention", _small(one, f"{entry.slide_id}, {kind} attention"))
                    for kind, one in drawn.items()
                ),
            ],
        )
        return Reported(
            report=report,
            row=row,
            methods=methods,
            scale=scale,
            caption=words,
            settings=features.recipe["settings"],
        )

    def _map(self, grader: Grader, features: SlideFeatures) -> PatchMap:
        found = explain_slide(grader, features, self.maps)
        return found.as_patch_map() if isinstance(found, TokenMap) else found

    def _sheets(
        self,
        scaled: Mapping[Attention, PatchMap],
        slide: Slide,
        reading: ReadingSettings,
        features: SlideFeatures,
        gradings: Sequence[Grading],
    ) -> list[PatchSheet]:
        """Foremost patches of every map, and the last ones of the map that counts."""
        if not self.settings.top:
            return []
        close = CloseUp(
            slide=slide,
            reading=reading,
            tiles=read_tiles(self.work.tiles(features.slide_id)),
            region_weight=gradings[0].slide_attention.tolist(),
        )
        watermark = self.models[0].folder.watermark
        sheets = []
        for k, model in enumerate(self.models):
            sheet = patch_sheet(scaled[model.attention], close, self.settings.top, watermark)
            sheets.append(sheet if k == 0 else replace(sheet, lowest=()))
        return sheets

    def _notes(self) -> list[str]:
        notes = dict.fromkeys(model.note for model in self.models if model.note)
        return [as_sentence(note) for note in notes]

    def _facts(self, slide: Slide) -> list[tuple[str, str]]:
        width, height = slide.geometry.size_level0
        um = slide.geometry.spacing_um
        return [
            ("Model", self.models[0].folder.name),
            (
                "Size",
                f"{width} × {height} px, {width * um / 1000:.1f} × {height * um / 1000:.1f} mm",
            ),
            ("Spacing of level 0", f"{um:.4g} µm/px"),
        ]


def grade_name(model: ChosenModel) -> str:
    """What a grade of this model is called."""
    return "ISUP grade" if model.folder.task.task == "isup" else "grade"


def maps_heading(maps: HeatmapSettings) -> str:
    """What maps show, in a few words: attention says where a model looked, and no more."""
    return "What the score rests on" if maps.map in GRADE_MAPS else "Where the model looked"


def _said(model: ChosenModel, grading: Grading) -> Said:
    folds = [member.fold for member in model.members]
    return Said(
        attention=model.attention,
        grade=grading.grade,
        # As in the table of predictions.
        score=round(grading.score, 6),
        member_scores=tuple(zip(folds, grading.member_scores, strict=True)),
        note=as_sentence(model.note) if model.note else "",
    )


def _feature_facts(features: SlideFeatures) -> list[tuple[str, str]]:
    seen = int((features.tissue_fraction > features.background_below).sum())
    every = features.n_regions * features.patches_per_region
    return [
        ("Read at", f"{features.spacing_um:.4g} µm/px"),
        ("Tissue", _mm2(features.tissue_mm2)),
        ("Tissue not looked at", _mm2(features.tissue_dropped_mm2)),
        ("Regions", f"{features.n_regions} of {features.region_px} px"),
        ("Patches with tissue", f"{seen} of {every}"),
    ]


def _mm2(area: float | None) -> str:
    return "–" if area is None else f"{area:.2f} mm²"


def _small(pixels: RgbImage, alt: str) -> Picture:
    return picture_of(pixels, alt, longest_px=_SMALL_PX)


_SHORT = {
    "background": "glass × uniform",
    "top": "top patch %",
}
