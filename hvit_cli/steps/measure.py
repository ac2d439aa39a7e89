"""Every measure of every map of one slide, for models as they were trained and otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from hvit_cli.attribution.explain import LoadedModel, explain
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.measures.background import background_mass
from hvit_cli.measures.comparable import MapValues, values_of
from hvit_cli.measures.concentration import concentration
from hvit_cli.measures.draws import drawn_for
from hvit_cli.measures.faithfulness import Flipper
from hvit_cli.measures.localisation import localisation
from hvit_cli.measures.patch_truth import PatchTruth
from hvit_cli.measures.records import Glass, MapMeasures, MapRow
from hvit_cli.measures.stability import agreement
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.settings import Attention, EmbeddingSettings, HeatmapSettings, MapKind
from hvit_cli.settings import MeasureSettings as Settings
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.grade import Grader
from hvit_cli.storage.features import SlideFeatures

Floats = npt.NDArray[np.float64]

_RUNS: tuple[Attention, ...] = ("masked", "plain")
_FLIP_STREAM = 301
_FLOOR_STREAM = 302
_FRESH_STREAM = 303


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One model, trained with one kind of attention and run with one.

    Attributes:
        row: What its maps are called; the kind of map is filled in.
        grader: The model, loaded.
        loaded: The same as maps need it.
    """

    row: MapRow
    grader: Grader
    loaded: LoadedModel

    @property
    def at_home(self) -> bool:
        """Whether it runs as it was trained."""
        return self.row.trained == self.row.run


def sights_of(models: Sequence[ChosenModel], embedding: EmbeddingSettings) -> list[Sight]:
    """Every model as trained and with the other attention, masked-trained first."""
    found = []
    for model in models:
        for trained in model.folder.attentions:
            for run in _RUNS:
                chosen = replace(
                    model, attention=run, members=model.folder.members_for(trained), note=""
                )
                grader = Grader(chosen, embedding)
                row = MapRow(model=model.folder.name, trained=trained, run=run, map="")
                loaded = _loaded(grader, grader.aggregators)
                found.append(Sight(row=row, grader=grader, loaded=loaded))
    return found


def _loaded(grader: Grader, aggregators: Sequence[Aggregator]) -> LoadedModel:
    return LoadedModel(
        aggregators=aggregators, attention=grader.model.attention, task=grader.model.folder.task
    )


def _fresh(grader: Grader, seed: int, number: int) -> LoadedModel:
    """Networks of the same sizes with weights as drawn before training, others for each slide.

    One draw may by chance look toward tumour or away from it, on every slide alike.
    """
    drawn = []
    with torch.random.fork_rng(devices=[]):
        for member in range(len(grader.aggregators)):
            state = np.random.SeedSequence([seed, _FRESH_STREAM, number, member])
            torch.manual_seed(int(state.generate_state(1)[0]))
            one = Aggregator(grader.model.folder.aggregator)
            drawn.append(one.float().eval().to(grader.device))
    return _loaded(grader, drawn)


@dataclass(frozen=True, kw_only=True)
class MeasuredSlide:
    """What is known of a slide besides its features.

    Attributes:
        features: Its features.
        truth: What its patches hold; None without a pathology mask.
        haematoxylin: (P,) density of haematoxylin; None where pixels were not read.
        shifted: Its features on a shifted grid; None unless stability is measured.
        restained: Its features in another stain; None unless stability is measured.
    """

    features: SlideFeatures
    truth: PatchTruth | None = None
    haematoxylin: Floats | None = None
    shifted: SlideFeatures | None = None
    restained: SlideFeatures | None = None


class MapMeasurer:
    """Measures the maps of one slide after another.

    Args:
        sights: From `sights_of`.
        settings: What is measured.
    """

    def __init__(self, sights: Sequence[Sight], settings: Settings) -> None:
        self._sights = sights
        self._settings = settings

    def measure(self, slide: MeasuredSlide) -> list[MapMeasures]:
        """Every row of one slide.

        Args:
            slide: The slide.

        Raises:
            ModelError: The features do not fit a model.
        """
        records = []
        for sight in self._sights:
            if slide.features.patches == "tissue" and sight.row.run == "plain":
                continue
            sight.grader.require_fit(slide.features)
            records += self._of_sight(sight, slide, drawn_for(slide.features.slide_id))
        return records

    def _of_sight(self, sight: Sight, slide: MeasuredSlide, number: int) -> list[MapMeasures]:
        settings, features = self._settings, slide.features
        flipper = None
        if settings.steps:
            flipper = Flipper(sight.loaded.aggregators, features, sight.row.run, sight.loaded.task)
        found = []
        for row, values, stable in self._maps(sight, slide, number):
            random = np.random.default_rng([settings.seed, _FLIP_STREAM, number])
            flipped = flipper.flip(values, settings.steps, random) if flipper else None
            concentrated = concentration(values)
            located = localisation(values, slide.truth) if slide.truth else None
            found.append(
                MapMeasures(
                    slide_id=features.slide_id,
                    row=row,
                    patches=int(values.shown.sum()),
                    tissue_patches=int(values.on_tissue.sum()),
                    positives=located.positives if located else 0,
                    negatives=located.negatives if located else 0,
                    auroc=located.auroc if located else None,
                    average_precision=located.average_precision if located else None,
                    background_mass=background_mass(values),
                    gain=flipped.gain if flipped else None,
                    entropy=concentrated.entropy if concentrated else None,
                    top_share=concentrated.top_share if concentrated else None,
                    grid_shift=stable.get("shifted"),
                    stain=stable.get("restained"),
                )
            )
        return found

    def _maps(
        self, sight: Sight, slide: MeasuredSlide, number: int
    ) -> Iterator[tuple[MapRow, MapValues, Mapping[str, float | None]]]:
        """Rows, their values, and how stable they are."""
        for kind in self._settings.maps:
            raw = _raw(sight.loaded, slide.features, kind)
            row = replace(sight.row, map=kind)
            others = {
                name: _raw(sight.loaded, features, kind)
                for name, features in (
                    ("shifted", slide.shifted),
                    ("restained", slide.restained),
                )
                if features is not None
            }
            for hide_glass in (False, True) if sight.row.run == "plain" else (False,):
                stable = {
                    name: agreement(raw, other, hide_glass=hide_glass)
                    for name, other in others.items()
                }
                glass: Glass = "hidden" if hide_glass else "seen"
                yield replace(row, glass=glass), values_of(raw, hide_glass=hide_glass), stable
        if not (self._settings.floors and sight.at_home):
            return
        fresh = _fresh(sight.grader, self._settings.seed, number)
        for kind in self._settings.maps:
            raw = _raw(fresh, slide.features, kind)
            yield replace(sight.row, map=kind, weights="fresh"), values_of(raw), {}
        for name, value in self._floors(slide, number).items():
            yield replace(sight.row, map=name), _floor(slide.features, sight.row.run, value), {}

    def _floors(self, slide: MeasuredSlide, number: int) -> dict[str, Floats]:
        patches = len(slide.features.features)
        random = np.random.default_rng([self._settings.seed, _FLOOR_STREAM, number])
        found = {
            "random": random.random(patches),
            "uniform": np.ones(patches),
            "tissue": slide.features.tissue_fraction.astype(np.float64),
        }
        if slide.haematoxylin is not None:
            found["haematoxylin"] = slide.haematoxylin
        return found


def _raw(model: LoadedModel, features: SlideFeatures, kind: MapKind) -> PatchMap:
    found = explain(model, features, HeatmapSettings(map=kind))
    assert isinstance(found, PatchMap)  # of tokens only at level patch
    return found


def _floor(features: SlideFeatures, run: Attention, value: Floats) -> MapValues:
    shown = features.visible(run)
    return MapValues(
        value=np.where(shown, value, np.nan),
        shown=shown,
        background=features.tissue_fraction <= features.background_below,
    )
