from __future__ import annotations

import threading

import numpy as np
import pytest

from hvit_cli.slides.decoders.base import Rgb
from hvit_cli.slides.decoders.tile_cache import TileCache


def tile(value: int) -> Rgb:
    return np.full((2, 2, 3), value, np.uint8)


def test_the_tiles_used_last_are_kept() -> None:
    cache, decoded = TileCache(3 * 12), []

    def get(key: int) -> int:
        def decode() -> Rgb:
            decoded.append(key)
            return tile(key)

        found = cache.get(key, decode)
        assert found is not None
        return int(found[0, 0, 0])

    assert [get(key) for key in (1, 2, 3, 1, 4, 1, 2)] == [1, 2, 3, 1, 4, 1, 2]
    assert decoded == [1, 2, 3, 4, 2]


def test_a_tile_larger_than_all_room_is_given_and_not_kept() -> None:
    cache = TileCache(5)
    for _ in range(2):
        assert cache.get("key", lambda: tile(7)) is not None
    assert cache._bytes == 0


def test_threads_wait_for_one_that_decodes() -> None:
    cache, begun, go = TileCache(100), threading.Event(), threading.Event()
    decoded: list[int] = []
    found: list[Rgb | None] = []

    def slowly() -> Rgb:
        decoded.append(1)
        begun.set()
        assert go.wait(10)
        return tile(1)

    threads = [threading.Thread(target=lambda: found.append(cache.get(1, slowly))) for _ in "abc"]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    # Another tile need not wait.
    assert cache.get(2, lambda: tile(2)) is not None
    go.set()
    for thread in threads:
        thread.join()
    assert (decoded, len(found)) == ([1], 3)


def test_nothing_and_errors_are_not_kept() -> None:
    cache = TileCache(100)
    assert cache.get(1, lambda: None) is None

    def fail() -> Rgb:
        raise KeyError("damage")

    for _ in range(2):
        with pytest.raises(KeyError, match="damage"):
            cache.get(1, fail)
    assert cache.get(1, lambda: tile(1)) is not None
