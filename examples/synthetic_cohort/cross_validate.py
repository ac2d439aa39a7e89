"""The paper's protocol on drawn biopsies: five folds, three seeds, both kinds of attention.

    python examples/synthetic_cohort/cross_validate.py /tmp/demo-model /tmp/cross-validation

The first folder is the one that `examples/demo_model/1_draw_cohort.py` to `3_embed_cohorts.py`
filled. Its training and tuning slides (324) are divided into folds anew; its held-out slides
(216, without label dots) test. Every step is a command of hvit, printed before it runs, and
running this again goes on where it was stopped. The slides are drawings: these numbers say
that the protocol works, and nothing about tissue.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

FITTED, HELD = ("train", "tune"), "held_plain"


def main() -> None:
    """Gathers features and labels, and runs the commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drawn", type=Path, help="the folder of the demonstration model")
    parser.add_argument("out", type=Path, help="where everything goes")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--width", type=int, default=96, help="of both Transformers")
    parser.add_argument("--depth", type=int, default=2, help="blocks of the region Transformer")
    parser.add_argument("--only-fold", type=int, nargs="+", help="train these folds alone")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    gather_features(arguments.drawn, out / "features")
    write_labels(arguments.drawn, out)
    started = time.perf_counter()
    hvit(
        "split", out / "labels.csv", "--folds", arguments.folds, "--test", out / "test.csv",
        "-o", out / "folds.csv",
    )  # fmt: skip
    width = arguments.width
    chosen = ["--fold", *arguments.only_fold] if arguments.only_fold else []
    hvit(
        "train", out / "features", out / "labels.csv", "--folds", out / "folds.csv", *chosen,
        "--attention", "masked", "plain", "--seeds", arguments.seeds, "-o", out / "model",
        "--encoder", arguments.drawn / "encoder",
        "--region-dim", width, "--region-heads", width // 32, "--region-depth", arguments.depth,
        "--slide-dim", width, "--slide-heads", width // 32,
        "--epochs", arguments.epochs, "--patience", arguments.patience,
        "--learning-rate", 5e-4, "--step-epochs", 15, "--batch-slides", 16, "--mean-label-bias",
    )  # fmt: skip
    predictions = out / "model" / "predictions"
    for attention in ("masked", "plain"):
        hvit("evaluate", predictions / f"{attention}-ensemble.csv", out / "test.csv")
    hvit(
        "compare", predictions / "masked.csv", predictions / "plain.csv", out / "test.csv",
        "--margin", 0.02,
    )  # fmt: skip
    print(f"{(time.perf_counter() - started) / 60:.1f} min")


def gather_features(drawn: Path, folder: Path) -> None:
    """Links the features of training, tuning and held-out slides into one folder."""
    folder.mkdir(exist_ok=True)
    for work in ("fit", HELD):
        for file in sorted(drawn.glob(f"work/{work}/features/*/*.h5")):
            link = folder / file.name
            if not link.exists():
                link.symlink_to(file.resolve())


def write_labels(drawn: Path, out: Path) -> None:
    """Writes `labels.csv` of all slides and `test.csv` of the held-out ones."""
    rows = {name: _rows(drawn / f"{name}.csv") for name in (*FITTED, HELD)}
    _write(out / "labels.csv", [row for name in rows for row in rows[name]])
    _write(out / "test.csv", rows[HELD])


def hvit(*arguments: object) -> None:
    """Prints a command and runs it; stops where it fails."""
    words = ["hvit", *map(str, arguments)]
    print("\n$ " + shlex.join(words), flush=True)
    # Threads that wait politely: on a busy machine they are several times as fast.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    subprocess.run([sys.executable, "-m", "hvit_cli", *words[1:]], check=True, env=environment)


def _rows(table: Path) -> list[tuple[str, str]]:
    with table.open(newline="") as file:
        return [(row["slide_id"], row["isup_grade"]) for row in csv.DictReader(file)]


def _write(table: Path, rows: list[tuple[str, str]]) -> None:
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("slide_id", "label"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
