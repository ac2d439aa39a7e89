from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import UsageError
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.pipelines.embed import embed
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.prepare import Prepared
from hvit_cli.storage.features import SlideFeatures, read_features
from hvit_cli.storage.work import WorkFolder

TILING = TilingSettings(region_px=1024, patch_px=128)


def run(
    source: Path,
    work: Path,
    *,
    tiling: TilingSettings = TILING,
    overwrite: bool = False,
    model: Path | None = None,
    **embedding: Any,
) -> list[SlideRecord[Prepared]]:
    return list(
        embed(
            [source],
            work=WorkFolder(work),
            model=None if model is None else str(model),
            reading=ReadingSettings(),
            tissue=TissueSettings(),
            tiling=tiling,
            embedding=EmbeddingSettings(**{"device": "cpu", "batch_size": 7, **embedding}),
            overwrite=overwrite,
        )
    )


def features_of(record: SlideRecord[Prepared]) -> SlideFeatures:
    assert record.row.status == "done", record.row.reason
    assert record.product is not None
    assert record.product.features is not None
    return record.product.features


def test_every_row_is_its_own_patch_through_the_encoder(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    encoder = load_encoder(model / "encoder.safetensors")
    (record,) = run(
        slides / "drawn.tiff", tmp_path / "work", encoder=str(model / "encoder.safetensors")
    )
    features = features_of(record)
    with open_slide(slides / "drawn.tiff") as slide:
        # At 0.5 µm per pixel the stored corners address the pixels as they are.
        patches = np.stack(
            [slide.read_level(0, (int(x), int(y)), (128, 128)) for x, y in features.coords]
        )
    expected = np.concatenate([encoder.embed(patch[None]) for patch in patches])
    np.testing.assert_allclose(features.features, expected, rtol=2e-3, atol=2e-3)


def test_the_batch_size_changes_nothing_that_float16_can_hold(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    weights = str(model / "encoder.safetensors")
    one, other = (
        features_of(
            run(slides / "drawn.tiff", tmp_path / str(size), encoder=weights, batch_size=size)[0]
        ).features.astype(np.float32)
        for size in (3, 64)
    )
    # One step of float16 at most, where rounding falls on the other side.
    np.testing.assert_allclose(one, other, rtol=2**-10, atol=1e-6)


def test_the_file_says_what_made_it(slides: Path, model: Path, tmp_path: Path) -> None:
    run(
        slides / "drawn.tiff",
        tmp_path,
        encoder=str(model / "encoder.safetensors"),
        normalisation="none",
    )
    (path,) = tmp_path.glob("features/small-*/drawn.h5")
    stored = read_features(path)
    assert stored.normalisation == '{"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}'
    assert stored.precision == "float32"
    assert (stored.region_px, stored.patch_px, stored.patches_per_region) == (1024, 128, 64)
    assert stored.encoder_hash == load_encoder(model / "encoder.safetensors").weights_hash
    assert "path" not in str(stored.recipe)
    assert str(tmp_path) not in str(stored.recipe)


def test_no_encoder_at_all_is_a_usage_error(slides: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hvit encoders"):
        run(slides / "drawn.tiff", tmp_path)


def test_the_encoder_of_a_model_is_taken_with_its_tiling(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    (record,) = run(slides / "drawn.tiff", tmp_path, tiling=TilingSettings(), model=model)
    assert features_of(record).region_px == 1024


def test_a_normalisation_that_contradicts_the_model_is_an_error(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--normalisation"):
        run(slides / "drawn.tiff", tmp_path, model=model, normalisation="half")


def test_products_of_other_settings_are_not_overwritten_unasked(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    weights = str(model / "encoder.safetensors")
    run(slides / "drawn.tiff", tmp_path, encoder=weights)
    other = TilingSettings(region_px=512, patch_px=128)
    (refused,) = run(slides / "drawn.tiff", tmp_path, encoder=weights, tiling=other)
    assert refused.row.status == "failed"
    assert "region_px: 1024 → 512" in refused.row.reason
    assert "--overwrite" in refused.row.reason
    (made,) = run(slides / "drawn.tiff", tmp_path, encoder=weights, tiling=other, overwrite=True)
    assert features_of(made).region_px == 512
    assert len(list(tmp_path.glob("features/*/drawn.h5"))) == 2


def test_another_slide_of_the_same_name_is_an_error_that_names_the_difference(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    weights = str(model / "encoder.safetensors")
    run(slides / "drawn.tiff", tmp_path / "work", encoder=weights)
    (tmp_path / "other").mkdir()
    (slides / "bare.tiff").rename(tmp_path / "other" / "drawn.tiff")
    (refused,) = run(tmp_path / "other" / "drawn.tiff", tmp_path / "work", encoder=weights)
    assert refused.row.status == "failed"
    assert "inputs.slide" in refused.row.reason


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_feature_file_is_made_again_and_the_reason_is_kept(
    damage: str, slides: Path, model: Path, tmp_path: Path
) -> None:
    weights = str(model / "encoder.safetensors")
    (first,) = run(slides / "drawn.tiff", tmp_path, encoder=weights)
    (path,) = tmp_path.glob("features/*/drawn.h5")
    whole = path.read_bytes()
    broken = bytearray(whole)
    with h5py.File(path) as file:
        broken[file["features"].id.get_offset() + 10] ^= 4
    contents = {"truncated": whole[:-100], "flipped": bytes(broken), "empty": b""}
    path.write_bytes(contents[damage])
    (again,) = run(slides / "drawn.tiff", tmp_path, encoder=weights)
    assert f"{path.relative_to(tmp_path)} made again, because" in again.row.reason
    assert path.read_bytes() == whole
    np.testing.assert_array_equal(features_of(first).features, features_of(again).features)
