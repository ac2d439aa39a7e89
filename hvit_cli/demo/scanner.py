"""The scanners that the drawn slides pretend to come from."""

from __future__ import annotations

from dataclasses import dataclass

from hvit_cli.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """What one scanner and its laboratory do to a slide, whatever is on it.

    Optical densities are per unit of stain, in the order red, green, blue.
    """

    name: str
    spacing_um: float
    """Micrometres per pixel of level 0."""
    glass_rgb: tuple[int, int, int]
    """Mean colour of empty glass, 0-255."""
    haematoxylin_od: tuple[float, float, float]
    eosin_od: tuple[float, float, float]
    blur_px: float
    """Standard deviation of the optics' blur, in level-0 pixels."""
    noise: float
    """Standard deviation of the sensor's noise, in grey levels."""
    jpeg_quality: int
    """Middle of the range that slides are compressed with (± 5)."""


SCANNERS = {
    scanner.name: scanner
    for scanner in (
        Scanner(
            name="alder",
            spacing_um=0.486,
            glass_rgb=(243, 242, 243),
            haematoxylin_od=(1.30, 1.52, 0.62),
            eosin_od=(0.10, 0.78, 0.30),
            blur_px=0.7,
            noise=1.5,
            jpeg_quality=75,
        ),
        Scanner(
            name="birch",
            spacing_um=0.5032,
            glass_rgb=(236, 234, 230),
            haematoxylin_od=(1.42, 1.36, 0.55),
            eosin_od=(0.08, 0.66, 0.38),
            blur_px=0.9,
            noise=2.2,
            jpeg_quality=80,
        ),
        Scanner(
            name="cedar",
            spacing_um=0.4523,
            glass_rgb=(247, 248, 250),
            haematoxylin_od=(1.12, 1.40, 0.70),
            eosin_od=(0.14, 0.84, 0.34),
            blur_px=0.6,
            noise=1.2,
            jpeg_quality=70,
        ),
        Scanner(
            name="dogwood",
            spacing_um=0.4981,
            glass_rgb=(240, 238, 244),
            haematoxylin_od=(1.22, 1.58, 0.78),
            eosin_od=(0.16, 0.72, 0.26),
            blur_px=0.8,
            noise=1.8,
            jpeg_quality=85,
        ),
    )
}

TRAINING_SCANNERS = ("alder", "birch", "cedar")
UNSEEN_SCANNER = "dogwood"


def scanner_named(name: str) -> Scanner:
    """The scanner of this name.

    Raises:
        SettingsError: There is none.
    """
    if name not in SCANNERS:
        raise SettingsError("no such scanner", found=name, wanted=", ".join(SCANNERS))
    return SCANNERS[name]
