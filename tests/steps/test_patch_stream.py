from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hvit_cli.errors import PixelError
from hvit_cli.steps import patch_stream
from hvit_cli.steps.embed import Embedder
from hvit_cli.steps.patch_stream import PatchStream


class Summing:
    """An encoder whose features say which patch they are of; it counts its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.sizes: list[int] = []
        self.slides: list[set[int]] = []
        self.alone = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        assert self.alone.acquire(blocking=False)
        time.sleep(self.seconds)
        self.alone.release()
        if (pixels == 255).any():
            raise ValueError("a patch that no encoder bears")
        self.sizes.append(len(pixels))
        self.slides.append(set(pixels[:, 0, 0, 1].tolist()))
        return pixels[:, 0, 0, :2].astype(np.float32)


def blocks(slide: int, counts: Sequence[int]) -> Iterator[np.ndarray]:
    """Patches of 2 x 2 pixels that hold their number and their slide's."""
    first = 0
    for count in counts:
        pixels = np.zeros((count, 2, 2, 3), np.uint8)
        pixels[..., 0] = np.arange(first, first + count)[:, None, None]
        pixels[..., 1] = slide
        yield pixels
        first += count


def all_of(stream: PatchStream, patches: Iterator[np.ndarray]) -> np.ndarray:
    rows = list(stream.features(patches))
    return np.concatenate([np.zeros((0, 2), np.float16), *rows])


def expected(slide: int, count: int) -> np.ndarray:
    return np.stack([np.arange(count), np.full(count, slide)], axis=1).astype(np.float16)


@pytest.mark.parametrize("counts", [[], [0], [1], [7, 0, 9], [64], [3, 61, 5]])
def test_one_slide_gets_its_features_in_order_from_full_batches(counts: list[int]) -> None:
    encoder = Summing()
    rows = all_of(PatchStream(encoder, 8), blocks(3, counts))
    assert rows.dtype == np.float16
    np.testing.assert_array_equal(rows, expected(3, sum(counts)))
    assert all(size == 8 for size in encoder.sizes[:-1])
    assert sum(encoder.sizes) == sum(counts)


def test_slides_that_meet_share_batches_and_keep_their_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patch_stream, "_PATIENCE_S", 60.0)
    encoder = Summing(seconds=0.002)
    stream = PatchStream(encoder, 8)
    counts = [[5, 6], [13], [1, 1, 1, 1], [21, 2], [3, 0]]
    together = threading.Barrier(len(counts))

    def slide(number: int) -> np.ndarray:
        def patches() -> Iterator[np.ndarray]:
            together.wait(10)
            yield from blocks(number, counts[number])

        return all_of(stream, patches())

    with ThreadPoolExecutor(len(counts)) as threads:
        found = list(threads.map(slide, range(len(counts))))
    for number, rows in enumerate(found):
        np.testing.assert_array_equal(rows, expected(number, sum(counts[number])))
    assert sum(encoder.sizes) == sum(map(sum, counts))
    # All slides have begun before any has ended, so that the last batch alone is not full.
    assert encoder.sizes[:-1] == [8] * (len(encoder.sizes) - 1)
    assert any(len(met) > 1 for met in encoder.slides)


def test_the_end_of_a_slide_waits_for_the_next_one_only_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patch_stream, "_PATIENCE_S", 0.05)
    stream = PatchStream(Summing(), 8)
    may_go_on = threading.Event()

    def slow() -> Iterator[np.ndarray]:
        assert may_go_on.wait(10)
        yield from blocks(1, [4])

    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(all_of, stream, slow())
        while not stream._lines:
            time.sleep(0.001)
        rows = all_of(stream, blocks(0, [3]))
        may_go_on.set()
        np.testing.assert_array_equal(other.result(10), expected(1, 4))
    np.testing.assert_array_equal(rows, expected(0, 3))


def test_pixels_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_stream, "_MOST_WAITING_BYTES", 10 * 12)
    encoder = Summing()
    stream = PatchStream(encoder, 4)
    encoding, may_end = threading.Event(), threading.Event()

    def stuck(pixels: np.ndarray) -> np.ndarray:
        encoding.set()
        assert may_end.wait(10)
        return encoder(pixels)

    stream._embed = stuck
    read: list[int] = []

    def counted() -> Iterator[np.ndarray]:
        for pixels in blocks(1, [3] * 20):
            read.append(len(pixels))
            yield pixels

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(all_of, stream, blocks(0, [4]))
        assert encoding.wait(10)
        second = threads.submit(all_of, stream, counted())
        time.sleep(0.2)
        # Ten patches and what was read when they were too many.
        assert sum(read) <= 12
        may_end.set()
        np.testing.assert_array_equal(first.result(10), expected(0, 4))
        np.testing.assert_array_equal(second.result(10), expected(1, 60))


def test_a_slide_that_cannot_be_read_fails_alone_and_at_its_place() -> None:
    stream = PatchStream(Summing(seconds=0.005), 8)

    def broken() -> Iterator[np.ndarray]:
        yield from blocks(1, [5, 20])
        raise PixelError("a tile cannot be decoded")

    with ThreadPoolExecutor(2) as threads:
        bad = threads.submit(all_of, stream, broken())
        good = threads.submit(all_of, stream, blocks(0, [30, 30]))
        with pytest.raises(PixelError, match="a tile"):
            bad.result(10)
        np.testing.assert_array_equal(good.result(10), expected(0, 60))
    assert not stream._lines


def test_a_patch_that_the_encoder_refuses_fails_its_own_slide() -> None:
    stream = PatchStream(Summing(seconds=0.002), 8)
    together = threading.Barrier(2)

    def slide(number: int, value: int) -> np.ndarray:
        def patches() -> Iterator[np.ndarray]:
            together.wait(10)
            for pixels in blocks(number, [5, 6]):
                pixels[..., 2] = value
                yield pixels

        return all_of(stream, patches())

    with ThreadPoolExecutor(2) as threads:
        good, bad = threads.submit(slide, 0, 0), threads.submit(slide, 1, 255)
        with pytest.raises(ValueError, match="no encoder bears"):
            bad.result(10)
        np.testing.assert_array_equal(good.result(10), expected(0, 11))


def test_a_slide_that_is_given_up_leaves_the_stream_to_the_others() -> None:
    stream = PatchStream(Summing(), 4)
    left = stream.features(blocks(1, [9, 9]))
    next(left)
    left.close()
    assert not stream._lines
    np.testing.assert_array_equal(all_of(stream, blocks(0, [6])), expected(0, 6))


def test_tokens_go_with_their_patches_through_shared_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patch_stream, "_PATIENCE_S", 60.0)
    summing = Summing(seconds=0.002)
    counts = [[5, 6], [13], [1, 1, 1], [9, 2]]
    together = threading.Barrier(len(counts))

    def encoder(pixels: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return np.concatenate([summing(pixels), tokens], axis=1)

    stream = PatchStream(encoder, 8)
    tokens = [np.random.default_rng(n).random((sum(c), 3)) < 0.5 for n, c in enumerate(counts)]

    def slide(number: int) -> np.ndarray:
        def patches() -> Iterator[np.ndarray]:
            together.wait(10)
            yield from blocks(number, counts[number])

        return np.concatenate(list(stream.features(patches(), tokens[number])))

    with ThreadPoolExecutor(len(counts)) as threads:
        found = list(threads.map(slide, range(len(counts))))
    for number, rows in enumerate(found):
        np.testing.assert_array_equal(rows[:, :2], expected(number, sum(counts[number])))
        np.testing.assert_array_equal(rows[:, 2:], tokens[number])
    assert any(len(met) > 1 for met in summing.slides)


@pytest.mark.parametrize(
    ("device", "step", "sizes"),
    [
        ("cpu", 8, [8, 8, 8, 8, 8, 3]),
        ("cuda", 8, [32, 11]),
        # Two of these are 512 patches, and one of those is more.
        ("cuda", 256, [512, 188]),
        ("cuda", 600, [600, 100]),
    ],
)
def test_a_gpu_is_handed_several_steps_at_once(device: str, step: int, sizes: list[int]) -> None:
    summing = Summing()
    encoder: Any = SimpleNamespace(embed=summing, device=torch.device(device))
    embedder = Embedder(encoder, "masked", step)
    count = sum(sizes)
    patches = np.zeros((count, 2, 2, 3), np.uint8)
    patches[..., 1] = 3
    assert len(all_of(embedder.stream, iter([patches[:30], patches[30:]]))) == count
    assert summing.sizes == sizes
