"""Plain PNG and JPEG pictures as slides of one level, through Pillow."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hvit_cli.errors import UnreadableSlideError
from hvit_cli.slides.decoders.base import Rgb, given, undecodable
from hvit_cli.slides.decoders.openslide_decoder import on_white

_MODES = {"1", "L", "P", "LA", "PA", "RGB", "RGBA"}


class PictureDecoder:
    """Reads one picture, whole, at the first read, and keeps it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pixels: Rgb | None = None
        self._lock = threading.Lock()
        with self._open() as picture:
            if picture.mode not in _MODES:
                raise UnreadableSlideError(
                    "the picture's kind of pixels cannot be read",
                    where=path,
                    found=f"Pillow mode {picture.mode}",
                    wanted="grey, RGB or palette with 8 bits",
                )
            self.sizes: tuple[tuple[int, int], ...] = (picture.size,)
            self.properties: Mapping[str, str] = {"format": str(picture.format)}
        self.name = "Pillow"
        self.keeps_tiles = False
        self.vendor = "picture"
        self.downsamples: tuple[float, ...] = (1.0,)

    def _open(self) -> Image.Image:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                return Image.open(self._path)
            except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
                raise UnreadableSlideError(
                    "the picture is too large to be read at once",
                    where=self._path,
                    wanted=f"at most {Image.MAX_IMAGE_PIXELS} pixels",
                    hint="vips tiffsave PICTURE slide.tiff --tile --pyramid --compression jpeg",
                ) from error
            except (OSError, SyntaxError, ValueError) as error:
                raise UnreadableSlideError(
                    f"not a readable picture ({error})", where=self._path
                ) from error

    def is_exact(self, level: int) -> bool:
        """Always true of stored pixels."""
        return level == 0

    def read(
        self,
        level: int,
        xy_px: tuple[int, int],
        size_px: tuple[int, int],
        out: Rgb | None = None,
    ) -> Rgb:
        """See `Decoder.read`."""
        (x, y), (width, height) = xy_px, size_px
        with self._lock:
            if self._pixels is None:
                try:
                    with self._open() as picture:
                        self._pixels = on_white(np.asarray(picture.convert("RGBA")))
                except (OSError, SyntaxError, ValueError) as error:
                    raise undecodable(self._path, level, xy_px, size_px, error) from error
            pixels = self._pixels
        return given(pixels[y : y + height, x : x + width].copy(), out)

    def read_squares(self, _level: int, _xy_px: npt.NDArray[np.int64], _out: Rgb, /) -> bool:
        """Never: nothing of one square is kept for the next."""
        return False

    def twin(self) -> PictureDecoder:
        """Itself, for a picture is held once, whoever reads it."""
        return self

    def close(self) -> None:
        """See `Decoder.close`."""
        self._pixels = None
