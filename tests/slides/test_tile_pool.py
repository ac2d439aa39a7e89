"""Memory for tiles is used again, and never while somebody still looks at it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hvit_cli.slides.decoders.tile_pool import TilePool


def address(pixels: np.ndarray) -> int:
    return int(pixels.__array_interface__["data"][0])


def test_memory_of_a_tile_that_nobody_holds_is_handed_out_again() -> None:
    pool = TilePool(1 << 20)
    tile = pool.take(8, 16)
    assert tile.shape == (8, 16, 3)
    assert tile.dtype == np.uint8
    assert tile.flags.writeable
    place = address(tile)
    assert pool.idle_bytes == 0
    del tile
    assert pool.idle_bytes == 8 * 16 * 3
    again = pool.take(16, 8)
    assert address(again) == place
    assert pool.idle_bytes == 0


def test_a_slice_keeps_the_memory_of_its_tile() -> None:
    pool = TilePool(1 << 20)
    piece = pool.take(8, 8)[2:4][:, 1:3].transpose(1, 0, 2)
    assert pool.idle_bytes == 0
    piece[...] = 7
    pool.take(8, 8)[...] = 9
    assert (piece == 7).all()
    del piece
    assert pool.idle_bytes == 2 * 8 * 8 * 3


def test_two_tiles_never_share_memory() -> None:
    pool = TilePool(1 << 20)
    for number in range(50):
        held = [pool.take(4, 4) for _ in range(number % 7 + 2)]
        for value, tile in enumerate(held):
            tile[...] = value
        assert [set(tile.ravel().tolist()) for tile in held] == [{n} for n in range(len(held))]


def test_no_more_than_the_limit_is_kept() -> None:
    pool = TilePool(4 * 48)
    held = [pool.take(4, 4) for _ in range(10)]
    held.clear()
    assert pool.idle_bytes == 4 * 48


def test_memory_of_another_size_is_let_go() -> None:
    pool = TilePool(1 << 20)
    small, large = pool.take(4, 4), pool.take(8, 8)
    del small
    assert pool.idle_bytes == 0
    del large
    assert pool.idle_bytes == 8 * 8 * 3
    assert pool.take(4, 4).size == 48
    assert pool.idle_bytes == 48


def test_threads_that_ask_for_several_sizes_get_what_they_asked_for() -> None:
    pool = TilePool(1 << 16)
    wrong: list[str] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        held: list[tuple[int, np.ndarray]] = []
        for _ in range(2000):
            side = int(random.choice([4, 8]))
            tile = pool.take(side, side)
            if tile.shape != (side, side, 3):
                wrong.append(f"asked for {side}, got {tile.shape}")
            value = int(random.integers(256))
            tile[...] = value
            held.append((value, tile))
            if len(held) > 5:
                value, tile = held.pop(int(random.integers(len(held))))
                if not (tile == value).all():
                    wrong.append("somebody wrote into a tile that is held")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("most", [0, 47])
def test_a_limit_below_one_tile_keeps_nothing(most: int) -> None:
    pool = TilePool(most)
    tile = pool.take(4, 4)
    del tile
    assert pool.idle_bytes == 0
