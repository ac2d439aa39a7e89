"""From patches to the crops that student and teacher see: place, turn, stain, colour.

Everything is pixels of 8 bits until a batch reaches its device, where it is normalised: a
quarter of the bytes travel, and the device does the arithmetic on floats. Why OpenCV and not
another library: docs/decisions/0007-augmentation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hvit_cli.pretraining.colour import blurred, changed, jitter_matrices, solarized
from hvit_cli.pretraining.crops import UNIFORMS, cut, place_crops, turned
from hvit_cli.pretraining.draws import Purpose, generator
from hvit_cli.pretraining.stain import restained, stain_maps
from hvit_cli.pretraining.views import CropBatch
from hvit_cli.settings import AugmentationSettings, CropSettings

Rgb = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.float64]

BLUR_SIGMA_PX = (0.1, 2.0)
"""Smallest and largest standard deviation of the blur, in pixels of the crop (DINO's)."""

# Columns of the uniform numbers behind those of the crop's place.
_MIRROR, _TURN, _JITTER, _BRIGHT, _CONTRAST, _SATURATION, _HUE, _GREY = range(
    UNIFORMS, UNIFORMS + 8
)
_BLUR, _SIGMA, _SOLAR, _STAIN = range(UNIFORMS + 8, UNIFORMS + 12)
_UNIFORMS = UNIFORMS + 12
_NORMALS = 4


@dataclass(frozen=True)
class PixelViews:
    """Crops of one size as stored pixels; on a device they are normalised floats.

    Attributes:
        pixels: (n, 3, h, h) uint8.
        mean: Mean of red, green and blue, of 1.
        std: Their standard deviations.
    """

    pixels: Tensor
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Tensor:
        """(n, 3, h, h) float32: (value / 255 - mean) / std."""
        scale = torch.tensor([1 / (255 * s) for s in self.std])[:, None, None]
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)])
        pixels = self.pixels.to(device, non_blocking=non_blocking)
        floats = pixels.to(torch.float32).mul_(scale.to(device))
        return floats.add_(shift[:, None, None].to(device))


@dataclass(frozen=True, kw_only=True)
class CropPlans:
    """What happens to n crops of one size.

    Attributes:
        place: (n, 4) left, top, width, height in the patch.
        mirrored: (n,) whether left and right change places.
        quarters: (n,) quarter turns against the clock.
        stained: (n,) whether the stain changes.
        stain: (n, 3, 3) and (n, 3), its affine map of optical density.
        coloured: (n,) whether the colours change.
        colour: (n, 3, 3) and (n,), their affine map.
        sigma_px: (n,) standard deviation of the blur; 0 for none.
        solarized: (n,) whether bright values are inverted.
    """

    place: npt.NDArray[np.int64]
    mirrored: npt.NDArray[np.bool_]
    quarters: npt.NDArray[np.int64]
    stained: npt.NDArray[np.bool_]
    stain: tuple[Numbers, Numbers]
    coloured: npt.NDArray[np.bool_]
    colour: tuple[Numbers, Numbers]
    sigma_px: Numbers
    solarized: npt.NDArray[np.bool_]

    def draw(self, number: int, patch: Rgb, out: Rgb) -> None:
        """Writes crop `number` of a patch into `out`, (3, h, h) contiguous."""
        pixels = cut(patch, self.place[number], out.shape[-1])
        if self.stained[number]:
            pixels = restained(pixels, self.stain[0][number], self.stain[1][number])
        if self.coloured[number]:
            pixels = changed(pixels, self.colour[0][number], self.colour[1][number])
        if self.sigma_px[number]:
            pixels = blurred(pixels, self.sigma_px[number])
        if self.solarized[number]:
            pixels = solarized(pixels)
        mirrored, quarters = bool(self.mirrored[number]), int(self.quarters[number])
        cv2.split(turned(pixels, mirrored=mirrored, quarters=quarters), list(out))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How the patches of a run become crops.

    Attributes:
        crops: How many, how large, from which share of the patch.
        changes: What is done to them.
        patch_px: Side of the patches.
        mean: Mean that normalises red, green and blue, of 1.
        std: Standard deviations that do.
        seed: Seed of everything drawn.
    """

    crops: CropSettings
    changes: AugmentationSettings
    patch_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Crops of each patch: large, and small if there are any."""
        crops = self.crops
        return (crops.global_crops, crops.local_crops)[: 2 if crops.local_crops else 1]

    def empty(self, size: int) -> tuple[Rgb, ...]:
        """Room for the crops of `size` patches: (crops, size, 3, h, h) for each kind."""
        sides = (self.crops.global_px, self.crops.local_px)
        return tuple(
            np.empty((count, size, 3, side, side), np.uint8)
            for count, side in zip(self.counts, sides, strict=False)
        )

    def fill(
        self,
        room: Sequence[Rgb],
        first: int,
        patches: Sequence[Rgb],
        step: int,
        places: Sequence[int],
    ) -> None:
        """Draws the crops of patches.

        Args:
            room: From `empty`.
            first: Index in the room of the first patch.
            patches: (patch_px, patch_px, 3) each.
            step: Number of the step.
            places: Position of each patch in the step's whole batch.
        """
        kinds = self.plans(step, places)
        for crops, plans in zip(room, kinds, strict=True):
            for number, patch in enumerate(patches):
                for crop in range(len(crops)):
                    plans.draw(number * len(crops) + crop, patch, crops[crop, first + number])

    def plans(self, step: int, places: Sequence[int]) -> tuple[CropPlans, ...]:
        """What happens to the crops of patches, large and small; patch by patch."""
        total = sum(self.counts)
        uniforms = np.empty((len(places), total, _UNIFORMS))
        normals = np.empty((len(places), total, _NORMALS))
        for number, place in enumerate(places):
            rng = generator(self.seed, Purpose.CROPS, step, place)
            uniforms[number] = rng.random((total, _UNIFORMS))
            normals[number] = rng.standard_normal((total, _NORMALS))
        large = self.counts[0]
        kinds = [self._plans(uniforms[:, :large], normals[:, :large], is_large=True)]
        if total > large:
            kinds.append(self._plans(uniforms[:, large:], normals[:, large:], is_large=False))
        return tuple(kinds)

    def batch(self, room: Sequence[Rgb], size: int) -> CropBatch:
        """The room's crops as a batch, crop after crop."""
        return CropBatch(
            views=tuple(
                PixelViews(
                    torch.from_numpy(
                        crops.reshape(crops.shape[0] * crops.shape[1], *crops.shape[2:])
                    ),
                    self.mean,
                    self.std,
                )
                for crops in room
            ),
            counts=self.counts,
            size=size,
        )

    def _plans(self, uniforms: Numbers, normals: Numbers, *, is_large: bool) -> CropPlans:
        """Plans from (patches, crops, …) random numbers."""
        changes, crops = self.changes, self.crops
        blur, solarize = self._by_crop(uniforms.shape[1], len(uniforms), is_large=is_large)
        u, normal = uniforms.reshape(-1, _UNIFORMS), normals.reshape(-1, _NORMALS)

        def factor(column: int, most: float) -> Numbers:
            return 1 + most * (2 * u[:, column] - 1)

        jitters = u[:, _JITTER] < changes.jitter_probability
        grey = u[:, _GREY] < changes.grey_probability
        colour = jitter_matrices(
            np.where(jitters, factor(_BRIGHT, changes.brightness), 1),
            np.where(jitters, factor(_CONTRAST, changes.contrast), 1),
            np.where(jitters, factor(_SATURATION, changes.saturation), 1) * ~grey,
            np.where(jitters, factor(_HUE, changes.hue) - 1, 0),
        )
        sd = changes.stain_jitter
        low, high = BLUR_SIGMA_PX
        return CropPlans(
            place=place_crops(
                u[:, :UNIFORMS],
                self.patch_px,
                crops.global_scale if is_large else crops.local_scale,
                crops.aspect,
            ),
            mirrored=u[:, _MIRROR] < changes.flip,
            quarters=(u[:, _TURN] * 4).astype(np.int64) * changes.turns,
            stained=(u[:, _STAIN] < changes.stain_probability) & (sd > 0),
            stain=stain_maps(1 + sd * normal[:, :2], sd * normal[:, 2:]),
            coloured=jitters | grey,
            colour=colour,
            sigma_px=np.where(u[:, _BLUR] < blur, low + (high - low) * u[:, _SIGMA], 0),
            solarized=u[:, _SOLAR] < solarize,
        )

    def _by_crop(self, crops: int, patches: int, *, is_large: bool) -> tuple[Numbers, Numbers]:
        """Probabilities of blur and inversion of each crop of each patch, flat."""
        first, other, small = self.changes.blur_probability
        blur = np.full(crops, other if is_large else small)
        solarize = np.full(crops, self.changes.solarize_probability if is_large else 0.0)
        if is_large:
            blur[0], solarize[0] = first, 0.0
        return np.tile(blur, patches), np.tile(solarize, patches)
