"""What the methods paragraphs and the recipe of a report need, from features and models."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import openslide
import pyvips

from hvit_cli import __version__
from hvit_cli.report.methods import MethodFacts
from hvit_cli.settings import Attention, HeatmapSettings, as_recipe
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.recipe import flattened


def versions() -> dict[str, str]:
    """The software that decides results, by name."""
    libvips = ".".join(str(pyvips.base.version(part)) for part in range(3))
    return {
        "hvit": __version__,
        "Python": platform.python_version(),
        "PyTorch": version("torch"),
        "timm": version("timm"),
        "OpenSlide": openslide.__library_version__,
        "libvips": libvips,
        "simplejpeg": version("simplejpeg"),
        "Pillow": version("pillow"),
        "NumPy": np.__version__,
    }


def decoder_with_version(name: str) -> str:
    """A decoder (`Slide.decoder_name`) with the version of the library that it is."""
    known = versions()
    if name == "libjpeg-turbo":
        # The library comes inside the package, and does not tell its own version.
        return f"{name} in simplejpeg {known['simplejpeg']}"
    return f"{name} {known[name]}"


def method_facts(
    features: SlideFeatures,
    models: Sequence[ChosenModel],
    map_caption: str,
    decoder: str,
) -> MethodFacts:
    """What was done to one slide, as its recipe and the models say it.

    Args:
        features: What the models were given.
        models: One for each kind of attention that ran.
        map_caption: How the maps were made.
        decoder: The library that decodes the slide's pixels, by its name.
    """
    settings: Mapping[str, Any] = features.recipe["settings"]
    folder, reading, tiling = models[0].folder, settings["reading"], settings["tiling"]
    members: dict[Attention, int] = {m.attention: len(m.members) for m in models}
    trained = {m.attention: tuple(one.attention for one in m.members) for m in models}
    return MethodFacts(
        slides=1,
        spacing_um=float(reading["spacing_um"]),
        spacing_tolerance=float(reading["spacing_tolerance"]),
        achieved_um=(features.spacing_um, features.spacing_um),
        decoders=(decoder_with_version(decoder),),
        tissue_source=(str(features.recipe["inputs"]["tissue"]),),
        tissue={
            name: value
            for name, value in settings["tissue"].items()
            if isinstance(value, int | float)
        },
        region_px=int(tiling["region_px"]),
        patch_px=int(tiling["patch_px"]),
        grid=str(tiling["grid"]),
        min_tissue_fraction=float(tiling["min_tissue_fraction"]),
        background_below=float(tiling["background_below"]),
        encoder=features.encoder,
        encoder_hash=features.encoder_hash,
        precision=features.precision,
        normalisation=features.normalisation,
        aggregator=folder.aggregator,
        model=folder.name,
        members=members,
        trained=trained,
        notes=tuple(dict.fromkeys(model.note for model in models if model.note)),
        objective=folder.task.objective,
        grades=folder.task.grades,
        map_caption=map_caption,
        versions=versions(),
        token_px=features.token_px,
    )


def recipe_pairs(
    recipe: Mapping[str, Any], models: Sequence[ChosenModel], maps: HeatmapSettings
) -> list[tuple[str, str]]:
    """Everything that decided a result, as names with values.

    Args:
        recipe: The features' recipe, or the part of it that all slides of a cohort share.
        models: One for each kind of attention that ran.
        maps: What the maps show.
    """
    found = [(name, _text(value)) for name, value in flattened(recipe)]
    folder = models[0].folder
    found += [("model.name", folder.name)]
    found += [
        (f"model.task.{name}", _text(value)) for name, value in as_recipe(folder.task).items()
    ]
    found += [
        (f"model.aggregator.{name}", _text(value))
        for name, value in as_recipe(folder.aggregator).items()
    ]
    for model in models:
        for member in model.members:
            name = f"model.run_{model.attention}.{member.file}"
            found.append((name, f"sha256 {member.sha256}, trained {member.attention}"))
    found += [(f"map.{name}", _text(value)) for name, value in as_recipe(maps).items()]
    found += [(f"software.{name}", value) for name, value in versions().items()]
    return found


def _text(value: object) -> str:
    return "–" if value is None or value == "" else str(value)
