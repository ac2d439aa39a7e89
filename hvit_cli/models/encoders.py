"""Patch encoders: pixels of patches in, one vector per patch out.

Whatever the network, normalisation, input size, number format and identity are handled
here, once, and everything that decides the numbers is there to be recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import IMAGENET_MEAN, IMAGENET_STD, EncoderSpec, Triple
from hvit_cli.models.fast_forms import fast_form, weights_state
from hvit_cli.models.fast_vit import FastVit
from hvit_cli.models.fixed_steps import PROCESSOR_STEP, FixedSteps
from hvit_cli.models.local_encoder import (
    describe_vit,
)
from hvit_cli.models.packed_tokens import PACKED_STEP, packed_features
from hvit_cli.models.vit import VisionTransformer
from hvit_cli.settings import EmbeddingSettings, EncoderInput, Normalisation, Precision

NORMALISATIONS: dict[Normalisation, tuple[Triple, Triple]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation behind each choice of `--normalisation`."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over tensors in the order of their names, the same from whichever file format.

    Floating-point tensors count as float32, so that a file of float16 numbers and one that
    holds the same numbers in float32 are the same weights.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu()
        array = (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class PatchEncoder(nn.Module):
    """A patch encoder ready to embed, with everything that decides its output.

    An embedding depends on its own patch alone: `embed` computes in steps of one shape, whose
    last one is filled up, so that neither the number of patches nor their order changes a bit.

    Args:
        network: Normalised images (n, 3, h, h) → (n, D), in evaluation mode.
        spec: What is known about it.
        normalisation: Replaces the encoder's own mean and standard deviation.
        encoder_input: `native` gives the network the patches as they are, `resize` resizes
            them to the size it was trained at (bicubic, antialiased), `auto` is native where
            its tokens fit the patch and resize otherwise.
        precision: Number format, `auto` already resolved.
        source: What `--encoder` took; "" for weights of a file.
        notes: What the user should know, a sentence each.
        batch_size: Patches per step of `embed` on a GPU.

    Attributes:
        weights_hash: Identity of the weights, see `hash_weights`.
        mean: Subtracted per channel from pixels scaled to 0-1.
        std: Divides them then.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: EncoderSpec,
        *,
        normalisation: Normalisation | None = None,
        encoder_input: EncoderInput = "auto",
        precision: Precision = "float32",
        source: str = "",
        notes: tuple[str, ...] = (),
        batch_size: int = EmbeddingSettings.batch_size,
    ) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.encoder_input = encoder_input
        self.precision = precision
        self.source = source
        self.notes = notes
        self.batch_size = batch_size
        self._steps: FixedSteps | None = None
        self._packed_steps: FixedSteps | None = None
        self._form: FastVit | None = None
        self._state: object = None
        self.mean, self.std = (
            (spec.mean, spec.std) if normalisation is None else NORMALISATIONS[normalisation]
        )
        self.weights_hash = hash_weights(network.state_dict())
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device

    @property
    def normalisation_text(self) -> str:
        """Mean and standard deviation as JSON text, as stored with features and models."""
        return json.dumps({"mean": list(self.mean), "std": list(self.std)})

    @property
    def architecture(self) -> dict[str, Any]:
        """What is needed beside the weights to build a local encoder; empty for timm's."""
        if isinstance(self.network, VisionTransformer):
            return describe_vit(self.network.shape, self.spec)
        return {}

    def input_recipe(self) -> dict[str, Any]:
        """How patches are fitted to the network, as plain values for a recipe."""
        own = isinstance(self.network, VisionTransformer)
        return {
            "input": self.encoder_input,
            "input_px": self.spec.input_px,
            "token_px": self.spec.token_px,
            "positions": "dino" if own else "timm",
            "pooling": self.spec.pooling,
        }

    def network_px(self, patch_px: int) -> int:
        """Side of the image that the network is given for a patch of this side.

        Raises:
            ModelError: The patch cannot be given as it is.
        """
        token_px = self.spec.token_px
        fits = token_px is not None and patch_px % token_px == 0
        if self.encoder_input == "native" and token_px is not None and not fits:
            raise ModelError(
                "the encoder cannot take the patches as they are",
                where=self.spec.name,
                found=f"patches of {patch_px} px",
                wanted=f"a multiple of {token_px} px, its tokens",
                hint="resizing them to its input size",
            )
        native = self.encoder_input == "native" or (self.encoder_input == "auto" and fits)
        return patch_px if native else self.spec.input_px

    def network_input(self, pixels: Tensor) -> Tensor:
        """Patches as the network is given them: fitted to its size and normalised.

        Args:
            pixels: (n, 3, h, h) uint8, or floats scaled to 0-1, not yet normalised, on the
                encoder's device.

        Returns:
            (n, 3, h', h') float32.
        """
        x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        size = self.network_px(x.shape[-1])
        if size != x.shape[-1]:
            x = F.interpolate(x, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (x.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (x - mean) / std

    def arithmetic(self) -> AbstractContextManager[object]:
        """The context in which the network runs: its precision."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, _DTYPES[self.precision])

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeds patches: (n, 3, h, h) as in `network_input` → (n, D) float32."""
        x = self.network_input(pixels)
        with self.arithmetic():
            embedded: Tensor = self.network(x)
        return embedded.float()

    @property
    def step(self) -> int:
        """Patches per step of `embed`: fixed on a processor, fewer once memory ran out."""
        if self._steps is not None and self._steps.device == self.device:
            return self._steps.size
        return PROCESSOR_STEP if self.device.type == "cpu" else self.batch_size

    def _refresh(self) -> None:
        """Makes the fast form and the steps of `embed` of the weights as they are now."""
        state = weights_state(self.network)
        if self._steps is not None and self._state == state:
            return
        form = fast_form(self.network, _DTYPES[self.precision])
        packed_step = PACKED_STEP if self.device.type == "cpu" else self.batch_size

        def compute(pixels: Tensor) -> Tensor:
            if form is None:
                return self.forward(pixels)
            return form(self.network_input(pixels)).float()

        def compute_packed(pixels: Tensor, present: Tensor) -> Tensor:
            assert form is not None  # `token_grid` refuses encoders without
            return packed_features(form, pixels, present, self.network_input).float()

        self._steps = FixedSteps(compute, self.step, self.device)
        self._packed_steps = FixedSteps(compute_packed, packed_step, self.device)
        self._form, self._state = form, state

    def token_grid(self, patch_px: int) -> int:
        """Tokens along one side of a patch of this side, for an encoder that can do without some.

        Raises:
            ModelError: It cannot: it is no plain Vision Transformer read from CLS, or it is given
                patches in another size, so that its tokens are no squares of their pixels.
        """
        self._refresh()
        if self._form is None:
            raise ModelError(
                "this patch encoder cannot leave out tokens without tissue",
                where=self.spec.name,
                wanted="a plain Vision Transformer read from its CLS token, not in float16",
                hint="--mask-level region",
            )
        size, token_px = self.network_px(patch_px), self._form.token_px
        if size != patch_px:
            raise ModelError(
                "tokens without tissue cannot be left out of patches that are resized",
                where=self.spec.name,
                found=f"patches of {patch_px} px, resized to {size}",
                wanted=f"a --patch that is a multiple of {token_px} px, given as it is",
                hint="--mask-level region",
            )
        return patch_px // token_px

    @torch.inference_mode()
    def embed(
        self, patches: npt.NDArray[np.uint8], tokens: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.float32]:
        """Embeds patches as the reader returns them.

        Args:
            patches: (n, h, h, 3) uint8 RGB, any number.
            tokens: (n, N) which tokens of each patch are seen, row by row; None for all. Pixels
                of the others change nothing.

        Returns:
            (n, D) float32; the same bits for a patch wherever it stands, beside whichever
            others.

        Raises:
            ModelError: The result is not finite, the patches do not fit the encoder, or it
                cannot do without tokens, see `token_grid`.
        """
        if not len(patches):
            return np.zeros((0, self.spec.width), np.float32)
        self._refresh()
        assert self._steps is not None
        assert self._packed_steps is not None
        if tokens is None:
            embedded = self._steps.run(patches)
        else:
            wanted = (len(patches), self.token_grid(patches.shape[1]) ** 2)
            if tokens.shape != wanted:
                raise ModelError(
                    "there is not one entry for each token of each patch",
                    where=self.spec.name,
                    found=f"shape {tokens.shape}",
                    wanted=str(wanted),
                )
            embedded = self._packed_steps.run(patches, tokens)
        if embedded.shape[1:] != (self.spec.width,):
            raise ModelError(
                "the encoder does not return one vector per patch",
                where=self.spec.name,
                found=f"shape {tuple(embedded.shape)}",
                wanted=f"({len(patches)}, {self.spec.width})",
            )
        if not torch.isfinite(embedded).all():
            raise ModelError(
                "the encoder returned numbers that are not finite",
                where=self.spec.name,
                found=f"precision {self.precision}",
                hint="--precision float32",
            )
        return np.asarray(embedded.numpy(), np.float32)
