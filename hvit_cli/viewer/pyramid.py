"""The tiles of a deep-zoom picture: which part of the slide each one shows.

Zoom 0 shows the whole slide in one tile; every further zoom doubles the pixels, and the last
one has those of level 0. A tile of any layer covers the same level-0 pixels, so that layers
lie on each other without a seam.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvit_cli.heatmaps.stitch import PictureFrame

TILE_PX = 512


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One tile.

    Attributes:
        zoom: Its zoom.
        xy_px: (x, y) of its top-left pixel in the picture of that zoom.
        size_px: (width, height), smaller at the right and lower border.
        box_level0: Left, top, right, bottom in level-0 pixels, right and bottom excluded.
    """

    zoom: int
    xy_px: tuple[int, int]
    size_px: tuple[int, int]
    box_level0: tuple[int, int, int, int]

    @property
    def frame(self) -> PictureFrame:
        """The tile as a picture of its own; level-0 positions count from its corner."""
        left, top, right, bottom = self.box_level0
        return PictureFrame(size_px=self.size_px, size_level0=(right - left, bottom - top))


@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """All tiles of one slide.

    Attributes:
        size_level0: (width, height) of the slide in level-0 pixels.
        tile_px: Side of a tile.
    """

    size_level0: tuple[int, int]
    tile_px: int = TILE_PX

    @property
    def last_zoom(self) -> int:
        """The zoom that has the pixels of level 0."""
        zoom = 0
        while max(self.size_level0) > self.tile_px << zoom:
            zoom += 1
        return zoom

    def level0_per_px(self, zoom: int) -> int:
        """Level-0 pixels per pixel."""
        return 1 << (self.last_zoom - zoom)

    def size_px(self, zoom: int) -> tuple[int, int]:
        """(width, height) of the whole slide; its last pixels may cover less than the others."""
        step = self.level0_per_px(zoom)
        width, height = self.size_level0
        return -(-width // step), -(-height // step)

    def tile(self, zoom: int, column: int, row: int) -> Tile | None:
        """One tile; None where there is none."""
        if not 0 <= zoom <= self.last_zoom:
            return None
        width, height = self.size_px(zoom)
        x, y = column * self.tile_px, row * self.tile_px
        if not (0 <= x < width and 0 <= y < height):
            return None
        size = (min(self.tile_px, width - x), min(self.tile_px, height - y))
        step = self.level0_per_px(zoom)
        return Tile(
            zoom=zoom,
            xy_px=(x, y),
            size_px=size,
            box_level0=(
                x * step,
                y * step,
                min((x + size[0]) * step, self.size_level0[0]),
                min((y + size[1]) * step, self.size_level0[1]),
            ),
        )
