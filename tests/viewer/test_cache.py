from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hvit_cli.viewer.cache import ByteCache


def test_the_longest_unused_is_forgotten_when_the_bytes_are_spent() -> None:
    cache, made = ByteCache(30), []

    def get(key: str) -> bytes:
        return cache.get(key, lambda: made.append(key) or key.encode() * 10)  # type: ignore[func-returns-value]

    for key in "abcacd":  # d pushes out b
        assert get(key) == key.encode() * 10
        assert cache.held_bytes <= 30
    assert made == ["a", "b", "c", "d"]
    get("a"), get("c"), get("b")
    assert made == ["a", "b", "c", "d", "b"]


def test_what_is_larger_than_the_cache_is_given_and_not_kept() -> None:
    cache = ByteCache(5)
    assert cache.get("key", lambda: b"0123456789") == b"0123456789"
    assert cache.held_bytes == 0


def test_many_who_ask_at_once_let_it_be_made_once() -> None:
    cache, asked, made = ByteCache(1000), threading.Barrier(8), []

    def make() -> bytes:
        made.append(1)
        threading.Event().wait(0.05)
        return b"tile"

    def ask(_: int) -> bytes:
        asked.wait()
        return cache.get("key", make)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(8))) == {b"tile"}
    assert len(made) == 1


def test_a_failure_reaches_who_asked_and_is_tried_again() -> None:
    cache = ByteCache(1000)

    def fail() -> bytes:
        raise ValueError("unreadable")

    with pytest.raises(ValueError, match="unreadable"):
        cache.get("key", fail)
    assert cache.get("key", lambda: b"now") == b"now"
