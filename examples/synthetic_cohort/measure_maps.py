"""Every measure of every map on drawn biopsies with exact truth: the tables of map-measures.md.

    python examples/synthetic_cohort/measure_maps.py /tmp/demo-model /tmp/map-measures

The first folder is the one that the scripts in `examples/demo_model` filled: drawn slides, their
truth, features of all patches. Trains one more model, plain with four register tokens, as the
demonstration model was trained; then measures both on the 216 held-out slides without label dots,
and stresses some of them. Every step is a command of hvit, printed before it runs. The slides are
drawings: these numbers compare maps, and say nothing about tissue.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Runs the commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drawn", type=Path, help="the folder of the demonstration model")
    parser.add_argument("out", type=Path, help="where everything goes")
    parser.add_argument("--model", default="demo", help="the demonstration model, or its folder")
    parser.add_argument(
        "--encoder", type=Path, help="its encoder; that of the first folder if unset"
    )
    parser.add_argument("--slides", nargs="+", help="measure these slides alone")
    parser.add_argument("--stability", type=int, default=24, help="slides embedded anew")
    arguments = parser.parse_args()
    drawn, out = arguments.drawn, arguments.out
    registers = out / "registers"
    if not (registers / "model.json").exists():
        hvit(
            "train", drawn / "work" / "fit", drawn / "fit.csv", "--tune", drawn / "tune.csv",
            "--label-column", "isup_grade", "--plain", "--registers", 4, "-o", registers,
            "--encoder", arguments.encoder or drawn / "encoder",
            "--region-dim", 96, "--region-depth", 2, "--region-heads", 3,
            "--slide-dim", 96, "--slide-depth", 2, "--slide-heads", 3, "--epochs", 40,
            "--learning-rate", 5e-4, "--step-epochs", 15, "--batch-slides", 16,
            "--mean-label-bias", "--seed", 31,
        )  # fmt: skip
    held = drawn / "slides" / "held_plain"
    slides = [held / f"{name}.tiff" for name in arguments.slides or ()] or [held]
    work = drawn / "work" / "held_plain"
    hvit(
        "measure", *slides, "--model", arguments.model, "--model", registers, "-w", work,
        "--truth", drawn / "truth" / "held_plain", "--truth-pattern", "{slide_id}_truth.tiff",
        "--preset", "hvit-demo", "--precision", "bfloat16", "--stability", arguments.stability,
        "-o", out / "maps",
    )  # fmt: skip
    few = sorted(held.glob("*.tiff"))[: arguments.stability] if not arguments.slides else slides
    for name, edges in (("glass", []), ("edges", ["--edges"])):
        hvit(
            "stress", *few, "--model", arguments.model, "-w", work, "--precision", "bfloat16",
            *edges, "-o", out / name,
        )  # fmt: skip


def hvit(*arguments: object) -> None:
    """Prints a command and runs it; stops where it fails."""
    words = ["hvit", *map(str, arguments)]
    print("\n$ " + shlex.join(words), flush=True)
    # Threads that wait politely: on a busy machine they are several times as fast.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    subprocess.run([sys.executable, "-m", "hvit_cli", *words[1:]], check=True, env=environment)


if __name__ == "__main__":
    main()
