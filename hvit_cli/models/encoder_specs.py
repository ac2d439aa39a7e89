"""What is known about patch encoders, without loading one (or PyTorch).

Facts come from timm's own configuration and from the model cards of the hub pages named;
what a user must accept before downloading is said as `gate`. Networks that timm cannot load
are not listed, neither is anything whose licence could not be confirmed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

Pooling = Literal["cls", "cls+mean"]
Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """What a patch encoder is and what it expects.

    Attributes:
        name: What `--encoder` takes, or the name of a local file without suffix.
        width: D, numbers per patch.
        input_px: Side of the images it was trained on.
        token_px: Side of its tokens; None where it is not a Vision Transformer.
        spacing_um: Spacing it was trained at, in µm per pixel; None: unknown or not tissue.
        mean: Subtracted from pixels scaled to 0-1, per channel.
        std: What they are divided by then.
        licence: Licence of the weights; "" where nothing is known.
        gate: What a user must do before the weights can be downloaded; "" for nothing.
        pretraining: Data and method it was trained with.
        pooling: CLS alone, or CLS followed by the mean of the patch tokens.
        timm_arguments: What timm must be told beside the name.
        pretraining_slides: Slides it was trained on, which must not judge what is built on
            it; empty where that is not recorded.
    """

    name: str
    width: int
    input_px: int
    token_px: int | None
    spacing_um: float | None = None
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    licence: str = ""
    gate: str = ""
    pretraining: str = ""
    pooling: Pooling = "cls"
    timm_arguments: dict[str, Any] = field(default_factory=dict)
    pretraining_slides: tuple[str, ...] = ()

    @property
    def folder_name(self) -> str:
        """The name as part of a file name: letters, digits, dot, dash, underscore."""
        bare = re.sub(r"^hf[-_]hub:", "", self.name)
        return re.sub(r"[^A-Za-z0-9._-]+", "_", bare).strip("._-") or "encoder"


_ACCEPT = "accept its terms on the hub"
_LUNIT: dict[str, Any] = {
    "width": 384,
    "input_px": 224,
    "mean": (0.70322989, 0.53606487, 0.66096631),
    "std": (0.21716536, 0.26081574, 0.20723464),
    "licence": "non-commercial (Lunit)",
    "pretraining": "TCGA and TULIP H&E patches at 20x and 40x, DINO",
}
_DINO: dict[str, Any] = {
    "input_px": 224,
    "licence": "Apache-2.0",
    "pretraining": "ImageNet-1k (photographs), DINO",
}
_SWIGLU: dict[str, Any] = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}

KNOWN_ENCODERS: tuple[EncoderSpec, ...] = (
    EncoderSpec(name="vit_small_patch16_224.dino", width=384, token_px=16, **_DINO),
    EncoderSpec(name="vit_small_patch8_224.dino", width=384, token_px=8, **_DINO),
    EncoderSpec(name="vit_base_patch16_224.dino", width=768, token_px=16, **_DINO),
    EncoderSpec(
        name="resnet50.tv_in1k",
        width=2048,
        input_px=224,
        token_px=None,
        licence="BSD-3-Clause",
        pretraining="ImageNet-1k (photographs), supervised",
    ),
    EncoderSpec(name="hf-hub:1aurent/vit_small_patch16_224.lunit_dino", token_px=16, **_LUNIT),
    EncoderSpec(name="hf-hub:1aurent/vit_small_patch8_224.lunit_dino", token_px=8, **_LUNIT),
    EncoderSpec(
        name="hf-hub:MahmoodLab/uni",
        width=1024,
        input_px=224,
        token_px=16,
        spacing_um=0.5,
        licence="CC-BY-NC-ND-4.0",
        gate=_ACCEPT,
        pretraining="Mass-100K H&E slides, DINOv2",
        timm_arguments={"init_values": 1e-5},
    ),
    EncoderSpec(
        name="hf-hub:MahmoodLab/UNI2-h",
        width=1536,
        input_px=224,
        token_px=14,
        spacing_um=0.5,
        licence="CC-BY-NC-ND-4.0",
        gate=_ACCEPT,
        pretraining="H&E and IHC slides of Mass General Brigham, DINOv2",
        timm_arguments={
            "img_size": 224,
            "patch_size": 14,
            "depth": 24,
            "num_heads": 24,
            "init_values": 1e-5,
            "embed_dim": 1536,
            "mlp_ratio": 2.66667 * 2,
            "no_embed_class": True,
            "reg_tokens": 8,
            **_SWIGLU,
        },
    ),
    EncoderSpec(
        name="hf-hub:bioptimus/H-optimus-0",
        width=1536,
        input_px=224,
        token_px=14,
        spacing_um=0.5,
        mean=(0.707223, 0.578729, 0.703617),
        std=(0.211883, 0.230117, 0.177517),
        licence="Apache-2.0",
        gate=_ACCEPT,
        pretraining="proprietary H&E slides, DINOv2",
        timm_arguments={"init_values": 1e-5},
    ),
    EncoderSpec(
        name="hf-hub:paige-ai/Virchow",
        width=2560,
        input_px=224,
        token_px=14,
        spacing_um=0.5,
        licence="Apache-2.0",
        gate=_ACCEPT,
        pretraining="H&E slides of Memorial Sloan Kettering, DINOv2",
        pooling="cls+mean",
        timm_arguments=dict(_SWIGLU),
    ),
    EncoderSpec(
        name="hf-hub:paige-ai/Virchow2",
        width=2560,
        input_px=224,
        token_px=14,
        spacing_um=0.5,
        licence="CC-BY-NC-ND-4.0",
        gate=_ACCEPT,
        pretraining="H&E and IHC slides at several magnifications, DINOv2",
        pooling="cls+mean",
        timm_arguments=dict(_SWIGLU),
    ),
)
"""Encoders whose facts are known; any other timm name or `hf-hub:` address works too."""


def known_encoder(name: str) -> EncoderSpec | None:
    """The entry of that name in `KNOWN_ENCODERS`, whichever way the hub is spelled."""
    wanted = name.replace("hf_hub:", "hf-hub:")
    return next((spec for spec in KNOWN_ENCODERS if spec.name == wanted), None)
