from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hvit_cli.errors import ModelError
from hvit_cli.models.position import grid_side, resize_positions


@pytest.mark.parametrize(("learned", "side"), [(7, 8), (14, 16), (14, 8), (1, 4), (7, 1), (3, 14)])
def test_resizing_is_bicubic_without_antialiasing(
    oracle: SimpleNamespace, learned: int, side: int
) -> None:
    pos_embed = np.random.default_rng(0).standard_normal((1, 1 + learned**2, 5))
    resized = resize_positions(torch.from_numpy(pos_embed), side)
    np.testing.assert_allclose(resized[0], oracle.positions(pos_embed, side), atol=1e-12)
    assert resized.shape == (1, 1 + side**2, 5)
    assert torch.equal(resized[:, 0], torch.from_numpy(pos_embed[:, 0]))


def test_a_fitting_grid_is_left_alone() -> None:
    pos_embed = torch.randn(1, 65, 3)
    assert resize_positions(pos_embed, 8) is pos_embed


@pytest.mark.parametrize("shape", [(1, 51, 3), (2, 50, 3), (50, 3), (1, 1, 3)])
def test_what_is_no_square_grid_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="square grid"):
        grid_side(torch.zeros(shape))
