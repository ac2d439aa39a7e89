from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hvit_cli.models.colour_histogram import WIDTH, colour_histogram
from hvit_cli.models.random_encoder import random_encoder
from hvit_cli.models.vit import VitShape


def test_a_histogram_counts_colours_pixel_by_pixel() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    patches[0, :4] = (255, 0, 31)
    found = colour_histogram(patches)
    assert found.shape == (2, WIDTH) == (2, 512)
    assert found.dtype == np.float32
    for n, row, column in itertools.product(range(2), range(8), range(8)):
        assert found[
            n,
            sum(
                int(v) // 32 * 8**k for v, k in zip(patches[n, row, column], (2, 1, 0), strict=True)
            ),
        ]
    # Half of the first patch has one colour: red 7, green 0, blue 0.
    assert found[0, 7 * 64] >= np.sqrt(0.5) - 1e-6
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_the_place_of_a_pixel_is_not_in_a_histogram() -> None:
    patch = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    mixed = np.random.default_rng(2).permutation(patch.reshape(1, 256, 3), axis=1)
    np.testing.assert_array_equal(
        colour_histogram(patch), colour_histogram(mixed.reshape(patch.shape))
    )
    assert colour_histogram(patch[:0]).shape == (0, 512)


def test_fresh_weights_are_a_function_of_the_seed_alone() -> None:
    shape = VitShape(width=32, depth=2, heads=2, grid_side=4)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = random_encoder(shape, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert one.weights_hash == random_encoder(shape, 1).weights_hash
    assert one.weights_hash != random_encoder(shape, 2).weights_hash
    patches = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert one.embed(patches).shape == (2, 32)
    assert one.network_px(128) == 128
    assert random_encoder(shape, 1, encoder_input="resize").network_px(128) == 64
    assert one.embed(patches)[0] != pytest.approx(one.embed(patches)[1], abs=1e-6)
