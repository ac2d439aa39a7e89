"""One slide's heatmap: graded with every kind of attention that is shown, and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvit_cli import __version__
from hvit_cli.heatmaps.export import write_picture, write_scores
from hvit_cli.heatmaps.maps import PatchMap, rescale
from hvit_cli.heatmaps.panel import Panel
from hvit_cli.heatmaps.picture import Facts, draw_figure
from hvit_cli.settings import (
    Attention,
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    as_recipe,
)
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.attention_map import attention_map
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.grade import Grader, Grading
from hvit_cli.storage.atomic import whole_file
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import read_mask


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
        picture: The picture.
        scores: The numbers behind it, where they were asked for.
        model: The model's name.
        verdicts: One for each kind of attention that is shown, the masked one first.
    """

    slide_id: str
    picture: Path
    scores: Path | None
    model: str
    verdicts: tuple[Verdict, ...]


class HeatmapPainter:
    """Grades one slide with every kind of attention that is shown, and draws it.

    Args:
        models: One for each kind of attention that is shown, the masked one first.
        settings: What the maps show and how they are painted.
        embedding: Says on which device the aggregators run.
        work: Where the tissue masks lie.
    """

    def __init__(
        self,
        *,
        models: Sequence[ChosenModel],
        settings: HeatmapSettings,
        embedding: EmbeddingSettings,
        work: WorkFolder,
    ) -> None:
        self.models = models
        self.settings = settings
        self.work = work
        self.graders = [Grader(model, embedding) for model in models]

    def draw(
        self,
        entry: SlideEntry,
        reading: ReadingSettings,
        features: SlideFeatures,
        picture: Path,
        numbers: Path | None,
    ) -> Heatmap:
        """Writes the picture, and the numbers where they are asked for.

        Args:
            entry: The slide.
            reading: Where its spacing comes from.
            features: What the models are given.
            picture: PNG or JPEG to write.
            numbers: NPZ to write, or None.

        Raises:
            ModelError: The features do not fit a model.
            StorageError: A file cannot be written.
        """
        gradings = [grader.grade(features, with_attention=True) for grader in self.graders]
        verdicts = tuple(map(verdict_of, self.models, gradings))
        raw: dict[str, PatchMap] = {
            model.attention: attention_map(features, grading, model.attention, self.settings)
            for model, grading in zip(self.models, gradings, strict=True)
        }
        scaled = {kind: rescale(one, self.settings.shown_scale) for kind, one in raw.items()}
        self._write_figure(picture, entry, reading, features, verdicts, scaled)
        if numbers is not None:
            with whole_file(numbers) as temporary:
                write_scores(temporary, raw, scaled, self._metadata(features, verdicts))
        return Heatmap(
            slide_id=entry.slide_id,
            picture=picture,
            scores=numbers,
            model=self.models[0].folder.name,
            verdicts=verdicts,
        )

    def _write_figure(
        self,
        picture: Path,
        entry: SlideEntry,
        reading: ReadingSettings,
        features: SlideFeatures,
        verdicts: Sequence[Verdict],
        scaled: Mapping[str, PatchMap],
    ) -> None:
        mask, _ = read_mask(self.work.mask(entry.slide_id))
        with open_slide(
            entry.path,
            reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            figure = draw_figure(
                _panels(verdicts, scaled),
                self._facts(features, verdicts),
                mask.pixels,
                lambda frame: slide.strips(frame.size_px),
                self.settings,
            )
            with whole_file(picture) as temporary:
                write_picture(temporary, figure)

    def _facts(self, features: SlideFeatures, verdicts: Sequence[Verdict]) -> Facts:
        folder = self.models[0].folder
        single = len(verdicts) == 1
        notes = [as_sentence(note) for note in dict.fromkeys(v.note for v in verdicts) if note]
        if self.settings.head is not None and verdicts[0].members > 1:
            notes.append(
                "One head averaged over models that were trained apart: their heads need not match."
            )
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

    def _metadata(self, features: SlideFeatures, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        folder = self.models[0].folder
        return {
            "slide_id": features.slide_id,
            "hvit": __version__,
            "settings": as_recipe(self.settings),
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


def _panels(verdicts: Sequence[Verdict], scaled: Mapping[str, PatchMap]) -> list[Panel]:
    if len(verdicts) == 1:
        kind = verdicts[0].attention
        return [Panel(title=f"{kind} attention", patch_map=scaled[kind])]
    # The paper's order: mask, plain, masked.
    shown = sorted(verdicts, key=lambda verdict: verdict.attention, reverse=True)
    return [
        Panel(title="tissue mask"),
        *(
            Panel(
                title=f"{verdict.attention} attention: {in_words(verdict)}",
                patch_map=scaled[verdict.attention],
            )
            for verdict in shown
        ),
    ]
