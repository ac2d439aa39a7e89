from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvit_cli.errors import ModelError
from hvit_cli.models.aggregator import Aggregator, AggregatorOutput
from hvit_cli.models.bags import PatchBag
from hvit_cli.models.loading import load_aggregator_weights, to_original_names
from hvit_cli.settings import AggregatorSettings

SMALL = AggregatorSettings(
    patch_dim=10,
    region_px=1024,
    region_dim=12,
    region_depth=3,
    region_heads=3,
    registers=2,
    slide_dim=8,
    slide_heads=2,
)


def bag_of(features: torch.Tensor, visible: torch.Tensor) -> PatchBag:
    """What is left of (M, K, D) features when hidden patches are dropped."""
    region_index, patch_index = visible.nonzero(as_tuple=True)
    return PatchBag(
        features=features[visible],
        region_index=region_index,
        patch_index=patch_index,
        regions=len(features),
    )


def small(dtype: torch.dtype = torch.float64, **changes: Any) -> Aggregator:
    torch.manual_seed(3)
    aggregator = Aggregator(AggregatorSettings(**{**SMALL.__dict__, **changes}))
    for parameter in aggregator.parameters():  # biases and norms off their starting values
        torch.nn.init.normal_(parameter, std=0.3)
    return aggregator.to(dtype).eval()


def slides(
    seed: int, *regions: int, k: int = 16, d: int = 10
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for m in regions:
        visible = torch.rand(m, k, generator=generator) < torch.rand(m, 1, generator=generator)
        visible[-1] = False  # a region without tissue
        drawn.append((torch.randn(m, k, d, generator=generator, dtype=torch.float64), visible))
    return drawn


def original_shapes(aggregator: Aggregator) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in to_original_names(aggregator.state_dict()).items()}


# --- against the original implementation ------------------------------------------------


def test_default_weights_are_called_and_shaped_like_the_originals(reference: Path) -> None:
    keys = json.loads((reference / "state_dict_keys.json").read_text())["aggregator"]
    assert original_shapes(Aggregator(AggregatorSettings())) == {
        name: tuple(shape) for name, shape in keys.items()
    }


@pytest.fixture(
    params=["aggregator_masked_2048", "aggregator_plain_2048", "aggregator_masked_4096"]
)
def case(
    request: pytest.FixtureRequest, reference: Path, rule: Callable[..., dict[str, Any]]
) -> SimpleNamespace:
    with np.load(reference / f"{request.param}.npz") as arrays:
        case = SimpleNamespace(**arrays)
    aggregator = Aggregator(
        AggregatorSettings(
            patch_dim=case.patch_features.shape[-1],
            region_px=int(case.region_size),
            position_region_px=int(case.pretrained_region_size) or None,
            registers=int(case.num_register_tokens),
        )
    ).eval()
    state = rule(int(case.seed), original_shapes(aggregator))
    load_aggregator_weights(aggregator, {k: torch.from_numpy(w) for k, w in state.items()})
    case.aggregator = aggregator
    case.features = torch.from_numpy(case.patch_features)
    tissue = torch.from_numpy(case.tissue_fraction) > 0
    case.visible = tissue if case.masked else torch.ones_like(tissue)
    return case


@torch.no_grad()
def test_dense_path_agrees_with_the_original(case: SimpleNamespace) -> None:
    out = case.aggregator.forward_dense(case.features, case.visible if case.masked else None)
    np.testing.assert_allclose(out.score, case.output, atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.region_embeddings, case.region_embeddings, atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.slide_attention, case.slide_attention, atol=1e-6, rtol=0)
    np.testing.assert_allclose(
        out.region_cls_attention, case.region_cls_attention, atol=1e-6, rtol=0
    )
    hidden = out.region_cls_attention[:, :, 1:].transpose(1, 2)[~case.visible]
    assert (hidden == 0).all()


@torch.no_grad()
def test_packed_path_agrees_with_the_original(case: SimpleNamespace) -> None:
    out = case.aggregator([bag_of(case.features, case.visible)], with_attention=True)
    np.testing.assert_allclose(out.score, case.output, atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.region_embeddings, case.region_embeddings, atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.slide_attention, case.slide_attention, atol=1e-6, rtol=0)
    cls, patches = case.region_cls_attention[:, :, :1], case.region_cls_attention[:, :, 1:]
    np.testing.assert_allclose(
        out.patch_attention[0], patches.transpose(0, 2, 1)[case.visible.numpy()], atol=1e-6, rtol=0
    )
    np.testing.assert_allclose(out.prefix_attention, cls[..., 0], atol=1e-6, rtol=0)


# --- against the formulas, for shapes the reference does not have -------------------------


@settings(max_examples=25, deadline=None)
@given(
    regions=st.integers(1, 4),
    side=st.integers(1, 6),
    learned=st.none() | st.integers(1, 8),
    patch_dim=st.sampled_from([3, 16]),
    heads=st.sampled_from([(1, 1), (2, 3), (3, 2)]),
    depth=st.integers(1, 3),
    registers=st.integers(0, 3),
    outputs=st.integers(1, 2),
    tissue=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_any_shape_agrees_with_the_formulas(
    oracle: SimpleNamespace,
    rule: Callable[..., dict[str, Any]],
    regions: int,
    side: int,
    learned: int | None,
    patch_dim: int,
    heads: tuple[int, int],
    depth: int,
    registers: int,
    outputs: int,
    tissue: float,
    seed: int,
) -> None:
    aggregator = Aggregator(
        AggregatorSettings(
            patch_dim=patch_dim,
            region_px=side * 256,
            position_region_px=learned and learned * 256,
            region_dim=12,
            region_depth=depth,
            region_heads=heads[0],
            registers=registers,
            slide_dim=6,
            slide_depth=depth,
            slide_heads=heads[1],
            outputs=outputs,
        )
    ).eval()
    state = rule(seed, original_shapes(aggregator))
    state = {name: w if "norm" in name else w * 8 for name, w in state.items()}
    load_aggregator_weights(aggregator, {k: torch.from_numpy(w) for k, w in state.items()})
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((regions, side**2, patch_dim)).astype(np.float32)
    visible = generator.random((regions, side**2)) < tissue
    expected = oracle.aggregate(
        state, features, ~visible, region_heads=heads[0], slide_heads=heads[1]
    )
    x, mask = torch.from_numpy(features), torch.from_numpy(visible)
    with torch.no_grad():
        dense = aggregator.forward_dense(x, mask)
        packed = aggregator([bag_of(x, mask)], with_attention=True)
    attention = expected.region_cls_attention  # (M, H, 1 + R + K)
    np.testing.assert_allclose(dense.region_cls_attention, attention, atol=2e-5)
    assert packed.patch_attention is not None
    np.testing.assert_allclose(
        packed.patch_attention[0],
        attention[:, :, 1 + registers :].transpose(0, 2, 1)[visible],
        atol=2e-5,
    )
    np.testing.assert_allclose(
        packed.prefix_attention, attention[:, :, : 1 + registers].sum(-1), atol=2e-5
    )
    for out in (dense, packed):
        np.testing.assert_allclose(out.region_embeddings, expected.region_embeddings, atol=1e-4)
        np.testing.assert_allclose(out.slide_attention, expected.slide_attention, atol=2e-5)
        np.testing.assert_allclose(out.score, expected.output, atol=1e-4)


# --- properties ----------------------------------------------------------------------------


def gradients(aggregator: Aggregator, score: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(score.square().sum(), list(aggregator.parameters())))


def test_dropping_background_equals_masking_it_in_outputs_attention_and_gradients() -> None:
    aggregator = small()
    ((features, visible),) = slides(0, 6)
    dense = aggregator.forward_dense(features, visible)
    packed = aggregator([bag_of(features, visible)], with_attention=True)
    torch.testing.assert_close(packed.score, dense.score)
    torch.testing.assert_close(packed.region_embeddings, dense.region_embeddings)
    torch.testing.assert_close(packed.slide_attention, dense.slide_attention)
    patch_attention = dense.region_cls_attention[:, :, 3:].transpose(1, 2)[visible]
    torch.testing.assert_close(packed.patch_attention[0], patch_attention)
    for a, b in zip(
        gradients(aggregator, packed.score), gradients(aggregator, dense.score), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_plain_attention_equals_masked_attention_with_everything_visible() -> None:
    aggregator = small()
    ((features, visible),) = slides(1, 3)
    plain = aggregator.forward_dense(features)
    masked = aggregator.forward_dense(features, torch.ones_like(visible))
    torch.testing.assert_close(plain.score, masked.score)
    packed = aggregator([bag_of(features, torch.ones_like(visible))])
    torch.testing.assert_close(packed.score, plain.score)


@pytest.mark.parametrize("rubbish", [1e6, float("nan"), float("inf")])
def test_nothing_depends_on_background_features(rubbish: float) -> None:
    aggregator = small()
    ((features, visible),) = slides(2, 5)
    clean = aggregator.forward_dense(features, visible)
    dirty_features = torch.where(visible[..., None], features, rubbish).requires_grad_()
    dirty = aggregator.forward_dense(dirty_features, visible)
    assert torch.equal(dirty.score, clean.score)
    assert torch.equal(dirty.region_embeddings, clean.region_embeddings)
    assert torch.equal(dirty.region_cls_attention, clean.region_cls_attention)
    (gradient,) = torch.autograd.grad(dirty.score.sum(), dirty_features)
    assert (gradient[~visible] == 0).all()
    assert (gradient[visible] != 0).any(dim=-1).all()
    again = aggregator.forward_dense(dirty_features, visible)
    assert all(torch.isfinite(g).all() for g in gradients(aggregator, again.score))


def test_a_nan_patch_spoils_its_own_slide_and_no_other() -> None:
    aggregator = small()
    (one, two) = slides(3, 2, 5)
    poisoned = one[0].clone()
    poisoned[0] = float("nan")
    alone = aggregator([bag_of(*two)])
    together = aggregator([bag_of(poisoned, torch.ones_like(one[1])), bag_of(*two)])
    assert torch.isnan(together.score[0]).all()
    torch.testing.assert_close(together.score[1:], alone.score)


def test_a_slide_without_any_tissue_gives_finite_numbers_and_gradients() -> None:
    aggregator = small()
    empty = PatchBag(
        features=torch.zeros(0, 10),
        region_index=torch.zeros(0, dtype=torch.long),
        patch_index=torch.zeros(0, dtype=torch.long),
        regions=3,
    )
    out = aggregator([empty], with_attention=True)
    assert torch.isfinite(out.score).all()
    assert out.patch_attention[0].shape == (0, 3)
    torch.testing.assert_close(out.prefix_attention, torch.ones(3, 3, dtype=torch.float64))
    dense = aggregator.forward_dense(torch.full((3, 16, 10), torch.nan), torch.zeros(3, 16).bool())
    torch.testing.assert_close(out.score, dense.score)
    assert all(torch.isfinite(g).all() for g in gradients(aggregator, out.score))


def parts(out: AggregatorOutput) -> list[tuple[torch.Tensor, ...]]:
    """The output of each slide on its own."""
    assert out.patch_attention is not None and out.prefix_attention is not None
    found = []
    for s, (a, b) in enumerate(zip(out.region_offsets, out.region_offsets[1:], strict=False)):
        per_region = (out.region_embeddings, out.slide_attention, out.prefix_attention)
        found.append((out.score[s], *(t[a:b] for t in per_region), out.patch_attention[s]))
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_many_slides_at_once_equal_one_by_one_in_any_order(dtype: torch.dtype) -> None:
    aggregator = small(dtype)
    bags = [bag_of(*slide) for slide in slides(4, 3, 1, 7, 2)]
    with torch.no_grad():
        alone = [parts(aggregator([bag], with_attention=True))[0] for bag in bags]
        for order in ([0, 1, 2, 3], [2, 0, 3, 1], [1, 1]):
            together = parts(aggregator([bags[i] for i in order], with_attention=True))
            for i, out in zip(order, together, strict=True):
                for a, b in zip(alone[i], out, strict=True):
                    torch.testing.assert_close(a, b)
                assert float(out[2].sum()) == pytest.approx(1)


def test_gradients_of_many_slides_are_the_sum_of_one_by_one() -> None:
    aggregator = small()
    bags = [bag_of(*slide) for slide in slides(5, 3, 1, 7)]
    together = gradients(aggregator, aggregator(bags).score)
    alone = [gradients(aggregator, aggregator([bag]).score) for bag in bags]
    for whole, *single in zip(together, *alone, strict=True):
        torch.testing.assert_close(whole, torch.stack(single).sum(0))


def test_rows_may_come_in_any_order() -> None:
    aggregator = small()
    ((features, visible),) = slides(6, 4)
    bag = bag_of(features, visible)
    shuffled = torch.randperm(len(bag.features), generator=torch.Generator().manual_seed(0))
    mixed = PatchBag(
        features=bag.features[shuffled],
        region_index=bag.region_index[shuffled],
        patch_index=bag.patch_index[shuffled],
        regions=bag.regions,
    )
    straight, crooked = (aggregator([b], with_attention=True) for b in (bag, mixed))
    torch.testing.assert_close(crooked.score, straight.score)
    torch.testing.assert_close(crooked.patch_attention[0], straight.patch_attention[0][shuffled])


def test_prefix_and_patch_attention_of_a_region_sum_to_one() -> None:
    aggregator = small()
    ((features, visible),) = slides(7, 5)
    bag = bag_of(features, visible)
    out = aggregator([bag], with_attention=True)
    total = out.prefix_attention.index_add(0, bag.region_index, out.patch_attention[0])
    torch.testing.assert_close(total, torch.ones_like(total))


def test_gradients_reach_every_parameter_first_region_block_included() -> None:
    aggregator = small().train()
    out = aggregator([bag_of(*slide) for slide in slides(8, 4, 3)])
    for (name, _), gradient in zip(
        aggregator.named_parameters(), gradients(aggregator, out.score), strict=True
    ):
        assert gradient.abs().max() > 0, name


def test_features_of_half_precision_are_computed_in_the_weights_format() -> None:
    aggregator = small(torch.float32)
    ((features, visible),) = slides(9, 2)
    half = bag_of(features.half(), visible)
    full = bag_of(features.half().float(), visible)
    assert torch.equal(aggregator([half]).score, aggregator([full]).score)


@pytest.mark.parametrize(
    ("bags", "message"),
    [
        ([], "no slide"),
        ([bag_of(torch.zeros(1, 16, 9), torch.ones(1, 16).bool())], "width 9; wanted width 10"),
        (
            [bag_of(torch.zeros(1, 64, 10), torch.ones(1, 64).bool())],
            "patch 63; wanted patches 0 to 15",
        ),
    ],
)
def test_features_that_do_not_fit_are_refused(bags: list[PatchBag], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small()(bags)


@pytest.mark.parametrize("shape", [(2, 64, 10), (2, 16, 9), (16, 10)])
def test_dense_features_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"wanted \(regions, 16, 10\)"):
        small().forward_dense(torch.zeros(shape))


def test_weights_start_as_documented() -> None:
    torch.manual_seed(0)
    region = Aggregator(AggregatorSettings(registers=4)).region_transformer
    drawn: list[npt.NDArray[np.float32]] = [
        region.pos_embed.detach().numpy(),
        region.blocks[0].attn.qkv.weight.detach().numpy(),
        region.blocks[5].mlp.fc2.weight.detach().numpy(),
    ]
    for weights in drawn:
        assert weights.std() == pytest.approx(0.02, rel=0.05)
    assert (region.blocks[0].mlp.fc1.bias == 0).all()
