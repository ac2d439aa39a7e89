"""Draws a small folder of PANDA's form, so that the sequence can be tried without PANDA.

    python examples/panda/draw_small.py small --slides 36

Drawn biopsies at PANDA's three spacings: 0.486 µm per pixel stands for Radboud, 0.5032 and
0.4523 for Karolinska. Label masks are the drawings' truth; every twelfth slide has none. What
comes out of it says that the commands work, and nothing about tissue.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from hvit_cli.demo.biopsy import draw_biopsy
from hvit_cli.demo.cohort import CohortPlan, plan_cohort
from hvit_cli.demo.scanner import SCANNERS
from hvit_cli.demo.slide import write_biopsy

_RADBOUD_UM = 0.486


def draw_small(out: Path, slides: int, seed: int = 31) -> Path:
    """Draws the slides and their masks, and writes `train.csv`; returns its path."""
    rows = []
    for number, (plan, grade) in enumerate(
        plan_cohort(CohortPlan(name="drawn", slides=slides, seed=seed))
    ):
        mask = out / "train_label_masks" / f"{plan.slide_id}_mask.tiff"
        for folder in (out / "train_images", mask.parent):
            folder.mkdir(parents=True, exist_ok=True)
        image = out / "train_images" / f"{plan.slide_id}.tiff"
        slide = write_biopsy(draw_biopsy(plan), image, mask)
        if number % 12 == 11:
            mask.unlink()
        is_radboud = SCANNERS[plan.scanner].spacing_um == _RADBOUD_UM
        none = "negative" if is_radboud else "0+0"
        rows.append(
            {
                "image_id": plan.slide_id,
                "data_provider": "radboud" if is_radboud else "karolinska",
                "isup_grade": grade,
                "gleason_score": none if slide.gleason == "benign" else slide.gleason,
            }
        )
    table = out / "train.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return table


def main() -> None:
    """Draws what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--slides", type=int, default=36)
    parser.add_argument("--seed", type=int, default=31)
    asked = parser.parse_args()
    print(draw_small(asked.out, asked.slides, asked.seed))


if __name__ == "__main__":
    main()
