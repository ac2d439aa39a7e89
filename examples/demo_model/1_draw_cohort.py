"""Draws the cohorts of the demonstration model: training, tuning and held-out slides.

    python examples/demo_model/1_draw_cohort.py /tmp/demo-model --jobs 2

Writes, for each cohort, `slides/<cohort>/*.tiff`, `truth/<cohort>/*_truth.tiff` and
`<cohort>.csv` (slide_id, isup_grade, gleason, scanner, tumour share, dot, areas). The grade is
computed from the pixels of the truth, and must be the one that was planned.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2

from hvit_cli.demo.biopsy import BiopsyPlan, draw_biopsy
from hvit_cli.demo.cohort import CohortPlan, Confounder, plan_cohort
from hvit_cli.demo.scanner import TRAINING_SCANNERS, UNSEEN_SCANNER
from hvit_cli.demo.slide import write_biopsy

# In 60 % of the slides that the model learns from, the dot goes with the grade (phi 0.9).
CONFOUNDED = Confounder(correlation=0.9, share=0.6)

COHORTS = {
    "train": CohortPlan(name="train", slides=270, seed=11, confounder=CONFOUNDED),
    "tune": CohortPlan(name="tune", slides=54, seed=12, confounder=CONFOUNDED),
    # The held-out slides are drawn twice, without and with the dot on every one of them, so
    # that any correlation can be put together from the two.
    "held_plain": CohortPlan(
        name="held", slides=216, seed=13, scanners=(*TRAINING_SCANNERS, UNSEEN_SCANNER)
    ),
    "held_dot": CohortPlan(
        name="held", slides=216, seed=13, scanners=(*TRAINING_SCANNERS, UNSEEN_SCANNER)
    ),
}


def main() -> None:
    """Draws the cohorts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cohorts", nargs="+", default=list(COHORTS), choices=list(COHORTS))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    for name in arguments.cohorts:
        draw_cohort(name, arguments.out, arguments.jobs)


def draw_cohort(name: str, out: Path, jobs: int) -> None:
    """Draws one cohort and writes its table."""
    started = time.perf_counter()
    for folder in ("slides", "truth"):
        (out / folder / name).mkdir(parents=True, exist_ok=True)
    # OpenCV has threads by now, and a forked child would wait for them for ever.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, cv2.setNumThreads, (1,)) as pool:
        rows = list(
            pool.map(
                _draw,
                *zip(*((out, name, plan, grade) for plan, grade in _plans(name)), strict=True),
                chunksize=2,
            )
        )
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    seconds = time.perf_counter() - started
    megapixels = sum(row["width"] * row["height"] for row in rows) / 1e6
    print(f"{name}: {len(rows)} slides, {seconds:.0f} s, {megapixels / seconds:.1f} Mpx/s")


def _plans(name: str) -> list[tuple[BiopsyPlan, int]]:
    plans = list(plan_cohort(COHORTS[name]))
    return (
        [(replace(plan, dot=True), grade) for plan, grade in plans] if name == "held_dot" else plans
    )


def _draw(out: Path, name: str, plan: BiopsyPlan, grade: int) -> dict[str, object]:
    biopsy = draw_biopsy(plan)
    if biopsy.isup != grade:
        raise RuntimeError(f"{plan.slide_id}: planned ISUP {grade}, drew {biopsy.isup}")
    slide = write_biopsy(
        biopsy,
        out / "slides" / name / f"{plan.slide_id}.tiff",
        out / "truth" / name / f"{plan.slide_id}_truth.tiff",
    )
    tissue_mm2 = sum(slide.areas_mm2.values())
    return {
        "slide_id": plan.slide_id,
        "isup_grade": slide.isup,
        "gleason": slide.gleason,
        "scanner": plan.scanner,
        "tumour_share": round(plan.tumour_share, 4),
        "dot": int(plan.dot),
        "dot_x": "" if biopsy.dot_xy_level0 is None else biopsy.dot_xy_level0[0],
        "dot_y": "" if biopsy.dot_xy_level0 is None else biopsy.dot_xy_level0[1],
        "cores": plan.cores,
        "folds": plan.folds,
        "pen": plan.pen or "",
        "tissue_mm2": round(tissue_mm2, 4),
        "nuclei": biopsy.nuclei,
        "width": slide.size_level0[0],
        "height": slide.size_level0[1],
        **{f"area_{p}_mm2": round(a, 5) for p, a in slide.areas_mm2.items()},
    }


if __name__ == "__main__":
    main()
