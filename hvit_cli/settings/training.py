"""How slides are divided, what is learned, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hvit_cli.errors import SettingsError
from hvit_cli.settings.aggregator import Head
from hvit_cli.settings.checks import is_positive, is_share, require
from hvit_cli.settings.kinds import Attention, Precision

Task = Literal["isup", "ordinal", "binary"]
Objective = Literal["regression", "classification", "ordinal"]


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How slides are divided into folds and a test set."""

    folds: int = 5
    """Parts of cross-validation; each tunes once while the others train."""

    stratify: tuple[str, ...] = ("label",)
    """What every part holds in equal shares: label, or label and columns of the table."""

    test_fraction: float = 0.0
    """Share of the slides set aside for testing before the folds are drawn."""

    seed: int = 0
    """Seed of everything drawn at random."""

    def __post_init__(self) -> None:
        require(isinstance(self.folds, int) and self.folds >= 2, "folds", self.folds, "2 or more")
        require(
            bool(self.stratify) and len(set(self.stratify)) == len(self.stratify),
            "stratify",
            ",".join(self.stratify),
            "label, or names of columns with commas between them",
        )
        require(
            is_share(self.test_fraction) and self.test_fraction < 1,
            "test_fraction",
            self.test_fraction,
            "from 0 to below 1",
        )
        require(isinstance(self.seed, int) and self.seed >= 0, "seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """What a label is, and by which loss the model learns it."""

    task: Task = "isup"
    """ISUP grades 0-5 (isup), other ordered classes (ordinal), or no and yes (binary)."""

    objective: Objective = "regression"
    """Squared error (regression), cross-entropy (classification), or ranks as CORAL (ordinal)."""

    grades: int = 6
    """Number of classes; labels run from 0 to one less."""

    def __post_init__(self) -> None:
        require(
            isinstance(self.grades, int) and 2 <= self.grades <= 100,
            "grades",
            self.grades,
            "2 to 100 classes",
        )
        fixed = {"isup": 6, "binary": 2}.get(self.task)
        if fixed is not None and self.grades != fixed:
            raise SettingsError(
                f"the task {self.task} has {fixed} classes",
                where="--grades",
                found=self.grades,
                hint="--task ordinal",
            )

    @property
    def outputs(self) -> int:
        """Numbers that the network returns for this objective."""
        counts = {"regression": 1, "classification": self.grades, "ordinal": self.grades - 1}
        return counts[self.objective]

    @property
    def head(self) -> Head:
        """The last layer of this objective."""
        return "ranks" if self.objective == "ordinal" else "linear"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How the aggregator is trained; the defaults are the paper's."""

    attention: Attention = "masked"
    """Attend to patches with tissue only (masked) or to all (plain)."""

    epochs: int = 50
    """Passes over the training slides."""

    patience: int | None = None
    """Epochs without a better one after which training ends; nothing trains to the last."""

    learning_rate: float = 2e-4
    """Learning rate of Adam."""

    weight_decay: float = 1e-5
    """Weight decay of Adam."""

    step_epochs: int = 20
    """Epochs after which the learning rate is halved."""

    batch_slides: int = 32
    """Slides whose gradients make one step."""

    micro_batch_tokens: int | None = None
    """Patches and regions computed at once, which bounds memory; 2048, on a GPU 16384, if unset."""

    precision: Precision = "auto"
    """Number format of the arithmetic; auto is float32, bfloat16 saves memory on a GPU."""

    mean_label_bias: bool = False
    """Start the last layer's bias at the mean label instead of near 0, as the paper does."""

    weighted_sampling: bool = True
    """Draw slides so that every grade is seen equally often."""

    freeze: Literal["none", "region"] = "none"
    """Train everything, or keep the region Transformer as it is."""

    tune_fraction: float = 0.2
    """Share of the labelled slides held out to choose the epoch, where no folds say which."""

    seed: int = 0
    """Seed of everything drawn at random."""

    def __post_init__(self) -> None:
        require(
            self.micro_batch_tokens is None
            or (isinstance(self.micro_batch_tokens, int) and self.micro_batch_tokens >= 1),
            "micro_batch_tokens",
            self.micro_batch_tokens,
            "1 or more",
        )
        for field in ("epochs", "step_epochs", "batch_slides"):
            value = getattr(self, field)
            require(isinstance(value, int) and value >= 1, field, value, "1 or more")
        require(
            self.patience is None or (isinstance(self.patience, int) and self.patience >= 1),
            "patience",
            self.patience,
            "1 or more",
        )
        require(is_positive(self.learning_rate), "learning_rate", self.learning_rate, "above 0")
        require(
            math.isfinite(self.weight_decay) and self.weight_decay >= 0,
            "weight_decay",
            self.weight_decay,
            "0 or more",
        )
        require(isinstance(self.seed, int) and self.seed >= 0, "seed", self.seed, "0 or more")
        require(
            self.precision != "float16",
            "precision",
            self.precision,
            "auto, float32 or bfloat16 for training",
        )
        require(
            is_share(self.tune_fraction) and 0 < self.tune_fraction < 1,
            "tune_fraction",
            self.tune_fraction,
            "between 0 and 1",
        )
