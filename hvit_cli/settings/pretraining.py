"""How an encoder is pretrained without labels: crops, their colours, the network, the schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hvit_cli.settings.aggregator import AggregatorSettings
from hvit_cli.settings.checks import is_positive, is_share, require
from hvit_cli.settings.kinds import Precision

Level = Literal["patch", "region"]


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    """Which parts of a patch are cut out; the defaults are DINO's."""

    global_crops: int = 2
    """Large crops of a patch; the teacher sees only these."""

    global_px: int = 224
    """Side of a large crop."""

    global_scale: tuple[float, float] = (0.4, 1.0)
    """Smallest and largest share of the patch's area in a large crop."""

    local_crops: int = 8
    """Small crops of a patch, which only the student sees."""

    local_px: int = 96
    """Side of a small crop."""

    local_scale: tuple[float, float] = (0.05, 0.4)
    """Smallest and largest share of the patch's area in a small crop."""

    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width over height of what is cut out."""

    def __post_init__(self) -> None:
        require(
            isinstance(self.global_crops, int) and self.global_crops >= 2,
            "global_crops",
            self.global_crops,
            "2 or more: one crop's student learns from another's teacher",
        )
        require(
            isinstance(self.local_crops, int) and self.local_crops >= 0,
            "local_crops",
            self.local_crops,
            "0 or more",
        )
        for field in ("global_px", "local_px"):
            _require_whole(self, field)
        for field in ("global_scale", "local_scale"):
            low, high = getattr(self, field)
            require(0 < low <= high <= 1, field, (low, high), "two numbers, 0 < low ≤ high ≤ 1")
        low, high = self.aspect
        require(
            0 < low <= high and math.isfinite(high), "aspect", self.aspect, "two numbers above 0"
        )


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """How the crops of a patch are altered; colours as in DINO, turns and stain for histology."""

    brightness: float = 0.4
    """Largest relative change of brightness."""

    contrast: float = 0.4
    """Largest relative change of contrast."""

    saturation: float = 0.2
    """Largest relative change of saturation."""

    hue: float = 0.1
    """Largest shift of hue, in turns of the colour circle."""

    jitter_probability: float = 0.8
    """How often brightness, contrast, saturation and hue are changed at all."""

    grey_probability: float = 0.2
    """How often a crop loses its colours."""

    blur_probability: tuple[float, float, float] = (1.0, 0.1, 0.5)
    """How often the first large crop, the other large ones and the small ones are blurred."""

    solarize_probability: float = 0.2
    """How often a large crop other than the first has its bright pixels inverted."""

    flip: float = 0.5
    """How often a crop is mirrored."""

    turns: bool = True
    """Also mirror top to bottom and turn by quarters: tissue has no upright position."""

    stain_probability: float = 0.5
    """How often the amounts of haematoxylin and eosin are changed."""

    stain_jitter: float = 0.05
    """Standard deviation of the relative change of each stain's amount; 0 switches it off."""

    def __post_init__(self) -> None:
        for field in ("brightness", "contrast", "saturation"):
            value = getattr(self, field)
            require(is_share(value), field, value, "0 to 1")
        require(is_share(self.hue) and self.hue <= 0.5, "hue", self.hue, "0 to 0.5")
        for field in (
            "jitter_probability",
            "grey_probability",
            "solarize_probability",
            "flip",
            "stain_probability",
        ):
            value = getattr(self, field)
            require(is_share(value), field, value, "0 to 1")
        require(
            len(self.blur_probability) == 3 and all(map(is_share, self.blur_probability)),
            "blur_probability",
            self.blur_probability,
            "three numbers from 0 to 1",
        )
        require(
            math.isfinite(self.stain_jitter) and 0 <= self.stain_jitter < 1,
            "stain_jitter",
            self.stain_jitter,
            "from 0 to below 1",
        )


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings:
    """What is pretrained and how; the defaults are DINO's for a ViT-S/16."""

    level: Level = "patch"
    """Learn from pixels of patches (patch), or from regions of patch features (region)."""

    width: int = 384
    """Width of the Transformer, and of the features it gives."""

    depth: int = 12
    """Blocks of the Transformer."""

    heads: int = 6
    """Attention heads of the Transformer, a divisor of its width."""

    token_px: int = 16
    """Side of the squares into which the Transformer cuts a patch."""

    network: str | None = None
    """A timm Vision Transformer by name, instead of width, depth, heads and token size."""

    out_dim: int = 65536
    """Outputs of the projection head, between which teacher and student agree."""

    head_hidden: int = 2048
    """Width of the projection head's middle layers."""

    head_bottleneck: int = 256
    """Width of the projection head before its last layer."""

    head_layers: int = 3
    """Layers of the projection head before its last."""

    norm_last_layer: bool = True
    """Keep the lengths of the last layer's weights at 1, which is steadier."""

    epochs: int = 100
    """Passes over the patches."""

    batch: int = 256
    """Patches (regions) of a step, all processes together."""

    patches_per_epoch: int | None = None
    """Patches (regions) of an epoch; all, if unset."""

    learning_rate: float = 5e-4
    """Highest learning rate of AdamW for a batch of 256; scaled with the batch."""

    min_learning_rate: float = 1e-6
    """Learning rate at the end."""

    warmup_epochs: int = 10
    """Epochs over which the learning rate rises from 0."""

    weight_decay: float = 0.04
    """Weight decay of AdamW at the start."""

    weight_decay_end: float = 0.4
    """Weight decay of AdamW at the end."""

    clip: float = 3.0
    """Largest norm of the gradient of each weight tensor; 0 never shortens one."""

    freeze_last_layer_epochs: int = 1
    """Epochs at the start in which the projection head's last layer stays as it is."""

    drop_path: float = 0.1
    """Share of sequences whose last block is skipped in the student; less in earlier blocks."""

    student_temperature: float = 0.1
    """Temperature of the student's softmax."""

    teacher_temperature: float = 0.04
    """Temperature of the teacher's softmax."""

    warmup_teacher_temperature: float = 0.04
    """Temperature of the teacher's softmax at the start."""

    warmup_teacher_epochs: int = 0
    """Epochs over which the teacher's temperature goes from its first value to its last."""

    centre_momentum: float = 0.9
    """How much of the teacher's centre stays from step to step."""

    teacher_momentum: float = 0.996
    """How much of the teacher stays in the first step; rises to 1."""

    precision: Precision = "auto"
    """Number format of the arithmetic; auto is bfloat16 on a GPU and float32 elsewhere."""

    checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, more time."""

    patience: int | None = None
    """Probes without a better one after which training ends; nothing trains to the last."""

    probe_every: int = 1
    """Epochs from one probe to the next."""

    save_steps: int = 1000
    """Steps from one saved state to the next; one is saved after each epoch as well."""

    seed: int = 0
    """Seed of everything drawn at random."""

    def __post_init__(self) -> None:
        for field in (
            "width",
            "depth",
            "heads",
            "token_px",
            "out_dim",
            "head_hidden",
            "head_bottleneck",
            "head_layers",
            "epochs",
            "batch",
            "probe_every",
            "save_steps",
        ):
            _require_whole(self, field)
        for field in ("patches_per_epoch", "patience"):
            if getattr(self, field) is not None:
                _require_whole(self, field)
        for field in ("warmup_epochs", "freeze_last_layer_epochs", "warmup_teacher_epochs", "seed"):
            value = getattr(self, field)
            require(isinstance(value, int) and value >= 0, field, value, "0 or more")
        require(
            self.warmup_epochs < self.epochs,
            "warmup_epochs",
            self.warmup_epochs,
            f"fewer than the {self.epochs} epochs",
        )
        require(self.width % self.heads == 0, "heads", self.heads, f"a divisor of {self.width}")
        require(self.out_dim >= 2, "out_dim", self.out_dim, "2 or more")
        for field in (
            "learning_rate",
            "student_temperature",
            "teacher_temperature",
            "warmup_teacher_temperature",
        ):
            require(is_positive(getattr(self, field)), field, getattr(self, field), "above 0")
        for field in ("min_learning_rate", "weight_decay", "weight_decay_end", "clip"):
            value = getattr(self, field)
            require(math.isfinite(value) and value >= 0, field, value, "0 or more")
        for field in ("centre_momentum", "teacher_momentum"):
            require(is_share(getattr(self, field)), field, getattr(self, field), "0 to 1")
        require(
            is_share(self.drop_path) and self.drop_path < 1,
            "drop_path",
            self.drop_path,
            "from 0 to below 1",
        )
        require(
            self.precision != "float16",
            "precision",
            self.precision,
            "auto, float32 or bfloat16 for training",
        )


def sizes_of(level: Level, **asked: int | None) -> dict[str, int]:
    """Width, depth and heads of a level: the paper's where nothing is asked for.

    Args:
        level: A ViT-S/16 for patches, the paper's region Transformer for regions.
        **asked: What is asked for under these names; None asks for nothing.
    """
    usual = {
        "patch": {
            "width": PretrainingSettings.width,
            "depth": PretrainingSettings.depth,
            "heads": PretrainingSettings.heads,
        },
        "region": {
            "width": AggregatorSettings.region_dim,
            "depth": AggregatorSettings.region_depth,
            "heads": AggregatorSettings.region_heads,
        },
    }[level]
    return usual | {name: size for name, size in asked.items() if size is not None}


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How nearest neighbours tell what features are worth; the defaults are DINO's."""

    neighbours: int = 20
    """Nearest labelled patches that vote."""

    temperature: float = 0.07
    """Temperature of the votes' weights: exp(cosine similarity / temperature)."""

    def __post_init__(self) -> None:
        _require_whole(self, "neighbours")
        require(is_positive(self.temperature), "temperature", self.temperature, "above 0")


def _require_whole(settings: object, field: str) -> None:
    value = getattr(settings, field)
    require(isinstance(value, int) and value >= 1, field, value, "1 or more")
