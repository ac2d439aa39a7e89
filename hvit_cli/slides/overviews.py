"""A slide as a whole: at a spacing, in a size, as a rectangle of it, a few rows at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from hvit_cli.slides.decoders.base import Rgb
from hvit_cli.slides.geometry import SlideGeometry, round_px
from hvit_cli.slides.reduction import reduce_area, reduced_strips

# Rows held at a time while a whole level is reduced; also the usual height of a tile.
_STRIP_ROWS = 512
# A level whose spacing is this near to the one asked for is an overview as it is.
_NEAR = 1.2


class Overviews(ABC):
    """Pictures of a slide that are made of one of its levels, whichever serves best.

    Attributes:
        geometry: Sizes and downsamples of the slide's levels, and the spacing of level 0.
    """

    geometry: SlideGeometry

    @abstractmethod
    def read_level(
        self,
        level: int,
        xy_px: tuple[int, int],
        size_px: tuple[int, int],
        out: Rgb | None = None,
    ) -> Rgb:
        """Reads a rectangle of a level's own pixels, see `Slide.read_level`."""

    def at_spacing(self, spacing_um: float) -> tuple[Rgb, tuple[float, float]]:
        """Reads the whole slide at about a spacing, for overviews and segmentation.

        A level within 20 % of it is taken as it is; otherwise the coarsest finer level is
        averaged over areas, strip by strip. Never enlarges.

        Args:
            spacing_um: Micrometres per pixel wanted.

        Returns:
            (h, w, 3) RGB, and the level-0 pixels per pixel, (x, y).

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        level0_per_px = max(spacing_um / self.geometry.spacing_um, 1.0)
        nearest = min(
            range(len(self.geometry.sizes)),
            key=lambda level: abs(math.log(self.geometry.downsamples[level] / level0_per_px)),
        )
        downsample = self.geometry.downsamples[nearest]
        if 1 / _NEAR <= downsample / level0_per_px <= _NEAR:
            return self._whole(self.geometry.sizes[nearest])
        width, height = self.geometry.size_level0
        return self._whole(
            (max(1, round(width / level0_per_px)), max(1, round(height / level0_per_px)))
        )

    def thumbnail(self, max_px: int) -> Rgb:
        """Reads the whole slide, its longer side reduced to at most `max_px`.

        Returns:
            (h, w, 3) RGB with the proportions of level 0; never enlarged.

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        width, height = self.geometry.size_level0
        scale = min(1.0, max_px / max(width, height))
        return self._whole((max(1, round(width * scale)), max(1, round(height * scale))))[0]

    def window(
        self,
        origin_level0: tuple[float, float],
        size_level0: tuple[float, float],
        size_px: tuple[int, int],
    ) -> Rgb:
        """A rectangle of the slide, reduced to a size, from the coarsest level that has it.

        Args:
            origin_level0: Its top-left corner (x, y); it may reach beyond the slide.
            size_level0: Its (width, height) in level-0 pixels.
            size_px: (width, height) wanted, neither larger than in level 0.

        Returns:
            (height, width, 3) RGB, white outside the slide.

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        finest = min(size_level0[0] / size_px[0], size_level0[1] / size_px[1])
        downsamples = self.geometry.downsamples
        # Edges are rounded to pixels of the level, which may cost half a pixel a side.
        level = max(
            (i for i, down in enumerate(downsamples) if i == 0 or down <= finest * (1 + 1e-9)),
            key=lambda i: downsamples[i],
        )
        edges = np.array([origin_level0, np.add(origin_level0, size_level0)]) / downsamples[level]
        (left, top), (right, bottom) = round_px(edges).tolist()
        right, bottom = max(right, left + size_px[0]), max(bottom, top + size_px[1])
        return reduce_area(
            self.read_level(level, (left, top), (right - left, bottom - top)), size_px
        )

    def strips(self, size_px: tuple[int, int]) -> Iterator[Rgb]:
        """The whole slide as `size_px` (width, height), a few rows at a time.

        Read from the coarsest level that has as many pixels. Neither side may be enlarged.

        Yields:
            (rows, width, 3) RGB from top to bottom, together (height, width, 3).

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        level = max(
            (
                i
                for i, (width, height) in enumerate(self.geometry.sizes)
                if width >= size_px[0] and height >= size_px[1]
            ),
            key=lambda i: self.geometry.downsamples[i],
        )
        if size_px == self.geometry.sizes[level]:
            yield from self._strips(level)
        else:
            yield from reduced_strips(self._strips(level), self.geometry.sizes[level], size_px)

    def _whole(self, size_px: tuple[int, int]) -> tuple[Rgb, tuple[float, float]]:
        """The whole slide as `size_px` (width, height), and level-0 pixels per pixel."""
        width, height = self.geometry.size_level0
        rgb = np.concatenate(list(self.strips(size_px)))
        return rgb, (width / size_px[0], height / size_px[1])

    def _strips(self, level: int) -> Iterator[Rgb]:
        width, height = self.geometry.sizes[level]
        for top in range(0, height, _STRIP_ROWS):
            yield self.read_level(level, (0, top), (width, min(_STRIP_ROWS, height - top)))
