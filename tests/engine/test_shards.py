from __future__ import annotations

import collections
import random
from pathlib import Path

import pytest

from hvit_cli.engine.shards import Shard, shard_named
from hvit_cli.errors import SettingsError, UsageError
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry

ENTRIES = [SlideEntry(slide_id=f"slide-{i}", path=Path(f"{i}.svs")) for i in range(1000)]


@pytest.mark.parametrize("parts", [1, 2, 7, 64])
def test_the_parts_hold_every_slide_once_and_about_as_many_each(parts: int) -> None:
    shards = [Shard(part, parts).of(ENTRIES) for part in range(1, parts + 1)]
    counts = collections.Counter(entry.slide_id for shard in shards for entry in shard)
    assert counts == dict.fromkeys((entry.slide_id for entry in ENTRIES), 1)
    # Five standard deviations of a binomial count.
    mean = len(ENTRIES) / parts
    spread = 5 * (mean * (1 - 1 / parts)) ** 0.5
    assert all(abs(len(shard) - mean) <= spread for shard in shards)


def test_a_slides_part_depends_on_its_name_alone() -> None:
    shard = Shard(2, 5)
    mixed = random.Random(1).sample(ENTRIES, len(ENTRIES))
    assert {e.slide_id for e in shard.of(mixed)} == {e.slide_id for e in shard.of(ENTRIES)}
    some = ENTRIES[::3]
    assert shard.of(some) == [entry for entry in shard.of(ENTRIES) if entry in some]
    # Fixed for good, because jobs of one array may run different releases.
    assert [i for i in range(40) if shard.holds(f"slide-{i}")] == PINNED


# The first eight bytes of SHA-256 of the name, remainder 1 of 5.
PINNED = [0, 1, 7, 8, 12, 15, 18, 21, 22, 31, 34]


def test_a_part_is_named_or_taken_from_a_job_array() -> None:
    assert shard_named(None, {}) is None
    assert shard_named("2/3", {}) == Shard(2, 3)
    array = {
        "SLURM_ARRAY_TASK_MIN": "0",
        "SLURM_ARRAY_TASK_MAX": "30",
        "SLURM_ARRAY_TASK_STEP": "10",
        "SLURM_ARRAY_TASK_COUNT": "4",
    }
    parts = [shard_named("auto", {**array, "SLURM_ARRAY_TASK_ID": str(i)}) for i in (0, 10, 20, 30)]
    assert parts == [Shard(i, 4) for i in (1, 2, 3, 4)]


def test_an_array_with_gaps_and_no_array_at_all_are_refused() -> None:
    with pytest.raises(UsageError, match="no task of a Slurm job array"):
        shard_named("auto", {})
    gaps = {
        "SLURM_ARRAY_TASK_ID": "7",
        "SLURM_ARRAY_TASK_MIN": "3",
        "SLURM_ARRAY_TASK_MAX": "7",
        "SLURM_ARRAY_TASK_COUNT": "2",
    }
    with pytest.raises(UsageError, match="have gaps"):
        shard_named("auto", gaps)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", "1/3 "])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--shard"):
        RunSettings(shard=text)
