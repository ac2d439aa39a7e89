"""What every decoder offers, whatever library is behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import PixelError

Rgb = npt.NDArray[np.uint8]


class Decoder(Protocol):
    """The pixels of one open slide, level by level.

    Attributes:
        name: The library that decodes, for people to read.
        vendor: The scanner's maker or file layout, in OpenSlide's word.
        sizes: (width, height) of each level in its own pixels, finest first.
        downsamples: Level-0 pixels per pixel of each level.
        properties: What the file says about itself, as text.
        keeps_tiles: Whether rectangles that lie side by side cost no more one by one.
    """

    name: str
    vendor: str
    sizes: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    properties: Mapping[str, str]
    keeps_tiles: bool

    def is_exact(self, level: int) -> bool:
        """Whether a pixel of `level` has one value, whatever rectangle it is read with."""
        ...

    def read(
        self,
        level: int,
        xy_px: tuple[int, int],
        size_px: tuple[int, int],
        out: Rgb | None = None,
    ) -> Rgb:
        """Reads a rectangle that lies inside the level.

        Args:
            level: The level to read from.
            xy_px: Top-left corner (x, y) in pixels of the level.
            size_px: (width, height) in pixels of the level.
            out: (height, width, 3) to write into instead of new memory.

        Returns:
            (height, width, 3) RGB; transparent pixels are white.

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        ...

    def read_squares(self, level: int, xy_px: npt.NDArray[np.int64], out: Rgb, /) -> bool:
        """Reads squares together, if this decoder gains from having them together.

        Args:
            level: The level to read from.
            xy_px: (n, 2) top-left corners (x, y) of squares that lie inside the level.
            out: (n, side, side, 3) to write into.

        Returns:
            Whether it did; otherwise they are still to be read, one by one.

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        ...

    def twin(self) -> Decoder:
        """The same file for another thread, which may read while this one reads."""
        ...

    def close(self) -> None:
        """Releases the file."""
        ...


def given(pixels: Rgb, out: Rgb | None) -> Rgb:
    """The pixels, in the memory that was asked for."""
    if out is None:
        return pixels
    out[...] = pixels
    return out


def undecodable(
    path: Path, level: int, xy_px: tuple[int, int], size_px: tuple[int, int], reason: object
) -> PixelError:
    """The error for a rectangle that cannot be decoded: slide, level, place and reason."""
    (x, y), (width, height) = xy_px, size_px
    reason = str(reason).replace(str(path), path.name)
    return PixelError(
        f"pixels cannot be decoded: level {level}, x {x}, y {y}, {width}×{height} px ({reason})",
        where=path,
        hint="a fresh copy of the file; it may be damaged",
    )
