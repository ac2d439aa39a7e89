"""Every address the viewer answers, and what it answers. No file is opened by its name.

/<key>/                                    the page
/<key>/<name>                              what the page is made of, a fixed list
/<key>/scene.json                          slide, grades, maps
/<key>/cells/<layer>.json                  a map's numbers
/<key>/slide/<zoom>/<column>_<row>.jpg     a tile of the slide
/<key>/map/<layer>/<scale>/<all|tissue>/<zoom>/<column>_<row>.png
/<key>/grey/<layer>/<all|tissue>/<zoom>/<column>_<row>.png
/<key>/marks/<unseen|regions>/<zoom>/<column>_<row>.png
"""

from __future__ import annotations

import hmac
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hvit_cli import __version__
from hvit_cli.viewer.cache import ByteCache
from hvit_cli.viewer.overlay import MapTiles, Marks, grey_below
from hvit_cli.viewer.pixels import SlidePixels
from hvit_cli.viewer.pyramid import Tile
from hvit_cli.viewer.scene import Scene, cells, layer_as_plain

HTML, JSON, JPEG, PNG = "text/html; charset=utf-8", "application/json", "image/jpeg", "image/png"
TEXT = "text/plain; charset=utf-8"
_SCRIPT, _STYLE, _SVG = "text/javascript; charset=utf-8", "text/css; charset=utf-8", "image/svg+xml"

# Address and type of everything the page is made of.
ASSETS = {
    "index.html": HTML,
    "viewer.css": _STYLE,
    "icon.svg": _SVG,
    "page.js": _SCRIPT,
    "layers.js": _SCRIPT,
    "cells.js": _SCRIPT,
    "keys.js": _SCRIPT,
    "scalebar.js": _SCRIPT,
    "colourbar.js": _SCRIPT,
    "openseadragon.min.js": _SCRIPT,
    "openseadragon.LICENSE.txt": TEXT,
}

_CACHE_BYTES = 192 * 2**20
_JPEG_QUALITY = 90

_TILE = r"([0-9]{1,2})/([0-9]{1,6})_([0-9]{1,6})"
_SLIDE = re.compile(rf"slide/{_TILE}\.jpg")
_MAP = re.compile(rf"map/([a-z0-9-]{{1,60}})/([a-z]{{1,12}})/(all|tissue)/{_TILE}\.png")
_GREY = re.compile(rf"grey/([a-z0-9-]{{1,60}})/(all|tissue)/{_TILE}\.png")
_MARKS = re.compile(rf"marks/(unseen|regions)/{_TILE}\.png")
_CELLS = re.compile(r"cells/([a-z0-9-]{1,60})\.json")


@dataclass(frozen=True)
class Answer:
    """What is sent back.

    Attributes:
        content_type: MIME type.
        body: The bytes.
    """

    content_type: str
    body: bytes


class Site:
    """Answers addresses below one secret prefix.

    Args:
        key: The prefix. Other users of the machine can reach the port, but do not know it.
        scene: What is shown.
        pixels: The slide.
    """

    def __init__(self, key: str, scene: Scene, pixels: SlidePixels) -> None:
        self.key = key
        self.scene = scene
        self.pixels = pixels
        folder = resources.files("hvit_cli.viewer") / "assets"
        self._assets = {
            name: Answer(kind, (folder / name).read_bytes()) for name, kind in ASSETS.items()
        }
        self._kept = ByteCache(_CACHE_BYTES)
        self._maps: dict[tuple[str, str], MapTiles] = {
            (layer.key, scale): MapTiles(shade.patch_map, layer.table, shade.limits)
            for layer in scene.layers
            for scale, shade in layer.shades.items()
        }
        self._marks = (
            None
            if scene.mask is None
            else Marks(scene.mask, scene.size_level0, scene.region_box_level0)
        )
        self._routes: tuple[tuple[re.Pattern[str], Callable[..., Answer | None]], ...] = (
            (_SLIDE, self._slide),
            (_MAP, self._map),
            (_GREY, self._grey),
            (_MARKS, self._mark),
            (_CELLS, self._cells),
        )

    def answer(self, path: str) -> Answer | None:
        """What a path, as sent, is answered with; None where there is nothing.

        Nothing is decoded or normalised: a path is one of the known ones, letter for letter.

        Raises:
            PixelError: The slide's pixels cannot be decoded there.
        """
        given, _, rest = path.removeprefix("/").partition("/")
        known = hmac.compare_digest(given.encode(), self.key.encode())
        if not (known and path.startswith(f"/{self.key}/")):
            return None
        if rest in ("", "scene.json"):
            return self._assets["index.html"] if not rest else self._scene()
        if rest in self._assets:
            return self._assets[rest]
        for pattern, route in self._routes:
            if found := pattern.fullmatch(rest):
                return route(*found.groups())
        return None

    def _scene(self) -> Answer:
        scene, pyramid = self.scene, self.pixels.pyramid
        return _json(
            {
                "hvit": __version__,
                "slide": scene.slide_id,
                "sizeLevel0": scene.size_level0,
                "spacingUm": scene.spacing_um_level0,
                "tilePx": pyramid.tile_px,
                "lastZoom": pyramid.last_zoom,
                "model": scene.model,
                "watermark": scene.watermark,
                "said": [vars(said) for said in scene.said],
                "layers": [layer_as_plain(layer) for layer in scene.layers],
                "remarks": scene.remarks,
                "opacity": scene.opacity,
                "regions": len(scene.region_box_level0),
                "hasUnseen": self._marks is not None and self._marks.any_unseen,
            }
        )

    def _cells(self, key: str) -> Answer | None:
        layer = self.scene.layer(key)
        if layer is None:
            return None
        body = self._kept.get(("cells", key), lambda: _json(cells(layer)).body)
        return Answer(JSON, body)

    def _slide(self, *place: str) -> Answer | None:
        tile = self._tile(place)
        if tile is None:
            return None
        body = self._kept.get(("slide", tile), lambda: _picture(self.pixels.read(tile), "JPEG"))
        return Answer(JPEG, body)

    def _map(self, key: str, scale: str, which: str, *place: str) -> Answer | None:
        tiles = self._maps.get((key, scale))
        tile = self._tile(place)
        if tiles is None or tile is None:
            return None
        body = self._kept.get(
            ("map", key, scale, which, tile),
            lambda: _picture(tiles.tile(tile, tissue_only=which == "tissue"), "PNG"),
        )
        return Answer(PNG, body)

    def _grey(self, key: str, which: str, *place: str) -> Answer | None:
        layer, tile = self.scene.layer(key), self._tile(place)
        if layer is None or tile is None:
            return None
        tiles = self._maps[key, next(iter(layer.shades))]

        def draw() -> bytes:
            seen = tiles.tile(tile, tissue_only=which == "tissue")[..., 3]
            return _picture(grey_below(self.pixels.read(tile), seen), "PNG")

        return Answer(PNG, self._kept.get(("grey", key, which, tile), draw))

    def _mark(self, kind: str, *place: str) -> Answer | None:
        marks, tile = self._marks, self._tile(place)
        if marks is None or tile is None:
            return None
        draw = marks.unseen if kind == "unseen" else marks.regions
        body = self._kept.get(("marks", kind, tile), lambda: _picture(draw(tile), "PNG"))
        return Answer(PNG, body)

    def _tile(self, place: tuple[str, ...]) -> Tile | None:
        zoom, column, row = map(int, place)
        return self.pixels.pyramid.tile(zoom, column, row)


def _json(value: Any) -> Answer:
    return Answer(JSON, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def _picture(pixels: npt.NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "JPEG":
        # Full colour resolution: subsampling smears the stain of single nuclei.
        Image.fromarray(pixels).save(buffer, kind, quality=_JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(pixels).save(buffer, kind, compress_level=1)
    return buffer.getvalue()
