from __future__ import annotations

import itertools
import json
import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from hvit_cli.errors import ModelError, RecipeError, UsageError
from hvit_cli.models.attention import Block
from hvit_cli.models.region_checkpoint import read_region_checkpoint
from hvit_cli.pretraining.region_crops import (
    DRAWS,
    RegionBatch,
    RegionViews,
    crop_sides,
    cut_crops,
    draw_places,
    places_with_tissue,
    take_regions,
)
from hvit_cli.pretraining.region_folder import write_region_folder
from hvit_cli.pretraining.region_grids import read_region_grids
from hvit_cli.pretraining.region_network import (
    RegionBackbone,
    region_backbone,
    region_backbones,
)
from hvit_cli.pretraining.region_source import RegionSource, open_region_source
from hvit_cli.pretraining.views import CropBatch
from hvit_cli.settings import AugmentationSettings, PretrainingSettings
from hvit_cli.storage.features import write_features
from hvit_cli.training.workers import Workers

SMALL = PretrainingSettings(level="region", width=12, depth=2, heads=3, batch=4, seed=5)
STILL = AugmentationSettings(flip=0, turns=False)


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("regions_on_disk.py"))))


@pytest.fixture
def features(made: SimpleNamespace, tmp_path: Path) -> Path:
    folder = tmp_path / "features"
    made.write_slides(folder)
    return folder


def batch_of(tissue: np.ndarray) -> RegionBatch:
    """Regions with this tissue; a patch's features are its region, row and column."""
    present = tissue.reshape(len(tissue), -1)
    row, column = np.divmod(np.arange(tissue[0].size), tissue.shape[2])
    features = np.stack(np.broadcast_arrays(np.arange(len(tissue))[:, None], row, column), -1)
    return RegionBatch(
        features=np.where(present[..., None], features, np.nan).astype(np.float16),
        row=np.broadcast_to(row, present.shape).astype(np.int64),
        column=np.broadcast_to(column, present.shape).astype(np.int64),
        present=present,
        side=tissue.shape[1],
    )


def sparse(regions: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tissue = rng.random((regions, 8, 8)) < 0.03
    tissue[np.arange(regions), rng.integers(8, size=regions), rng.integers(8, size=regions)] = True
    return tissue


def test_crops_have_the_sides_of_the_original() -> None:
    assert crop_sides(8) == (7, 3)  # regions of 2048 px
    assert crop_sides(16) == (14, 6)  # regions of 4096 px
    assert crop_sides(1) == (1, 1)


@pytest.mark.parametrize("side", [7, 3, 1])
@pytest.mark.parametrize("turns", [True, False])
def test_every_crop_holds_exactly_the_tissue_of_its_square(side: int, turns: bool) -> None:
    tissue = sparse(12, seed=side)
    draws = np.random.default_rng(1).random((3, 12, DRAWS))
    views = cut_crops(batch_of(tissue), side, draws, AugmentationSettings(turns=turns))
    assert views.visible.any(1).all()
    assert torch.isfinite(views.features).all()
    for crop in range(len(views)):
        seen = views.visible[crop]
        region, row, column = views.features[crop, seen].T.long().numpy()
        index = views.patch_index[crop, seen].numpy()
        assert (region == crop % 12).all()  # crop-major, in the order of the batch
        assert len(set(index)) == len(index)
        # Some square of the region, laid down in one of eight ways, gives exactly these.
        assert _is_a_laid_square(tissue[crop % 12], side, turns, row, column, index)


def _is_a_laid_square(
    tissue: np.ndarray,
    side: int,
    turns: bool,
    row: np.ndarray,
    column: np.ndarray,
    index: np.ndarray,
) -> bool:
    numbered = np.arange(tissue.size).reshape(tissue.shape)
    wanted = dict(zip(index.tolist(), (row * tissue.shape[1] + column).tolist(), strict=True))
    ways = list(itertools.product((False, True), range(4 if turns else 1)))
    for top, left in itertools.product(range(tissue.shape[0] - side + 1), repeat=2):
        square = slice(top, top + side), slice(left, left + side)
        for mirror, quarters in ways:
            held, number = (
                np.rot90(x[square][:, ::-1] if mirror else x[square], quarters).ravel()
                for x in (tissue, numbered)
            )
            if {int(i): int(number[i]) for i in np.flatnonzero(held)} == wanted:
                return True
    return False


def test_places_are_those_where_rejection_would_accept_and_all_are_equally_likely() -> None:
    tissue = sparse(3, seed=0)
    allowed = places_with_tissue(tissue, 3)
    for region, top, left in itertools.product(range(3), range(6), range(6)):
        held = tissue[region, top : top + 3, left : left + 3].any()
        assert allowed[region, top, left] == held
    # Exactly: equal steps through [0, 1) reach every allowed place equally often, no other.
    for region in range(3):
        count = int(allowed[region].sum())
        draws = (np.arange(7 * count) + 0.5) / (7 * count)
        rows, columns = draw_places(np.repeat(allowed[region : region + 1], 7 * count, 0), draws)
        found = np.zeros((6, 6), int)
        np.add.at(found, (rows, columns), 1)
        assert (found == 7 * allowed[region]).all()


def test_the_eight_ways_to_lay_a_crop_are_equally_likely_by_chi_square() -> None:
    tissue = np.zeros((1, 3, 3), bool)
    tissue[0, 0, 0] = tissue[0, 0, 1] = True  # without any symmetry
    draws = np.random.default_rng(3).random((4000, 1, DRAWS))
    views = cut_crops(batch_of(tissue), 3, draws, AugmentationSettings())
    laid = np.array([p[0] * 9 + p[1] for p in views.patch_index.tolist()])
    counts = np.unique(laid, return_counts=True)[1]
    assert len(counts) == 8
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # 0.999 quantile, 7 degrees of freedom


def test_positions_count_within_the_crop_and_regions_without_tissue_stay_out(
    features: Path,
) -> None:
    grids = read_region_grids(features)
    assert (len(grids), grids.without_tissue, grids.side) == (9, 3, 8)
    assert grids.slides == ("slide0", "slide1", "slide2")
    assert np.isfinite(grids.features).all()  # background was NaN
    batch = take_regions(grids, np.array([8, 0]))
    draws = np.zeros((1, 2, DRAWS))
    draws[..., 0] = 0.999  # the last place
    views = cut_crops(batch, 7, draws, STILL)
    for crop in range(2):
        seen = views.visible[crop]
        row, column = views.features[crop, seen, :2].T.long()
        assert torch.equal(views.patch_index[crop, seen], (row - 1) * 7 + column - 1)


def test_features_beyond_the_memory_lie_in_a_mapped_file_and_are_the_same(features: Path) -> None:
    held, mapped = read_region_grids(features), read_region_grids(features, memory_bytes=10)
    assert isinstance(mapped.features, np.memmap)
    assert not isinstance(held.features, np.memmap)
    np.testing.assert_array_equal(mapped.features, held.features)
    np.testing.assert_array_equal(mapped.patch_index, held.patch_index)


def test_slides_that_cannot_be_used_are_named_and_the_rest_is_learned_from(
    made: SimpleNamespace, features: Path
) -> None:
    (features / "broken.h5").write_bytes(b"no HDF5")
    (features / "renamed.h5").write_bytes((features / "slide0.h5").read_bytes())
    with h5py.File(features / "slide1.h5", "r+") as file:
        file["features"][0, 0] = 3  # its checksum stays
    empty = made.slide_of("empty", np.zeros((2, 8, 8), bool))
    write_features(features / "empty.h5", empty)
    source = open_region_source(features, SMALL)
    assert source.slides == ("slide0", "slide2")
    assert set(source.skipped) == {"broken", "renamed", "slide1", "empty"}
    assert "holds slide0" in source.skipped["renamed"]
    assert source.skipped["empty"] == "no region with tissue"
    some = open_region_source(features, SMALL, slides=["slide0", "slide2", "gone"])
    assert some.skipped == {"gone": "no features"}
    assert len(some) == 6


def test_what_cannot_be_learned_from_is_refused(made: SimpleNamespace, features: Path) -> None:
    with pytest.raises(ModelError, match="no feature file can be used"):
        read_region_grids(features, ["gone"])
    with pytest.raises(UsageError, match="no such folder"):
        read_region_grids(features / "nowhere")
    other = made.slide_of("other", np.ones((1, 8, 8), bool), encoder_hash="b" * 64)
    write_features(features / "other.h5", other)
    with pytest.raises(RecipeError, match=r"made-up \(b{12}\).*made-up \(a{12}\)"):
        read_region_grids(features)


def crops_of(batch: CropBatch) -> list[RegionViews]:
    return [views for views in batch.views if isinstance(views, RegionViews)]


def same(a: CropBatch, b: CropBatch) -> bool:
    return all(
        torch.equal(getattr(x, field), getattr(y, field))
        for x, y in zip(crops_of(a), crops_of(b), strict=True)
        for field in ("features", "patch_index", "visible")
    )


def test_a_step_is_a_function_of_seed_and_number_and_passes_show_every_region(
    features: Path,
) -> None:
    source = open_region_source(features, SMALL)
    first = list(source.batches(range(6)))
    assert all(same(a, b) for a, b in zip(first[3:], source.batches(range(3, 6)), strict=True))
    assert not same(first[0], first[1])
    other = RegionSource(source.grids, PretrainingSettings(level="region", batch=4, seed=6))
    assert not same(first[0], next(other.batches(range(1))))
    seen = np.concatenate([source.regions(step) for step in range(9)])
    for number in range(4):
        assert sorted(seen[9 * number : 9 * number + 9]) == list(range(9))
    batch = first[0]
    assert (batch.counts, batch.size) == ((2, 8), 4)
    assert [(len(v), v.side) for v in crops_of(batch)] == [(8, 7), (32, 3)]


def test_processes_share_the_batch_of_one(features: Path) -> None:
    grids = open_region_source(features, SMALL).grids
    (whole,) = RegionSource(grids, SMALL).batches(range(1))
    for rank in range(2):
        (part,) = RegionSource(grids, SMALL, Workers(rank=rank, count=2)).batches(range(1))
        assert part.size == 2
        for ours, all_of_them in zip(crops_of(part), crops_of(whole), strict=True):
            for crop in range(len(ours)):
                theirs = crop // 2 * 4 + rank + 2 * (crop % 2)
                seen = ours.visible[crop]
                assert torch.equal(
                    ours.features[crop, seen],
                    all_of_them.features[theirs, all_of_them.visible[theirs]],
                )


def _cubic(t: float) -> float:
    a, t = -0.75, abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def _bicubic(grid: np.ndarray, side: int) -> np.ndarray:
    """(7, 7, C) → (side, side, C), half-pixel centres, edges repeated."""
    matrix = np.zeros((side, len(grid)))
    for i in range(side):
        centre = (i + 0.5) * len(grid) / side - 0.5
        for j in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[i, min(max(j, 0), len(grid) - 1)] += _cubic(centre - j)
    return np.asarray(np.einsum("ia,jb,abc->ijc", matrix, matrix, grid))


def test_positions_of_crops_equal_those_of_an_independent_formula(features: Path) -> None:
    source = open_region_source(features, SMALL)
    region = region_backbone(SMALL, source).network
    learned = region.pos_embed[0, 1:].detach().double().numpy().reshape(7, 7, -1)
    nothing = torch.zeros(49, 6)
    for side, wanted in ((7, learned), (3, _bicubic(learned, 3)), (8, _bicubic(learned, 8))):
        index = torch.arange(side**2)
        x = nothing.new_zeros(side**2, 6)
        with torch.no_grad():
            tokens = region.embed_patches(x, index, side) - region.act(region.project(x))
        np.testing.assert_allclose(tokens, wanted.reshape(side**2, -1), atol=1e-6)
    with torch.no_grad():
        whole = torch.arange(64)
        assert torch.equal(
            region.embed_patches(torch.zeros(64, 6), whole),
            region.embed_patches(torch.zeros(64, 6), whole, 8),
        )


def test_a_crop_reads_as_if_its_background_were_masked_in_every_layer(features: Path) -> None:
    """The crop's full grid with a key mask, as the paper writes it, gives the same numbers."""
    source = open_region_source(features, SMALL)
    backbone = region_backbone(SMALL, source).eval()
    for views in crops_of(next(source.batches(range(1)))):
        shape = (len(views), views.side**2)
        dense, visible = torch.full((*shape, 6), 99.0), torch.zeros(shape, dtype=torch.bool)
        crop, token = views.visible.nonzero(as_tuple=True)
        place = views.patch_index[crop, token]
        dense[crop, place] = views.features[crop, token].float()
        visible[crop, place] = True
        with torch.no_grad():
            index = torch.arange(shape[1])
            tokens = backbone.network.embed_patches(dense, index, views.side)
            wanted, _ = backbone.network(tokens, visible)
            torch.testing.assert_close(backbone(views), wanted, atol=1e-5, rtol=1e-5)


def test_the_network_is_a_function_of_the_seed_and_student_and_teacher_begin_alike(
    features: Path,
) -> None:
    source = open_region_source(features, SMALL)
    pair = region_backbones(SMALL, source)
    again = region_backbone(SMALL, source).state_dict()
    assert all(torch.equal(t, again[name]) for name, t in pair.student.state_dict().items())
    assert all(torch.equal(t, again[name]) for name, t in pair.teacher.state_dict().items())
    assert not any(p.requires_grad for p in pair.teacher.parameters())
    assert isinstance(pair.student, RegionBackbone)
    last = pair.student.network.blocks[-1]
    assert isinstance(last, Block) and last.drop_path == SMALL.drop_path


def test_a_region_folder_comes_back_and_remembers_encoder_and_slides(
    features: Path, tmp_path: Path
) -> None:
    source = open_region_source(features, SMALL)
    backbone = region_backbone(SMALL, source)
    out = tmp_path / "region"
    recipe = {"settings": {"batch": 4}, "inputs": {}}
    records: list[dict[str, object]] = [
        {"epoch": 1, "loss": 2.0, "probe": None},
        {"epoch": 2, "loss": 1.23456},
    ]
    write_region_folder(out, backbone, source, recipe=recipe, records=records, notes=("a note",))
    for path in (out, out / "region.json", out / "region.safetensors"):
        found = read_region_checkpoint(path)
        assert found.sizes == backbone.sizes
        assert found.slides == {"slide0", "slide1", "slide2"}
        assert found.origin is not None
        assert (found.origin.encoder, found.origin.weights_hash) == ("made-up", "a" * 64)
        state = backbone.network.state_dict()
        assert found.weights.keys() == state.keys()
        assert all(torch.equal(found.weights[name], state[name]) for name in state)
    assert json.loads((out / "recipe.json").read_text()) == recipe
    card = (out / "README.md").read_text()
    for text in ("not a medical device", "7×7 and 3×3", "9 regions of 3 slides", "a note", "1.235"):
        assert text in card
    assert "3 regions without tissue" in card
    with torch.no_grad():
        backbone.network.cls_token[..., 0] = torch.nan
    with pytest.raises(ModelError, match=r"not finite.*cls_token"):
        write_region_folder(out, backbone, source, recipe=recipe)
