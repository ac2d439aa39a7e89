from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hvit_cli.errors import ModelError, UsageError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pipelines import heatmap as heatmap_pipeline
from hvit_cli.pipelines import predict as predict_pipeline
from hvit_cli.settings import (
    AggregatorSettings,
    EmbeddingSettings,
    FigureSettings,
    HeatmapSettings,
    ReadingSettings,
    TilingSettings,
    TissueSettings,
)
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.steps.embed import Embedder
from hvit_cli.storage.models import (
    EncoderIdentity,
    ModelFolder,
    ModelMember,
    sha256_of,
    write_model,
)
from hvit_cli.storage.tiles import read_tiles
from hvit_cli.storage.work import WorkFolder

SIZE = (1500, 1100)
TILING = TilingSettings(region_px=512, patch_px=64)
AGGREGATOR = AggregatorSettings(
    patch_dim=6,
    region_px=512,
    patch_px=64,
    region_dim=12,
    region_depth=2,
    region_heads=3,
    slide_dim=12,
    slide_depth=1,
    slide_heads=2,
)


@dataclass
class Spec:
    name: str = "colours"
    folder_name: str = "colours"
    pretraining_slides: tuple[str, ...] = ()
    width: int = 6


@dataclass
class ColourEncoder:
    """Mean and deviation of a patch's colours: an encoder that needs no network."""

    spec: Spec = field(default_factory=Spec)
    weights_hash: str = "0" * 64
    normalisation_text: str = '{"mean":[0,0,0],"std":[1,1,1]}'
    precision: str = "float32"
    network: None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def input_recipe(self) -> dict[str, Any]:
        return {}

    def embed(self, patches: np.ndarray) -> np.ndarray:
        pixels = patches.astype(np.float32) / 32
        return np.concatenate([pixels.mean((1, 2)), pixels.std((1, 2))], axis=1)


def draw_slide(path: Path, seed: int = 0, *, empty: bool = False) -> Path:
    random = np.random.default_rng(seed)
    picture = np.full((SIZE[1], SIZE[0], 3), 244, np.uint8)
    if not empty:
        row, column = np.mgrid[: SIZE[1], : SIZE[0]]
        middle = 550 + 180 * np.sin(column / 250)
        tissue = (abs(row - middle) < 170) & (column > 90) & (column < 1380)
        coarse = random.integers(0, 90, (SIZE[1] // 50, SIZE[0] // 50, 1)).repeat(50, 0)
        shade = coarse.repeat(50, 1)[: SIZE[1], : SIZE[0]]
        noise = random.integers(-20, 20, picture.shape)
        stained = np.clip(np.array([200, 90, 160]) - shade + noise, 0, 255)
        picture[tissue] = stained[tissue]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def write_toy_model(folder: Path, attentions: tuple[str, ...], watermark: str = "") -> Path:
    folder.mkdir(parents=True)
    members = []
    for number, attention in enumerate(attentions):
        torch.manual_seed(number)
        aggregator = Aggregator(AGGREGATOR)
        # Fresh weights attend almost evenly; these have preferences.
        state = {k: (v * 3).contiguous() for k, v in aggregator.state_dict().items()}
        file = f"{attention}-{number}.safetensors"
        save_file(state, folder / file)
        members.append(
            ModelMember(
                file=file,
                sha256=sha256_of(folder / file),
                attention=attention,  # type: ignore[arg-type]
            )
        )
    encoder = ColourEncoder()
    write_model(
        ModelFolder(
            path=folder,
            name=folder.name,
            note="a toy" if watermark else "",
            watermark=watermark,
            licence="",
            encoder=EncoderIdentity(
                name="colours",
                source="colours",
                file="",
                weights_hash=encoder.weights_hash,
                normalisation=encoder.normalisation_text,
                precision="float32",
            ),
            reading=ReadingSettings(),
            tiling=TILING,
            aggregator=AGGREGATOR,
            members=tuple(members),
        )
    )
    return folder


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return draw_slide(tmp_path / "slides" / "slide_1.png")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_toy_model(tmp_path / "toy", ("masked", "plain"))


Runner = Callable[..., list[Any]]


@pytest.fixture
def run(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    def colour_embedder(chosen: Any, embedding: EmbeddingSettings) -> Embedder:
        return Embedder(
            ColourEncoder(),  # type: ignore[arg-type]
            chosen.attention,
            embedding.batch_size,
        )

    monkeypatch.setattr(heatmap_pipeline, "model_embedder", colour_embedder)
    monkeypatch.setattr(predict_pipeline, "model_embedder", colour_embedder)

    def start(sources: list[Path], attention: str | None = None, **changes: Any) -> list[Any]:
        arguments: dict[str, Any] = {
            "work": WorkFolder(tmp_path / "work"),
            "out": None,
            "scores": None,
            "settings": HeatmapSettings(max_px=600),
            "request": ModelRequest(
                model=str(model),
                attention=attention,  # type: ignore[arg-type]
            ),
            "reading": ReadingSettings(spacing_override=0.5),
            "tissue": TissueSettings(),
            "embedding": EmbeddingSettings(device="cpu"),
        }
        return list(heatmap_pipeline.heatmap(sources, **{**arguments, **changes}))

    return start


def predicted(slide: Path, model: Path, work: Path, attention: str) -> Any:
    (record,) = predict_pipeline.predict(
        [slide],
        work=WorkFolder(work),
        out=None,
        request=ModelRequest(model=str(model), attention=attention),  # type: ignore[arg-type]
        reading=ReadingSettings(spacing_override=0.5),
        tissue=TissueSettings(),
        embedding=EmbeddingSettings(device="cpu"),
    )
    return record.product


@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_the_score_is_that_of_predict(
    run: Runner, slide: Path, model: Path, tmp_path: Path, attention: str
) -> None:
    (record,) = run([slide], attention)
    (verdict,) = record.product.verdicts
    prediction = predicted(slide, model, tmp_path / "elsewhere", attention)
    assert verdict.attention == prediction.attention == attention
    assert verdict.score == prediction.score
    assert verdict.grade == prediction.grade


def test_masked_is_the_default_and_the_picture_lands_in_the_work_folder(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    (record,) = run([slide])
    assert record.row.status == "done"
    assert record.row.stage == "heatmap"
    assert record.product.verdicts[0].attention == "masked"
    assert record.product.picture == tmp_path / "work" / "heatmaps" / "slide_1.png"
    with Image.open(record.product.picture) as picture:
        assert 590 < max(picture.size) <= 600


def test_scores_are_the_attention_of_the_regions_patches(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    numbers = tmp_path / "numbers.npz"
    run([slide], "plain", scores=numbers)
    regions = read_tiles(tmp_path / "work" / "tiles" / "slide_1.h5").regions
    with np.load(numbers) as found:
        region, patch = found["region_index"], found["patch_index"]
        np.testing.assert_array_equal(
            found["patch_xy_level0"], regions.patch_xy_level0[region, patch]
        )
        np.testing.assert_array_equal(found["region_xy_level0"], regions.xy_level0)
        assert found["visible"].all()
        assert len(region) == len(regions) * 64
        glass = found["tissue_fraction"] == 0
        assert glass.any()
        assert (found["raw"][glass] > 0).all()
        for m in range(len(regions)):
            assert found["relative"][region == m].mean() == pytest.approx(1)
            assert found["raw"][region == m].sum() < 1
        assert np.ptp(found["relative"]) > 0.1
        metadata = json.loads(str(found["metadata"]))
    assert metadata["settings"]["scale"] == "relative"
    assert metadata["verdicts"][0]["attention"] == "plain"
    assert metadata["spacing_um_level0"] == 0.5


def test_side_by_side_shows_what_each_kind_of_attention_says_alone(
    run: Runner, slide: Path, model: Path, tmp_path: Path
) -> None:
    numbers, alone = tmp_path / "both.npz", tmp_path / "alone.npz"
    (record,) = run(
        [slide], figure=FigureSettings(figure="6"), scores=numbers, out=tmp_path / "both.jpg"
    )
    for verdict in record.product.verdicts:
        prediction = predicted(slide, model, tmp_path / "elsewhere", verdict.attention)
        assert verdict.score == prediction.score
    assert [v.attention for v in record.product.verdicts] == ["masked", "plain"]
    run([slide], "masked", scores=alone, work=WorkFolder(tmp_path / "third"))
    with np.load(numbers) as both, np.load(alone) as masked:
        seen = both["visible"]
        np.testing.assert_array_equal(seen, both["tissue_fraction"] > 0)
        np.testing.assert_array_equal(both["raw"][seen], masked["raw"])
        assert (both["raw"][~seen] == 0).all()
        assert np.isnan(both["scaled"][~seen]).all()
        assert not np.isnan(both["plain_scaled"]).any()
    with Image.open(tmp_path / "both.jpg") as picture:
        assert picture.format == "JPEG"


def test_a_head_shows_that_head_and_combining_weighs_regions(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    raw = {}
    for name, changes in {
        "mean": {},
        "0": {"head": 0},
        "1": {"head": 1},
        "2": {"head": 2},
        "both": {"level": "region×slide"},
    }.items():
        file = tmp_path / f"{name}.npz"
        run([slide], scores=file, settings=HeatmapSettings(max_px=400, **changes))  # type: ignore[arg-type]
        with np.load(file) as found:
            raw[name], region = found["raw"], found["region_index"]
    assert not np.allclose(raw["0"], raw["1"])
    np.testing.assert_allclose(raw["mean"], (raw["0"] + raw["1"] + raw["2"]) / 3, rtol=1e-6)
    weight = raw["both"] / raw["mean"]
    per_region = [weight[region == m] for m in range(region.max() + 1)]
    assert all(np.ptp(one) < 1e-6 for one in per_region)
    assert sum(one[0] for one in per_region) == pytest.approx(1, abs=1e-5)


def test_several_models_are_averaged_and_their_spread_is_told(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    several = write_toy_model(tmp_path / "several", ("masked", "masked", "masked"))
    (record,) = run([slide], request=ModelRequest(model=str(several)))
    (verdict,) = record.product.verdicts
    prediction = predicted(slide, several, tmp_path / "elsewhere", "masked")
    assert verdict.members == 3
    assert verdict.score_sd == prediction.score_sd


def test_a_watermark_reaches_the_picture(run: Runner, slide: Path, tmp_path: Path) -> None:
    marked = write_toy_model(
        tmp_path / "toy_with_mark" / "toy", ("masked", "plain"), "drawings, not for diagnosis"
    )
    (plain,) = run([slide], out=tmp_path / "a.png")
    (drawn,) = run([slide], out=tmp_path / "b.png", request=ModelRequest(model=str(marked)))
    assert drawn.product.verdicts[0].note == "a toy"
    assert plain.product.verdicts[0].score == drawn.product.verdicts[0].score
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_several_slides_go_into_a_folder_and_one_without_tissue_is_a_row(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    empty = draw_slide(tmp_path / "slides" / "empty.png", empty=True)
    records = run([slide, empty], out=tmp_path / "maps", scores=tmp_path / "numbers")
    assert [record.row.status for record in records] == ["done", "no_tissue"]
    assert records[1].product is None
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["slide_1.png"]
    assert [path.name for path in (tmp_path / "numbers").iterdir()] == ["slide_1.npz"]


def test_drawing_again_gives_the_same_bytes(run: Runner, slide: Path, tmp_path: Path) -> None:
    files = {}
    for name in ("first", "second"):
        run([slide], out=tmp_path / f"{name}.png", scores=tmp_path / f"{name}.npz")
        files[name] = [(tmp_path / f"{name}{s}").read_bytes() for s in (".png", ".npz")]
    assert files["first"] == files["second"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"settings": HeatmapSettings(head=3)},
            "--head: the region Transformer has no such attention head; found 3; wanted 0 to 2",
        ),
        ({"out": Path("map.svg")}, "map.svg: a heatmap cannot be written in this format"),
        ({"scores": Path("map.csv")}, "map.csv: scores are written as NPZ"),
        ({"settings": HeatmapSettings(colour_map="rainbows")}, "--colour-map: no such colour map"),
        (
            {"figure": FigureSettings(figure="6"), "attention": "masked"},
            "--side-by-side shows both kinds",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_any_work(
    run: Runner, slide: Path, tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run([slide], **changes)
    assert str(caught.value).startswith(line)
    assert not (tmp_path / "work").exists()


def test_a_slide_is_never_replaced_by_its_heatmap(run: Runner, slide: Path) -> None:
    before = slide.read_bytes()
    with pytest.raises(UsageError, match="would replace the slide itself"):
        run([slide], out=slide)
    assert slide.read_bytes() == before


def test_one_file_for_two_slides_is_refused(run: Runner, slide: Path, tmp_path: Path) -> None:
    other = draw_slide(tmp_path / "slides" / "slide_2.png", 1)
    with pytest.raises(UsageError, match="several slides need a folder"):
        run([slide, other], out=tmp_path / "map.png")


def test_glass_that_plain_saw_is_painted_unless_tissue_only(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    pictures = {}
    for name, attention, tissue_only in (
        ("masked", "masked", False),
        ("plain", "plain", False),
        ("hidden", "plain", True),
    ):
        settings = replace(HeatmapSettings(max_px=600), tissue_only=tissue_only, opacity=1)
        file = tmp_path / f"{name}.png"
        run([slide], attention, out=file, settings=settings)
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        # Coloured at full strength: far from any grey.
        pictures[name] = int((np.ptp(pixels, axis=-1) > 25).sum())
    assert pictures["plain"] > 1.3 * pictures["masked"]
    assert pictures["hidden"] == pytest.approx(pictures["masked"], rel=0.05)


class TinyEncoder(PatchEncoder):
    """A Vision Transformer that passes for the toy models' encoder."""

    def __init__(self) -> None:
        torch.manual_seed(5)
        shape = VitShape(width=6, depth=2, heads=3, token_px=16, grid_side=4)
        network = VisionTransformer(shape)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(8)
        spec = EncoderSpec(
            name="colours", width=6, input_px=64, token_px=16, mean=(0, 0, 0), std=(1, 1, 1)
        )
        super().__init__(network, spec)
        self.weights_hash = "0" * 64

    @property
    def normalisation_text(self) -> str:
        return ColourEncoder().normalisation_text


def test_maps_of_tokens_read_the_slide_again(
    run: Runner, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TinyEncoder()
    monkeypatch.setattr(
        heatmap_pipeline,
        "model_embedder",
        lambda chosen, embedding: Embedder(encoder, chosen.attention, embedding.batch_size),
    )
    found = {}
    for level in ("region", "patch", "patch×region"):
        file = tmp_path / f"{level}.npz"
        settings = HeatmapSettings(max_px=600, level=level)
        (record,) = run([slide], scores=file, settings=settings)
        assert record.row.status == "done", record.row.reason
        with np.load(file) as arrays:
            found[level] = dict(arrays)
    with Image.open(slide) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    tokens = found["patch"]["token_raw"]
    assert tokens.shape == (len(found["region"]["raw"]), 16)
    for row in (0, len(tokens) // 2, len(tokens) - 1):
        x, y = found["patch"]["patch_xy_level0"][row]
        crop = np.full((64, 64, 3), 255, np.uint8)
        part = pixels[y : y + 64, x : x + 64]
        crop[: part.shape[0], : part.shape[1]] = part
        batch = torch.from_numpy(crop).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            heads = encoder.network.forward_attention(batch)[1][0, :, 1:]  # type: ignore[operator]
        np.testing.assert_allclose(tokens[row], heads.mean(0), atol=1e-6)
    np.testing.assert_allclose(
        found["patch×region"]["token_raw"], tokens * found["region"]["raw"][:, None], rtol=1e-9
    )
    about = json.loads(str(found["patch×region"]["metadata"]))["map"]
    assert (about["level"], about["within"], about["signed"]) == ("patch×region", "region", False)


@pytest.mark.parametrize(
    "settings",
    [
        {"level": "slide"},
        {"map": "rollout", "level": "region×slide", "scale": "rank"},
        {"map": "contribution", "unit": "block"},
        {"map": "single", "scale": "rank"},
        {"map": "gradient"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
def test_features_alone_give_the_same_map_as_their_slide(
    run: Runner, slide: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    numbers = {}
    shown = HeatmapSettings(max_px=600, **settings)
    run([slide], "plain", settings=shown, scores=tmp_path / "slide.npz")
    (features,) = (tmp_path / "work" / "features").glob("*/slide_1.h5")
    kept = features.rename(tmp_path / "slide_1.h5")
    slide.unlink()
    (record,) = run(
        [kept],
        settings=shown,
        figure=FigureSettings(figure="6"),
        scores=tmp_path / "features.npz",
        out=tmp_path / "features.png",
        work=WorkFolder(tmp_path / "empty"),
    )
    assert record.row.status == "done", record.row.reason
    for name in ("slide", "features"):
        with np.load(tmp_path / f"{name}.npz") as arrays:
            numbers[name] = dict(arrays)
    np.testing.assert_array_equal(numbers["slide"]["raw"], numbers["features"]["plain_raw"])
    assert np.ptp(numbers["slide"]["raw"]) > 0
    assert ("relative" in numbers["slide"]) == (settings.get("map") in (None, "rollout"))
    with Image.open(tmp_path / "features.png") as picture:
        assert 590 < max(picture.size) <= 600


def test_what_features_and_encoders_cannot_give_is_said_before_anything_is_done(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    tokens = HeatmapSettings(max_px=600, level="patch")
    with pytest.raises(ModelError, match="colours: the patch encoder has no attention from CLS"):
        run([slide], settings=tokens)
    run([slide])
    (features,) = (tmp_path / "work" / "features").glob("*/slide_1.h5")
    with pytest.raises(UsageError, match="feature files do not hold"):
        run([features], settings=tokens)
    (record,) = run([features], "plain", work=WorkFolder(tmp_path / "other"))
    assert record.row.status == "failed"
    assert "hold only patches with tissue" in record.row.reason


def test_every_format_is_written_beside_the_picture(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    (record,) = run(
        [slide],
        out=tmp_path / "map.png",
        formats=("jpg", "tiff", "ome.tiff", "geojson"),
        figure=FigureSettings(top=3),
        settings=HeatmapSettings(max_px=600, overlay_um=4.0),
    )
    names = ["map.jpg", "map.tiff", "map.ome.tiff", "map.geojson", "map_patches.png"]
    assert [path.name for path in record.product.further] == names
    assert all(path.stat().st_size > 0 for path in record.product.further)
    with openslide.OpenSlide(tmp_path / "map.tiff") as overlay:
        assert float(overlay.properties["openslide.mpp-x"]) == pytest.approx(4.0, rel=0.01)
    collection = json.loads((tmp_path / "map.geojson").read_text())
    regions = read_tiles(tmp_path / "work" / "tiles" / "slide_1.h5").regions
    assert len(collection["features"]) == (regions.tissue_count > 0).sum()


@pytest.mark.parametrize("figure", ["1", "3", "4", "6"])
def test_the_figures_of_the_paper_have_the_size_that_was_asked_for(
    run: Runner, slide: Path, tmp_path: Path, figure: Any
) -> None:
    out = tmp_path / f"figure{figure}.png"
    settings = HeatmapSettings(max_px=700)
    run([slide], out=out, figure=FigureSettings(figure=figure), settings=settings)
    with Image.open(out) as picture:
        width, height = picture.size
    assert 600 <= max(width, height) <= 700
    if figure == "1":
        # Three squares beside each other.
        assert width > 1.3 * height


def test_a_region_can_be_chosen_and_one_that_is_not_there_is_refused(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    pictures = set()
    for region in (0, 1):
        out = tmp_path / f"{region}.png"
        run([slide], out=out, figure=FigureSettings(figure="4", shown_region=region))
        pictures.add(out.read_bytes())
    assert len(pictures) == 2
    (record,) = run([slide], figure=FigureSettings(figure="4", shown_region=99))
    assert record.row.status == "failed"
    assert "the slide has no such region; found 99; wanted 0 to" in record.row.reason


def test_shifted_grids_make_finer_cells_and_leave_the_work_folders_own_grid_alone(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    run([slide], out=tmp_path / "one.png", scores=tmp_path / "one.npz")
    tiles = (tmp_path / "work" / "tiles" / "slide_1.h5").read_bytes()
    (record,) = run(
        [slide],
        out=tmp_path / "two.png",
        scores=tmp_path / "two.npz",
        settings=HeatmapSettings(max_px=600, overlap=2),
    )
    assert (tmp_path / "work" / "tiles" / "slide_1.h5").read_bytes() == tiles
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        regions = one["region_xy_level0"]
        np.testing.assert_array_equal(regions, two["region_xy_level0"])
        assert len(two["scaled"]) == len(regions) * 16**2
        seen = two["visible"]
        # What one grid saw, the mean saw too: four cells for each of its patches, and more.
        assert seen.sum() >= 4 * one["visible"].sum()
        assert np.isnan(two["scaled"][~seen]).all()
        assert two["scaled"][seen].mean() == pytest.approx(1, abs=0.25)
        assert two["scaled"][seen].min() > 0
        assert two["tissue_fraction"].max() == 1
    # The grade is that of the grid itself.
    (plain,) = run([slide], out=tmp_path / "again.png")
    assert record.product.verdicts == plain.product.verdicts


def test_an_overlay_of_a_figure_is_refused_before_any_work(
    run: Runner, slide: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="an overlay holds one map, and no figure"):
        run([slide], out=tmp_path / "map.tiff", figure=FigureSettings(figure="6"))
    assert not (tmp_path / "work").exists()


REAL = Path("../shared/data/slides/biopsy_a.tiff")


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="the shared slides are not here")
def test_the_overlay_of_a_real_biopsy_lies_over_it_in_openslide(tmp_path: Path) -> None:
    out = tmp_path / "map.tiff"
    (record,) = heatmap_pipeline.heatmap(
        [REAL],
        work=WorkFolder(tmp_path / "work"),
        out=out,
        scores=tmp_path / "map.npz",
        settings=HeatmapSettings(),
        request=ModelRequest(model="demo", attention="masked"),
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        embedding=EmbeddingSettings(device="cpu"),
    )
    assert record.row.status == "done"
    with openslide.OpenSlide(REAL) as slide, openslide.OpenSlide(out) as overlay:
        assert overlay.level_count >= 3
        for axis, (wide, finest) in zip(
            "xy", zip(slide.dimensions, overlay.dimensions, strict=True), strict=True
        ):
            name = f"openslide.mpp-{axis}"
            field_um = float(slide.properties[name]) * wide
            assert float(overlay.properties[name]) * finest == pytest.approx(field_um, rel=1e-3)
        alpha = np.asarray(overlay.read_region((0, 0), 0, overlay.dimensions))[..., 3]
        per_px = slide.dimensions[0] / overlay.dimensions[0]
    with np.load(tmp_path / "map.npz") as scores:
        side = json.loads(str(scores["metadata"]))["patch_level0"] / per_px
        expected = scores["visible"].sum() * side**2
    assert (alpha > 0).sum() == pytest.approx(expected, rel=0.01)
