"""Attention and its products, against the original's numbers and against their formulas."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hvit_cli.attribution.explain import LoadedModel, explain
from hvit_cli.errors import ModelError, UsageError
from hvit_cli.heatmaps.maps import PatchMap, rescale
from hvit_cli.heatmaps.tokens import TokenMap, relative_tokens
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.loading import load_aggregator_weights
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import AggregatorSettings, HeatmapSettings, TaskSettings
from hvit_cli.storage.features import SlideFeatures

MakeAggregator = Callable[..., Aggregator]
MakeFeatures = Callable[..., SlideFeatures]
Bools = npt.NDArray[np.bool_]
TASK = TaskSettings()


@pytest.fixture(scope="module")
def encoder() -> PatchEncoder:
    """A Vision Transformer of 2 × 2 tokens."""
    torch.manual_seed(3)
    network = VisionTransformer(VitShape(width=8, depth=2, heads=2, token_px=4, grid_side=2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(10)
    return PatchEncoder(network, EncoderSpec(name="tiny", width=8, input_px=8, token_px=4))


def pixels_of(row: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(row).integers(0, 256, (8, 8, 3), np.uint8)


def read_patches(visible: Bools) -> Iterator[npt.NDArray[np.uint8]]:
    rows = np.flatnonzero(visible)
    for part in np.array_split(rows, 3):
        yield np.stack([pixels_of(int(row)) for row in part])


def loaded(
    aggregator: Aggregator, attention: str = "masked", encoder: PatchEncoder | None = None
) -> LoadedModel:
    return LoadedModel(
        aggregators=[aggregator],
        attention=attention,  # type: ignore[arg-type]
        task=TASK,
        encoder=encoder,
    )


@pytest.mark.parametrize("name", ["aggregator_masked_2048", "aggregator_plain_2048"])
def test_attention_is_the_originals(
    reference: Path, make_features: MakeFeatures, name: str
) -> None:
    with np.load(reference / f"{name}.npz") as arrays:
        case = SimpleNamespace(**arrays)
    aggregator = Aggregator(AggregatorSettings()).eval()
    shapes = json.loads((reference / "state_dict_keys.json").read_text())["aggregator"]
    state = {}
    for key, shape in shapes.items():
        draws = np.random.Generator(np.random.PCG64([int(case.seed), zlib.crc32(key.encode())]))
        weight = draws.standard_normal(shape).astype(np.float32) * np.float32(0.05)
        if "norm" in key and key.endswith("weight"):
            weight = weight + np.float32(1)
        state[key] = torch.from_numpy(weight)
    load_aggregator_weights(aggregator, state)
    regions, patches = case.tissue_fraction.shape
    whole = make_features()
    features = dataclasses.replace(
        whole,
        features=case.patch_features.reshape(regions * patches, -1),  # float32, as computed
        coords=np.zeros((regions * patches, 2), np.int64),
        region_index=np.repeat(np.arange(regions), patches),
        patch_index=np.tile(np.arange(patches), regions),
        tissue_fraction=case.tissue_fraction.ravel().astype(np.float32),
        region_xy_level0=np.zeros((regions, 2), np.int64),
        region_tissue_fraction=case.tissue_fraction.mean(axis=1),
        patches_per_region=patches,
        region_px=2048,
    )
    attention = "masked" if case.masked else "plain"
    visible = features.visible(attention)  # type: ignore[arg-type]
    theirs = case.region_cls_attention[:, :, 1:].transpose(0, 2, 1).reshape(-1, 6)
    for head in (None, 0, 5):
        found = explain(loaded(aggregator, attention), features, HeatmapSettings(head=head))
        assert isinstance(found, PatchMap)
        wanted = theirs.mean(axis=1) if head is None else theirs[:, head]
        np.testing.assert_allclose(found.value[visible], wanted[visible], atol=1e-4)
        assert (found.value[~visible] == 0).all()
    weights = explain(loaded(aggregator, attention), features, HeatmapSettings(level="slide"))
    assert isinstance(weights, PatchMap)
    np.testing.assert_allclose(
        weights.value[visible], case.slide_attention[features.region_index[visible]], atol=1e-4
    )
    relative = rescale(weights, "relative").value[visible]
    np.testing.assert_allclose(
        relative, regions * case.slide_attention[features.region_index[visible]], atol=1e-3
    )


def test_tokens_are_the_encoders_attention_patch_by_patch(
    make_aggregator: MakeAggregator, make_features: MakeFeatures, encoder: PatchEncoder
) -> None:
    model, features = loaded(make_aggregator(1), encoder=encoder), make_features()
    for head in (None, 1):
        settings = HeatmapSettings(level="patch", head=head)
        found = explain(model, features, settings, read_patches)
        assert isinstance(found, TokenMap)
        assert (found.within, found.tokens_per_side) == ("patch", 2)
        visible = found.patches.visible
        for row in np.flatnonzero(visible)[::4]:
            pixels = torch.from_numpy(pixels_of(int(row))).permute(2, 0, 1)[None] / 255
            mean, std = (torch.tensor(v)[:, None, None] for v in (encoder.mean, encoder.std))
            with torch.no_grad():
                network = encoder.network
                assert isinstance(network, VisionTransformer)
                heads = network.forward_attention((pixels - mean) / std)[1][0, :, 1:]
            wanted = heads.mean(dim=0) if head is None else heads[head]
            np.testing.assert_allclose(found.value[row], wanted, atol=1e-6)
        assert (found.value[~visible] == 0).all()
        np.testing.assert_allclose(relative_tokens(found)[visible].mean(axis=1), 1)


@pytest.mark.parametrize("attention", ["masked", "plain"])
@pytest.mark.parametrize("gamma", [None, 0.0, 0.3, 1.0])
def test_products_of_levels(
    make_aggregator: MakeAggregator,
    make_features: MakeFeatures,
    encoder: PatchEncoder,
    attention: str,
    gamma: float | None,
) -> None:
    model, features = loaded(make_aggregator(1), attention, encoder), make_features()

    def shown(**settings: object) -> PatchMap | TokenMap:
        return explain(model, features, HeatmapSettings(**settings), read_patches)  # type: ignore[arg-type]

    region, slide, tokens = shown(), shown(level="slide"), shown(level="patch")
    assert isinstance(region, PatchMap)
    assert isinstance(slide, PatchMap)
    assert isinstance(tokens, TokenMap)
    visible = region.visible
    frozen, tuned = (1, 1) if gamma is None else (1 - gamma, gamma)
    two = tokens.value[visible] ** frozen * region.value[visible][:, None] ** tuned
    three = two * slide.value[visible][:, None] ** tuned
    for level, wanted in (("patch×region", two), ("patch×region×slide", three)):
        found = shown(level=level, gamma=gamma)
        assert isinstance(found, TokenMap)
        np.testing.assert_allclose(found.value[visible], wanted, rtol=1e-12)
        assert (found.value[~visible] == 0).all()
        # 1 is uniform over the visible tokens of the region, or of the slide.
        relative = relative_tokens(found)
        if level == "patch×region":
            for m in range(4):
                here = visible & (features.region_index == m)
                assert relative[here].mean() == pytest.approx(1)
        assert relative[visible].mean() == pytest.approx(1)
    if gamma == 0:
        np.testing.assert_allclose(two, tokens.value[visible])
    if gamma == 1:
        np.testing.assert_allclose(two, np.repeat(region.value[visible][:, None], 4, axis=1))


def test_gamma_weighs_a_frozen_region_level_against_the_slide(
    make_aggregator: MakeAggregator, make_features: MakeFeatures
) -> None:
    features = make_features()
    model = dataclasses.replace(loaded(make_aggregator(1)), region_frozen=True)
    region = explain(model, features, HeatmapSettings())
    slide = explain(model, features, HeatmapSettings(level="slide"))
    found = explain(model, features, HeatmapSettings(level="region×slide", gamma=0.25))
    assert isinstance(region, PatchMap)
    assert isinstance(slide, PatchMap)
    assert isinstance(found, PatchMap)
    np.testing.assert_allclose(found.value, region.value**0.75 * slide.value**0.25, rtol=1e-12)
    fine_tuned = dataclasses.replace(model, region_frozen=False)
    with pytest.raises(ModelError, match="fine-tuned levels only"):
        explain(fine_tuned, features, HeatmapSettings(level="region×slide", gamma=0.25))


def test_what_a_map_cannot_be_had_of_is_said(
    make_aggregator: MakeAggregator, make_features: MakeFeatures, encoder: PatchEncoder
) -> None:
    model, features = loaded(make_aggregator(1), encoder=encoder), make_features()
    tokens = HeatmapSettings(level="patch")
    with pytest.raises(ModelError, match="features do not hold"):
        explain(model, features, tokens)
    with pytest.raises(UsageError, match="patch encoder has no such attention head"):
        explain(model, features, dataclasses.replace(tokens, head=2), read_patches)
    with pytest.raises(UsageError, match="region Transformer has no such attention head"):
        explain(model, features, HeatmapSettings(head=3))
    with pytest.raises(ModelError, match="did not give the pixels of every visible patch"):
        explain(model, features, tokens, lambda visible: list(read_patches(visible))[:2])
    tissue = features.visible("masked")
    rows = ("features", "coords", "region_index", "patch_index", "tissue_fraction")
    sparse = dataclasses.replace(
        features, patches="tissue", **{name: getattr(features, name)[tissue] for name in rows}
    )
    for kind in ("attention", "rollout", "contribution", "single", "gradient", "integrated"):
        settings = HeatmapSettings(map=kind)
        with pytest.raises(ModelError, match="plain attention sees all"):
            explain(loaded(make_aggregator(1), "plain"), sparse, settings)
        whole, less = (explain(loaded(make_aggregator(1)), f, settings) for f in (features, sparse))
        assert isinstance(whole, PatchMap)
        assert isinstance(less, PatchMap)
        np.testing.assert_allclose(less.value, whole.value[tissue], atol=1e-12)
