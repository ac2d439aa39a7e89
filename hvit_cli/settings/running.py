"""How a run over many slides is spread, guarded and shared; nothing here changes a result."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hvit_cli.settings.checks import is_positive, require

Engine = Literal["local", "ray"]
_SHARD = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a run over many slides is spread, guarded and shared."""

    jobs: int = 0
    """Slides that are worked on at a time; 0 chooses by processors, memory and slides."""

    timeout: float | None = None
    """Seconds after which a slide is given up; nothing waits for ever."""

    memory_limit: float | None = None
    """GiB of memory above which a slide is given up; nothing sets no limit."""

    retries: int = 1
    """Further tries of a slide that was killed, took too long, or could not be read just then."""

    retry_failed: bool = False
    """Try slides again that failed as often as they may."""

    verify: bool = False
    """Open every file that is there, also where neither it nor its slide was changed."""

    shard: str | None = None
    """Do part i of n, as 1/4, or auto to take both from a Slurm job array."""

    claim: bool = True
    """Share the slides with other processes that work on the same folder."""

    claim_ttl: float = 300.0
    """Seconds without a sign of life after which another process's slide is taken over."""

    engine: Engine = "local"
    """Work on this machine (local) or on a Ray cluster that is running (ray)."""

    gpus: float = 0.0
    """GPUs that each worker of a Ray cluster is given, such as 1 or 0.25."""

    worker_timeout: float = 300.0
    """Seconds to wait for a Ray cluster to provide a worker before giving up."""

    def __post_init__(self) -> None:
        require(is_count(self.jobs), "jobs", self.jobs, "0 or more")
        for field in ("timeout", "memory_limit"):
            value = getattr(self, field)
            require(value is None or is_positive(value), field, value, "a number above 0")
        require(is_count(self.retries), "retries", self.retries, "0 or more")
        require(
            self.shard is None or self.shard == "auto" or _is_shard(self.shard),
            "shard",
            self.shard,
            "i/n with i from 1 to n, such as 1/4, or auto",
        )
        require(is_positive(self.claim_ttl), "claim_ttl", self.claim_ttl, "a number above 0")
        require(self.engine in ("local", "ray"), "engine", self.engine, "local or ray")
        require(self.gpus == 0 or is_positive(self.gpus), "gpus", self.gpus, "0 or more")
        require(
            is_positive(self.worker_timeout),
            "worker_timeout",
            self.worker_timeout,
            "a number above 0",
        )


def is_count(value: object) -> bool:
    """Whether a value is a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def shard_of(text: str) -> tuple[int, int]:
    """Part and number of parts in `i/n`, which `RunSettings` has checked."""
    part, parts = text.split("/")
    return int(part), int(parts)


def _is_shard(text: str) -> bool:
    return _SHARD.fullmatch(text) is not None and 1 <= shard_of(text)[0] <= shard_of(text)[1]
