"""Labelled patches from the prostate fields of the test data: Gleason 4 against stroma.

    python examples/pretraining/field_patches.py \
        ../shared/data/slides/prostate_gleason_0.5um.tif \
        ../shared/data/masks/prostate_gleason_0.5um_gleason.tif -o field_patches.csv

The slide holds eleven fields of 1201 px in cells of a 4 x 3 grid from (1024, 1024); the twelfth
cell is empty. In the mask 0 is Gleason 3 **or padding**, 1 Gleason 4, 3 benign and 4 stroma.
Gleason 3 cannot be told from padding, of benign tissue there is next to nothing, and so the
contrast that can be used is Gleason 4 against stroma. Patches of 256 px (128 µm, what an
encoder is given) are cut every 128 px within each field, none across two; a patch is labelled
where one of the two classes holds at least 60 % of it, and left out otherwise. Its group is its
field: overlapping patches never stand on both sides of a probe.

Slides `biopsy_a` and `biopsy_c` of the test data are made of the same fields: nothing that
learned from them may be probed on this table.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyvips

from hvit_cli.storage.tables import write_table

ORIGIN_PX, CELL_PX, COLUMNS, FIELDS = 1024, 1201, 4, 11
LABELS = {1: "gleason4", 4: "stroma"}
PATCH_PX, STEP_PX = 256, 128


def main() -> None:
    """Writes the table and says what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("field_patches.csv"))
    parser.add_argument("--share", type=float, default=0.6, help="least share of one class")
    arguments = parser.parse_args()
    mask = pyvips.Image.new_from_file(str(arguments.mask)).numpy()
    rows = list(labelled_rows(mask, arguments.share))
    path = os.path.relpath(arguments.slide, arguments.out.parent)
    columns = ("slide_id", "path", "x_level0", "y_level0", "label", "group")
    write_table(
        arguments.out,
        columns,
        ({**row, "slide_id": arguments.slide.stem, "path": path} for row in rows),
    )
    count = Counter((str(row["group"]), str(row["label"])) for row in rows)
    for field in range(FIELDS):
        print(f"field {field:2d}", {name: count[str(field), name] for name in LABELS.values()})
    print("all     ", dict(Counter(str(row["label"]) for row in rows)))


def labelled_rows(mask: npt.NDArray[np.uint8], share: float) -> Iterator[dict[str, object]]:
    """Corners, labels and fields of the patches of which one class holds enough."""
    inside = range(0, CELL_PX - PATCH_PX + 1, STEP_PX)
    for field in range(FIELDS):
        row, column = divmod(field, COLUMNS)
        for y in (ORIGIN_PX + row * CELL_PX + step for step in inside):
            for x in (ORIGIN_PX + column * CELL_PX + step for step in inside):
                patch = mask[y : y + PATCH_PX, x : x + PATCH_PX]
                for value, label in LABELS.items():
                    if (patch == value).mean() >= share:
                        yield {"x_level0": x, "y_level0": y, "label": label, "group": field}


if __name__ == "__main__":
    main()
