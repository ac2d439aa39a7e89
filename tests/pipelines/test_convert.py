from __future__ import annotations

import json
import runpy
import zlib
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import HvitError, ModelError, UsageError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.loading import to_original_names
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pipelines.convert import ImportRequest, export_features, import_features, import_model
from hvit_cli.pipelines.predict import predict
from hvit_cli.pipelines.train import TrainingRequest, prepare, train
from hvit_cli.settings import (
    AggregatorSettings,
    EmbeddingSettings,
    ReadingSettings,
    TilingSettings,
    TissueSettings,
    TrainingSettings,
)
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.storage.features import SlideFeatures, write_features
from hvit_cli.storage.models import read_model
from hvit_cli.storage.status import read_status
from hvit_cli.storage.work import WorkFolder

KEEP_ALL = TilingSettings(min_tissue_fraction=0.0)
TINY = AggregatorSettings(
    region_dim=16, region_depth=1, region_heads=2, slide_dim=16, slide_depth=1, slide_heads=2
)


@pytest.fixture(scope="session")
def foreign() -> SimpleNamespace:
    """Folders of other programs, and their readers."""
    path = Path(__file__).parents[1] / "storage" / "foreign" / "folders_on_disk.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


def convert(source: Path, work: Path, **request: object) -> list[SlideRecord[SlideFeatures]]:
    fields = {"layout": "trident", "tiling": KEEP_ALL, **request}
    asked = ImportRequest(**fields)  # type: ignore[arg-type]
    return list(import_features(source, WorkFolder(work), asked))


def only_folder(work: Path) -> Path:
    (folder,) = (work / "features").iterdir()
    return folder


def test_a_model_trains_and_grades_on_features_in_tridents_layout(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    labels = {f"slide{i:02d}": i % 6 for i in range(18)}
    for i, (slide_id, grade) in enumerate(labels.items()):
        cell = foreign.cells(11, 10, 0.6, seed=i) + np.asarray([i % 5, i % 3])
        foreign.write_trident(tmp_path / "job", slide_id, cell, grade=grade)
    records = convert(tmp_path / "job", tmp_path / "work")
    assert [record.row.status for record in records] == ["done"] * 18
    table = tmp_path / "labels.csv"
    table.write_text("slide_id,label\n" + "".join(f"{i},{g}\n" for i, g in labels.items()))
    settings = TrainingSettings(epochs=8, learning_rate=2e-3, batch_slides=6, mean_label_bias=True)
    job = prepare(
        TrainingRequest(
            features=tmp_path / "work",
            labels=table,
            out=tmp_path / "model",
            settings=settings,
            sizes=TINY,
            device="cpu",
        )
    )
    losses = [record.train_loss for record in train(job)]
    assert losses[-1] < losses[0]
    model = read_model(tmp_path / "model")
    assert (model.encoder.name, model.encoder.weights_hash) == ("uni_v1", "unverified:uni_v1")
    assert model.tiling == KEEP_ALL
    graded = predict(
        [only_folder(tmp_path / "work")],
        work=WorkFolder(tmp_path / "work"),
        out=None,
        request=ModelRequest(model=str(tmp_path / "model")),
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        embedding=EmbeddingSettings(device="cpu"),
    )
    assert all(r.product is not None and r.product.grade is not None for r in graded)


def test_the_second_run_reuses_and_other_settings_are_refused(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    job, work = tmp_path / "job", tmp_path / "work"
    foreign.write_trident(job, "a", foreign.cells(9, 9, 0.5, seed=1))
    convert(job, work)
    before = (only_folder(work) / "a.h5").read_bytes()
    assert [record.row.reason for record in convert(job, work)] == ["reused"]
    # The source changes under the same name: nothing is replaced unasked.
    foreign.write_trident(job, "a", foreign.cells(9, 9, 0.5, seed=2))
    (record,) = convert(job, work)
    assert record.row.status == "failed"
    assert "features.sha256_of_ends" in record.row.reason
    assert (only_folder(work) / "a.h5").read_bytes() == before
    assert convert(job, work, overwrite=True)[0].row.status == "done"
    assert (only_folder(work) / "a.h5").read_bytes() != before


def test_one_bad_slide_is_a_line_and_the_others_are_done(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    cell = foreign.cells(5, 5, 1, seed=0)
    features = foreign.features_at(cell)
    foreign.write_clam(tmp_path / "clam", "good", cell * 512, features)
    crooked = np.concatenate([cell[:20] * 512, cell[20:] * 512 + [9, 0]])
    foreign.write_clam(tmp_path / "clam", "two_contours", crooked, features)
    records = convert(tmp_path / "clam", tmp_path / "work", layout="clam", encoder_name="resnet50")
    assert [record.row.status for record in records] == ["done", "failed"]
    assert "two_contours: coords: the patches do not lie on one lattice" in records[1].row.reason
    assert "(9, 2048)" in records[1].row.reason
    assert {row.slide_id: row.status for row in read_status(tmp_path / "work")} == {
        "good": "done",
        "two_contours": "failed",
    }


def test_slide2vec_brings_its_spacing_and_tissue_fractions(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    fractions = foreign.write_slide2vec(tmp_path / "s2v", "a", foreign.cells(9, 7, 0.7, seed=4))
    (record,) = convert(tmp_path / "s2v", tmp_path / "work", layout="slide2vec")
    slide = record.product
    assert slide is not None
    assert (slide.encoder, slide.spacing_um_level0) == ("prost40m", 0.252)
    assert slide.spacing_um == pytest.approx(0.252 * 508 / 256)
    assert sorted(slide.tissue_fraction) == sorted(fractions)


def test_the_slides_themselves_say_their_spacing_and_size(
    foreign: SimpleNamespace, data: Path, tmp_path: Path
) -> None:
    slide_file = data / "slides" / "CMU-1-Small-Region.svs"
    cell = foreign.cells(8, 9, 0.5, seed=1)
    foreign.write_trident(
        tmp_path / "job", slide_file.stem, cell, step=256, magnifications=(20, 20)
    )
    (record,) = convert(tmp_path / "job", tmp_path / "work", slides=slide_file)
    slide = record.product
    assert slide is not None
    assert slide.spacing_um_level0 == pytest.approx(0.499)
    assert slide.size_level0 == (2220, 2967)
    assert slide.recipe["inputs"]["known"]["spacing_from"] == "slide"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"layout": "clam"}, "which patch encoder made the features"),
        ({"layout": "clam", "encoder": "a", "encoder_name": "b"}, "both say who made"),
        ({"layout": "original"}, "do not say where their regions lie"),
        ({"layout": "trident", "tissue": Path()}, "belong to --from original"),
        ({"layout": "clam", "encoder_name": "x", "patch_level0": 0}, "--patch-level0"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_at_once(
    foreign: SimpleNamespace, tmp_path: Path, request_: dict[str, object], said: str
) -> None:
    cell = foreign.cells(3, 3, 1, seed=0)
    foreign.write_clam(tmp_path / "clam", "a", cell * 512, foreign.features_at(cell))
    with pytest.raises(UsageError, match=said):
        convert(tmp_path / "clam", tmp_path / "work", **request_)
    assert not (tmp_path / "work").exists()


# --- to other programs -------------------------------------------------------------------


@pytest.fixture
def ours(foreign: SimpleNamespace, tmp_path: Path) -> SlideFeatures:
    """A feature file with absent and with background patches, in `ours/a.h5`."""
    foreign.write_slide2vec(tmp_path / "s2v", "a", foreign.cells(12, 9, 0.6, seed=8))
    (record,) = convert(tmp_path / "s2v", tmp_path / "work", layout="slide2vec")
    slide = record.product
    assert slide is not None
    slide.tissue_fraction[::5] = 0
    write_features(tmp_path / "ours" / "a.h5", slide)
    return slide


def export(tmp_path: Path, target: str, **options: object) -> list[SlideRecord[Path]]:
    asked = {"attention": "masked", "overwrite": False, **options}
    return list(export_features(tmp_path / "ours", tmp_path / target, target, **asked))  # type: ignore[arg-type]


def test_clam_reads_what_is_written_for_it(
    foreign: SimpleNamespace, tmp_path: Path, ours: SlideFeatures
) -> None:
    export(tmp_path, "clam")
    found = foreign.read_as_clam(tmp_path / "clam", "a")
    seen = ours.tissue_fraction > 0
    assert found.from_h5.dtype == found.from_pt.dtype == torch.float32
    np.testing.assert_array_equal(found.from_h5, ours.features[seen].astype(np.float32))
    assert torch.equal(found.from_h5, found.from_pt)
    np.testing.assert_array_equal(found.coords, ours.coords[seen])
    assert (found.patch_size, found.patch_level) == (508, 0)


def test_trident_reads_what_is_written_for_it(
    foreign: SimpleNamespace, tmp_path: Path, ours: SlideFeatures
) -> None:
    (record,) = export(tmp_path, "trident")
    place = tmp_path / "trident" / "20x_256px_0px_overlap"
    assert record.product == place / "features_prost40m" / "a.h5"
    found = foreign.read_as_trident(record.product)
    seen = ours.tissue_fraction > 0
    np.testing.assert_array_equal(found.features, ours.features[seen].astype(np.float32))
    np.testing.assert_array_equal(found.coords, ours.coords[seen])
    # Both ways in which TRIDENT learns a patch's size at level 0 give the true one.
    assert found.patch_size_level0 == found.patch_size_source == 508
    with h5py.File(place / "patches" / "a_patches.h5") as file:
        np.testing.assert_array_equal(file["coords"][:], ours.coords[seen])
        assert dict(file["coords"].attrs) == found.about


def test_stamp_reads_what_is_written_for_it(
    foreign: SimpleNamespace, tmp_path: Path, ours: SlideFeatures
) -> None:
    export(tmp_path, "stamp")
    found = foreign.read_as_stamp(tmp_path / "stamp", "a")
    seen = ours.tissue_fraction > 0
    assert (found.kind, found.extractor) == ("tile", "prost40m")
    np.testing.assert_array_equal(found.feats, ours.features[seen].astype(np.float32))
    np.testing.assert_allclose(found.coords_um, ours.coords[seen] * 0.252, rtol=1e-6)
    assert found.tile_size_um == pytest.approx(508 * 0.252)
    assert found.mpp == pytest.approx(508 * 0.252 / 256)


def test_the_dense_form_has_every_patch_in_its_slot(tmp_path: Path, ours: SlideFeatures) -> None:
    (record,) = export(tmp_path, "dense")
    with h5py.File(record.product) as file:
        dense = {name: file[name][()] for name in file}
    seen = np.zeros((ours.n_regions, 64), bool)
    for row in np.flatnonzero(ours.tissue_fraction > 0):
        slot = ours.region_index[row], ours.patch_index[row]
        seen[slot] = True
        np.testing.assert_array_equal(dense["features"][slot], ours.features[row])
    np.testing.assert_array_equal(dense["visible"], seen)
    assert not dense["features"][~seen].any()
    np.testing.assert_array_equal(dense["region_xy_level0"], ours.region_xy_level0)
    assert dense["tissue_fraction"][~seen].max() == 0


@pytest.mark.parametrize("target", ["clam", "trident", "stamp", "dense"])
def test_an_export_is_reused_and_never_written_over_something_else(
    tmp_path: Path, ours: SlideFeatures, target: str
) -> None:
    (first,) = export(tmp_path, target)
    assert first.row.n_patches == int((ours.tissue_fraction > 0).sum())
    assert export(tmp_path, target)[0].row.reason == "reused"
    ours.tissue_fraction[1] = 0
    write_features(tmp_path / "ours" / "a.h5", ours)
    (refused,) = export(tmp_path, target)
    assert refused.row.status == "failed" and "--overwrite" in refused.row.reason
    (again,) = export(tmp_path, target, overwrite=True)
    assert again.row.n_patches == first.row.n_patches - 1
    assert not list((tmp_path / target).rglob(".hvit-tmp*"))


def test_every_patch_cannot_be_handed_on_where_only_tissue_was_embedded(
    tmp_path: Path, ours: SlideFeatures
) -> None:
    assert ours.patches == "tissue"
    (record,) = export(tmp_path, "clam", attention="plain")
    assert "these features hold only patches with tissue" in record.row.reason


def test_there_and_back_again_nothing_has_changed(tmp_path: Path, ours: SlideFeatures) -> None:
    export(tmp_path, "trident")
    (record,) = convert(tmp_path / "trident", tmp_path / "back")
    back, seen = record.product, ours.tissue_fraction > 0
    assert back is not None

    def rows(slide: SlideFeatures, kept: np.ndarray) -> dict[tuple[int, ...], bytes]:
        pairs = zip(slide.coords[kept].tolist(), slide.features[kept], strict=True)
        return {tuple(xy): row.tobytes() for xy, row in pairs}

    assert rows(back, np.ones(len(back.features), bool)) == rows(ours, seen)


# --- models of the original --------------------------------------------------------------


def rule(seed: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The rule by which the README of the reference numbers rebuilds weights."""
    state = {}
    for key, shape in shapes.items():
        generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(key.encode())]))
        w = generator.standard_normal(shape).astype(np.float32) * np.float32(0.05)
        if "norm" in key and key.endswith("weight"):
            w = w + np.float32(1)
        state[key] = torch.from_numpy(np.asarray(w))
    return state


def test_the_originals_features_and_weights_give_the_originals_score(
    reference: Path, tmp_path: Path
) -> None:
    case = np.load(reference / "aggregator_masked_2048.npz")
    keys = json.loads((reference / "state_dict_keys.json").read_text())["aggregator"]
    state = rule(int(case["seed"]), {key: tuple(shape) for key, shape in keys.items()})
    files = [tmp_path / "fold0.pt", tmp_path / "fold1.pt"]
    torch.save(state, files[0])
    shifted = {**state, "classifier.bias": state["classifier.bias"] + 1}
    torch.save({"teacher": {f"module.{k}": v for k, v in shifted.items()}}, files[1])
    # Its regions in an order of text that is none of places.
    corners = [(1024, 0), (0, 20480), (10240, 0), (0, 3072), (4096, 4096)]
    names = sorted(f"{x}_{y}" for x, y in corners)
    for folder in ("features", "tissue", "regions"):
        (tmp_path / folder).mkdir()
    torch.save(torch.from_numpy(case["patch_features"]), tmp_path / "features" / "slide.pt")
    np.save(tmp_path / "tissue" / "slide.npy", case["tissue_fraction"])
    for name in names:
        (tmp_path / "regions" / "slide").mkdir(exist_ok=True)
        (tmp_path / "regions" / "slide" / f"{name}.jpg").touch()
    asked = {"layout": "original", "encoder_name": "paper", "reading": ReadingSettings()}
    (record,) = convert(
        tmp_path / "features",
        tmp_path / "work",
        **{**asked, "reading": ReadingSettings(spacing_override=0.486)},
        coordinates=tmp_path / "regions",
        tissue=tmp_path / "tissue",
    )
    assert record.row.status == "done", record.row.reason
    converted = import_model(files, tmp_path / "model", "masked", ImportRequest(**asked))  # type: ignore[arg-type]
    assert any("normalisation none" in note for note in converted.notes)
    assert [member.fold for member in converted.model.members] == [0, 1]
    (graded,) = predict(
        [only_folder(tmp_path / "work")],
        work=WorkFolder(tmp_path / "work"),
        out=None,
        request=ModelRequest(model=str(tmp_path / "model")),
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        embedding=EmbeddingSettings(device="cpu"),
    )
    prediction = graded.product
    assert prediction is not None
    # The mean of both folds; features were rounded to float16 on the way.
    assert prediction.score == pytest.approx(float(case["output"][0, 0]) + 0.5, abs=2e-3)
    assert prediction.score_sd == pytest.approx(0.5**0.5, abs=1e-3)


def test_sizes_of_an_ensemble_must_agree_and_outputs_be_one(tmp_path: Path) -> None:
    paper = AggregatorSettings(patch_dim=32, region_depth=1, slide_depth=1)
    three = AggregatorSettings(patch_dim=32, region_depth=1, slide_depth=1, outputs=3)
    wide = AggregatorSettings(patch_dim=64, region_depth=1, slide_depth=1)
    for name, sizes in (("a", paper), ("three", three), ("wide", wide)):
        torch.save(to_original_names(Aggregator(sizes).state_dict()), tmp_path / f"{name}.pt")
    asked = ImportRequest(layout="original", encoder_name="paper")

    def refused(names: str, kind: type[HvitError], said: str) -> None:
        files = [tmp_path / f"{name}.pt" for name in names.split()]
        with pytest.raises(kind, match=said):
            import_model(files, tmp_path / "model", "masked", asked)
        assert not (tmp_path / "model" / "model.json").exists()

    refused("three", ModelError, r"three\.pt: .*3 outputs; wanted 1")
    refused("a wide", ModelError, r"wide\.pt: .*patch_dim 64; wanted patch_dim 32")
    refused("a a", UsageError, "two of the weight files are the same")
    refused("absent", ModelError, r"absent\.pt: there is no such weight file")


def test_a_dino_snapshot_is_copied_into_the_model_which_stands_alone(tmp_path: Path) -> None:
    encoder = VisionTransformer(VitShape(width=128, depth=1, heads=2, token_px=16, grid_side=4))
    snapshot = {f"module.backbone.{k}": v for k, v in encoder.state_dict().items()}
    snapshot |= {"module.head.mlp.0.weight": torch.zeros(3, 128)}
    torch.save({"teacher": snapshot, "student": {}, "epoch": 7}, tmp_path / "dino.pth")
    sizes = AggregatorSettings(patch_dim=128, region_depth=1, slide_depth=1)
    torch.save(to_original_names(Aggregator(sizes).state_dict()), tmp_path / "fold0.pt")
    asked = ImportRequest(layout="original", encoder=str(tmp_path / "dino.pth"))
    out = tmp_path / "model"
    model = import_model([tmp_path / "fold0.pt"], out, "plain", asked).model
    assert read_model(out) == model
    assert json.loads(model.encoder.normalisation) == {"mean": [0, 0, 0], "std": [1, 1, 1]}
    written = load_file(out / "encoder.safetensors")
    assert all(torch.equal(written[k], v) for k, v in encoder.state_dict().items())
    assert (model.members[0].attention, model.members[0].fold) == ("plain", 0)
    with pytest.raises(UsageError, match="a model lies there already"):
        import_model([tmp_path / "fold0.pt"], out, "plain", asked)


def test_an_encoder_of_another_width_is_refused(tmp_path: Path) -> None:
    encoder = VisionTransformer(VitShape(width=64, depth=1, heads=1, token_px=16, grid_side=4))
    torch.save(encoder.state_dict(), tmp_path / "dino.pth")
    sizes = AggregatorSettings(patch_dim=128, region_depth=1, slide_depth=1)
    torch.save(to_original_names(Aggregator(sizes).state_dict()), tmp_path / "fold0.pt")
    asked = ImportRequest(layout="original", encoder=str(tmp_path / "dino.pth"))
    with pytest.raises(ModelError, match="width 64; wanted width 128"):
        import_model([tmp_path / "fold0.pt"], tmp_path / "model", "masked", asked)
    assert not (tmp_path / "model").exists()


def test_a_model_without_its_encoder_says_so_when_it_meets_a_slide(tmp_path: Path) -> None:
    sizes = AggregatorSettings(patch_dim=128, region_depth=1, slide_depth=1)
    torch.save(to_original_names(Aggregator(sizes).state_dict()), tmp_path / "fold0.pt")
    asked = ImportRequest(layout="original", encoder_name="paper")
    import_model([tmp_path / "fold0.pt"], tmp_path / "model", "masked", asked)
    (tmp_path / "slide.tiff").touch()
    with pytest.raises(ModelError, match=r"does not hold its patch encoder.*the name paper alone"):
        list(
            predict(
                [tmp_path / "slide.tiff"],
                work=WorkFolder(tmp_path / "work"),
                out=None,
                request=ModelRequest(model=str(tmp_path / "model")),
                reading=ReadingSettings(),
                tissue=TissueSettings(),
                embedding=EmbeddingSettings(device="cpu"),
            )
        )
