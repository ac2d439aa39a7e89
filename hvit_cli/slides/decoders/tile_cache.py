"""Decoded tiles, the latest up to a number of bytes, for all threads that read one slide."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future

from hvit_cli.slides.decoders.base import Rgb


class TileCache:
    """Keeps the tiles used last, and lets nobody decode a tile that another thread is decoding.

    Args:
        most_bytes: Bytes of pixels kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Hashable, Rgb] = OrderedDict()
        self._begun: dict[Hashable, Future[Rgb | None]] = {}

    def get(self, key: Hashable, decode: Callable[[], Rgb | None]) -> Rgb | None:
        """The tile of a key, decoded unless it is kept.

        Args:
            key: Names the tile.
            decode: Gives its pixels, nobody's to change, or nothing where it cannot; nothing
                is not kept.
        """
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
                return tile
            begun = self._begun.get(key)
            if begun is None:
                mine = self._begun[key] = Future()
        if begun is not None:
            return begun.result()
        try:
            tile = decode()
        except BaseException as error:
            with self._lock:
                del self._begun[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._begun[key]
            if tile is not None:
                self._keep(key, tile)
        mine.set_result(tile)
        return tile

    def _keep(self, key: Hashable, tile: Rgb) -> None:
        self._tiles[key] = tile
        self._bytes += tile.nbytes
        while self._bytes > self._most_bytes:
            self._bytes -= self._tiles.popitem(last=False)[1].nbytes
