"""`hvit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvit_cli.cli import console, options
from hvit_cli.settings import (
    AggregatorSettings,
    Attention,
    EmbeddingSettings,
    Precision,
    TrainingSettings,
    sentence,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hvit_cli.pipelines.train import TrainingJob
    from hvit_cli.training.epochs import EpochRecord

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
    fold: Annotated[
        str | None, _table("--fold", "The fold that chooses the epoch; the others train.")
    ] = None,
    tune_fraction: Annotated[
        float, _setting("tune_fraction", "--tune-fraction", panel=_TABLE)
    ] = TrainingSettings.tune_fraction,
    epochs: Annotated[int, _setting("epochs", "--epochs")] = TrainingSettings.epochs,
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
        int, _setting("micro_batch_tokens", "--micro-batch-tokens")
    ] = TrainingSettings.micro_batch_tokens,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train region and slide Transformers on features and labels; stopped runs go on."""
    from hvit_cli.pipelines.train import TrainingRequest, prepare
    from hvit_cli.storage.work import WorkFolder

    attention: Attention = options.attention_of(masked) or TrainingSettings.attention
    job = prepare(
        TrainingRequest(
            features=features,
            labels=labels,
            out=out or WorkFolder(work).models / attention,
            settings=TrainingSettings(
                attention=attention,
                epochs=epochs,
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
            fold=fold,
            allow_missing=allow_missing,
            allow_unlabelled=allow_unlabelled,
            encoder=encoder,
            copy_encoder=copy_encoder,
            note=note,
            licence=licence,
            device=device,
            overwrite=overwrite,
        )
    )
    _announce(job)
    records = _follow(job)
    if as_json:
        console.say_json({"model": job.request.out, "epochs": records})
    else:
        _summarise(job, records)


def _announce(job: TrainingJob) -> None:
    console.note(
        f"{job.name}: {len(job.fold.train)} slides train, {len(job.fold.tune)} tune "
        f"({job.fold.origin}); features from {job.folder}"
    )
    for reason, slides in job.left_out.items():
        shown = ", ".join(slides[:3]) + (", …" if len(slides) > 3 else "")
        console.note(f"left out, {len(slides)} {reason}: {shown}")
    for text in job.encoder.notes:
        console.note(text)
    if job.done is not None:
        console.note("this training is done already; --overwrite repeats it")


def _follow(job: TrainingJob) -> list[EpochRecord]:
    """Shows each epoch as it is done; on a terminal also how far the present one is."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from hvit_cli.pipelines.train import train as run

    epochs, slides = job.request.settings.epochs, len(job.fold.train)
    screen = Console(stderr=True, highlight=False)
    if not screen.is_terminal:
        return list(console.each_said(run(job), lambda record: _line(record, epochs)))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slides"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    records: list[EpochRecord] = []
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("epoch 1", total=epochs * slides)

        def watch(seen: int) -> None:
            progress.update(task, completed=len(records) * slides + seen)

        for record in run(job, watch):
            records.append(record)
            progress.console.print(_line(record, epochs))
            present = min(record.epoch + 1, epochs)
            progress.update(task, completed=len(records) * slides, description=f"epoch {present}")
    return records


def _line(record: EpochRecord, epochs: int) -> str:
    kappa = "undefined" if record.tune_kappa is None else f"{record.tune_kappa:.4f}"
    best = "  best so far" if record.best else ""
    return (
        f"epoch {record.epoch}/{epochs}  loss {record.train_loss:.4f}  "
        f"tune loss {record.tune_loss:.4f}  kappa {kappa}  MAE {record.tune_mae:.3f}  "
        f"{record.seconds:.1f} s{best}"
    )


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
