"""What the page shows: the slide, what was said about it, the maps, all as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.render import RgbImage
from hvit_cli.settings import Attention, Scale
from hvit_cli.viewer.overlay import cells_level0


@dataclass(frozen=True, kw_only=True)
class Shade:
    """One map on one scale, ready to be painted.

    Attributes:
        patch_map: The values.
        label: What they are, for the colour bar.
        limits: Values at both ends of the colours.
    """

    patch_map: PatchMap
    label: str
    limits: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One map that can be laid over the slide.

    Attributes:
        key: Its name in addresses: small letters, digits and hyphens.
        attention: How the model looked.
        name: What the page calls it among the maps of this attention.
        about: A sentence on how to read it.
        table: (256, 3) colours.
        shades: The map on every scale that it has, the usual one first.
    """

    key: str
    attention: Attention
    name: str
    about: str
    table: RgbImage
    shades: Mapping[Scale, Shade]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the model said with one kind of attention.

    Attributes:
        attention: How it looked.
        grade: The grade in words.
        score: The score in words.
        note: What must be said beside it, or "".
    """

    attention: Attention
    grade: str
    score: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything about one slide that the page shows.

    Attributes:
        slide_id: The slide.
        size_level0: (width, height) of the slide in level-0 pixels.
        spacing_um_level0: Micrometres per level-0 pixel.
        model: The model's name.
        watermark: Written over the slide, or "".
        said: One for each kind of attention, the one shown first in front.
        layers: The maps; none where there was nothing to look at.
        remarks: Sentences on the slide: what was left out, why there are no maps.
        opacity: Of the map at first, 0-1.
        mask: (h, w) tissue mask of the whole slide, or None.
        region_box_level0: (M, 4) left, top, right, bottom of the regions.
    """

    slide_id: str
    size_level0: tuple[int, int]
    spacing_um_level0: float
    model: str
    watermark: str
    said: tuple[Said, ...]
    layers: tuple[Layer, ...]
    remarks: tuple[str, ...]
    opacity: float
    mask: npt.NDArray[np.uint8] | None
    region_box_level0: npt.NDArray[np.float64]

    def layer(self, key: str) -> Layer | None:
        """The map of that name."""
        return next((layer for layer in self.layers if layer.key == key), None)


def layer_as_plain(layer: Layer) -> dict[str, Any]:
    """What the page must know of a map before it asks for its cells."""
    first = next(iter(layer.shades.values()))
    return {
        "key": layer.key,
        "attention": layer.attention,
        "name": layer.name,
        "about": layer.about,
        "colours": ["#" + bytes(colour).hex() for colour in layer.table],
        "scales": [
            {"key": scale, "label": shade.label, "limits": list(shade.limits)}
            for scale, shade in layer.shades.items()
        ],
        "hasSeenGlass": bool((first.patch_map.visible & first.patch_map.background).any()),
    }


def cells(layer: Layer) -> dict[str, list[Any]]:
    """A map's numbers: a column for each fact, a row for each patch that has one.

    Returns:
        `box_level0` (left, top, right, bottom, as painted), `xy_level0` (as stored),
        `region`, `row` and `column` (0 first), `tissue_fraction`, `visible`, and a column for
        each scale, None where the model did not see the patch.
    """
    some = next(iter(layer.shades.values())).patch_map
    row, column = np.divmod(some.patch_index, some.side)
    return {
        "box_level0": cells_level0(some).tolist(),
        "xy_level0": some.patch_xy_level0.tolist(),
        "region": some.region_index.tolist(),
        "row": row.tolist(),
        "column": column.tolist(),
        "tissue_fraction": _numbers(some.tissue_fraction.astype(np.float64)),
        "visible": some.visible.tolist(),
        **{
            scale: _numbers(np.where(some.visible, shade.patch_map.value, np.nan))
            for scale, shade in layer.shades.items()
        },
    }


def _numbers(values: npt.NDArray[np.float64]) -> list[float | None]:
    # Six digits are more than float32 attention holds, and a third of the text.
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.tolist()]
