"""Memory that a training step frees and the next one wants again stays with the process.

Every step allocates and frees the same activations. The C library of Linux hands some of that
memory back to the system each time, which clears every page before it is touched again: up to
a seventh of a step on a virtual machine (docs/reference/performance.md).
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping
from functools import cache

# From glibc's malloc.h; its own upper bound for what may come from the heap is 32 MiB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_IN_HEAP = 32 << 20
_NEVER_TRIM = (1 << 31) - 1
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@cache
def keep_freed_memory() -> bool:
    """Lets this process keep what it frees, up to the most that it ever held at a time.

    Holds for the rest of the process, whose peak is what it was. Does nothing where the C
    library is not glibc, or where the user has tuned it through the environment.

    Returns:
        Whether it was done.
    """
    if platform.libc_ver()[0] != "glibc" or _tuned(os.environ):
        return False
    library = ctypes.CDLL(None)
    return all(
        library.mallopt(option, value) == 1
        for option, value in (
            (_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP),
            (_M_TRIM_THRESHOLD, _NEVER_TRIM),
        )
    )


def _tuned(environment: Mapping[str, str]) -> bool:
    return any(name in environment for name in _OF_THE_USER)
