"""Answers that are kept: as many bytes as allowed, the longest unused forgotten first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future


class ByteCache:
    """Keeps bytes by key, and makes each only once however many ask at the same time.

    Args:
        most_bytes: Kept at a time, all together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._making: dict[Hashable, Future[bytes]] = {}
        self._lock = threading.Lock()
        self.held_bytes = 0

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """The bytes of a key, made by the first who asks.

        Raises:
            Exception: Whatever `make` raised, to all who waited for it; nothing is kept.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            waiting = self._making.get(key)
            if waiting is None:
                mine: Future[bytes] = Future()
                self._making[key] = mine
        if waiting is not None:
            return waiting.result()
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._keep(key, made)
        mine.set_result(made)
        return made

    def _keep(self, key: Hashable, made: bytes) -> None:
        if len(made) > self._most_bytes:
            return
        self._kept[key] = made
        self.held_bytes += len(made)
        while self.held_bytes > self._most_bytes:
            _, forgotten = self._kept.popitem(last=False)
            self.held_bytes -= len(forgotten)
