"""Pixels through OpenSlide: every format it knows, at its own pace."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openslide

from hvit_cli.slides.decoders.base import Rgb, given, undecodable


class OpenSlideDecoder:
    """Reads through OpenSlide, reopening the file after a failed read.

    OpenSlide keeps its first error: every later read on that handle fails, of good tiles too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slide: openslide.OpenSlide | None = openslide.OpenSlide(path)
        self.name = "OpenSlide"
        self.keeps_tiles = False
        self.vendor: str = self._slide.properties["openslide.vendor"]
        self.sizes = tuple((int(w), int(h)) for w, h in self._slide.level_dimensions)
        self.downsamples = tuple(float(d) for d in self._slide.level_downsamples)
        self.properties: Mapping[str, str] = dict(self._slide.properties)

    def is_exact(self, level: int) -> bool:
        """Whether level pixels fall on whole level-0 pixels.

        Elsewhere OpenSlide, addressed in level-0 pixels, interpolates by up to half of one,
        differently for every rectangle.
        """
        return self.downsamples[level].is_integer()

    def read(
        self,
        level: int,
        xy_px: tuple[int, int],
        size_px: tuple[int, int],
        out: Rgb | None = None,
    ) -> Rgb:
        """See `Decoder.read`."""
        downsample = self.downsamples[level]
        xy_level0 = (round(xy_px[0] * downsample), round(xy_px[1] * downsample))
        try:
            if self._slide is None:
                self._slide = openslide.OpenSlide(self._path)
            picture = self._slide.read_region(xy_level0, level, size_px)
        except openslide.OpenSlideError as error:
            self.close()
            raise undecodable(self._path, level, xy_px, size_px, error) from error
        return given(on_white(np.asarray(picture)), out)

    def read_squares(self, _level: int, _xy_px: npt.NDArray[np.int64], _out: Rgb, /) -> bool:
        """Never: nothing of one square is kept for the next."""
        return False

    def twin(self) -> OpenSlideDecoder:
        """See `Decoder.twin`."""
        twin = copy.copy(self)
        twin._slide = None
        return twin

    def close(self) -> None:
        """See `Decoder.close`."""
        if self._slide is not None:
            self._slide.close()
            self._slide = None


def on_white(rgba: Rgb) -> Rgb:
    """Lays (h, w, 4) pixels with straight alpha on white."""
    alpha = rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    # 255·a·c/255 + 255·(255 − a)/255, in integers, rounded to nearest.
    wide = rgba[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha.astype(np.uint16))
    return ((wide + 127) // 255).astype(np.uint8)
