"""What this machine has to share among processes: processors, memory, GPUs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

GIB = 1024**3
# Three times what embedding took with the demonstration model (docs/how-to/cluster.md), for
# larger encoders and slides.
_WORKER_BYTES = 3 * GIB
# A new process imports for seconds what a slide may need less for.
_SLIDES_PER_WORKER = 8


def default_jobs(slides: int) -> int:
    """How many slides to work on at a time: as processors, memory and slides allow.

    Args:
        slides: Slides of the run; few of them are not worth new processes.
    """
    fitting = [processors(), slides // _SLIDES_PER_WORKER]
    memory = available_memory()
    if memory is not None:
        fitting.append(memory // _WORKER_BYTES)
    return max(1, min(fitting))


def processors(environment: Mapping[str, str] = os.environ) -> int:
    """Processors this process may use: its affinity, and what Slurm gave to the task."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    given = environment.get("SLURM_CPUS_PER_TASK", "")
    return min(count, int(given)) if given.isdigit() and int(given) > 0 else count


def threads_per_worker(jobs: int) -> int:
    """Threads each of so many processes may use, so that together they fill the processors."""
    return max(1, processors() // jobs)


def available_memory() -> int | None:
    """Bytes that can be had without swapping, within a container's limit; None if unknown."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = meminfo.read_text().splitlines()
        found += [int(li.split()[1]) * 1024 for li in lines if li.startswith("MemAvailable:")]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        found.append(max(0, int(limit.read_text()) - int(used.read_text())))
    return min(found) if found else None


def resident_bytes(process_id: int) -> int | None:
    """Memory that a process holds now, shared libraries included; None once it is gone."""
    statm = Path(f"/proc/{process_id}/statm")
    if Path("/proc/self").exists():
        try:
            return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return None
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process_id)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return int(told) * 1024 if told.isdigit() else None


def gpu_of_worker(number: int, environment: Mapping[str, str] = os.environ) -> str | None:
    """The one GPU that a process is to see, where there are several; None to leave it as is."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        folder = Path("/proc/driver/nvidia/gpus")
        count = len(list(folder.iterdir())) if folder.is_dir() else 0
        visible = [str(index) for index in range(count)]
    else:
        visible = [name.strip() for name in named.split(",") if name.strip()]
    return visible[number % len(visible)] if len(visible) > 1 else None
