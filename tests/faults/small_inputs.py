"""Small inputs for every command: drawn slides, a random model, made-up features with labels."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

_TESTS = Path(__file__).resolve().parents[1]
SLIDES = 5
TILING = ("--region", "1024", "--patch", "128")
_TINY_AGGREGATOR = (
    *("--region-dim", "16", "--region-depth", "1", "--region-heads", "2"),
    *("--slide-dim", "16", "--slide-depth", "1", "--slide-heads", "2"),
)
_TINY_PRETRAINING = (
    *("--global-px", "64", "--local-px", "32", "--local-crops", "2", "--width", "32"),
    *("--depth", "2", "--heads", "2", "--out-dim", "64", "--head-hidden", "32"),
    *("--head-bottleneck", "16", "--epochs", "3", "--warmup-epochs", "1", "--batch", "16"),
    *("--save-steps", "4", "--precision", "float32", "--threads", "1", "--device", "cpu"),
)


@dataclass(frozen=True)
class Inputs:
    """Where they lie."""

    slides: Path
    model: Path
    features: Path
    labels: Path

    def command(self, name: str, out: Path, jobs: int = 1) -> Sequence[str]:
        """The arguments of `hvit` that make everything of one command below `out`."""
        spread = ("--jobs", str(jobs))
        if name in ("segment", "tile"):
            cut = TILING if name == "tile" else ()
            return (name, str(self.slides), "-w", str(out), *cut, *spread)
        if name in ("embed", "predict"):
            model = ("--model", str(self.model), "--device", "cpu", "--batch-size", "16")
            return (name, str(self.slides), "-w", str(out), *model, *spread)
        if name in ("measure", "stress"):
            few = (
                ("--map", "attention", "--steps", "0")
                if name == "measure"
                else ("--glass", "white")
            )
            model = ("--model", str(self.model), "--device", "cpu", "--batch-size", "16")
            place = ("-w", str(out), "-o", str(out / name), "--draws", "20")
            return (name, str(self.slides), *place, *model, *few, *spread)
        if name == "train":
            return (
                *("train", str(self.features), str(self.labels), "-w", str(out)),
                *("-o", str(out / "models" / "toy"), *_TINY_AGGREGATOR, "--device", "cpu"),
                *("--epochs", "8", "--batch-slides", "8", "--tune-fraction", "0.25"),
            )
        if name == "pretrain":
            return (
                *("pretrain", str(self.slides), "-w", str(out), "-o", str(out / "encoder")),
                *("--cache", str(out / "cache"), *TILING, *_TINY_PRETRAINING),
            )
        raise ValueError(name)


def draw_inputs(folder: Path, slides: int = SLIDES) -> Inputs:
    """Draws and writes all inputs."""
    pipelines = runpy.run_path(str(_TESTS / "pipelines" / "conftest.py"))
    training = runpy.run_path(str(_TESTS / "training" / "cohort_on_disk.py"))
    (folder / "slides").mkdir(parents=True)
    for number in range(slides):
        pipelines["write_tiff"](_slide(number), folder / "slides" / f"drawn{number}.tiff")
    model = pipelines["write_model_folder"](folder / "model", ("masked",))
    labels = training["write_cohort"](folder / "features", 24)
    rows = "".join(f"{slide},{grade}\n" for slide, grade in labels.items())
    (folder / "labels.csv").write_text("slide_id,isup_grade\n" + rows)
    return Inputs(folder / "slides", model, folder / "features", folder / "labels.csv")


def _slide(number: int) -> np.ndarray:
    """A core on glass, (1200, 1800, 3); its place and colours follow from the number."""
    rng = np.random.default_rng(number)
    picture = rng.integers(240, 247, (1200, 1800, 3), dtype=np.uint8)
    core = np.zeros(picture.shape[:2], np.uint8)
    centre = (700 + 90 * number, 400 + 60 * number)
    cv2.ellipse(core, centre, (480, 120 + 30 * number), 8, 0, 360, 1, -1)
    stain = np.array([205, 120, 180]) + rng.integers(-30, 30, picture.shape)
    picture[core == 1] = stain[core == 1].astype(np.uint8)
    return picture
