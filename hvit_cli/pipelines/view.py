"""`hvit view`: one slide, its grade and its maps, on a local page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.render import colour_table
from hvit_cli.settings import (
    Attention,
    EmbeddingSettings,
    HeatmapSettings,
    MapKind,
    MapLevel,
    ReadingSettings,
    TissueSettings,
    Unit,
)
from hvit_cli.slides.manifest import find_slides
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.choose import ModelRequest, choose_model, reading_of, tissue_of
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.grade import Grader
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.steps.scene import make_scene
from hvit_cli.storage.work import WorkFolder
from hvit_cli.viewer.pixels import SlidePixels
from hvit_cli.viewer.server import ViewerServer, new_key
from hvit_cli.viewer.site import Site

MAPS: tuple[MapKind, ...] = ("attention", "rollout", "contribution", "single", "gradient")
"""What is computed unless something else is asked for: seconds from features alone."""

_LEVELS: tuple[MapLevel, ...] = ("region", "slide", "region×slide")
_UNITS: tuple[Unit, ...] = ("patch", "region")


def view(
    source: Path,
    *,
    work: WorkFolder,
    settings: HeatmapSettings,
    request: ModelRequest,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    maps: Sequence[MapKind] = MAPS,
    port: int = 0,
    overwrite: bool = False,
) -> ViewerServer:
    """Grades and maps a slide, computing what is missing, and serves the page.

    Args:
        source: The slide.
        work: The work folder.
        settings: Colours and opacity of the maps; their scales are chosen on the page.
        request: Which model. Without an attention every kind that it was trained with is shown.
        reading: Where the slide's spacing comes from; the target is the model's.
        tissue: How tissue is found.
        embedding: Device, precision and batch size.
        maps: Which maps there are to choose from; attention at every level of patches, and
            contributions of patches and of regions.
        port: The port; 0 takes a free one.
        overwrite: Make masks, tiles and features again that exist with other settings.

    Returns:
        The server, listening; the caller closes it.

    Raises:
        HvitError: The slide, the model or the port cannot be used.
    """
    if settings.colour_map is not None:
        colour_table(settings.colour_map)
    entries = find_slides([source], mask_pattern=tissue.mask_pattern)
    if len(entries) != 1:
        raise UsageError(
            "one slide is viewed at a time",
            where=source,
            found=f"{len(entries)} slides",
            hint=str(entries[0].path) if entries else None,
        )
    (entry,) = entries
    first = choose_model(request, work, slides=1)
    kinds: tuple[Attention, ...] = (first.attention,)
    if request.attention is None:
        kinds = first.folder.attentions
    models = [choose_model(replace(request, attention=kind), work, slides=1) for kind in kinds]
    # Features of all patches serve both kinds of attention.
    widest = next((model for model in models if model.attention == "plain"), models[0])
    target = reading_of(first, reading)
    preparer = SlidePreparer(
        work=work,
        reading=target,
        tissue=tissue_of(first, tissue),
        tiling=first.folder.tiling,
        embedder=model_embedder(widest, embedding),
        overwrite=overwrite,
    )
    prepared = preparer.features(entry)
    open_one = partial(
        open_slide,
        entry.path,
        target,
        slide_id=entry.slide_id,
        manifest_spacing_um=entry.spacing_um,
    )
    with open_one() as slide:
        scene = make_scene(
            entry,
            slide,
            prepared,
            [Grader(model, embedding) for model in models],
            [one for kind in dict.fromkeys(maps) for one in _maps_of(kind, settings)],
            work,
        )
    return ViewerServer(Site(new_key(), scene, SlidePixels(open_one)), port=port)


def _maps_of(kind: MapKind, settings: HeatmapSettings) -> list[HeatmapSettings]:
    if kind == "attention":
        return [replace(settings, map=kind, level=level) for level in _LEVELS]
    if kind == "contribution":
        return [replace(settings, map=kind, unit=unit) for unit in _UNITS]
    return [replace(settings, map=kind)]
