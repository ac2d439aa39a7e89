"""Dropped tokens: the same as masked keys, and the same bits in whatever company."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
from torch import Tensor, nn

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.packed_tokens import packed_features
from hvit_cli.models.position import resize_positions
from hvit_cli.models.timm_encoder import TimmEncoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import Precision

PATCH_PX, TOKEN_PX, GRID = 80, 16, 5
SHAPE = VitShape(width=192, depth=3, heads=3, token_px=TOKEN_PX, grid_side=8)
SPEC = EncoderSpec(name="small", width=192, input_px=128, token_px=TOKEN_PX)

Pixels = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (37, PATCH_PX, PATCH_PX, 3), np.uint8)


@pytest.fixture(scope="module")
def tokens() -> Bits:
    """From no token at all to all of them."""
    rng = np.random.default_rng(1)
    drawn = rng.random((37, GRID**2)) < np.linspace(0, 1, 37)[:, None]
    drawn[0], drawn[1], drawn[-1] = False, False, True
    drawn[1, 7] = True
    return drawn


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def drawn(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.08)
    return network.eval()


def our_encoder(precision: Precision = "float32") -> PatchEncoder:
    return PatchEncoder(drawn(VisionTransformer(SHAPE)), SPEC, precision=precision)


def timm_encoder(**arguments: Any) -> PatchEncoder:
    model = timm.create_model(
        "vit_small_patch16_224",
        num_classes=0,
        embed_dim=192,
        depth=3,
        num_heads=3,
        dynamic_img_size=True,
        **arguments,
    )
    return PatchEncoder(TimmEncoder(drawn(model), "cls"), SPEC)


def masked_by_hand(encoder: PatchEncoder, pixels: Pixels, tokens: Bits) -> Tensor:
    """All tokens through every layer, in float64, with −inf on the keys of those not seen."""
    network: Any = encoder.network
    model: Any = network if isinstance(network, VisionTransformer) else network.model
    model = model.double()
    x = encoder.network_input(torch.from_numpy(pixels).permute(0, 3, 1, 2)).double()
    cut = model.patch_embed.proj(x)
    if isinstance(network, VisionTransformer):
        cls = model.cls_token.expand(len(x), -1, -1)
        x = torch.cat([cls, cut.flatten(2).transpose(1, 2)], dim=1)
        x = x + resize_positions(model.pos_embed, GRID)
    else:
        x = model._pos_embed(cut.permute(0, 2, 3, 1))
    seen = torch.from_numpy(tokens)
    seen = torch.cat([seen.new_ones((len(x), x.shape[1] - seen.shape[1])), seen], dim=1)
    forbidden = torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, -torch.inf)
    blocks: Any = model.blocks
    for block in blocks:
        heads = block.attn.num_heads
        n, count, width = x.shape
        q, k, v = (
            block.attn.qkv(block.norm1(x))
            .view(n, count, 3, heads, width // heads)
            .permute(2, 0, 3, 1, 4)
        )
        logits = q @ k.transpose(-2, -1) / (width // heads) ** 0.5
        weights = (logits + forbidden[:, None, None, :]).softmax(dim=-1)
        update = block.attn.proj((weights @ v).transpose(1, 2).reshape(n, count, width))
        x = x + getattr(block, "ls1", nn.Identity())(update)
        update = block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(x))))
        x = x + getattr(block, "ls2", nn.Identity())(update)
    result: Tensor = model.norm(x)[:, 0]
    model.float()
    return result.float()


@torch.inference_mode()
@pytest.mark.parametrize(
    "encoder",
    [our_encoder(), timm_encoder(), timm_encoder(reg_tokens=4, init_values=0.5)],
    ids=["ours", "timm", "registers"],
)
def test_a_dropped_token_is_a_masked_key(
    encoder: PatchEncoder, pixels: Pixels, tokens: Bits
) -> None:
    expected = masked_by_hand(encoder, pixels[::3], tokens[::3]).numpy()
    found = encoder.embed(pixels[::3], tokens[::3])
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    whole = encoder.embed(pixels[::3])
    assert np.abs(found[1] - whole[1]).max() > 1e-2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_tokens_give_the_features_of_whole_patches(
    precision: Precision, pixels: Pixels
) -> None:
    encoder = our_encoder(precision)
    every = np.ones((len(pixels), GRID**2), bool)
    near = 1e-5 if precision == "float32" else 5e-2
    np.testing.assert_allclose(
        encoder.embed(pixels, every), encoder.embed(pixels), atol=near, rtol=near
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pixels_of_absent_tokens_change_no_bit(
    precision: Precision, pixels: Pixels, tokens: Bits
) -> None:
    encoder = our_encoder(precision)
    absent = np.kron(~tokens.reshape(-1, GRID, GRID), np.ones((TOKEN_PX, TOKEN_PX), bool))
    other = pixels.copy()
    other[absent] = np.random.default_rng(2).integers(0, 256, (int(absent.sum()), 3), np.uint8)
    assert (other != pixels).any(axis=(1, 2, 3)).sum() > 30
    np.testing.assert_array_equal(encoder.embed(other, tokens), encoder.embed(pixels, tokens))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_are_the_same_bits_whatever_the_company(
    precision: Precision, pixels: Pixels, tokens: Bits
) -> None:
    encoder = our_encoder(precision)
    whole = encoder.embed(pixels, tokens)
    assert np.isfinite(whole).all()
    for size in (1, 3, 16):
        parts = [
            encoder.embed(pixels[start : start + size], tokens[start : start + size])
            for start in range(0, len(pixels), size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = np.random.default_rng(3).permutation(len(pixels))
    np.testing.assert_array_equal(encoder.embed(pixels[order], tokens[order]), whole[order])
    fewer = tokens.copy()
    fewer[1::2] = ~fewer[1::2]
    np.testing.assert_array_equal(encoder.embed(pixels, fewer)[::2], whole[::2])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_are_the_same_bits_whatever_the_threads(
    precision: Precision, pixels: Pixels, tokens: Bits, threads: None
) -> None:
    encoder = our_encoder(precision)
    torch.set_num_threads(1)
    alone = encoder.embed(pixels[::4], tokens[::4])
    for count in (2, 3):
        torch.set_num_threads(count)
        np.testing.assert_array_equal(encoder.embed(pixels[::4], tokens[::4]), alone)


def test_a_patch_without_a_token_is_cls_alone(pixels: Pixels) -> None:
    encoder = our_encoder()
    none = np.zeros((3, GRID**2), bool)
    found = encoder.embed(pixels[:3], none)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_fewer_at_a_time_once_memory_ran_out(
    pixels: Pixels, tokens: Bits, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = our_encoder()
    whole = encoder.embed(pixels, tokens)
    real, sizes = packed_features, []

    def scarce(form: Any, images: Tensor, present: Tensor, normalised: Any) -> Tensor:
        sizes.append(len(images))
        if len(images) > 8:
            raise RuntimeError("can't allocate memory")
        return real(form, images, present, normalised)

    monkeypatch.setattr("hvit_cli.models.encoders.packed_features", scarce)
    np.testing.assert_array_equal(encoder.embed(pixels, tokens), whole)
    assert sizes[:3] == [32, 16, 8]


@pytest.mark.parametrize(
    ("encoder", "patch_px", "says"),
    [
        (
            PatchEncoder(
                TimmEncoder(timm.create_model("resnet10t", num_classes=0), "cls"),
                EncoderSpec(name="resnet", width=512, input_px=128, token_px=None),
            ),
            128,
            "cannot leave out tokens",
        ),
        (our_encoder("float16"), PATCH_PX, "not in float16"),
        (our_encoder(), 72, "multiple of 16 px"),
        (
            PatchEncoder(VisionTransformer(SHAPE), SPEC, encoder_input="resize"),
            PATCH_PX,
            "resized to 128",
        ),
    ],
    ids=["no ViT", "float16", "other grid", "resized"],
)
def test_other_encoders_are_refused_in_one_line(
    encoder: PatchEncoder, patch_px: int, says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        encoder.token_grid(patch_px)


def test_bits_of_another_grid_are_refused(pixels: Pixels) -> None:
    with pytest.raises(ModelError, match="each token of each patch"):
        our_encoder().embed(pixels[:2], np.ones((2, 16), bool))


def test_the_grid_of_a_patch(pixels: Pixels) -> None:
    assert our_encoder().token_grid(PATCH_PX) == GRID
