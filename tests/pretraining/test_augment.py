from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from hvit_cli.pretraining.augment import Augmentation
from hvit_cli.settings import AugmentationSettings, CropSettings

Pixels = npt.NDArray[np.uint8]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NOTHING = AugmentationSettings(
    jitter_probability=0,
    grey_probability=0,
    blur_probability=(0, 0, 0),
    solarize_probability=0,
    flip=0,
    turns=False,
    stain_probability=0,
)


def augmentation(**changes: object) -> Augmentation:
    made = Augmentation(
        crops=CropSettings(global_px=64, local_px=32, local_crops=3),
        changes=AugmentationSettings(),
        patch_px=128,
        mean=MEAN,
        std=STD,
        seed=5,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def patches() -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [
        np.asarray(cv2.GaussianBlur(rng.integers(0, 256, (128, 128, 3), np.uint8), (0, 0), 2))
        for _ in range(6)
    ]


def tensors(
    made: Augmentation, patches: list[Pixels], step: int = 0, places: range = range(6)
) -> list[Tensor]:
    room = made.empty(len(patches))
    made.fill(room, 0, patches, step, places)
    views = made.batch(room, len(patches)).to(torch.device("cpu")).views
    assert all(isinstance(view, Tensor) for view in views)
    return [view for view in views if isinstance(view, Tensor)]


def test_a_batch_holds_large_and_small_crops_crop_after_crop(patches: list[Pixels]) -> None:
    made = augmentation()
    room = made.empty(6)
    made.fill(room, 0, patches, 0, range(6))
    batch = made.batch(room, 6)
    assert (batch.counts, batch.size) == ((2, 3), 6)
    large, small = tensors(made, patches)
    assert large.shape == (12, 3, 64, 64)
    assert small.shape == (18, 3, 32, 32)
    assert large.dtype == torch.float32
    # Patch 4 alone at its place gives the crops that it has in the batch.
    alone = tensors(made, patches[4:5], places=range(4, 5))
    assert torch.equal(alone[0], large[[4, 10]])
    assert torch.equal(alone[1], small[[4, 10, 16]])


def test_crops_depend_on_seed_step_and_place(patches: list[Pixels]) -> None:
    same = [patches[0]] * 2
    first = tensors(augmentation(), same, places=range(2))[0]
    assert torch.equal(first, tensors(augmentation(), same, places=range(2))[0])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert not torch.equal(first, tensors(augmentation(), same, step=1, places=range(2))[0])
    assert not torch.equal(first, tensors(augmentation(seed=6), same, places=range(2))[0])


def test_unaltered_crops_of_the_whole_are_the_normalised_patch(patches: list[Pixels]) -> None:
    made = augmentation(
        changes=NOTHING,
        crops=CropSettings(
            global_px=128, global_scale=(1.0, 1.0), aspect=(1.0, 1.0), local_crops=0
        ),
    )
    (large,) = tensors(made, patches)
    for channel in range(3):
        expected = (np.stack(patches)[..., channel] / 255 - MEAN[channel]) / STD[channel]
        assert np.abs(large[:6, channel].numpy() - expected).max() < 1e-5
    assert torch.equal(large[:6], large[6:])


def test_each_change_comes_as_often_as_asked() -> None:
    large, small = augmentation().plans(3, range(4000))
    first, second = slice(0, None, 2), slice(1, None, 2)
    for found, wanted in (
        ((large.sigma_px > 0)[first], 1.0),
        ((large.sigma_px > 0)[second], 0.1),
        (small.sigma_px > 0, 0.5),
        (large.solarized[first], 0.0),
        (large.solarized[second], 0.2),
        (small.solarized, 0.0),
        (small.stained, 0.5),
        (small.mirrored, 0.5),
        (small.coloured, 1 - 0.2 * 0.8),
        *((small.quarters == q, 0.25) for q in range(4)),
    ):
        spread = 4 * np.sqrt(wanted * (1 - wanted) / len(found)) + 1e-9
        assert np.mean(found) == pytest.approx(wanted, abs=spread)
    assert large.sigma_px[first].min() >= 0.1
    assert large.sigma_px.max() <= 2.0


def test_strengths_stay_in_their_ranges() -> None:
    changes = AugmentationSettings(
        jitter_probability=1, grey_probability=0, saturation=0, hue=0, contrast=0
    )
    _, small = augmentation(changes=changes).plans(0, range(3000))
    factor = small.colour[0][:, 0, 0]
    assert factor.min() == pytest.approx(0.6, abs=0.01)
    assert factor.max() == pytest.approx(1.4, abs=0.01)
    assert factor.mean() == pytest.approx(1.0, abs=0.01)


def test_stain_jitter_has_the_spread_asked_for_and_zero_is_none(patches: list[Pixels]) -> None:
    changes = dataclasses.replace(NOTHING, stain_probability=1.0)
    _, small = augmentation(changes=changes).plans(0, range(3000))
    # The trace of the map is the sum of the dyes' factors.
    trace = np.trace(small.stain[0], axis1=1, axis2=2)
    assert trace.mean() == pytest.approx(3, abs=0.005)
    assert trace.std() == pytest.approx(0.05 * np.sqrt(2), rel=0.05)
    without = dataclasses.replace(changes, stain_jitter=0.0)
    assert torch.equal(
        tensors(augmentation(changes=without), patches)[0],
        tensors(augmentation(changes=NOTHING), patches)[0],
    )


def test_the_two_stain_maps_do_what_they_say_to_a_crop(patches: list[Pixels]) -> None:
    changes = dataclasses.replace(NOTHING, stain_probability=1.0, stain_jitter=0.3)
    plain = tensors(augmentation(changes=NOTHING), patches)[1]
    stained = tensors(augmentation(changes=changes), patches)[1]
    assert plain.shape == stained.shape
    assert (plain - stained).abs().mean() > 0.1
