"""Real biopsies get one grade in float32 and in bfloat16, from features that agree."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openslide  # noqa: F401 - before torch
import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.storage.features import read_features


def graded(slide: Path, work: Path, precision: str) -> tuple[npt.NDArray[np.float32], str]:
    """Features of the tissue patches, and the grade."""
    arguments = ["predict", slide, "--model", "demo", "--precision", precision, "-w", work]
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, ended.output
    (file,) = work.glob("features/*/*.h5")
    with (work / "predictions.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    features = read_features(file)
    assert features.precision == precision
    return features.features.astype(np.float32), row["grade"]


@pytest.mark.parametrize(
    "name",
    [
        "biopsy_b.tiff",
        pytest.param("biopsy_a.tiff", marks=pytest.mark.slow),
        pytest.param("biopsy_c.tiff", marks=pytest.mark.slow),
    ],
)
def test_a_real_biopsy_has_the_same_grade_in_bfloat16(
    data: Path, tmp_path: Path, name: str
) -> None:
    found = {
        precision: graded(data / "slides" / name, tmp_path / precision, precision)
        for precision in ("float32", "bfloat16")
    }
    (exact, grade), (rough, other) = found.values()
    assert exact.shape == rough.shape
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rough, axis=1)
    assert ((exact * rough).sum(1) / norms).min() > 0.999
    assert np.abs(exact - rough).max() > 0
    assert grade == other
