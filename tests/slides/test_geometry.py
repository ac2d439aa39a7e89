from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.errors import SpacingError
from hvit_cli.slides.geometry import (
    SlideGeometry,
    plan_reading,
    round_px,
    source_rectangles,
)


def pyramid(spacing_um: float, *downsamples: float, size: int = 100_000) -> SlideGeometry:
    return SlideGeometry(
        sizes=tuple((int(size / d), int(size / d)) for d in downsamples),
        downsamples=downsamples,
        spacing_um=spacing_um,
    )


def test_halves_round_upwards_whatever_their_sign() -> None:
    assert round_px([-1.5, -0.5, 0.5, 1.5, 2.4999]).tolist() == [-1, 0, 1, 2, 2]


def test_float_noise_does_not_decide_a_tie() -> None:
    assert round_px(0.5 - 1e-9) == round_px(0.5 + 1e-9) == 1


@pytest.mark.parametrize(
    ("spacing_um", "downsamples", "level", "achieved_um", "resampled"),
    [
        (0.48, (1.0, 4.0, 16.0), 0, 0.48, False),  # PANDA, Radboud
        (0.5032, (1.0, 4.0, 16.0), 0, 0.5032, False),  # PANDA, Karolinska
        (0.4523, (1.0, 4.0, 16.007), 0, 0.5, True),  # Hamamatsu in PANDA: beyond 5 %
        (0.25, (1.0, 2.0, 4.0), 1, 0.5, False),
        (0.25, (1.0, 4.0, 16.0), 0, 0.5, True),
        (0.1, (1.0, 2.0, 4.0, 8.0), 2, 0.5, True),  # 0.4 is the coarsest that is finer
        (0.525, (1.0,), 0, 0.525, False),  # exactly 5 %
    ],
)
def test_the_level_that_is_read(
    spacing_um: float,
    downsamples: tuple[float, ...],
    level: int,
    achieved_um: float,
    resampled: bool,
) -> None:
    plan = plan_reading(pyramid(spacing_um, *downsamples), 0.5, 0.05)
    assert (plan.level, plan.resampled) == (level, resampled)
    assert plan.spacing_um == pytest.approx(achieved_um)
    assert plan.level0_per_px == pytest.approx(achieved_um / spacing_um)


def test_the_papers_tolerance_takes_hamamatsu_as_it_is() -> None:
    plan = plan_reading(pyramid(0.4523, 1.0, 4.0), 0.5, 0.11)
    assert not plan.resampled
    assert plan.spacing_um == 0.4523


def test_pixels_are_never_enlarged() -> None:
    with pytest.raises(SpacingError, match=r"s\.svs: .*never enlarges.*1\.944 µm/px.*0\.525 µm/px"):
        plan_reading(pyramid(1.944, 1.0, 4.0), 0.5, 0.05, where="s.svs")


def test_an_unknown_spacing_is_refused() -> None:
    with pytest.raises(SpacingError, match="states no spacing"):
        plan_reading(pyramid(math.nan, 1.0), 0.5, 0.05)


@given(
    spacing_um=st.floats(0.06, 0.6),
    downsample=st.floats(1.5, 4.5),
    target_um=st.floats(0.2, 2.0),
    tolerance=st.floats(0.0, 0.2),
)
def test_the_achieved_spacing_is_the_target_or_within_tolerance(
    spacing_um: float, downsample: float, target_um: float, tolerance: float
) -> None:
    geometry = pyramid(spacing_um, 1.0, downsample, downsample**2)
    try:
        plan = plan_reading(geometry, target_um, tolerance)
    except SpacingError:
        assert spacing_um > target_um * (1 + tolerance)
        return
    assert abs(plan.spacing_um / target_um - 1) <= tolerance + 1e-6
    if plan.resampled:
        assert geometry.level_spacing_um(plan.level) < target_um
        assert plan.spacing_um == target_um


@given(
    origin=st.tuples(st.floats(-5000, 90_000), st.floats(-5000, 90_000)),
    spacing_um=st.floats(0.06, 0.52),
    patch_px=st.sampled_from([16, 224, 256]),
)
def test_neighbours_share_their_edges_and_none_is_enlarged(
    origin: tuple[float, float], spacing_um: float, patch_px: int
) -> None:
    plan = plan_reading(pyramid(spacing_um, 1.0, 4.0007, 16.0071), 0.5, 0.05)
    side = 8
    step = patch_px * plan.level0_per_px
    row, column = np.divmod(np.arange(side**2), side)
    origins = np.asarray(origin) + np.stack([column, row], axis=-1) * step
    left, top, right, bottom = source_rectangles(plan, origins, patch_px).T
    grid = [a.reshape(side, side) for a in (left, top, right, bottom)]
    assert (grid[2][:, :-1] == grid[0][:, 1:]).all()
    assert (grid[3][:-1] == grid[1][1:]).all()
    assert (right - left >= patch_px).all()
    assert (bottom - top >= patch_px).all()
    # Rounded, an edge lies within half a pixel of where it belongs.
    edges = (origins + step) / plan.downsample
    assert np.abs(np.stack([right, bottom], axis=-1) - edges).max() <= (
        0.5 + 1e-5 if plan.resampled else 1
    )


def test_patches_of_a_level_used_as_it_is_have_one_size() -> None:
    plan = plan_reading(pyramid(0.4861, 1.0), 0.5, 0.05)
    origins = np.random.default_rng(0).uniform(0, 1e5, (500, 2))
    rectangles = source_rectangles(plan, origins, 256)
    assert (rectangles[:, 2:] - rectangles[:, :2] == 256).all()
