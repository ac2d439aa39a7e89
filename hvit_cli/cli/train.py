"""`hvit train`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvit_cli.cli import console, options
from hvit_cli.cli import epochs as epochs_view
from hvit_cli.errors import UsageError
from hvit_cli.settings import (
    AggregatorSettings,
    Attention,
    EmbeddingSettings,
    Objective,
    Precision,
    Task,
    TaskSettings,
    TrainingSettings,
    sentence,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hvit_cli.pipelines.train import (
        CrossValidation,
        CrossValidationRequest,
        TrainingJob,
        TrainingRequest,
    )
    from hvit_cli.training.encoder_record import EncoderRecord
    from hvit_cli.training.epochs import EpochRecord
    from hvit_cli.training.workers import Workers


class AttentionKind(Enum):
    """`Attention` as Typer knows a list of choices."""

    masked = "masked"
    plain = "plain"


_TABLE, _TRAINING, _NETWORK, _RESULT = "Labels", "Training", "Network", "Model folder"


def _setting(field: str, name: str, kind: type = TrainingSettings, panel: str = _TRAINING) -> Any:
    return typer.Option(name, help=sentence(kind, field), rich_help_panel=panel)


def _size(field: str) -> Any:
    return _setting(field, "--" + field.replace("_", "-"), AggregatorSettings, _NETWORK)


def _table(name: str, text: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=_TABLE)


def train(
    features: Annotated[
        Path,
        typer.Argument(
            help="Folder of feature files, or a work folder with one such folder.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        Path, typer.Argument(help="Table of slide ids and labels (CSV).", show_default=False)
    ],
    masked: options.Masked = None,
    attention: Annotated[
        list[AttentionKind] | None,
        typer.Option(
            "--attention",
            help="Attention to train: masked, plain, or both, on the same folds and seeds.",
            show_default=False,
            rich_help_panel="Model",
        ),
    ] = None,
    work: options.Work = options.WORK_DEFAULT,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Model folder; models/<masked or plain> in the work folder by default.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    id_column: Annotated[str | None, _table("--id-column", "Heading of the slide ids.")] = None,
    label_column: Annotated[str | None, _table("--label-column", "Heading of the labels.")] = None,
    allow_missing: Annotated[
        bool, _table("--allow-missing", "Train without labelled slides that have no features.")
    ] = False,
    allow_unlabelled: Annotated[
        bool, _table("--allow-unlabelled", "Leave out features that have no label.")
    ] = False,
    tune: Annotated[
        Path | None, _table("--tune", "Table of the slides that choose the epoch.")
    ] = None,
    fold_column: Annotated[
        str | None, _table("--fold-column", "Column of LABELS with the fold of each slide.")
    ] = None,
    folds: Annotated[
        Path | None,
        _table("--folds", "Table of folds and test sets from hvit split: cross-validate."),
    ] = None,
    fold: Annotated[
        list[str] | None,
        _table(
            "--fold", "The fold that chooses the epoch; the others train. With --folds several."
        ),
    ] = None,
    tune_fraction: Annotated[
        float, _setting("tune_fraction", "--tune-fraction", panel=_TABLE)
    ] = TrainingSettings.tune_fraction,
    task: Annotated[Task, _setting("task", "--task", TaskSettings, _TABLE)] = TaskSettings.task,
    grades: Annotated[
        str | None, _table("--grades", "Classes of the labels, such as 0-3, for --task ordinal.")
    ] = None,
    objective: Annotated[
        Objective, _setting("objective", "--objective", TaskSettings)
    ] = TaskSettings.objective,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            help="Trainings per fold and attention, with seeds from --seed upward.",
            rich_help_panel=_TRAINING,
        ),
    ] = 1,
    epochs: Annotated[int, _setting("epochs", "--epochs")] = TrainingSettings.epochs,
    patience: Annotated[int | None, _setting("patience", "--patience")] = TrainingSettings.patience,
    learning_rate: Annotated[
        float, _setting("learning_rate", "--learning-rate")
    ] = TrainingSettings.learning_rate,
    weight_decay: Annotated[
        float, _setting("weight_decay", "--weight-decay")
    ] = TrainingSettings.weight_decay,
    step_epochs: Annotated[
        int, _setting("step_epochs", "--step-epochs")
    ] = TrainingSettings.step_epochs,
    batch_slides: Annotated[
        int, _setting("batch_slides", "--batch-slides")
    ] = TrainingSettings.batch_slides,
    weighted_sampling: Annotated[
        bool, _setting("weighted_sampling", "--weighted-sampling/--no-weighted-sampling")
    ] = TrainingSettings.weighted_sampling,
    freeze: Annotated[
        Literal["none", "region"], _setting("freeze", "--freeze")
    ] = TrainingSettings.freeze,
    mean_label_bias: Annotated[
        bool, _setting("mean_label_bias", "--mean-label-bias")
    ] = TrainingSettings.mean_label_bias,
    seed: options.Seed = TrainingSettings.seed,
    region_dim: Annotated[int, _size("region_dim")] = AggregatorSettings.region_dim,
    region_depth: Annotated[int, _size("region_depth")] = AggregatorSettings.region_depth,
    region_heads: Annotated[int, _size("region_heads")] = AggregatorSettings.region_heads,
    registers: Annotated[int, _size("registers")] = AggregatorSettings.registers,
    slide_dim: Annotated[int, _size("slide_dim")] = AggregatorSettings.slide_dim,
    slide_depth: Annotated[int, _size("slide_depth")] = AggregatorSettings.slide_depth,
    slide_heads: Annotated[int, _size("slide_heads")] = AggregatorSettings.slide_heads,
    dropout: Annotated[float, _size("dropout")] = AggregatorSettings.dropout,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            help="Where the patch encoder of the features is found, for whoever uses the model: "
            "a timm name, hf-hub:…, a file or a folder. The features know its name and hash.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    copy_encoder: Annotated[
        bool,
        typer.Option(
            "--copy-encoder/--no-copy-encoder",
            help="Copy the weights of an encoder in a local file into the model folder.",
            rich_help_panel=_RESULT,
        ),
    ] = True,
    note: Annotated[
        str,
        typer.Option(
            "--note", help="Sentence that goes with every result.", rich_help_panel=_RESULT
        ),
    ] = "",
    licence: Annotated[
        str,
        typer.Option("--licence", help="Licence of the weights.", rich_help_panel=_RESULT),
    ] = "",
    device: options.Device = EmbeddingSettings.device,
    precision: Annotated[
        Precision, _setting("precision", "--precision")
    ] = TrainingSettings.precision,
    micro_batch_tokens: Annotated[
        int | None, _setting("micro_batch_tokens", "--micro-batch-tokens")
    ] = TrainingSettings.micro_batch_tokens,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train region and slide Transformers on features and labels; stopped runs go on."""
    from hvit_cli.pipelines.train import CrossValidationRequest, TrainingRequest, joined_workers
    from hvit_cli.storage.work import WorkFolder

    attentions = _attentions(masked, attention)
    if folds is None and (len(attentions) > 1 or seeds > 1 or len(fold or ()) > 1):
        raise UsageError(
            "several attentions, seeds or folds in one call need the table of folds",
            where="--folds",
            hint="hvit split, which writes it",
        )
    name = attentions[0] if folds is None else "cross-validation"
    with joined_workers() as workers:
        request = TrainingRequest(
            features=features,
            labels=labels,
            out=out or WorkFolder(work).models / name,
            task=TaskSettings(task=task, objective=objective, grades=_grades(grades, task)),
            settings=TrainingSettings(
                attention=attentions[0],
                epochs=epochs,
                patience=patience,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                step_epochs=step_epochs,
                batch_slides=batch_slides,
                micro_batch_tokens=micro_batch_tokens,
                precision=precision,
                mean_label_bias=mean_label_bias,
                weighted_sampling=weighted_sampling,
                freeze=freeze,
                tune_fraction=tune_fraction,
                seed=seed,
            ),
            sizes=AggregatorSettings(
                region_dim=region_dim,
                region_depth=region_depth,
                region_heads=region_heads,
                registers=registers,
                slide_dim=slide_dim,
                slide_depth=slide_depth,
                slide_heads=slide_heads,
                dropout=dropout,
            ),
            id_column=id_column,
            label_column=label_column,
            tune_table=tune,
            fold_column=fold_column,
            folds=folds,
            fold=fold[0] if fold and folds is None else None,
            allow_missing=allow_missing,
            allow_unlabelled=allow_unlabelled,
            encoder=encoder,
            copy_encoder=copy_encoder,
            note=note,
            licence=licence,
            device=device,
            overwrite=overwrite,
        )
        if folds is None:
            _train_one(request, workers, as_json)
            return
        _cross_validate(
            CrossValidationRequest(
                training=request,
                attentions=attentions,
                folds=_fold_numbers(fold or ()),
                seeds=seeds,
            ),
            workers,
            as_json,
        )


def _fold_numbers(named: Sequence[str]) -> tuple[int, ...]:
    if not all(text.isdecimal() for text in named):
        raise UsageError(
            "a fold of the table of folds is a number", where="--fold", found=" ".join(named)
        )
    return tuple(dict.fromkeys(map(int, named)))


def _grades(text: str | None, task: Task) -> int:
    """The number of classes that `--grades 0-3` asks for.

    Raises:
        UsageError: Something else than 0 to the highest class.
    """
    if text is None:
        return 2 if task == "binary" else TaskSettings.grades
    low, dash, high = text.partition("-")
    if low != "0" or not dash or not high.isdecimal():
        raise UsageError(
            "these are no grades", where="--grades", found=repr(text), wanted="such as 0-3"
        )
    return int(high) + 1


def _attentions(
    masked: bool | None, kinds: Sequence[AttentionKind] | None
) -> tuple[Attention, ...]:
    named: list[Attention] = [kind.value for kind in kinds or ()]
    flag = options.attention_of(masked)
    if flag is not None and named:
        raise UsageError("--attention and --masked/--plain say the same; one of them is enough")
    return tuple(named) or (flag or TrainingSettings.attention,)


def _train_one(request: TrainingRequest, workers: Workers, as_json: bool) -> None:
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


def _cross_validate(request: CrossValidationRequest, workers: Workers, as_json: bool) -> None:
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


def _announce(job: TrainingJob) -> None:
    console.note(
        f"{job.name}: {len(job.fold.train)} slides train, {len(job.fold.tune)} tune "
        f"({job.fold.origin}); features from {job.folder}"
    )
    _announce_left_out(job.left_out, job.encoder)
    if job.done is not None:
        console.note("this training is done already, and is not repeated")


def _announce_left_out(left_out: Mapping[str, list[str]], encoder: EncoderRecord) -> None:
    for reason, slides in left_out.items():
        shown = ", ".join(slides[:3]) + (", …" if len(slides) > 3 else "")
        console.note(f"left out, {len(slides)} {reason}: {shown}")
    for text in encoder.notes:
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
