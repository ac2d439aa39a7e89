"""What is asked of a training: the options of `hvit train` as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hvit_cli.errors import UsageError
from hvit_cli.settings import AggregatorSettings, TaskSettings, TrainingSettings
from hvit_cli.training.bags import CACHE_BYTES


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What is to be trained, on what, and where to.

    Attributes:
        features: Folder of feature files, or a work folder with one such folder.
        labels: Table of labels.
        out: The model folder.
        settings: How to train.
        sizes: Sizes of the aggregator; width and region come from the features, and those of
            the region Transformer from its checkpoint where there is one.
        region_sizes: Sizes of the region Transformer that were asked for by name. They replace
            those of `sizes`; a checkpoint must have them.
        region_checkpoint: Folder or file of a pretrained region Transformer to start from.
        id_column: Heading of the slide ids; None guesses.
        label_column: Heading of the labels; None guesses.
        tune_table: Table that names the tuning slides.
        fold_column: Column of `labels` that says each slide's fold.
        folds: Table of folds and test sets that `hvit split` wrote.
        fold: The fold that tunes, of `fold_column` or of `folds`.
        task: What the labels are, and which loss teaches them.
        member: Name of the member that is trained; None names it after its attention.
        allow_missing: Train without labelled slides that have no features.
        allow_unlabelled: Leave out features that have no label.
        encoder: Where the patch encoder of the features is found, to be copied into the model
            folder or named by it; None takes the features' word for it.
        copy_encoder: Copy the weights of an encoder that lies in a local file.
        note: A sentence that goes with every result of the model.
        watermark: A sentence written across its pictures.
        licence: Licence note of its weights.
        device: Where to train.
        cache_bytes: Memory for features that are read once and kept.
        overwrite: Replace a member, a model or an unfinished run made with other settings.
    """

    features: Path
    labels: Path
    out: Path
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    sizes: AggregatorSettings = field(default_factory=AggregatorSettings)
    region_sizes: Mapping[str, int] = field(default_factory=dict)
    region_checkpoint: Path | None = None
    id_column: str | None = None
    label_column: str | None = None
    tune_table: Path | None = None
    fold_column: str | None = None
    folds: Path | None = None
    fold: str | None = None
    task: TaskSettings = field(default_factory=TaskSettings)
    member: str | None = None
    allow_missing: bool = False
    allow_unlabelled: bool = False
    encoder: str | None = None
    copy_encoder: bool = True
    note: str = ""
    watermark: str = ""
    licence: str = ""
    device: str = "auto"
    cache_bytes: int = CACHE_BYTES
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.folds is not None and self.fold_column is not None:
            raise UsageError("--folds and --fold-column both say the folds; one of them is enough")
        if self.folds is None and (self.fold_column is None) != (self.fold is None):
            raise UsageError("--fold-column, or --folds, and --fold belong together")
        if (self.fold or self.folds) is not None and self.tune_table is not None:
            raise UsageError("--tune and --fold both say which slides tune; one of them is enough")

    @property
    def asked_sizes(self) -> AggregatorSettings:
        """Sizes of the aggregator where no checkpoint has a say."""
        # All of these are whole numbers, which their names alone do not say.
        return replace(self.sizes, **self.region_sizes)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """Name of the member that is trained."""
        return self.member or str(self.settings.attention)
