from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

GLIBC = platform.libc_ver()[0] == "glibc"
# Eight blocks of 8 MiB, touched and freed, ten times: what a step of training does.
ROUNDS = """
import resource, sys
import torch
from hvit_cli.training.kept_memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "kept" else None
def touched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.empty(2 << 20).fill_(1) for _ in range(8)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touched(), touched()
print(kept, sum(touched() for _ in range(10)))
"""


def faults(mode: str, **environment: str) -> tuple[str, int]:
    """What the function said, and the fresh pages of the rounds."""
    told, count = subprocess.run(
        [sys.executable, "-c", ROUNDS, mode],
        env={k: v for k, v in os.environ.items() if "MALLOC" not in k} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return told, int(count)


@pytest.mark.skipif(not GLIBC, reason="memory is kept through glibc")
def test_freed_memory_is_used_again_without_fresh_pages() -> None:
    _, returned = faults("returned")
    said, kept = faults("kept")
    assert said == "True"
    # 64 MiB are 16,384 pages of 4 KiB each round, or 32 huge ones.
    assert returned >= 10 * 32
    assert kept < returned / 10


@pytest.mark.skipif(not GLIBC, reason="memory is kept through glibc")
def test_what_the_user_has_set_stands() -> None:
    said, returned = faults("kept", MALLOC_TRIM_THRESHOLD_="131072")
    assert said == "False"
    assert returned >= 10 * 32
