"""Other glass for a slide: the same tissue, pixel by pixel, on glass that looks different.

Which patches are glass is the model's own view: those that the tissue mask of the unaltered
slide leaves without tissue. They are what masked attention hides and plain attention reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.marks import DOT_COLOUR, PEN_COLOURS, inked
from hvit_cli.settings import GlassKind
from hvit_cli.slides.geometry import round_px
from hvit_cli.steps.altered import Alter, Patches
from hvit_cli.storage.tiles import TileFile
from hvit_cli.tissue.mask import TissueMask

Bools = npt.NDArray[np.bool_]
Cover = npt.NDArray[np.uint8]
DrawCover = Callable[[np.random.Generator, int, float, tuple[float, float]], Cover]
Colour = tuple[float, float, float]

_STREAM = 305
_STREAMS: dict[GlassKind, int] = {"white": 0, "other": 1, "ink": 2, "dust": 3, "edge": 4}
_PENS = {**PEN_COLOURS, "red": DOT_COLOUR}
_DIRT: Colour = (0.25, 0.22, 0.20)
_SHADE: Colour = (0.35, 0.35, 0.38)
# How strongly the glass under a coverslip is tinted, of 255.
_TINT = 28


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A slide's regions, and what of them is glass.

    Attributes:
        tiles: Its regions.
        mask: Its tissue mask.
        edges: Whether glass inside patches with tissue changes too.
        seed: Of what is drawn, with the slide's number.
        number: Tells the slide's draws from those of others.
    """

    tiles: TileFile
    mask: TissueMask
    edges: bool
    seed: int
    number: int

    @property
    def glass(self) -> Bools:
        """(M, K) patches without tissue."""
        return np.asarray(self.tiles.regions.tissue_fraction <= self.tiles.background_below)

    def random(self, kind: GlassKind, region: int) -> np.random.Generator:
        """A generator for one kind of glass in one region."""
        state = [self.seed, _STREAM, self.number, _STREAMS[kind], region]
        return np.random.default_rng(state)

    def tissue_pixels(self, region: int, patch: int) -> Bools:
        """(patch_px, patch_px) which pixels of a patch are tissue in the mask."""
        regions = self.tiles.regions
        x, y = regions.patch_origin_level0[region, patch]
        centre = (np.arange(regions.patch_px) + 0.5) * regions.patch_level0 / regions.patch_px
        per_x, per_y = self.mask.level0_per_px
        height, width = self.mask.pixels.shape
        columns = np.floor((x + centre) / per_x).astype(np.int64)
        rows = np.floor((y + centre) / per_y).astype(np.int64)
        inside = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
        found = self.mask.pixels[
            np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)
        ]
        return np.asarray((found > 0) & inside)


def other_glass(kind: GlassKind, ground: Ground, donor: Patches | None = None) -> Alter:
    """What changes a slide's patches as they are read, so that its glass is another.

    Args:
        kind: What the glass becomes.
        ground: The slide's regions and tissue.
        donor: (n, patch, patch, 3) glass of another slide; only `other` needs it.
    """
    if kind == "white":
        return _altered(ground, lambda pixels, _region, _index: np.full_like(pixels, 255))
    if kind == "other":
        assert donor is not None
        return _altered(ground, _from_donor(ground, donor))
    return _altered(ground, _drawn(kind, ground))


Paint = Callable[[Patches, int, npt.NDArray[np.int64]], Patches]


def _altered(ground: Ground, paint: Paint) -> Alter:
    """Paints glass and leaves tissue as it is."""
    corners = round_px(ground.tiles.regions.origin_level0)
    region_of = {(int(x), int(y)): m for m, (x, y) in enumerate(corners)}
    glass = ground.glass

    def alter(
        pixels: Patches, origin: tuple[float, float], index: npt.NDArray[np.int64]
    ) -> Patches:
        x, y = round_px(np.asarray(origin))
        region = region_of[int(x), int(y)]
        painted = paint(pixels, region, index)
        if not ground.edges:
            return np.where(glass[region, index][:, None, None, None], painted, pixels)
        tissue = np.stack(
            [
                np.zeros(pixels.shape[1:3], bool)
                if glass[region, k]
                else ground.tissue_pixels(region, int(k))
                for k in index
            ]
        )
        return np.where(tissue[..., None], pixels, painted)

    return alter


def _from_donor(ground: Ground, donor: Patches) -> Paint:
    def paint(_pixels: Patches, region: int, index: npt.NDArray[np.int64]) -> Patches:
        chosen = ground.random("other", region).integers(
            len(donor), size=ground.tiles.regions.patches_per_region
        )
        return donor[chosen[index]]

    return paint


def _drawn(kind: GlassKind, ground: Ground) -> Paint:
    regions = ground.tiles.regions
    um_per_px = ground.tiles.spacing_um
    side, patch = regions.side, regions.patch_px
    draw, colour = _DRAWN[kind]

    def paint(pixels: Patches, region: int, index: npt.NDArray[np.int64]) -> Patches:
        random = ground.random(kind, region)
        glass = np.flatnonzero(ground.glass[region])
        # Through the middle of some glass, so that every region that has glass is concerned.
        row, column = divmod(int(random.choice(glass)) if len(glass) else 0, side)
        through = ((column + 0.5) * patch, (row + 0.5) * patch)
        cover = draw(random, regions.region_px, um_per_px, through)
        colours = _PENS if kind == "ink" else {"": colour}
        chosen = colours[sorted(colours)[int(random.integers(len(colours)))]]
        painted = np.empty_like(pixels)
        for n, k in enumerate(index):
            top, left = divmod(int(k), side)
            box = cover[top * patch : (top + 1) * patch, left * patch : (left + 1) * patch]
            painted[n] = inked(pixels[n], box, chosen)
        return painted

    return paint


def _ink(
    random: np.random.Generator, side_px: int, um_per_px: float, through: tuple[float, float]
) -> Cover:
    """A broad stroke of felt pen."""
    cover = np.zeros((side_px, side_px), np.uint8)
    width = round(random.uniform(120, 280) / um_per_px)
    cv2.line(cover, *_ends(random, through, side_px), 235, width, cv2.LINE_AA)
    return cover


def _dust(
    random: np.random.Generator, side_px: int, um_per_px: float, _through: tuple[float, float]
) -> Cover:
    """Specks and fibres, strewn over the whole region."""
    cover = np.zeros((side_px, side_px), np.uint8)
    area_mm2 = (side_px * um_per_px / 1000) ** 2
    for _ in range(int(random.poisson(60 * area_mm2))):
        centre = random.integers(side_px, size=2).tolist()
        axes = np.maximum(np.rint(random.uniform(2, 14, 2) / um_per_px), 1).astype(int).tolist()
        shade = int(random.integers(120, 250))
        cv2.ellipse(cover, centre, axes, random.uniform(0, 180), 0, 360, shade, -1, cv2.LINE_AA)
    for _ in range(int(random.poisson(6 * area_mm2))):
        way = np.cumsum(random.normal(0, 18 / um_per_px, (20, 2)), axis=0)
        fibre = np.rint(random.uniform(0, side_px, 2) + way).astype(np.int32)
        thick = max(round(random.uniform(2, 6) / um_per_px), 1)
        cv2.polylines(cover, [fibre], False, int(random.integers(120, 230)), thick, cv2.LINE_AA)
    return cover


def _edge(
    random: np.random.Generator, side_px: int, um_per_px: float, through: tuple[float, float]
) -> Cover:
    """The rim of a coverslip: a dark line, and glass of another tint on one side of it."""
    cover = np.zeros((side_px, side_px), np.uint8)
    first, last = _ends(random, through, side_px)
    along = np.subtract(last, first)
    across = np.array([-along[1], along[0]])
    beyond = np.stack([first, last, last + across, first + across]).astype(np.int32)
    cv2.fillPoly(cover, [beyond], _TINT)
    width = max(round(random.uniform(6, 16) / um_per_px), 2)
    cv2.line(cover, first, last, 220, width, cv2.LINE_AA)
    return cover


def _ends(
    random: np.random.Generator, through: tuple[float, float], side_px: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Ends of a line through a point, long enough to leave the region on both sides."""
    angle = random.uniform(0, 2 * np.pi)
    reach = 1.5 * side_px * np.array([np.cos(angle), np.sin(angle)])
    low, high = np.rint(np.subtract(through, reach)), np.rint(np.add(through, reach))
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))


_DRAWN: dict[GlassKind, tuple[DrawCover, Colour]] = {
    "ink": (_ink, _DIRT),
    "dust": (_dust, _DIRT),
    "edge": (_edge, _SHADE),
}
