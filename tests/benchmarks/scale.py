"""How long a run over very many slides takes to find out that there is nothing to do.

    python tests/benchmarks/scale.py FOLDER [--slides 100000]

Draws so many (empty) slides and products and the log of a run that made them, then resumes that
run. Prints seconds, the memory of this process and the files in each folder. The folder takes
about 2 GB of small files and is left behind.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hvit_cli.engine.execute import run_job
from hvit_cli.engine.receipts import receipt_of
from hvit_cli.pipelines.status import StatusReader
from hvit_cli.pipelines.tile import TileJob
from hvit_cli.settings import ReadingSettings, RunSettings, TilingSettings, TissueSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.manifest import find_slides
from hvit_cli.steps.picture import write_qc_page
from hvit_cli.storage.status import StatusLog, StatusRow, read_status
from hvit_cli.storage.work import WorkFolder


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long a block takes, and the most memory this process has held so far."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:58} {seconds:8.2f} s {mib:8.0f} MiB at most so far", flush=True)  # noqa: T201


def draw(folder: Path, count: int, job: TileJob) -> None:
    """Writes empty slides and products, and the log of the run that made them."""
    work, slides = job.work, folder / "slides"
    for place in (slides, *(work.path / n for n in ("masks", "contours", "tiles", "qc", "status"))):
        place.mkdir(parents=True, exist_ok=True)
    with (work.path / "status" / "main-drawn-1.jsonl").open("w") as log:
        for number in range(count):
            name = f"slide-{number:06}-of-a-cohort"
            path = slides / f"{name}.svs"
            entry = SlideEntry(slide_id=name, path=path)
            every = job.made(entry, None)  # type: ignore[arg-type]
            for file in (path, *every):
                file.touch()
            row = StatusRow(
                slide_id=name, path=str(path), stage="tile", status="done", seconds=3.2,
                spacing_um=0.4861, n_regions=12, n_patches=412, tissue_mm2=31.4,
                tissue_dropped_mm2=0.7, pen_mm2=0.0,
            )  # fmt: skip
            receipt = receipt_of(entry, job, None)
            said = {"time": 1.7e9 + number, **row.__dict__, "receipt": receipt}
            log.write(json.dumps(said) + "\n")


def measure(folder: Path, count: int) -> None:
    """Draws what is missing, and resumes."""
    work = WorkFolder(folder / "out")
    job = TileJob(
        work=work, reading=ReadingSettings(), tissue=TissueSettings(), tiling=TilingSettings()
    )
    if not (folder / "drawn").exists():
        with timed(f"draw {count} slides, for the measurement"):
            draw(folder, count, job)
        (folder / "drawn").touch()
    with timed("list the slides of a folder"):
        entries = find_slides([folder / "slides"])
    assert len(entries) == count
    manifest = folder / "manifest.csv"
    manifest.write_text(
        "slide_id,path\n" + "".join(f"{entry.slide_id},{entry.path}\n" for entry in entries)
    )
    with timed("list the slides of a manifest"):
        assert len(find_slides([manifest])) == count
    with timed("start of the resumed run: until the first record"):
        records = run_job(entries, job, RunSettings(jobs=1))
        next(records)
    with timed("all other records"):
        assert sum(1 for _ in records) == count - 1
    with timed("hvit status, first look"):
        reader = StatusReader(work.path)
        (stage,) = reader.stages()
    assert (stage.done, stage.pending) == (count, 0)
    with timed("hvit status, second look (--watch)"):
        reader.stages()
    with timed("merge of the logs: read"):
        assert len(read_status(work.path)) == count
    with timed("merge of the logs: read and write status.csv"):
        StatusLog(work.path).write_table()
    with timed("qc/index.html"):
        write_qc_page(work)
    found = Counter(str(f.parent.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
    for name, files in sorted(found.items()):
        print(f"{files:8} files in {name}")  # noqa: T201
    for file in (work.path / "status.csv", work.qc_index, *work.path.glob("status/*.jsonl")):
        print(f"{file.stat().st_size / 1e6:8.1f} MB in {file.relative_to(folder)}")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slides", type=int, default=100_000)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    measure(given.folder.resolve(), given.slides)
