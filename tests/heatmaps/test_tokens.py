"""Maps of tokens: scales, and tokens as small patches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.stitch import PictureFrame, stitch
from hvit_cli.heatmaps.tokens import TokenMap, TokensWithin, rescale_tokens, token_map


@pytest.fixture
def tokens(make_map: Callable[..., PatchMap]) -> TokenMap:
    patches = make_map([(0, 0), (400, 0)], side=4, patch_level0=100.0)
    value = np.random.default_rng(0).random((32, 4))
    return token_map(patches, "region", value)


def test_hidden_patches_have_no_tokens(tokens: TokenMap) -> None:
    hidden = ~tokens.patches.visible
    assert hidden.any()
    assert (tokens.value[hidden] == 0).all()
    np.testing.assert_allclose(tokens.patches.value, tokens.value.sum(axis=1))
    for scale in ("raw", "relative", "rank", "minmax"):
        scaled = rescale_tokens(tokens, scale)
        assert np.isnan(scaled.value[hidden]).all()
        assert np.isfinite(scaled.value[~hidden]).all()


@pytest.mark.parametrize("within", ["patch", "region", "slide"])
def test_relative_is_1_on_average_over_what_shares(
    make_map: Callable[..., PatchMap], within: TokensWithin
) -> None:
    patches = make_map([(0, 0), (400, 0)])
    value = np.random.default_rng(0).random((32, 9))
    scaled = rescale_tokens(token_map(patches, within, value), "relative").value
    seen = patches.visible
    groups = {"patch": np.arange(32), "region": patches.region_index, "slide": np.zeros(32)}
    for group in np.unique(groups[within][seen]):
        assert scaled[seen & (groups[within] == group)].mean() == pytest.approx(1)


def test_tokens_are_painted_where_they_lie(tokens: TokenMap) -> None:
    frame = PictureFrame(size_px=(16, 8), size_level0=(800, 400))
    raster = stitch(tokens.as_patch_map(), frame)
    patches = tokens.patches
    for row in range(32):
        x, y = patches.patch_xy_level0[row] // 50
        cell = raster[y : y + 2, x : x + 2]
        if patches.visible[row]:
            np.testing.assert_allclose(cell, tokens.value[row].reshape(2, 2), rtol=1e-6)
        else:
            assert np.isnan(cell).all()


def test_tokens_of_another_number_are_refused(tokens: TokenMap) -> None:
    with pytest.raises(ValueError, match="values of shape"):
        TokenMap(patches=tokens.patches, within="patch", tokens_per_side=3, value=tokens.value)
    wrong = np.full((32, 4), np.nan)
    with pytest.raises(ValueError, match="without a finite value"):
        TokenMap(patches=tokens.patches, within="patch", tokens_per_side=2, value=wrong)
