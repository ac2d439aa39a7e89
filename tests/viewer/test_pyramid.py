from __future__ import annotations

import numpy as np
import pytest

from hvit_cli.viewer.pyramid import Pyramid


@pytest.mark.parametrize("size", [(1, 1), (512, 512), (513, 100), (2900, 1700), (70_001, 123_457)])
def test_tiles_of_every_zoom_cover_the_slide_once(size: tuple[int, int]) -> None:
    pyramid = Pyramid(size_level0=size)
    for zoom in range(pyramid.last_zoom + 1):
        columns = -(-pyramid.size_px(zoom)[0] // 512)
        rows = -(-pyramid.size_px(zoom)[1] // 512)
        if columns * rows > 300:
            continue
        tiles = [pyramid.tile(zoom, c, r) for r in range(rows) for c in range(columns)]
        area = 0
        for tile in tiles:
            assert tile is not None
            left, top, right, bottom = tile.box_level0
            assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
            area += (right - left) * (bottom - top)
        assert area == size[0] * size[1]
        assert pyramid.tile(zoom, columns, 0) is None
        assert pyramid.tile(zoom, 0, rows) is None


def test_the_first_zoom_is_one_tile_and_the_last_has_level_0() -> None:
    pyramid = Pyramid(size_level0=(2900, 1700))
    assert pyramid.last_zoom == 3
    first = pyramid.tile(0, 0, 0)
    assert first is not None
    assert first.box_level0 == (0, 0, 2900, 1700)
    assert first.size_px == (int(np.ceil(2900 / 8)), int(np.ceil(1700 / 8)))
    assert pyramid.size_px(3) == (2900, 1700)


def test_there_is_no_tile_before_the_first_or_behind_the_last() -> None:
    pyramid = Pyramid(size_level0=(2900, 1700))
    for place in ((-1, 0, 0), (4, 0, 0), (0, 1, 0), (0, 0, 1), (3, -1, 0), (3, 0, -1)):
        assert pyramid.tile(*place) is None
