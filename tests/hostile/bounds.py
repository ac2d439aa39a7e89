"""How much memory and processor time something takes, by the counts of the kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROCESSOR_S = 10.0
_SELF = Path("/proc/self")


class Bounds:
    """Memory that a process may take beyond what it has now, and processor time of each try.

    Args:
        memory_mib: Resident memory beyond that at this moment, at its peak.
        processor_s: Time of all threads.

    Attributes:
        most_mib: The most that any try took.
        longest_s: The longest that any took.
    """

    def __init__(self, memory_mib: float, processor_s: float = PROCESSOR_S) -> None:
        self.memory_mib, self.processor_s = memory_mib, processor_s
        self.most_mib = self.longest_s = 0.0
        self._before_mib = _status_mib("VmRSS")

    @contextmanager
    def one(self, what: object = "") -> Iterator[None]:
        """One try, which must stay within the bounds whether or not it raises."""
        # Sets the peak back to what is resident now (Linux, proc(5)).
        (_SELF / "clear_refs").write_text("5")
        started = time.process_time()
        try:
            yield
        finally:
            took_s = time.process_time() - started
            took_mib = _status_mib("VmHWM") - self._before_mib
            self.most_mib = max(self.most_mib, took_mib)
            self.longest_s = max(self.longest_s, took_s)
        assert took_mib <= self.memory_mib, f"{what!r} took {took_mib:.0f} MiB"
        assert took_s <= self.processor_s, f"{what!r} took {took_s:.1f} s of processor"


def _status_mib(name: str) -> float:
    for line in (_SELF / "status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) / 1024
    raise OSError(f"this system does not tell {name}")
