"""What `hvit pretrain` shows: slides as they are looked at, then a line per epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hvit_cli.cli import console
from hvit_cli.cli.forecasts import say_forecast

if TYPE_CHECKING:
    from hvit_cli.engine.run import SlideRecord
    from hvit_cli.pipelines.dry_run import Forecast
    from hvit_cli.pipelines.pretrain import PretrainingRequest
    from hvit_cli.pretraining.cache import CachedSlide
    from hvit_cli.pretraining.job import PretrainingJob
    from hvit_cli.pretraining.pool import PoolSlide
    from hvit_cli.pretraining.records import PretrainingRecord
    from hvit_cli.training.workers import Workers


def run(
    request: PretrainingRequest, workers: Workers, as_json: bool, *, dry_run: bool = False
) -> None:
    """Prepares, trains, and says what came of it; or says what would be done."""
    from hvit_cli.pipelines import pretrain as pipeline

    if dry_run:
        _foretell(request, as_json)
        return
    slides: list[SlideRecord[PoolSlide | None]] = []
    uncached: list[SlideRecord[CachedSlide]] = []
    if request.settings.level == "region":
        job = pipeline.prepare_regions(request, workers)
    else:
        found = pipeline.find_patches(request, pipeline.list_slides(request), workers)
        slides = console.follow(found, "tile") if workers.first else list(found)
        pool = pipeline.pool_of(request, slides, workers)
        if workers.first:
            cached = console.follow(pipeline.cache_patches(request, pool), "cache")
            failed = {record.row.slide_id for record in cached if record.row.status == "failed"}
            slides = [record for record in slides if record.row.slide_id not in failed]
            uncached = [record for record in cached if record.row.slide_id in failed]
        workers.wait()
        pool = pipeline.cached_pool(request, pool)
        job = pipeline.prepare_patches(request, pool, workers)
    if not workers.first:
        list(pipeline.pretrain(job, workers=workers))
        return
    _announce(job, request)
    records = _follow(job, lambda watch: pipeline.pretrain(job, watch, workers=workers))
    if as_json:
        console.say_json({"encoder": job.out, "epochs": records, "skipped": job.source.skipped})
    else:
        _summarise(job, records)
    console.finish([*slides, *uncached])


def _foretell(request: PretrainingRequest, as_json: bool) -> None:
    from hvit_cli.pipelines import pretrain as pipeline

    of_slides: Forecast | None = None
    names: set[str] = set()
    if request.settings.level == "patch":
        from hvit_cli.pipelines.dry_run import forecast

        names = {entry.slide_id for entry in pipeline.list_slides(request)}
        of_slides = forecast(
            request.sources,
            "tile",
            work=request.work,
            reading=request.reading,
            tissue=request.tissue,
            tiling=request.tiling,
            exclude=request.exclude,
            only=names,
        )
    told = pipeline.foretell(
        request, None if of_slides is None else of_slides.patches or 0, slides=names
    )
    if as_json:
        console.say_json({"slides": of_slides, "pretraining": told})
        return
    if of_slides is not None:
        say_forecast(of_slides, as_json=False)
    console.say(
        f"learned from: {told.samples} {'patches' if of_slides is not None else 'regions'}; "
        f"{told.steps_per_epoch} steps an epoch, at most {told.epochs} epochs; "
        f"{told.parameters} weights"
    )
    time = "unknown, no epoch was done here; hvit bench pretrain measures a step"
    if told.seconds is not None:
        time = f"{told.seconds / 3600:.2f} h at most, at the rate of this folder's last epoch"
    console.say(f"time to learn: {time}")
    console.say(
        f"disk: {told.disk_bytes / 1e9:.2f} GB for encoder and run, "
        f"{told.cache_bytes / 1e9:.2f} GB of cache, {told.free_bytes / 1e9:.1f} GB free"
    )


def _announce(job: PretrainingJob, request: PretrainingRequest) -> None:
    things = "tissue patches" if request.settings.level == "patch" else "regions"
    console.note(
        f"{job.title}: {len(job.source)} {things} of {len(job.slides)} slides; "
        f"{job.steps_per_epoch} steps an epoch, {request.settings.epochs} epochs"
    )
    for text in job.notes:
        console.note(text)
    if job.done:
        console.note("this pretraining is done already, and is not repeated")


def _follow(
    job: PretrainingJob,
    start: Callable[[Callable[[int], None] | None], Iterable[PretrainingRecord]],
) -> list[PretrainingRecord]:
    screen = Console(stderr=True, highlight=False)
    epochs = job.settings.epochs
    if not screen.is_terminal:
        return list(console.each_said(start(None), lambda record: _line(record, job)))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    done: list[PretrainingRecord] = []
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("epoch 1", total=epochs * job.steps_per_epoch)
        for record in start(lambda step: progress.update(task, completed=step)):
            done.append(record)
            progress.console.print(_line(record, job), markup=False)
            progress.update(
                task, completed=record.step, description=f"epoch {min(record.epoch + 1, epochs)}"
            )
    return done


def _line(record: PretrainingRecord, job: PretrainingJob) -> str:
    things = "patches" if job.settings.level == "patch" else "regions"
    parts = [
        f"epoch {record.epoch}/{job.settings.epochs}",
        f"loss {record.loss:.4f}",
        f"teacher entropy {record.teacher_entropy:.3f}",
        f"rank {record.effective_rank:.1f}",
        "" if record.probe is None else f"probe {record.probe:.4f}",
        f"{record.patches_per_s:.1f} {things}/s",
        f"{record.seconds:.1f} s",
        "best so far" if record.best else "",
        f"{record.skipped_slides} slides skipped" if record.skipped_slides else "",
        f"ALARM: {record.alarm}" if record.alarm else "",
    ]
    return "  ".join(part for part in parts if part)


def _summarise(job: PretrainingJob, records: list[PretrainingRecord]) -> None:
    from hvit_cli.pretraining.records import best_record

    kept = best_record(records) or records[-1]
    console.say_table(
        ("folder", "epoch kept", "loss", "teacher entropy", "rank", "probe", "slides"),
        [
            (
                job.out,
                kept.epoch,
                f"{kept.loss:.4f}",
                f"{kept.teacher_entropy:.3f}",
                f"{kept.effective_rank:.1f}",
                console.number(kept.probe, 4),
                len(job.slides),
            )
        ],
    )
    for slide, reason in job.source.skipped.items():
        console.note(f"skipped, not read throughout: {slide}: {reason}")
    if records and records[-1].alarm:
        console.note(f"Warning: {records[-1].alarm}")
