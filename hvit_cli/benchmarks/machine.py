"""The machine that was measured, in the words that a table of speeds needs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where numbers were measured.

    Attributes:
        processor: The processor's name.
        cores: Cores that this process may use.
        threads: Threads of PyTorch.
        memory_gib: Memory of the machine; None where the system does not tell.
        device: Where networks ran: cpu, or the GPU's name.
        system: Operating system and architecture.
        versions: Of Python and of the libraries that decide the speed.
    """

    processor: str
    cores: int
    threads: int
    memory_gib: float | None
    device: str
    system: str
    versions: dict[str, str]


def describe_machine(device: torch.device) -> Machine:
    """This machine, with the device on which networks run."""
    libraries = ("hvit", "torch", "timm", "openslide-python", "pyvips", "opencv-python-headless")
    versions = {"python": platform.python_version()}
    for name in libraries:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        memory_gib=_memory_gib(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        system=f"{platform.system()} {platform.machine()}",
        versions=versions,
    )


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (ValueError, OSError, AttributeError):
        return None
