"""Reads patches of a slide ahead of whoever uses them, on several threads, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from hvit_cli.slides.decoders.base import Rgb
from hvit_cli.slides.geometry import ReadingPlan
from hvit_cli.slides.reader import Slide

Request = tuple[tuple[float, float], npt.NDArray[np.int64]]
"""Top-left corner (x, y) of a region in level-0 pixels, and the indices of its patches."""


def read_ahead(
    slide: Slide,
    plan: ReadingPlan,
    requests: Sequence[Request],
    *,
    patch_px: int,
    side: int,
    threads: int,
    waiting: int,
) -> Iterator[Rgb]:
    """Yields the patches of each request as `Slide.read_patches` gives them, in order.

    The pixels do not depend on `threads`. Reading begins with the first `next`. Closing the
    iterator ends the threads; whatever they have begun to read, they finish first. The slide
    itself stays free for other use in the thread that has it: the others have twins of it.

    Args:
        slide: The slide.
        plan: From `Slide.plan`.
        requests: Per region its corner and the patches wanted.
        patch_px: Side of a patch in output pixels.
        side: Patches along one side of a region.
        threads: Threads that read.
        waiting: Most results held, read or being read, before they are asked for.

    Yields:
        (n, patch_px, patch_px, 3) RGB of one request.

    Raises:
        PixelError: Some pixels of this request cannot be decoded. Those before it have been
            yielded, and none comes after it.
    """
    if threads < 1 or waiting < 1:
        raise ValueError(f"{threads} threads and {waiting} results waiting: at least one of each")
    return _ahead(slide, plan, requests, patch_px, side, threads, waiting)


def _ahead(
    slide: Slide,
    plan: ReadingPlan,
    requests: Sequence[Request],
    patch_px: int,
    side: int,
    threads: int,
    waiting: int,
) -> Iterator[Rgb]:
    twins = [slide.twin() for _ in range(min(threads, len(requests)))]
    untaken = list(twins)
    own = threading.local()

    def begin() -> None:
        own.slide = untaken.pop()

    def read(request: Request) -> Rgb:
        origin_level0, patch_index = request
        reader: Slide = own.slide
        return reader.read_patches(plan, origin_level0, patch_px, side, patch_index)

    pool = ThreadPoolExecutor(
        max(1, len(twins)), thread_name_prefix="read-ahead", initializer=begin
    )
    try:
        following = iter(requests)
        begun: deque[Future[Rgb]] = deque()
        while True:
            while len(begun) < waiting and (request := next(following, None)) is not None:
                begun.append(pool.submit(read, request))
            if not begun:
                return
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for twin in twins:
            twin.close()
