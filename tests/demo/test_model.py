from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvit_cli.demo.biopsy import draw_biopsy
from hvit_cli.demo.cohort import CohortPlan, plan_cohort
from hvit_cli.demo.model import DEMO_NOTE, demo_model_folder
from hvit_cli.demo.scanner import UNSEEN_SCANNER
from hvit_cli.demo.slide import write_biopsy
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, TissueSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.steps.choose import ModelRequest, choose_model, reading_of
from hvit_cli.steps.encoder import model_embedder
from hvit_cli.steps.grade import Grader
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.models import read_model
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.metrics import quadratic_kappa

EMBEDDING = EmbeddingSettings(attention="plain", device="cpu")


def test_the_bundled_model_is_whole_small_and_says_what_it_is() -> None:
    model = read_model(demo_model_folder())
    assert model.attentions == ("masked", "plain")
    assert model.note == model.watermark == DEMO_NOTE
    size = sum(file.stat().st_size for file in demo_model_folder().iterdir())
    assert size <= 12e6


def features_of(path: Path, work: WorkFolder) -> SlideFeatures:
    """Features of all patches, by the bundled encoder."""
    chosen = choose_model(ModelRequest(model="demo", attention="plain"), work, slides=1)
    preparer = SlidePreparer(
        work=work,
        reading=reading_of(chosen, ReadingSettings()),
        tissue=TissueSettings(),
        tiling=chosen.folder.tiling,
        embedder=model_embedder(chosen, EMBEDDING),
    )
    features = preparer.features(SlideEntry(slide_id=path.stem, path=path)).features
    assert features is not None
    return features


def grader(attention: str, work: WorkFolder) -> Grader:
    request = ModelRequest(model="demo", attention=attention)  # type: ignore[arg-type]
    return Grader(choose_model(request, work, slides=1), EMBEDDING)


@pytest.mark.slow
def test_masked_scores_do_not_know_of_the_dot_and_plain_ones_do(tmp_path: Path) -> None:
    plan = next(plan for plan, grade in plan_cohort(CohortPlan(name="dot", slides=6, seed=99)))
    scores: dict[str, list[float]] = {"masked": [], "plain": []}
    for dot in (False, True):
        path = tmp_path / f"dot_{dot}.tiff"
        write_biopsy(draw_biopsy(replace(plan, dot=dot)), path, tmp_path / f"truth_{dot}.tiff")
        work = WorkFolder(tmp_path / "work")
        features = features_of(path, work)
        for attention, found in scores.items():
            found.append(grader(attention, work).grade(features).score)
    assert scores["masked"][0] == pytest.approx(scores["masked"][1], abs=1e-3)
    assert abs(scores["plain"][0] - scores["plain"][1]) > 0.05


@pytest.mark.slow
def test_the_bundled_model_grades_new_drawings_of_an_unseen_scanner(tmp_path: Path) -> None:
    cohort = CohortPlan(name="new", slides=24, seed=77, scanners=(UNSEEN_SCANNER,))
    work = WorkFolder(tmp_path / "work")
    grade = grader("masked", work)
    labels, grades = [], []
    for plan, label in plan_cohort(cohort):
        path = tmp_path / f"{plan.slide_id}.tiff"
        write_biopsy(draw_biopsy(plan), path, tmp_path / "truth.tiff")
        labels.append(label)
        grades.append(grade.grade(features_of(path, work)).grade)
    kappa = quadratic_kappa(labels, grades)
    # Two standard errors below what the card says of as few slides.
    assert kappa is not None
    assert kappa > 0.6
