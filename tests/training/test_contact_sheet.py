from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.contact_sheet import worst_slides, write_contact_sheet
from hvit_cli.training.measures import Graded

SLIDES = Graded(
    slide_ids=["a", "b", "c", "d"],
    label=np.array([0, 5, 2, 3]),
    grade=np.array([1, 2, 2, 0]),
    score=np.array([0.6, 2.4, 2.0, 0.1]),
)


def test_the_largest_errors_come_first_and_the_right_ones_not_at_all(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    assert [s.slide_id for s in worst_slides(SLIDES, 10, work)] == ["d", "b", "a"]
    assert [s.slide_id for s in worst_slides(SLIDES, 1, work)] == ["d"]
    unscored = Graded(**{**vars(SLIDES), "score": np.full(4, np.nan)})
    assert [s.slide_id for s in worst_slides(unscored, 10, work)] == ["b", "d", "a"]


def test_heatmaps_are_preferred_to_overviews_and_damage_is_no_picture(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    for path, colour in (
        (work.heatmap("d"), (255, 0, 0)),
        (work.qc_picture("d"), (0, 0, 255)),
        (work.qc_picture("b"), (0, 0, 255)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (400, 400), colour).save(path)
    work.heatmap("a").write_bytes(b"no picture")
    sheet = tmp_path / "sheet.png"
    assert write_contact_sheet(worst_slides(SLIDES, 3, work), sheet) == ["a"]
    pixels = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1:].max(-1) < 60)
    blue = (pixels[..., 2] > 200) & (pixels[..., :2].max(-1) < 60)
    # The worst slide is the first from the left.
    assert 50_000 < red.sum() < 120_000
    assert np.nonzero(red)[1].max() < np.nonzero(blue)[1].min()
