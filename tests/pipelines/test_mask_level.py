"""Tokens without tissue, masked inside the patch encoder: from the slide to the score."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips

from hvit_cli.errors import ModelError, UsageError
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.pipelines.embed import embed
from hvit_cli.pipelines.heatmap import heatmap
from hvit_cli.pipelines.predict import predict
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
)
from hvit_cli.settings.seal import SEAL
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps import saved_rows
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.steps.predictions_file import Prediction
from hvit_cli.storage.features import SlideFeatures, read_features
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import read_mask

TILING = TilingSettings(region_px=1024, patch_px=128)
FINE = TissueSettings(segment_spacing_um=2.0)
TOKEN_PX, SIDE = 16, 8


def embedded(
    source: Path,
    work: Path,
    model: Path,
    *,
    tissue: TissueSettings = FINE,
    tiling: TilingSettings = TILING,
    running: RunSettings | None = None,
    **embedding: Any,
) -> dict[str, SlideFeatures]:
    """The features of each slide; an error of the only slide is raised."""
    asked = {"device": "cpu", "batch_size": 7, "encoder": str(model / "encoder.safetensors")}
    list(
        embed(
            [source],
            work=WorkFolder(work),
            model=None,
            reading=ReadingSettings(),
            tissue=tissue,
            tiling=tiling,
            embedding=EmbeddingSettings(**{**asked, **embedding}),
            running=running or RunSettings(),
        )
    )
    return {file.stem: read_features(file) for file in sorted(work.glob("features/*/*.h5"))}


def predicted(
    source: Path, work: Path, model: Path, tissue: TissueSettings = FINE, **request: Any
) -> Prediction:
    (record,) = predict(
        [source],
        work=WorkFolder(work),
        out=None,
        request=ModelRequest(model=str(model), **request),
        reading=ReadingSettings(),
        tissue=tissue,
        embedding=EmbeddingSettings(device="cpu", batch_size=16),
    )
    assert record.product is not None, record.row.reason
    return record.product


def failure(source: Path, work: Path, model: Path, **asked: Any) -> str:
    """Why the only slide has no features."""
    tissue = asked.pop("tissue", FINE)
    (record,) = embed(
        [source],
        work=WorkFolder(work),
        model=None,
        reading=ReadingSettings(),
        tissue=tissue,
        tiling=TILING,
        embedding=EmbeddingSettings(
            device="cpu", encoder=str(model / "encoder.safetensors"), **asked
        ),
    )
    assert record.row.status == "failed"
    return record.row.reason


@pytest.fixture
def slide(slides: Path) -> Path:
    return slides / "drawn.tiff"


@pytest.fixture
def both(model: Path) -> Path:
    """The model, as if it had been trained on features of masked tokens."""
    return with_level(model, "both", ("masked",))


def with_level(model: Path, level: str, attentions: tuple[str, ...]) -> Path:
    file = model / "model.json"
    description = json.loads(file.read_text())
    description["mask_level"] = level
    description["members"] = [m for m in description["members"] if m["attention"] in attentions]
    description.pop(SEAL)
    file.write_text(json.dumps(description))
    return model


def contents(work: Path) -> dict[str, str]:
    files = [*work.glob("features/*/*.h5"), *work.glob("predictions.csv")]
    return {
        str(file.relative_to(work)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


def test_stored_bits_are_the_tokens_with_a_tissue_pixel(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    features = embedded(slide, tmp_path, model, mask_level="both")["drawn"]
    assert features.mask_level == "both"
    assert features.patches == "tissue"
    tokens = features.tokens
    assert tokens is not None
    assert tokens.shape == (len(features.features), SIDE**2)
    assert 0.2 < tokens.mean() < 0.95
    mask, _ = read_mask(WorkFolder(tmp_path).mask("drawn"))
    # At 0.5 µm a mask pixel of 2 µm is four level-0 pixels, and a token four mask pixels.
    assert mask.level0_per_px == (4, 4)
    wide = np.pad(mask.pixels, ((0, 512), (0, 512)))
    y, x = np.nonzero(wide)
    for row, corner in zip(tokens, features.coords, strict=True):
        column, line = ((np.stack([x, y]) + 0.5) * 4 - corner[:, None]) // TOKEN_PX
        inside = (column >= 0) & (column < SIDE) & (line >= 0) & (line < SIDE)
        expected = np.zeros(SIDE**2, bool)
        expected[(line * SIDE + column)[inside].astype(int)] = True
        np.testing.assert_array_equal(row, expected)
    assert tokens.any(axis=1).all()


def test_every_row_is_its_own_patch_through_the_encoder_without_glass(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    encoder = load_encoder(model / "encoder.safetensors")
    features = embedded(slide, tmp_path, model, mask_level="both")["drawn"]
    tokens = features.tokens
    assert tokens is not None
    with open_slide(slide) as opened:
        patches = np.stack(
            [opened.read_level(0, (int(x), int(y)), (128, 128)) for x, y in features.coords]
        )
    # What is absent may as well be noise.
    absent = np.kron(~tokens.reshape(-1, SIDE, SIDE), np.ones((TOKEN_PX, TOKEN_PX), bool))
    patches[absent] = np.random.default_rng(0).integers(0, 256, (int(absent.sum()), 3))
    expected = encoder.embed(patches, tokens).astype(np.float16)
    np.testing.assert_array_equal(features.features, expected)
    whole = encoder.embed(patches)
    assert np.abs(whole - expected).max() > 0.01


def test_plain_with_masked_tokens_holds_every_patch(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    both = embedded(slide, tmp_path / "both", model, mask_level="both")["drawn"]
    plain = embedded(slide, tmp_path / "patch", model, mask_level="patch", attention="plain")
    features = plain["drawn"]
    assert (features.mask_level, features.patches) == ("patch", "all")
    tokens, tissue = features.tokens, features.tissue_fraction > 0
    assert tokens is not None
    assert not tokens[~tissue].any()
    assert np.isfinite(features.features).all()
    # Glass alone is CLS alone, the same wherever it lies.
    glass = features.features[~tissue]
    np.testing.assert_array_equal(glass, np.broadcast_to(glass[0], glass.shape))
    np.testing.assert_array_equal(features.features[tissue], both.features)


def test_features_of_other_levels_lie_elsewhere_and_region_is_what_it_was(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    for level in (None, "region", "both"):
        embedded(slide, tmp_path, model, mask_level=level)
    files = sorted(tmp_path.glob("features/*/drawn.h5"))
    assert len(files) == 2
    levels = {read_features(file).mask_level: read_features(file) for file in files}
    assert set(levels) == {"region", "both"}
    assert "mask_level" not in levels["region"].recipe["settings"]["embed"]
    assert levels["region"].token_bits is None
    embed_settings = levels["both"].recipe["settings"]["embed"]
    assert embed_settings.pop("mask_level") == "both"
    assert embed_settings == levels["region"].recipe["settings"]["embed"]


def test_bytes_do_not_depend_on_processes_or_batches(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copy(slide, slide.with_name("copy.tiff"))
    source = slide.parent
    embedded(source, tmp_path / "one", model, mask_level="both", batch_size=3)
    embedded(source, tmp_path / "many", model, mask_level="both", batch_size=64)
    embedded(source, tmp_path / "two", model, mask_level="both", running=RunSettings(jobs=2))
    expected = contents(tmp_path / "one")
    assert len(expected) == 2
    assert contents(tmp_path / "many") == expected
    assert contents(tmp_path / "two") == expected


def test_grades_do_not_depend_on_processes(slide: Path, both: Path, tmp_path: Path) -> None:
    shutil.copy(slide, slide.with_name("copy.tiff"))
    for jobs in (1, 2):
        records = list(
            predict(
                [slide.parent],
                work=WorkFolder(tmp_path / str(jobs)),
                out=None,
                request=ModelRequest(model=str(both)),
                reading=ReadingSettings(),
                tissue=TissueSettings(),
                embedding=EmbeddingSettings(device="cpu"),
                running=RunSettings(jobs=jobs),
            )
        )
        assert sorted(r.row.status for r in records) == ["done", "done", "no_tissue"]
    expected = contents(tmp_path / "1")
    assert len(expected) == 3  # two slides and predictions.csv
    assert contents(tmp_path / "2") == expected


def test_a_slide_that_is_stopped_goes_on_with_its_tokens(
    slide: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded(slide, tmp_path / "whole", model, mask_level="both", batch_size=8)
    quick = PatchEncoder.embed
    sizes: list[int] = []

    def stopped(self: PatchEncoder, patches: np.ndarray, *tokens: np.ndarray) -> np.ndarray:
        sizes.append(len(patches))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return quick(self, patches, *tokens)

    monkeypatch.setattr(PatchEncoder, "embed", stopped)
    monkeypatch.setattr(saved_rows, "SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        embedded(slide, tmp_path / "cut", model, mask_level="both", batch_size=8)
    done = sum(sizes[:2])
    features = embedded(slide, tmp_path / "cut", model, mask_level="both", batch_size=8)
    assert sum(sizes[3:]) == len(features["drawn"].features) - done
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_model_says_what_is_masked(slide: Path, both: Path, tmp_path: Path) -> None:
    found = predicted(slide, tmp_path / "work", both)
    assert found.score is not None
    (file,) = tmp_path.glob("work/features/*/drawn.h5")
    assert read_features(file).mask_level == "both"
    again = predicted(file, tmp_path / "again", both)
    assert again.score == found.score
    assert predicted(slide, tmp_path / "said", both, mask_level="both").score == found.score


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"mask_level": "region"}, "--mask-level: the option contradicts the model"),
        ({"attention": "plain"}, "--mask-level both and --plain contradict each other"),
    ],
)
def test_what_contradicts_the_model_is_an_error(
    slide: Path, both: Path, tmp_path: Path, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        predicted(slide, tmp_path, both, **asked)


@pytest.mark.parametrize(("level", "attention"), [("both", "plain"), ("patch", "masked")])
def test_what_contradicts_itself_is_an_error(
    slide: Path, model: Path, tmp_path: Path, level: str, attention: str
) -> None:
    with pytest.raises(UsageError, match="contradict each other"):
        embedded(slide, tmp_path, model, mask_level=level, attention=attention)


def test_features_of_another_level_do_not_fit_a_model(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    embedded(slide, tmp_path / "work", model, mask_level="both")
    (file,) = tmp_path.glob("work/features/*/drawn.h5")
    (record,) = predict(
        [file],
        work=WorkFolder(tmp_path / "other"),
        out=None,
        request=ModelRequest(model=str(model)),
        reading=ReadingSettings(),
        tissue=FINE,
        embedding=EmbeddingSettings(device="cpu"),
    )
    assert record.row.status == "failed"
    assert "found mask level both; wanted mask level region" in record.row.reason


def test_tissue_is_found_finely_enough_where_nothing_else_is_asked(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    usual = embedded(slide, tmp_path / "usual", model, mask_level="both", tissue=TissueSettings())
    fine = embedded(slide, tmp_path / "fine", model, mask_level="both", tissue=FINE)
    assert read_mask(WorkFolder(tmp_path / "usual").mask("drawn"))[0].spacing_um == pytest.approx(
        2, rel=0.2
    )
    assert np.array_equal(usual["drawn"].features, fine["drawn"].features)
    assert np.array_equal(usual["drawn"].tokens, fine["drawn"].tokens)
    # Patches alone are masked on the usual mask.
    embedded(slide, tmp_path / "patches", model, tissue=TissueSettings())
    assert read_mask(WorkFolder(tmp_path / "patches").mask("drawn"))[0].spacing_um == pytest.approx(
        8, rel=0.2
    )


def test_a_mask_of_others_that_is_too_coarse_is_refused(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    with open_slide(slide) as opened:
        width, height = opened.geometry.size_level0
    masks = tmp_path / "given"
    masks.mkdir()
    pyvips.Image.black(width // 16, height // 16).invert().write_to_file(masks / "drawn.tiff")
    reason = failure(
        slide,
        tmp_path / "work",
        model,
        mask_level="both",
        tissue=TissueSettings(mask_dir=masks, mask_pattern="{slide_id}.tiff", tissue_values=(255,)),
    )
    assert "too coarse to leave out tokens without tissue" in reason
    assert "a finer mask, or --mask-level region" in reason


def test_a_finer_picture_than_needed_is_left_to_the_user(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    finer = TissueSettings(segment_spacing_um=1.0)
    embedded(slide, tmp_path, model, mask_level="both", tissue=finer)
    assert read_mask(WorkFolder(tmp_path).mask("drawn"))[0].spacing_um == pytest.approx(1, rel=0.2)


def test_resized_patches_are_refused_before_any_slide(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="patches of 120 px, resized to 128"):
        embedded(
            slide,
            tmp_path / "work",
            model,
            mask_level="both",
            tiling=TilingSettings(region_px=960, patch_px=120),
        )
    assert not (tmp_path / "work" / "tiles").exists()


def test_a_map_of_the_encoders_own_attention_is_refused(
    slide: Path, both: Path, tmp_path: Path
) -> None:
    (record,) = heatmap(
        [slide],
        work=WorkFolder(tmp_path / "work"),
        out=None,
        scores=None,
        settings=HeatmapSettings(level="patch"),
        request=ModelRequest(model=str(both)),
        reading=ReadingSettings(),
        tissue=FINE,
        embedding=EmbeddingSettings(device="cpu"),
    )
    assert record.row.status == "failed"
    assert "models that mask its tokens" in record.row.reason


def test_a_heatmap_has_the_score_of_predict(slide: Path, both: Path, tmp_path: Path) -> None:
    score = predicted(slide, tmp_path / "work", both).score
    (record,) = heatmap(
        [slide],
        work=WorkFolder(tmp_path / "work"),
        out=tmp_path / "map.png",
        scores=None,
        settings=HeatmapSettings(),
        request=ModelRequest(model=str(both)),
        reading=ReadingSettings(),
        tissue=FINE,
        embedding=EmbeddingSettings(device="cpu"),
    )
    assert record.product is not None, record.row.reason
    (verdict,) = record.product.verdicts
    assert score is not None
    assert verdict.score == pytest.approx(score, abs=1e-6)
