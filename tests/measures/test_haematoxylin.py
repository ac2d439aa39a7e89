from __future__ import annotations

import numpy as np
import pytest

from hvit_cli.measures.haematoxylin import haematoxylin_density

_H = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
_E = np.array([0.07, 0.99, 0.11]) / np.linalg.norm([0.07, 0.99, 0.11])


def patch(haematoxylin: float, eosin: float) -> np.ndarray:
    light = 256 * np.exp(-(haematoxylin * _H + eosin * _E)) - 1
    return np.broadcast_to(light.round().astype(np.uint8), (16, 16, 3))


def test_the_amount_of_the_dye_is_found_whatever_the_other() -> None:
    found = haematoxylin_density(np.stack([patch(0.9, 0.1), patch(0.9, 0.8), patch(0.3, 0.8)]))
    assert found == pytest.approx([0.9, 0.9, 0.3], abs=0.03)


def test_glass_has_none_and_does_not_dilute() -> None:
    half = patch(0.8, 0.4).copy()
    half[8:] = 243
    found = haematoxylin_density(np.stack([np.full((16, 16, 3), 243, np.uint8), half]))
    assert found[0] == 0
    assert found[1] == pytest.approx(0.8, abs=0.03)
