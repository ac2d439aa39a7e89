"""Estimates hours and gigabytes of a run from what `hvit tile` found, at measured rates.

    python examples/panda/estimate.py hvit-out/status.csv --slides 10616

Tiling is quick: tile a few dozen slides first. Rates are those of two processor cores, see the
README beside this file; `--patches-per-second` replaces the encoder's by your own.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

PATCHES_PER_SECOND = 11.8
READ_MPX_PER_SECOND = 190.0
TRAIN_SECONDS_PER_REGION = {False: 0.013, True: 0.0164}  # masked, plain
WIDTH = 384
_PATCHES_PER_REGION = 64
_REGION_MPX = 2048**2 / 1e6
# float16 features, and coords, region, slot and tissue fraction of each row.
_BYTES_PER_ROW_BESIDE = 2 * 8 + 8 + 8 + 4


@dataclass(frozen=True)
class Cohort:
    """What a cohort amounts to.

    Attributes:
        slides: Slides.
        regions: Mean regions of a slide.
        patches: Mean patches with tissue of a slide.
    """

    slides: int
    regions: float
    patches: float


@dataclass(frozen=True)
class Estimate:
    """What embedding and training a cohort takes.

    Attributes:
        patches: Patches that are embedded.
        read_hours: Reading and decoding, one thread.
        embed_hours: The patch encoder.
        gigabytes: Feature files.
        epoch_hours: One epoch of one fold on one core: four folds train, one tunes.
    """

    patches: float
    read_hours: float
    embed_hours: float
    gigabytes: float
    epoch_hours: float


def cohort_of(status: Path, slides: int | None) -> Cohort:
    """Means over the tiled slides of a `status.csv`, scaled to a number of slides."""
    with status.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "tile"]
    if not rows:
        raise SystemExit(f"{status} holds no slide that was tiled: run hvit tile first")
    # A slide without a region costs nothing further and still counts.
    return Cohort(
        slides=slides or len(rows),
        regions=sum(int(row["n_regions"] or 0) for row in rows) / len(rows),
        patches=sum(int(row["n_patches"] or 0) for row in rows) / len(rows),
    )


def estimate(
    cohort: Cohort,
    *,
    plain: bool,
    patches_per_second: float = PATCHES_PER_SECOND,
    width: int = WIDTH,
) -> Estimate:
    """Time and disk of one embedding, and of one epoch on it."""
    patches = cohort.slides * (cohort.regions * _PATCHES_PER_REGION if plain else cohort.patches)
    pixels = patches / _PATCHES_PER_REGION * _REGION_MPX
    return Estimate(
        patches=patches,
        read_hours=pixels / READ_MPX_PER_SECOND / 3600,
        embed_hours=patches / patches_per_second / 3600,
        gigabytes=patches * (2 * width + _BYTES_PER_ROW_BESIDE) / 1e9,
        epoch_hours=_region_passes(cohort) * TRAIN_SECONDS_PER_REGION[plain] / 3600,
    )


def _region_passes(cohort: Cohort) -> float:
    """Regions of an epoch: four fifths learn, one fifth is only looked at, a third of the work."""
    return cohort.slides * cohort.regions * (0.8 + 0.2 / 3)


def main() -> None:
    """Prints the estimate for masked and for plain."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("status", type=Path, help="status.csv of a work folder")
    parser.add_argument("--slides", type=int, help="slides of the whole cohort")
    parser.add_argument("--patches-per-second", type=float, default=PATCHES_PER_SECOND)
    parser.add_argument("--width", type=int, default=WIDTH, help="numbers per patch")
    asked = parser.parse_args()
    cohort = cohort_of(asked.status, asked.slides)
    print(
        f"{cohort.slides} slides, {cohort.regions:.1f} regions and {cohort.patches:.0f} patches "
        "with tissue each"
    )
    for plain in (False, True):
        found = estimate(
            cohort, plain=plain, patches_per_second=asked.patches_per_second, width=asked.width
        )
        print(
            f"{'plain' if plain else 'masked':6} {found.patches / 1e6:.2f} M patches: "
            f"read {found.read_hours:.1f} h, embed {found.embed_hours:.0f} h, "
            f"features {found.gigabytes:.1f} GB, an epoch {found.epoch_hours:.2f} h"
        )


if __name__ == "__main__":
    main()
