"""Measures the demonstration model on the held-out slides, beside three dumb models.

    python examples/demo_model/5_measure.py /tmp/demo-model

Every held-out slide was drawn and embedded twice, without and with the label dot on the glass.
A condition says which slides bear the dot: none, half of them whatever their grade, as in the
confounded part of the training slides (phi 0.9), or the other way round (phi -0.9). Writes
`predictions.csv` and `measured.json`, from which 6_write_card.py writes the card.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hvit_cli.demo.cohort import Confounder
from hvit_cli.demo.scanner import UNSEEN_SCANNER
from hvit_cli.settings import EmbeddingSettings
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.choose import ModelRequest, choose_model
from hvit_cli.steps.grade import Grader
from hvit_cli.storage.features import SlideFeatures, read_features
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.metrics import grade_of, quadratic_kappa

CONDITIONS = {
    "no dot on any slide": None,
    "dot on half of the slides, unrelated to the grade": 0.0,
    "dot goes with the grade as in training (phi 0.9)": 0.9,
    "dot goes against the grade (phi -0.9)": -0.9,
}
ATTENTIONS = ("masked", "plain")
DUMB = ("glass only", "tissue area only", "mean colour only")
RESAMPLES, SEED = 2000, 41

Row = dict[str, str]
Numbers = npt.NDArray[np.float64]


def main() -> None:
    """Grades the held-out slides and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that 4_train_aggregators.py filled")
    out = parser.parse_args().out
    rows = read_table(out / "held_plain.csv")
    scores = {
        (name, variant): values
        for variant in ("held_plain", "held_dot")
        for name, values in {**graded(out, variant), **dumb_scores(out, variant)}.items()
    }
    write_predictions(out, rows, scores)
    labels = np.array([int(row["isup_grade"]) for row in rows])
    unseen = np.array([row["scanner"] == UNSEEN_SCANNER for row in rows])
    measured: dict[str, Any] = {
        "slides": len(rows),
        "unseen_scanner_slides": int(unseen.sum()),
        "train_slides": len(read_table(out / "train.csv")),
        "tune_slides": len(read_table(out / "tune.csv")),
        "train_dots": dots_by_grade(out),
        "mask_changes": mask_changes(out, rows, scores),
        "plain_change_by_dot": float(
            np.mean(scores["plain", "held_dot"] - scores["plain", "held_plain"])
        ),
        "conditions": {},
    }
    for condition, correlation in CONDITIONS.items():
        dotted = bearing_dot(labels, correlation)
        grades = {
            name: grade_of(np.where(dotted, scores[name, "held_dot"], scores[name, "held_plain"]))
            for name in (*ATTENTIONS, *DUMB)
        }
        measured["conditions"][condition] = {
            "dots": int(dotted.sum()),
            **{name: with_interval(labels, grade) for name, grade in grades.items()},
            "masked minus plain": difference(labels, grades["masked"], grades["plain"]),
        }
        if correlation is None:
            measured["scanners"] = {
                f"{name}, {which}": with_interval(labels[part], grades[name][part])
                for name in ATTENTIONS
                for which, part in (("known scanners", ~unseen), ("unseen scanner", unseen))
            }
            measured["confusion_masked"] = confusion(labels, grades["masked"])
    text = json.dumps(measured, indent=2)
    (out / "measured.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def read_table(path: Path) -> list[Row]:
    """The rows of a cohort's table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def features_of(out: Path, work: str, slide_id: str) -> SlideFeatures:
    """The features of one slide, from the only features folder of a work folder."""
    (folder,) = (out / "work" / work / "features").iterdir()
    return read_features(folder / f"{slide_id}.h5")


def graded(out: Path, variant: str) -> dict[str, Numbers]:
    """The score of every held-out slide by both members of the packed model."""
    scores = {}
    for attention in ATTENTIONS:
        request = ModelRequest(model=str(out / "model"), attention=attention)
        work = WorkFolder(out / "work" / variant)
        grader = Grader(choose_model(request, work, slides=2), EmbeddingSettings(device="cpu"))
        scores[attention] = np.array(
            [
                grader.grade(features_of(out, variant, row["slide_id"])).score
                for row in read_table(out / f"{variant}.csv")
            ]
        )
    return scores


def dumb_scores(out: Path, variant: str) -> dict[str, Numbers]:
    """Ridge regression on what needs no look at the tissue's architecture."""
    train = read_table(out / "train.csv")
    held = read_table(out / f"{variant}.csv")
    labels = [int(row["isup_grade"]) for row in train]
    known = [dumb_numbers(out, "train", "fit", row) for row in train]
    asked = [dumb_numbers(out, variant, variant, row) for row in held]
    scores = {}
    for name in DUMB:
        ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 5, 15)))
        ridge.fit(np.stack([numbers[name] for numbers in known]), labels)
        scores[name] = np.asarray(ridge.predict(np.stack([numbers[name] for numbers in asked])))
    return scores


def dumb_numbers(out: Path, cohort: str, work: str, row: Row) -> dict[str, Numbers]:
    """What each dumb model knows of a slide."""
    slide_id = row["slide_id"]
    features = features_of(out, work, slide_id)
    glass = features.features[features.tissue_fraction == 0].astype(np.float64)
    if not len(glass):
        glass = np.zeros((1, features.features.shape[1]))
    with open_slide(out / "slides" / cohort / f"{slide_id}.tiff") as slide:
        picture, _ = slide.at_spacing(8.0)
    truth = pyvips.Image.new_from_file(str(out / "truth" / cohort / f"{slide_id}_truth.tiff"))
    # The centre of each picture pixel, in the truth.
    at = [
        ((np.arange(n) + 0.5) * m / n).astype(int)
        for n, m in zip(picture.shape[:2], (truth.height, truth.width), strict=True)
    ]
    tissue = truth.numpy()[np.ix_(*at)] > 0
    return {
        "glass only": np.concatenate([glass.mean(axis=0), glass.max(axis=0), glass.min(axis=0)]),
        "tissue area only": np.array([features.tissue_mm2, features.n_regions]),
        "mean colour only": picture[tissue].mean(axis=0),
    }


def bearing_dot(labels: npt.NDArray[np.int64], correlation: float | None) -> npt.NDArray[np.bool_]:
    """Which held-out slides bear the dot in a condition."""
    if correlation is None:
        return np.zeros(len(labels), bool)
    return np.array(Confounder(correlation=correlation).dots(labels.tolist(), SEED))


def with_interval(labels: npt.NDArray[np.int64], grades: npt.NDArray[np.int64]) -> list[float]:
    """Kappa, and the 95 % percentile interval over resampled slides."""
    draws = [kappa(labels[draw], grades[draw]) for draw in _resamples(len(labels))]
    low, high = np.percentile(draws, [2.5, 97.5])
    return [kappa(labels, grades), float(low), float(high)]


def difference(
    labels: npt.NDArray[np.int64], one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]
) -> list[float]:
    """Difference of two kappas on the same slides, with its interval."""
    draws = [
        kappa(labels[draw], one[draw]) - kappa(labels[draw], other[draw])
        for draw in _resamples(len(labels))
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return [kappa(labels, one) - kappa(labels, other), float(low), float(high)]


def kappa(labels: npt.NDArray[np.int64], grades: npt.NDArray[np.int64]) -> float:
    """Quadratic weighted kappa; 0 where it is undefined, which says nothing was told apart."""
    found = quadratic_kappa(labels, grades)
    return 0.0 if found is None else found


def _resamples(n: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(SEED).integers(0, n, (RESAMPLES, n))


def confusion(labels: npt.NDArray[np.int64], grades: npt.NDArray[np.int64]) -> list[list[int]]:
    """(6, 6) counts; rows are the true grade."""
    counts = np.zeros((6, 6), int)
    np.add.at(counts, (labels, grades), 1)
    return [[int(n) for n in row] for row in counts]


def mask_changes(
    out: Path, rows: list[Row], scores: dict[tuple[str, str], Numbers]
) -> dict[str, float]:
    """What the dot does to masked scores, and whether the tissue mask stayed the same.

    Segmentation sets its threshold from the whole slide, so ink far from the tissue can move
    the border of the mask a little; with the same mask no score may change at all.
    """
    change = np.abs(scores["masked", "held_dot"] - scores["masked", "held_plain"])
    same, moved_mm2 = [], []
    for row in rows:
        bare, dotted = (
            features_of(out, work, row["slide_id"]) for work in ("held_plain", "held_dot")
        )
        same.append(np.array_equal(bare.tissue_fraction, dotted.tissue_fraction))
        moved_mm2.append(abs(bare.tissue_mm2 - dotted.tissue_mm2))
    kept = np.array(same)
    return {
        "slides_with_same_mask": int(kept.sum()),
        "largest_change_with_same_mask": float(change[kept].max()),
        "scores_changed_with_other_mask": int((change[~kept] > 0.01).sum()),
        "largest_change_with_other_mask": float(change[~kept].max(initial=0.0)),
        "largest_mask_change_mm2": float(max(moved_mm2)),
    }


def dots_by_grade(out: Path) -> dict[str, float]:
    """Share of training slides with the dot, low (0-2) and high (3-5) grades."""
    rows = read_table(out / "train.csv")
    high = np.array([int(row["isup_grade"]) >= 3 for row in rows])
    dot = np.array([row["dot"] == "1" for row in rows])
    phi = float(np.corrcoef(high, dot)[0, 1])
    return {"low": float(dot[~high].mean()), "high": float(dot[high].mean()), "phi": phi}


def write_predictions(out: Path, rows: list[Row], scores: dict[tuple[str, str], Numbers]) -> None:
    """A row per held-out slide: label, scanner, and every score."""
    with (out / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = sorted(scores)
        header = [f"{name}, {variant}" for name, variant in names]
        writer.writerow(["slide_id", "isup_grade", "gleason", "scanner", "tumour_share", *header])
        for index, row in enumerate(rows):
            kept = [
                row[key] for key in ("slide_id", "isup_grade", "gleason", "scanner", "tumour_share")
            ]
            writer.writerow([*kept, *(f"{scores[name][index]:.4f}" for name in names)])


if __name__ == "__main__":
    main()
