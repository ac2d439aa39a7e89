"""`hvit train`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvit_cli.cli import options, trainings
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
    from collections.abc import Sequence


class AttentionKind(Enum):
    """`Attention` as Typer knows a list of choices."""

    masked = "masked"
    plain = "plain"


_TABLE, _TRAINING, _NETWORK, _RESULT = "Labels", "Training", "Network", "Model folder"


def _setting(field: str, name: str, kind: type = TrainingSettings, panel: str = _TRAINING) -> Any:
    return typer.Option(name, help=sentence(kind, field), rich_help_panel=panel)


def _size(field: str) -> Any:
    return _setting(field, "--" + field.replace("_", "-"), AggregatorSettings, _NETWORK)


def _region_size(field: str) -> Any:
    """A size that a region checkpoint decides, so that its default is not the last word."""
    return typer.Option(
        "--" + field.replace("_", "-"),
        help=sentence(AggregatorSettings, field),
        show_default=str(getattr(AggregatorSettings, field)),
        rich_help_panel=_NETWORK,
    )


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
    region_checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--region-checkpoint",
            help="Pretrained region Transformer to start from: a folder that hvit pretrain "
            "--level region wrote, or a region-level DINO snapshot. It decides the sizes.",
            show_default=False,
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    region_dim: Annotated[int | None, _region_size("region_dim")] = None,
    region_depth: Annotated[int | None, _region_size("region_depth")] = None,
    region_heads: Annotated[int | None, _region_size("region_heads")] = None,
    registers: Annotated[int | None, _region_size("registers")] = None,
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
    dry_run: options.DryRun = False,
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
                slide_dim=slide_dim,
                slide_depth=slide_depth,
                slide_heads=slide_heads,
                dropout=dropout,
            ),
            region_sizes={
                name: size
                for name, size in {
                    "region_dim": region_dim,
                    "region_depth": region_depth,
                    "region_heads": region_heads,
                    "registers": registers,
                }.items()
                if size is not None
            },
            region_checkpoint=region_checkpoint,
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
            if dry_run:
                trainings.foretell_one(request, as_json)
            else:
                trainings.train_one(request, workers, as_json)
            return
        several = CrossValidationRequest(
            training=request,
            attentions=attentions,
            folds=_fold_numbers(fold or ()),
            seeds=seeds,
        )
        if dry_run:
            trainings.foretell_all(several, as_json)
        else:
            trainings.cross_validate(several, workers, as_json)


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
