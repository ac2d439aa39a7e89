"""Scores of one slide with parts of it left out, computing only what changes.

A patch that is left out has no token: that equals hiding it from every layer, in masked and in
plain attention alike. So only its own region is read again, all versions of a region together,
and the slide Transformer runs over all versions of the slide together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hvit_cli.errors import ModelError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.bags import PatchBag
from hvit_cli.settings import TaskSettings
from hvit_cli.training.objectives import score_of

# Tokens that pass through a Transformer at once; larger steps are no faster on a processor.
_TOKENS_PER_STEP = 16384

Rows = npt.NDArray[np.intp]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Absence:
    """What is left out of a slide.

    Attributes:
        rows: Rows of the bag whose patches are hidden. A region that loses all of its patches
            stays, read from CLS and registers alone.
        regions: Regions that leave the slide Transformer as well.
    """

    rows: Rows
    regions: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Version:
    """A region with some of its patches: which region, and which of its rows are kept."""

    region: int
    kept: npt.NDArray[np.bool_]


class Rescorer:
    """Scores a slide again and again with parts of it left out.

    Args:
        aggregator: In evaluation mode.
        bag: The patches that the model sees, on any device.
        task: What the aggregator's outputs mean.
    """

    def __init__(self, aggregator: Aggregator, bag: PatchBag, task: TaskSettings) -> None:
        self._aggregator = aggregator
        self._task = task
        self._regions = bag.regions
        self._region_of_row = bag.region_index.cpu().numpy()
        self._rows = [np.flatnonzero(self._region_of_row == m) for m in range(bag.regions)]
        # Place of each row among the rows of its region.
        self._place = np.zeros(len(self._region_of_row), np.intp)
        for rows in self._rows:
            self._place[rows] = np.arange(len(rows))
        bag = bag.to(aggregator.region_transformer.cls_token.device)
        with torch.inference_mode():
            self._tokens = aggregator.region_transformer.embed_patches(
                bag.features.to(aggregator.dtype), bag.patch_index
            )
            whole = [
                _Version(region=m, kept=np.ones(len(rows), bool))
                for m, rows in enumerate(self._rows)
            ]
            self._whole = self._read_regions(whole)

    @torch.inference_mode()
    def score(self) -> float:
        """The score with everything, not rounded."""
        return float(self._read_slides(self._whole, [np.arange(self._regions)])[0])

    @torch.inference_mode()
    def scores_without(self, absences: Sequence[Absence]) -> npt.NDArray[np.float64]:
        """(V,) the score of each version of the slide, not rounded.

        Raises:
            ModelError: Every region of a slide leaves.
        """
        number: dict[tuple[int, bytes], int] = {}
        versions: list[_Version] = []
        slides = []
        for absence in absences:
            members = np.arange(self._regions)
            for m in np.unique(self._region_of_row[absence.rows]).tolist():
                if m in absence.regions:
                    continue
                kept = np.ones(len(self._rows[m]), bool)
                kept[self._place[absence.rows[self._region_of_row[absence.rows] == m]]] = False
                key = (m, kept.tobytes())
                if key not in number:
                    number[key] = self._regions + len(versions)
                    versions.append(_Version(region=m, kept=kept))
                members[m] = number[key]
            slides.append(np.delete(members, list(absence.regions)))
        if any(not len(members) for members in slides):
            raise ModelError("a slide without any region cannot be scored")
        table = torch.cat([self._whole, self._read_regions(versions)])
        return self._read_slides(table, slides)

    @torch.inference_mode()
    def scores_alone(self) -> npt.NDArray[np.float64]:
        """(P,) the score of a slide that holds this patch's region alone, and in it this patch."""
        region = self._aggregator.region_transformer
        split = torch.split(self._tokens, _TOKENS_PER_STEP // 2)
        parts = [region(part[:, None])[0] for part in split]
        table = torch.cat([self._whole[:0], *parts])
        return self._read_slides(table, [np.array([row]) for row in range(len(table))])

    def _read_regions(self, versions: Sequence[_Version]) -> Tensor:
        """(versions, C) embeddings."""
        region = self._aggregator.region_transformer
        device = self._tokens.device
        found = [self._tokens.new_zeros(0, region.cls_token.shape[-1])]
        for step in _steps(versions, lambda v: len(v.kept) + region.prefix_tokens):
            x = [
                self._tokens[torch.from_numpy(self._rows[v.region][v.kept]).to(device)]
                for v in step
            ]
            lengths = torch.tensor([len(tokens) for tokens in x], device=device)
            padded = torch.nn.utils.rnn.pad_sequence(x, batch_first=True)
            visible = torch.arange(padded.shape[1], device=device) < lengths[:, None]
            found.append(region(padded, None if visible.all() else visible)[0])
        return torch.cat(found)

    def _read_slides(
        self, table: Tensor, slides: Sequence[npt.NDArray[np.intp]]
    ) -> npt.NDArray[np.float64]:
        """(slides,) scores; each slide is the rows of the table that are its regions."""
        scores = []
        for step in _steps(slides, len):
            counts = torch.tensor([len(members) for members in step])
            index = torch.zeros(len(step), int(counts.max()), dtype=torch.long)
            present = torch.arange(index.shape[1]) < counts[:, None]
            index[present] = torch.from_numpy(np.concatenate(step))
            index, present = index.to(table.device), present.to(table.device)
            output, _ = self._aggregator.slide_transformer(
                table[index], None if present.all() else present
            )
            scores.append(score_of(output, self._task).double().cpu().numpy())
        return np.concatenate(scores) if scores else np.zeros(0)


def _steps(parts: Sequence[T], tokens: Callable[[T], int]) -> Iterator[list[T]]:
    """Groups consecutive parts that, padded to the longest, stay within a number of tokens."""
    step: list[T] = []
    longest = 0
    for part in parts:
        longest = max(longest, tokens(part))
        if step and longest * (len(step) + 1) > _TOKENS_PER_STEP:
            yield step
            step, longest = [], tokens(part)
        step.append(part)
    if step:
        yield step
