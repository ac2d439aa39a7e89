"""What a patch's features depend on: the patch, and not what shares its step."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.fixed_steps import PROCESSOR_STEP, FixedSteps, is_out_of_memory
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import Precision

SHAPE = VitShape(width=192, depth=2, heads=3, token_px=16, grid_side=8)
SPEC = EncoderSpec(name="small", width=192, input_px=128, token_px=16)
CPU = torch.device("cpu")

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (17, 80, 80, 3), np.uint8)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def encoder_in(precision: Precision) -> PatchEncoder:
    torch.manual_seed(0)
    return PatchEncoder(VisionTransformer(SHAPE), SPEC, precision=precision)


def in_batches(encoder: PatchEncoder, pixels: Pixels, size: int) -> npt.NDArray[np.float32]:
    starts = range(0, len(pixels), size)
    return np.concatenate([encoder.embed(pixels[start : start + size]) for start in starts])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_are_the_same_bits_whatever_the_batch(
    precision: Precision, pixels: Pixels
) -> None:
    encoder = encoder_in(precision)
    whole = encoder.embed(pixels)
    for size in (1, 3, 16, 64):
        np.testing.assert_array_equal(in_batches(encoder, pixels, size), whole)
    order = np.random.default_rng(1).permutation(len(pixels))
    np.testing.assert_array_equal(encoder.embed(pixels[order]), whole[order])
    other = pixels.copy()
    other[1::2] = 255
    np.testing.assert_array_equal(encoder.embed(other)[::2], whole[::2])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_are_the_same_bits_whatever_the_threads(
    precision: Precision, pixels: Pixels, threads: None
) -> None:
    encoder = encoder_in(precision)
    torch.set_num_threads(1)
    alone = encoder.embed(pixels[:8])
    for count in (2, 3):
        torch.set_num_threads(count)
        np.testing.assert_array_equal(encoder.embed(pixels[:8]), alone)


def test_no_patch_is_no_step() -> None:
    encoder = encoder_in("float32")
    assert encoder.embed(np.zeros((0, 80, 80, 3), np.uint8)).shape == (0, 192)


def test_every_step_has_one_shape_and_nothing_of_the_filling_comes_out(pixels: Pixels) -> None:
    shapes: list[tuple[int, ...]] = []

    def mean_colours(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return x.float().mean(dim=(2, 3))

    out = FixedSteps(mean_colours, 8, CPU).run(pixels)
    assert shapes == [(8, 3, 80, 80)] * 3
    np.testing.assert_allclose(out, pixels.mean(axis=(1, 2)), rtol=1e-5)


def test_weights_changed_in_place_are_used(pixels: Pixels) -> None:
    encoder = encoder_in("float32")
    before = encoder.embed(pixels[:1])
    with torch.no_grad():
        encoder.network.get_parameter("norm.bias").add_(1)
    np.testing.assert_allclose(encoder.embed(pixels[:1]), before + 1, atol=1e-5)


# --- memory --------------------------------------------------------------------------------


class Small:
    """A network with room for so many patches."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error, self.calls = room, error, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        # The first step still finds room, as memory may fill up later.
        if len(x) > self.room and self.calls > 1:
            raise self.error
        return x.float().mean(dim=(2, 3))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_where_memory_runs_out_steps_are_halved_and_no_patch_is_lost(
    error: Exception, pixels: Pixels, caplog: pytest.LogCaptureFixture
) -> None:
    steps = FixedSteps(Small(3, error), 8, CPU)
    with caplog.at_level(logging.WARNING):
        out = steps.run(pixels)
    np.testing.assert_allclose(out, pixels.mean(axis=(1, 2)), rtol=1e-5)
    assert steps.size == 2
    assert [record.args for record in caplog.records] == [(4,), (2,)]
    steps.run(pixels)
    assert len(caplog.records) == 2


def test_memory_for_not_even_one_patch_is_an_error(pixels: Pixels) -> None:
    steps = FixedSteps(Small(0, MemoryError("not a byte")), 4, CPU)
    with pytest.raises(ModelError, match="does not suffice to embed a single patch"):
        steps.run(pixels)


def test_other_errors_pass(pixels: Pixels) -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        FixedSteps(Small(0, RuntimeError("shapes")), 8, CPU).run(pixels)


def test_an_encoder_keeps_the_smaller_step(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_in("float32")
    assert encoder.step == PROCESSOR_STEP
    whole = encoder.embed(pixels)
    normal = PatchEncoder.network_input

    def full(self: PatchEncoder, x: Tensor) -> Tensor:
        if len(x) > 4:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return normal(self, x)

    monkeypatch.setattr(PatchEncoder, "network_input", full)
    np.testing.assert_allclose(encoder.embed(pixels), whole, atol=1e-5)
    assert encoder.step == 4


@pytest.mark.gpu
def test_a_gpu_gives_the_processors_features(pixels: Pixels) -> None:
    encoder = encoder_in("float32")
    expected = encoder.embed(pixels)
    encoder.to("cuda")
    encoder.batch_size = 6
    assert encoder.step == 6
    np.testing.assert_allclose(encoder.embed(pixels), expected, atol=1e-3)
    rough = PatchEncoder(encoder.network, SPEC, precision="bfloat16").embed(pixels)
    cosine = torch.cosine_similarity(torch.from_numpy(rough), torch.from_numpy(expected))
    assert cosine.min() > 0.999


@pytest.mark.gpu
def test_a_gpu_takes_any_number_of_patches(pixels: Pixels) -> None:
    encoder = encoder_in("bfloat16").to("cuda")
    encoder.batch_size = 8
    whole = encoder.embed(pixels)
    for size in (1, 3, 20):
        np.testing.assert_array_equal(in_batches(encoder, pixels, size), whole)
