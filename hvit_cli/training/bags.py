"""Features on disk to bags in memory: streamed, a bounded number of bytes at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

from hvit_cli.models.bags import PatchBag
from hvit_cli.settings import Attention
from hvit_cli.storage.features import SlideFeatures, read_features

K = TypeVar("K")
V = TypeVar("V")

ReadBag = Callable[[str], PatchBag]
CACHE_BYTES = 1 << 30
_READ_AHEAD = 8


def bag_of(slide: SlideFeatures, attention: Attention) -> PatchBag:
    """The rows of a slide that a model of this attention sees, still in float16.

    Raises:
        ModelError: Plain attention needs every patch and the file holds tissue only, or the
            slide has no region.
    """
    visible = slide.visible(attention)
    return PatchBag(
        features=torch.from_numpy(slide.features[visible]),
        region_index=torch.from_numpy(slide.region_index[visible]),
        patch_index=torch.from_numpy(slide.patch_index[visible]),
        regions=slide.n_regions,
    )


class BagReader:
    """Reads the bag of a slide by its id, keeping as many as fit a number of bytes.

    What was kept stays for the whole run: slides are drawn at random, so that no slide is
    likelier than another to be wanted next, and replacing one by another would gain nothing.

    Args:
        paths: Feature file by slide id.
        attention: Which rows the model sees.
        cache_bytes: Memory for bags that are read once and kept; 0 keeps none.
    """

    def __init__(
        self, paths: Mapping[str, Path], attention: Attention, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._paths = paths
        self._attention = attention
        self._free_bytes = cache_bytes
        self._kept: dict[str, PatchBag] = {}

    def __call__(self, slide_id: str) -> PatchBag:
        """The bag of one slide.

        Raises:
            StorageError: Its feature file is missing or damaged.
            ModelError: It does not hold what this attention sees.
        """
        if slide_id in self._kept:
            return self._kept[slide_id]
        bag = bag_of(read_features(self._paths[slide_id]), self._attention)
        size = sum(t.nbytes for t in (bag.features, bag.region_index, bag.patch_index))
        if size <= self._free_bytes:
            self._free_bytes -= size
            self._kept[slide_id] = bag
        return bag


def read_ahead(read: Callable[[K], V], keys: Iterable[K], ahead: int = _READ_AHEAD) -> Iterator[V]:
    """Yields `read(key)` for each key in order, reading the next few in a thread meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting: deque[Future[V]] = deque()
        try:
            for key in keys:
                waiting.append(thread.submit(read, key))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # After an error, or when the consumer stops, nobody wants the rest.
            for future in waiting:
                future.cancel()


def tokens(bag: PatchBag) -> int:
    """Tokens of a bag in the region Transformer: its patches, and CLS of each region."""
    return len(bag.features) + bag.regions


def micro_batches(bags: Iterable[PatchBag], budget: int) -> Iterator[list[PatchBag]]:
    """Groups consecutive bags up to a number of tokens; a larger bag stands alone."""
    part: list[PatchBag] = []
    filled = 0
    for bag in bags:
        size = tokens(bag)
        if part and filled + size > budget:
            yield part
            part, filled = [], 0
        part.append(bag)
        filled += size
    if part:
        yield part
