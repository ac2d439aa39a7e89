"""How dark the nuclei's dye is in a patch: a map that any stain makes, without a model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvit_cli.pretraining.stain import STAINS

# Optical density from which a pixel counts as stained (Macenko et al., 2009).
_STAINED = 0.15
_WHITE = 256.0


def haematoxylin_density(patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(n,) mean amount of haematoxylin over each patch's stained pixels, 0 where none is.

    Args:
        patches: (n, h, w, 3) RGB.
    """
    unmix = np.linalg.inv(STAINS)[:, 0]
    found = np.zeros(len(patches))
    for n, pixels in enumerate(patches):
        density = -np.log((pixels[::2, ::2].reshape(-1, 3).astype(np.float64) + 1) / _WHITE)
        amount = density @ unmix
        stained = density.mean(axis=1) > _STAINED
        found[n] = amount[stained].mean() if stained.any() else 0.0
    return found
