"""What `hvit train` shows: one training, or every fold, attention and seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvit_cli.cli import console
from hvit_cli.cli import epochs as epochs_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hvit_cli.pipelines.train import (
        CrossValidation,
        CrossValidationRequest,
        TrainingJob,
        TrainingRequest,
    )
    from hvit_cli.training.encoder_record import EncoderRecord
    from hvit_cli.training.epochs import EpochRecord
    from hvit_cli.training.forecast import TrainingForecast
    from hvit_cli.training.region_start import RegionStart
    from hvit_cli.training.workers import Workers


def train_one(request: TrainingRequest, workers: Workers, as_json: bool) -> None:
    """A single training, with its tuning slides but no test."""
    from hvit_cli.pipelines.train import prepare
    from hvit_cli.pipelines.train import train as run

    job = prepare(request)
    if not workers.first:
        list(run(job, workers=workers))
        return
    _announce(job)
    shown = epochs_view.follow(
        lambda watch: (
            epochs_view.Shown(record=record) for record in run(job, watch, workers=workers)
        ),
        members=1,
        epochs=request.settings.epochs,
        slides=len(job.fold.train),
    )
    records = [one.record for one in shown]
    if as_json:
        console.say_json({"model": request.out, "epochs": records})
    else:
        _summarise(job, records)


def cross_validate(request: CrossValidationRequest, workers: Workers, as_json: bool) -> None:
    """Every fold, attention and seed, and the table they come to."""
    from hvit_cli.pipelines.train import plan_cross_validation
    from hvit_cli.training.results_page import footnotes, headings, rows

    plan = plan_cross_validation(request)
    if not workers.first:
        list(plan.run(workers=workers))
        plan.finish(workers=workers)
        return
    _announce_all(plan)
    shown = epochs_view.follow(
        lambda watch: (
            epochs_view.Shown(record=one.record, member=one.member, number=one.number)
            for one in plan.run(watch, workers=workers)
        ),
        members=len(plan.members),
        epochs=request.training.settings.epochs,
        slides=max(len(found.usable) for found in plan.surveys.values()),
    )
    results = plan.finish(workers=workers)
    if as_json:
        epochs: dict[str, list[EpochRecord]] = {}
        for one in shown:
            epochs.setdefault(one.member, []).append(one.record)
        console.say_json({"model": plan.out, "results": results, "epochs": epochs})
        return
    console.say_table(headings(results), rows(results))
    for line in footnotes(results):
        console.say(line)
    console.note(f"Results: {plan.out / 'results.md'}; predictions: {plan.out / 'predictions'}")


def foretell_one(request: TrainingRequest, as_json: bool) -> None:
    """What a single training would do; an error of it is the command's."""
    from hvit_cli.pipelines.train import forecast_training, prepare

    _say_forecast(forecast_training(prepare(request)), as_json)


def foretell_all(request: CrossValidationRequest, as_json: bool) -> None:
    """What a cross-validation would do; an error of it is the command's."""
    from hvit_cli.pipelines.train import forecast_cross_validation, plan_cross_validation

    _say_forecast(forecast_cross_validation(plan_cross_validation(request)), as_json)


def _say_forecast(told: TrainingForecast, as_json: bool) -> None:
    if as_json:
        console.say_json(told)
        return
    console.say(f"features: {told.features}")
    for reason, count in told.left_out.items():
        console.say(f"left out: {count} slides {reason}")
    console.say_table(
        ("training", "slides train", "slides tune", "train by label", "tune by label", "state"),
        (
            (
                member.name,
                sum(member.train.values()),
                sum(member.tune.values()),
                _classes(member.train),
                _classes(member.tune),
                "done" if member.is_done else "to do",
            )
            for member in told.members
        ),
    )
    if told.test:
        console.say(f"test: {told.test} slides")
    console.say("leaks: none found")
    console.say(
        f"parameters: {told.parameters}; at most {told.epochs} epochs, {told.steps} slides shown"
    )
    console.say(
        f"time: {told.seconds / 3600:.2f} h at most, as {told.tried} slides took just now, "
        "features in memory"
    )
    console.say(
        f"disk: {told.disk_bytes / 1e9:.2f} GB of weights, {told.free_bytes / 1e9:.1f} GB free"
    )
    console.say("Nothing was written.")


def _classes(counts: Mapping[int, int]) -> str:
    return ", ".join(f"{label}: {count}" for label, count in counts.items())


def _announce_all(plan: CrossValidation) -> None:
    asked = plan.request
    console.note(
        f"{len(plan.members)} trainings: folds {', '.join(map(str, plan.numbers))} × "
        f"{' and '.join(asked.attentions)} × seeds {asked.seeds}; "
        f"{len(plan.folds.fold_of)} slides train and tune, {len(plan.folds.test_set_of)} test"
    )
    for number, found in plan.surveys.items():
        if asked.per_fold or number == plan.numbers[0]:
            of = f"fold {number}: " if asked.per_fold else ""
            console.note(f"{of}features from {found.folder}")
            _announce_left_out(found.left_out, found.encoder)
    paths = {region.checkpoint.path for region in plan.regions.values()}
    for number, region in plan.regions.items():
        if len(paths) > 1 or number == plan.numbers[0]:
            _announce_region(region, f"fold {number}: " if len(paths) > 1 else "")


def _announce(job: TrainingJob) -> None:
    console.note(
        f"{job.name}: {len(job.fold.train)} slides train, {len(job.fold.tune)} tune "
        f"({job.fold.origin}); features from {job.folder}"
    )
    _announce_left_out(job.left_out, job.encoder)
    if job.region is not None:
        _announce_region(job.region)
    if job.done is not None:
        console.note("this training is done already, and is not repeated")


def _announce_left_out(left_out: Mapping[str, list[str]], encoder: EncoderRecord) -> None:
    for reason, slides in left_out.items():
        shown = ", ".join(slides[:3]) + (", …" if len(slides) > 3 else "")
        console.note(f"left out, {len(slides)} {reason}: {shown}")
    for text in encoder.notes:
        console.note(text)


def _announce_region(region: RegionStart, of: str = "") -> None:
    console.note(f"{of}region Transformer from {region.checkpoint.path}")
    for text in region.notes:
        console.note(text)


def _summarise(job: TrainingJob, records: Iterable[EpochRecord]) -> None:
    from hvit_cli.training.epochs import best_epoch

    best = best_epoch(list(records))
    if best is not None:
        kappa = None if best.tune_kappa is None else f"{best.tune_kappa:.4f}"
        console.say_table(
            ("model", "attention", "best epoch", "tune kappa", "tune loss", "tune MAE", "slides"),
            [
                (
                    job.request.out,
                    job.name,
                    best.epoch,
                    kappa or "undefined",
                    f"{best.tune_loss:.4f}",
                    f"{best.tune_mae:.3f}",
                    f"{len(job.fold.train)} + {len(job.fold.tune)}",
                )
            ],
        )
