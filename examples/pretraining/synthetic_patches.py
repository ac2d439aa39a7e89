"""Labelled patches from drawn biopsies, whose truth is known pixel by pixel.

    python examples/pretraining/synthetic_patches.py /tmp/demo-model -o synthetic_patches.csv

The folder is the one that `examples/demo_model/1_draw_cohort.py` filled. The bank is cut from
training slides, the query from held-out ones, which were drawn with other seeds and include a
scanner that no training slide has. From every n-th slide at most a few patches of each class
are taken at random places: benign, Gleason 3, 4 and 5. A patch is labelled where one of them
holds at least half of it and no other pattern but benign or glass more than a tenth. Its group
is its slide. The slides are drawings: what is told here says nothing about tissue.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyvips

from hvit_cli.demo.gleason import TISSUE_PATTERNS, Pattern
from hvit_cli.demo.outline import TRUTH_DOWNSAMPLE
from hvit_cli.pretraining.labelled_patches import COLUMNS
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.reader import open_slide
from hvit_cli.storage.tables import write_table

PATCH_PX = 256
LEAST_SHARE, MOST_OTHER = 0.5, 0.1
TRIES = 40
PARTS: dict[Literal["bank", "query"], str] = {"bank": "train", "query": "held_plain"}


def main() -> None:
    """Writes the table and says what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drawn", type=Path, help="the folder of the demonstration model")
    parser.add_argument("-o", "--out", type=Path, default=Path("synthetic_patches.csv"))
    parser.add_argument("--every", type=int, default=2, help="take every n-th slide")
    parser.add_argument("--each", type=int, default=5, help="most patches of a class per slide")
    parser.add_argument("--query", default=PARTS["query"], help="cohort that is told")
    arguments = parser.parse_args()
    parts = {**PARTS, "query": arguments.query}
    rows = [
        {**row, "part": part, "path": os.path.relpath(str(row["path"]), arguments.out.parent)}
        for part, cohort in parts.items()
        for row in rows_of_cohort(arguments.drawn, cohort, arguments.every, arguments.each)
    ]
    write_table(arguments.out, COLUMNS, rows)
    for part in parts:
        chosen = [row for row in rows if row["part"] == part]
        slides = len({row["slide_id"] for row in chosen})
        print(
            part, slides, "slides", dict(sorted(Counter(str(r["label"]) for r in chosen).items()))
        )


def rows_of_cohort(drawn: Path, cohort: str, every: int, each: int) -> Iterator[dict[str, object]]:
    """Labelled patches of every n-th slide of a cohort."""
    with (drawn / f"{cohort}.csv").open(newline="") as file:
        names = [row["slide_id"] for row in csv.DictReader(file)]
    for number, name in list(enumerate(names))[::every]:
        path = drawn / "slides" / cohort / f"{name}.tiff"
        truth = pyvips.Image.new_from_file(str(drawn / "truth" / cohort / f"{name}_truth.tiff"))
        with open_slide(path) as slide:
            side = PATCH_PX * slide.plan(ReadingSettings()).level0_per_px
        generator = np.random.default_rng([5, number])
        for (x, y), label in labelled_corners(generator, truth.numpy(), side, each):
            yield {"slide_id": name, "path": path, "x_level0": x, "y_level0": y, "label": label}


def labelled_corners(
    generator: np.random.Generator, truth: npt.NDArray[np.uint8], side: float, each: int
) -> Iterator[tuple[tuple[int, int], str]]:
    """Top-left corners in level-0 pixels, and what the patches there show."""
    steps = round(side / TRUTH_DOWNSAMPLE)
    height, width = truth.shape
    for pattern in TISSUE_PATTERNS:
        row, column = np.nonzero(truth == pattern)
        found = 0
        for n in generator.integers(0, max(len(row), 1), TRIES if len(row) else 0):
            y, x = int(row[n]) - steps // 2, int(column[n]) - steps // 2
            if not (0 <= x <= width - steps and 0 <= y <= height - steps):
                continue
            if found < each and is_mostly(truth[y : y + steps, x : x + steps], pattern):
                found += 1
                yield (x * TRUTH_DOWNSAMPLE, y * TRUTH_DOWNSAMPLE), pattern.name.lower()


def is_mostly(truth: npt.NDArray[np.uint8], pattern: Pattern) -> bool:
    """Whether a patch is labelled by a pattern."""
    others = set(TISSUE_PATTERNS) - {pattern, Pattern.BENIGN}
    share = {p: float((truth == p).mean()) for p in TISSUE_PATTERNS}
    return share[pattern] >= LEAST_SHARE and all(share[p] <= MOST_OTHER for p in others)


if __name__ == "__main__":
    main()
