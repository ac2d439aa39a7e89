"""`hvit stress`: only glass changes, masked scores do not move, plain ones are what is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit_cli.errors import UsageError
from hvit_cli.measures.stress import StressRow
from hvit_cli.pipelines.stress import stress, write_stress
from hvit_cli.settings import (
    EmbeddingSettings,
    GlassKind,
    ReadingSettings,
    StressSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.altered import altered
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.steps.embed import read_regions
from hvit_cli.steps.other_glass import Ground, other_glass
from hvit_cli.storage.tables import read_table
from hvit_cli.storage.tiles import read_tiles
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import read_mask

DRAWN: tuple[GlassKind, ...] = ("white", "ink", "dust", "edge")


def run(
    source: Path,
    tmp_path: Path,
    model: Path,
    settings: StressSettings,
    glass_from: Path | None = None,
) -> list[StressRow]:
    records = stress(
        [source],
        work=WorkFolder(tmp_path / "work"),
        settings=settings,
        request=ModelRequest(model=str(model)),
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        embedding=EmbeddingSettings(device="cpu"),
        glass_from=glass_from,
    )
    return [row for record in records for row in record.product or []]


def test_masked_scores_do_not_move_and_plain_ones_do(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    settings = StressSettings(draws=50)
    rows = run(slides / "drawn.tiff", tmp_path, model, settings, glass_from=slides / "bare.tiff")
    # Bare glass has no tissue and so no regions, from whose glass patches could come.
    assert {row.glass for row in rows} == set(DRAWN)
    for row in rows:
        assert row.tissue_changed == 0
        assert 0 < row.glass_changed <= row.glass_patches
        if row.attention == "masked":
            assert row.change == 0
            assert row.grade == row.stressed_grade
        elif row.glass in ("white", "ink"):
            assert row.change != 0
    written = write_stress(tmp_path / "out", rows, settings)
    columns, lines = read_table(written.table)
    assert len(lines) == len(rows)
    assert "change" in columns
    text = written.page.read_text()
    assert "Masked scores did not move at all." in text
    assert "not a medical device" in text


def test_glass_of_another_slide_is_its_pixels(slides: Path, model: Path, tmp_path: Path) -> None:
    (slides / "bare.tiff").unlink()
    (slides / "other.tiff").write_bytes((slides / "drawn.tiff").read_bytes())
    rows = run(slides, tmp_path, model, StressSettings(kinds=("other",), draws=0))
    assert {(row.slide_id, row.attention) for row in rows} == {
        (name, kind) for name in ("drawn", "other") for kind in ("masked", "plain")
    }
    assert all(row.change == 0 for row in rows if row.attention == "masked")
    assert all(row.glass_changed > 0 for row in rows)


def test_edges_change_glass_inside_tissue_patches_and_masked_scores_with_it(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    rows = run(slides / "drawn.tiff", tmp_path, model, StressSettings(kinds=("white",), edges=True))
    assert all(row.tissue_changed > 0 for row in rows)
    assert all(row.change != 0 for row in rows)


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("edges", [False, True])
def test_no_pixel_of_tissue_changes(
    slides: Path, model: Path, tmp_path: Path, kind: GlassKind, edges: bool
) -> None:
    run(slides / "drawn.tiff", tmp_path, model, StressSettings(kinds=("white",)))
    work, path = WorkFolder(tmp_path / "work"), slides / "drawn.tiff"
    tiles, mask = read_tiles(work.tiles("drawn")), read_mask(work.mask("drawn"))[0]
    ground = Ground(tiles=tiles, mask=mask, edges=edges, seed=0, number=0)
    every = np.ones(tiles.regions.tissue_fraction.shape, bool)
    entry = SlideEntry(slide_id="drawn", path=path)
    with (
        open_slide(path) as slide,
        altered(entry, ReadingSettings(), other_glass(kind, ground)) as other,
    ):
        before = np.concatenate(list(read_regions(slide, tiles, every)))
        after = np.concatenate(list(read_regions(other, tiles, every)))
        again = np.concatenate(list(read_regions(other, tiles, every)))
    np.testing.assert_array_equal(after, again)
    fraction = tiles.regions.tissue_fraction.ravel()
    moved = (before != after).any(axis=-1)
    assert moved[fraction == 0].any()
    if not edges:
        assert not moved[fraction > 0].any()
        return
    # A mask pixel counts for the patch that holds its centre, and may reach into the next one.
    share = moved[fraction > 0].mean(axis=(1, 2))
    assert (share <= 1 - fraction[fraction > 0] + 0.1).all()
    if kind == "white":
        assert share.any()


def test_a_single_slide_has_no_other_glass(slides: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no other slide"):
        run(slides / "drawn.tiff", tmp_path, model, StressSettings(kinds=("other",)))


def test_features_cannot_be_stressed(tmp_path: Path, model: Path) -> None:
    (tmp_path / "a.h5").touch()
    with pytest.raises(UsageError, match="slides themselves"):
        run(tmp_path / "a.h5", tmp_path, model, StressSettings())
