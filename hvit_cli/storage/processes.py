"""Which process, on which running system: enough to tell whether it still lives."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def this_system() -> str:
    """Names the running system and the namespace of its process ids; "" where neither is told.

    Within one value a process id has a meaning.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def start_of(process_id: int) -> str:
    """When a process of this system began, in ticks since the system did.

    Tells a process from a later one with the same number; "" where there is no such process.
    """
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return ""
    # The second field, a name in brackets, may hold spaces.
    return stat.rpartition(")")[2].split()[19]
