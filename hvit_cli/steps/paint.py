"""One slide's heatmap: graded with every kind of attention that is shown, and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hvit_cli import __version__
from hvit_cli.heatmaps.maps import PatchMap, rescale
from hvit_cli.heatmaps.picture import Facts
from hvit_cli.heatmaps.render import RgbImage
from hvit_cli.heatmaps.stitch import PictureFrame
from hvit_cli.heatmaps.tokens import TokenMap, rescale_tokens
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.settings import (
    Attention,
    EmbeddingSettings,
    FigureSettings,
    HeatmapSettings,
    MapKind,
    ReadingSettings,
    Scale,
    as_recipe,
)
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.steps.artwork import Artwork, CloseUp, Targets
from hvit_cli.steps.canvas import NO_SLIDE, tissue_canvas, tissue_patches
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.explain import explain_slide, needs_pixels, pixels_of
from hvit_cli.steps.grade import Grader, Grading
from hvit_cli.steps.shifted import finer_maps
from hvit_cli.steps.stored_features import is_stored
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.tiles import read_tiles
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import read_mask

_READ_AGAIN = "The slide was read again for the patch encoder's own attention."
_TITLES: dict[MapKind, str] = {
    "rollout": "rollout",
    "contribution": "contribution to the score",
    "single": "patches alone",
    "gradient": "gradient × attention",
    "integrated": "integrated gradients",
}


_ONE_MAP = FigureSettings()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the model said with one kind of attention.

    Attributes:
        attention: How it looked.
        grade: ISUP grade, 0-5.
        score: The regressed number, not clipped.
        score_sd: Standard deviation over the model's members (ddof 1), where there are several.
        members: Aggregators whose answers were averaged.
        note: What must be said beside the grade.
    """

    attention: Attention
    grade: int
    score: float
    score_sd: float | None
    members: int
    note: str


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """One slide's picture.

    Attributes:
        slide_id: The slide's name without suffix.
        picture: The picture, or the first of several files.
        further: The other files that were asked for.
        scores: The numbers behind it, where they were asked for.
        model: The model's name.
        verdicts: One for each kind of attention that is shown, the masked one first.
    """

    slide_id: str
    picture: Path
    further: tuple[Path, ...]
    scores: Path | None
    model: str
    verdicts: tuple[Verdict, ...]


class HeatmapPainter:
    """Grades one slide with every kind of attention that is shown, and draws it.

    Args:
        models: One for each kind of attention that is shown, the masked one first.
        settings: What the maps show and how they are painted.
        embedding: Says on which device the aggregators run.
        work: Where the tissue masks and regions lie.
        encoder: The models' patch encoder; only maps of its own attention need it.
        figure: Which figure is drawn.
    """

    def __init__(
        self,
        *,
        models: Sequence[ChosenModel],
        settings: HeatmapSettings,
        embedding: EmbeddingSettings,
        work: WorkFolder,
        encoder: PatchEncoder | None = None,
        figure: FigureSettings = _ONE_MAP,
    ) -> None:
        self.models = models
        self.settings = settings
        self.work = work
        self.figure = figure
        self.encoder = encoder
        self.batch_size = embedding.batch_size
        self.graders = [Grader(model, embedding) for model in models]

    def draw(
        self,
        entry: SlideEntry,
        reading: ReadingSettings,
        features: SlideFeatures,
        targets: Targets,
        shifted: Iterable[SlideFeatures] = (),
    ) -> Heatmap:
        """Writes the picture, and whatever else is asked for.

        Args:
            entry: The slide.
            reading: Where its spacing comes from, and at which patches are read.
            features: What the models are given.
            targets: The files to write.
            shifted: Features of the same slide on shifted grids, for a finer map.

        Raises:
            ModelError: The features do not fit a model.
            StorageError: A file cannot be written.
        """
        gradings = [grader.grade(features, with_attention=True) for grader in self.graders]
        verdicts = tuple(map(verdict_of, self.models, gradings))
        with ExitStack() as stack:
            close, mask, pixels = None, tissue_patches(features), tissue_canvas(features)
            if not is_stored(entry):
                slide = stack.enter_context(
                    open_slide(
                        entry.path,
                        reading,
                        slide_id=entry.slide_id,
                        manifest_spacing_um=entry.spacing_um,
                    )
                )
                close = CloseUp(
                    slide=slide,
                    reading=reading,
                    tiles=read_tiles(self.work.tiles(entry.slide_id)),
                    region_weight=gradings[0].slide_attention.tolist(),
                )
                tissue, _ = read_mask(self.work.mask(entry.slide_id))
                mask, pixels = tissue.pixels, partial(_slide_pixels, slide)
            raw = self._explained(features, close)
            scaled = {kind: rescaled(one, self.settings.shown_scale) for kind, one in raw.items()}
            if self.settings.overlap > 1:
                grids = [raw, *(self._explained(one, None) for one in shifted)]
                raw, scaled = finer_maps(grids, self.settings, tissue)
            Artwork(
                facts=self._facts(features, verdicts, drawn_alone=close is None),
                titles=_titles(verdicts, self.settings),
                raw=raw,
                scaled=scaled,
                settings=self.settings,
                figure=self.figure,
                mask=mask,
                pixels=pixels,
                close=close,
                metadata=self._metadata(features, verdicts, next(iter(raw.values()))),
            ).write(targets)
        return Heatmap(
            slide_id=entry.slide_id,
            picture=targets.pictures[0],
            further=(*targets.pictures[1:], *([targets.sheet] if targets.sheet else [])),
            scores=targets.scores,
            model=self.models[0].folder.name,
            verdicts=verdicts,
        )

    def _explained(
        self, features: SlideFeatures, close: CloseUp | None
    ) -> dict[str, PatchMap | TokenMap]:
        """The raw map of every model, by attention kind."""
        read = None
        if close is not None and needs_pixels(self.settings):
            read = pixels_of(close.slide, close.tiles, features, self.batch_size)
        return {
            grader.model.attention: explain_slide(
                grader, features, self.settings, encoder=self.encoder, read_patches=read
            )
            for grader in self.graders
        }

    def _facts(
        self, features: SlideFeatures, verdicts: Sequence[Verdict], *, drawn_alone: bool
    ) -> Facts:
        folder = self.models[0].folder
        single = len(verdicts) == 1
        notes = [as_sentence(note) for note in dict.fromkeys(v.note for v in verdicts) if note]
        if self.settings.head is not None and verdicts[0].members > 1:
            notes.append(
                "One head averaged over models that were trained apart: their heads need not match."
            )
        if needs_pixels(self.settings):
            notes.append(_READ_AGAIN)
        if drawn_alone:
            notes.append(NO_SLIDE)
        return Facts(
            slide_id=features.slide_id,
            size_level0=features.size_level0,
            spacing_um_level0=features.spacing_um_level0,
            verdict=in_words(verdicts[0]) if single else "",
            model=f"model: {folder.name}",
            heads=folder.aggregator.region_heads,
            dropped_mm2=features.tissue_dropped_mm2,
            watermark=folder.watermark,
            notes=tuple(notes),
        )

    def _metadata(
        self, features: SlideFeatures, verdicts: Sequence[Verdict], raw: PatchMap | TokenMap
    ) -> dict[str, Any]:
        folder = self.models[0].folder
        patches = raw.patches if isinstance(raw, TokenMap) else raw
        return {
            "slide_id": features.slide_id,
            "hvit": __version__,
            "settings": as_recipe(replace(self.settings, scale=self.settings.shown_scale)),
            "map": {
                "quantity": patches.quantity,
                "level": patches.level,
                "within": raw.within,
                "signed": patches.signed,
                "unit": patches.unit_label,
            },
            "model": folder.name,
            "members": {
                model.attention: [member.sha256 for member in model.members]
                for model in self.models
            },
            "heads": folder.aggregator.region_heads,
            "verdicts": [as_recipe(verdict) for verdict in verdicts],
            "size_level0": list(features.size_level0),
            "spacing_um_level0": features.spacing_um_level0,
            "region_level0": features.region_level0,
            "patch_level0": features.patch_level0,
            "patches_per_region": features.patches_per_region,
            "background_below": features.background_below,
            "features_recipe": features.recipe,
        }


def verdict_of(model: ChosenModel, grading: Grading) -> Verdict:
    """What a grading says, as results tell it."""
    return Verdict(
        attention=model.attention,
        grade=grading.grade,
        # As in the table of predictions.
        score=round(grading.score, 6),
        score_sd=None if grading.score_sd is None else round(grading.score_sd, 6),
        members=len(model.members),
        note=model.note,
    )


def in_words(verdict: Verdict) -> str:
    """Grade and score, with their spread over the members where there are several."""
    words = f"ISUP grade {verdict.grade} · score {verdict.score:.2f}"
    if verdict.score_sd is None:
        return words
    return f"{words} ± {verdict.score_sd:.2f} (SD of {verdict.members} models)"


def as_sentence(note: str) -> str:
    """A note with a capital and a full stop."""
    return f"{note[:1].upper()}{note[1:]}".rstrip(".") + "."


def _slide_pixels(slide: Slide, frame: PictureFrame) -> Iterator[RgbImage]:
    return slide.strips(frame.size_px)


def rescaled(raw: PatchMap | TokenMap, scale: Scale) -> PatchMap | TokenMap:
    """A map of patches or tokens on another scale."""
    return rescale_tokens(raw, scale) if isinstance(raw, TokenMap) else rescale(raw, scale)


def _titles(verdicts: Sequence[Verdict], settings: HeatmapSettings) -> dict[str, str]:
    """What stands above each map; masked last where both kinds are shown, as in the paper."""
    what = _TITLES.get(settings.map)
    titles = {}
    for verdict in sorted(verdicts, key=lambda verdict: verdict.attention, reverse=True):
        kind: str = verdict.attention
        name = f"{kind}: {what}" if what else f"{kind} attention"
        titles[kind] = name if len(verdicts) == 1 else f"{name}: {in_words(verdict)}"
    return titles
