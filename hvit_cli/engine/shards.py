"""A fixed part of the slides for each of several jobs, without any word between them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hvit_cli.errors import UsageError
from hvit_cli.settings.running import shard_of
from hvit_cli.slides.entry import SlideEntry

_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX")


@dataclass(frozen=True)
class Shard:
    """One part of several.

    Attributes:
        part: Which, 1 first.
        parts: How many there are.
    """

    part: int
    parts: int

    @property
    def name(self) -> str:
        """The part in file names."""
        return f"{self.part}of{self.parts}"

    def holds(self, slide_id: str) -> bool:
        """Whether a slide belongs to this part.

        Its name alone decides, so that neither the order of the slides nor others that are
        added or left out move it to another part.
        """
        digest = hashlib.sha256(slide_id.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.parts == self.part - 1

    def of(self, entries: Sequence[SlideEntry]) -> list[SlideEntry]:
        """The slides of this part, in their order."""
        return [entry for entry in entries if self.holds(entry.slide_id)]


def shard_named(text: str | None, environment: Mapping[str, str] = os.environ) -> Shard | None:
    """The part that `--shard` asks for; None for all slides.

    Args:
        text: `i/n`, or `auto` for the task of a Slurm job array.
        environment: Where Slurm says which task this is.

    Raises:
        UsageError: `auto` outside a job array, or in one whose numbers have gaps.
    """
    if text is None:
        return None
    return _slurm_shard(environment) if text == "auto" else Shard(*shard_of(text))


def _slurm_shard(environment: Mapping[str, str]) -> Shard:
    lacking = [name for name in _ARRAY if not environment.get(name, "").isdigit()]
    if lacking:
        raise UsageError(
            "this is no task of a Slurm job array",
            where="--shard auto",
            found=f"no {', '.join(lacking)}",
            hint="sbatch --array=1-4, or --shard 1/4",
        )
    task, first, last = (int(environment[name]) for name in _ARRAY)
    step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1"))
    parts = (last - first) // step + 1
    count = int(environment.get("SLURM_ARRAY_TASK_COUNT", parts))
    if count != parts:
        # `--array=3,7` repeats two tasks of an earlier array: their parts cannot be known here.
        raise UsageError(
            "the numbers of the job array have gaps, so that parts would be left out",
            where="--shard auto",
            found=f"{count} tasks from {first} to {last}",
            hint="--shard i/n, or no --shard: jobs on one folder share the slides by claims",
        )
    return Shard((task - first) // step + 1, parts)
