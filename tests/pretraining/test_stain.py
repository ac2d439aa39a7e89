from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hvit_cli.pretraining.stain import STAINS, restained, stain_maps

Pixels = npt.NDArray[np.uint8]


def density(pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return -np.log((np.asarray(pixels, np.float64) + 1) / 256)


def restain(
    pixels: Pixels, scale: tuple[float, float], shift: tuple[float, float] = (0.0, 0.0)
) -> Pixels:
    linear, offset = stain_maps(np.array([scale]), np.array([shift]))
    return restained(pixels, linear[0], offset[0])


def dyed(haematoxylin: float, eosin: float) -> Pixels:
    """A patch of two dyes by Beer and Lambert, with Ruifrok and Johnston's colours."""
    h, e = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
    od = haematoxylin * h / np.linalg.norm(h) + eosin * e / np.linalg.norm(e)
    return np.full((8, 8, 3), np.rint(256 * np.exp(-od) - 1), np.uint8)


def test_the_dyes_are_ruifrok_and_johnstons_and_the_third_is_at_right_angles() -> None:
    assert STAINS[0] == pytest.approx([0.6500, 0.7044, 0.2860], abs=0.01)
    assert STAINS[1] == pytest.approx([0.0703, 0.9930, 0.1090], abs=0.01)
    assert np.linalg.norm(STAINS, axis=1) == pytest.approx([1, 1, 1])
    assert STAINS[:2] @ STAINS[2] == pytest.approx([0, 0], abs=1e-12)


def test_no_change_is_the_identity_for_every_value() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    colours[0, :, :] = np.arange(128)[:, None] * 2
    colours[1, :3] = [[0, 0, 0], [255, 255, 255], [255, 0, 255]]
    assert np.array_equal(restain(colours, (1.0, 1.0)), colours)


@pytest.mark.parametrize(
    ("scale", "shift"), [((1.3, 1.0), (0.0, 0.0)), ((0.9, 1.2), (0.05, -0.03))]
)
def test_amounts_of_the_dyes_change_as_asked(
    scale: tuple[float, float], shift: tuple[float, float]
) -> None:
    found = restain(dyed(0.8, 0.6), scale, shift)
    expected = dyed(0.8 * scale[0] + shift[0], 0.6 * scale[1] + shift[1])
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_what_neither_dye_explains_stays() -> None:
    # A pigment along the third vector added to tissue: its amount is the same afterwards.
    od = 0.8 * STAINS[0] + 0.5 * STAINS[1] + 0.2 * STAINS[2]
    colour = np.full((4, 4, 3), np.rint(256 * np.exp(-od) - 1), np.uint8)
    amounts = density(restain(colour, (1.25, 0.8))[0, 0]) @ np.linalg.inv(STAINS)
    assert amounts == pytest.approx([1.0, 0.4, 0.2], abs=0.02)


def test_glass_stays_white_when_amounts_are_only_scaled() -> None:
    glass = np.full((4, 4, 3), 255, np.uint8)
    assert (restain(glass, (1.4, 0.7)) == 255).all()
