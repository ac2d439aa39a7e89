from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hvit_cli.errors import CheckpointError, SettingsError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.loading import (
    ORIGINAL_NORMALISATION_NOTE,
    infer_aggregator_settings,
    load_aggregator_weights,
    load_region_weights,
    to_original_names,
    to_our_names,
)
from hvit_cli.settings import AggregatorSettings

SMALL = AggregatorSettings(
    patch_dim=5,
    region_px=2048,
    region_dim=12,
    region_depth=2,
    region_heads=3,
    registers=2,
    slide_dim=6,
    slide_depth=1,
)


def aggregator(seed: int, **changes: object) -> Aggregator:
    torch.manual_seed(seed)
    return Aggregator(dataclasses.replace(SMALL, **changes)).eval()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_names_convert_to_the_originals_and_back() -> None:
    state = aggregator(0).state_dict()
    theirs = to_original_names(state)
    assert not set(theirs) & set(state)
    assert same(to_our_names(theirs), state)


@pytest.mark.parametrize("names", [dict, to_original_names])
def test_weights_load_under_either_names(names: object) -> None:
    source, target = aggregator(0), aggregator(1)
    notes = load_aggregator_weights(target, names(source.state_dict()))  # type: ignore[operator]
    assert same(target.state_dict(), source.state_dict())
    assert notes == (() if names is dict else (ORIGINAL_NORMALISATION_NOTE,))


def test_half_precision_weights_become_the_networks_format() -> None:
    source, target = aggregator(0), aggregator(1)
    load_aggregator_weights(target, {k: v.half() for k, v in source.state_dict().items()})
    assert {p.dtype for p in target.parameters()} == {torch.float32}


def test_every_entry_that_does_not_fit_is_named_and_nothing_is_loaded() -> None:
    target = aggregator(1)
    before = {name: w.clone() for name, w in target.state_dict().items()}
    state = aggregator(0, position_region_px=4096).state_dict()  # another grid beside the faults
    del state["region_transformer.norm.bias"], state["slide_transformer.rho.weight"]
    state["region_transformer.extra"] = torch.zeros(1)
    state["slide_transformer.classifier.weight"] = torch.zeros(2, 6)
    state["region_transformer.cls_token"][..., 0] = torch.nan
    with pytest.raises(CheckpointError) as caught:
        load_aggregator_weights(target, state, where="fold_0.safetensors")
    message = str(caught.value)
    assert message.startswith("fold_0.safetensors: the weights do not fit the network")
    assert (
        "2 missing: region_transformer.norm.bias, slide_transformer.rho.weight; "
        "1 unexpected: region_transformer.extra; "
        "1 of another shape: slide_transformer.classifier.weight (2, 6) for (1, 6); "
        "1 not finite: region_transformer.cls_token"
    ) in message
    assert same(target.state_dict(), before)


@pytest.mark.parametrize("name", ["vit_region.blocks.0.attn.qkv.bias", "classifier.weight"])
def test_an_original_checkpoint_lacking_one_entry_never_leaves_it_random(name: str) -> None:
    state = to_original_names(aggregator(0).state_dict())
    del state[name]
    (ours,) = to_our_names({name: torch.zeros(1)})
    with pytest.raises(CheckpointError, match=f"1 missing: {ours}"):
        load_aggregator_weights(aggregator(1), state)


def test_a_position_embedding_of_another_region_size_is_resized_once_and_said(
    oracle: SimpleNamespace,
) -> None:
    source = aggregator(0, position_region_px=4096)
    state = to_original_names(source.state_dict())
    target = aggregator(1)
    notes = load_aggregator_weights(target, state)
    assert "14×14 grid and is resized to 8×8" in notes[-1]
    assert target.settings.position_region_px == 4096
    x = torch.randn(3, 64, 5, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        out = target.forward_dense(x)
    expected = oracle.aggregate(state, x, np.zeros((3, 64), bool), region_heads=3)
    np.testing.assert_allclose(out.region_embeddings, expected.region_embeddings, atol=1e-5)
    # What was adapted stands on its own: its settings and weights fit without a note.
    again = Aggregator(target.settings)
    assert load_aggregator_weights(again, target.state_dict()) == ()


@pytest.mark.parametrize("shape", [(1, 51, 12), (1, 50, 8), (50, 12)])
def test_a_position_embedding_of_no_square_grid_or_other_width_is_named(
    shape: tuple[int, ...],
) -> None:
    state = aggregator(0).state_dict()
    state["region_transformer.pos_embed"] = torch.zeros(shape)
    with pytest.raises(CheckpointError, match="pos_embed"):
        load_aggregator_weights(aggregator(1), state)


def test_a_region_level_snapshot_fills_the_region_transformer_alone() -> None:
    source, target = aggregator(0), aggregator(1)
    slide = {k: v.clone() for k, v in target.slide_transformer.state_dict().items()}
    theirs = {
        name.removeprefix("vit_region."): tensor
        for name, tensor in to_original_names(source.state_dict()).items()
        if name.startswith("vit_region.")
    }
    theirs["head.mlp.0.weight"] = theirs["head.last_layer.weight_g"] = torch.zeros(1)
    notes = load_region_weights(target, theirs)
    assert notes == ("the training head is not used (head.*, 2 in all)",)
    assert same(target.region_transformer.state_dict(), source.region_transformer.state_dict())
    assert same(target.slide_transformer.state_dict(), slide)
    del theirs["phi.0.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: project\.bias"):
        load_region_weights(target, theirs)


@pytest.mark.parametrize("names", [dict, to_original_names])
@pytest.mark.parametrize(
    "changes",
    [{}, {"registers": 0, "position_region_px": 4096, "outputs": 6}, {"region_px": 4096}],
)
def test_sizes_are_read_off_the_weights(names: object, changes: dict[str, int]) -> None:
    source = aggregator(0, **changes)
    found = infer_aggregator_settings(
        names(source.state_dict()),  # type: ignore[operator]
        region_px=source.settings.region_px,
        region_heads=3,
        slide_heads=3,
    )
    assert found == source.settings


def test_sizes_of_something_else_are_refused() -> None:
    with pytest.raises(CheckpointError, match="not the weights of an aggregator"):
        infer_aggregator_settings({"cls_token": torch.zeros(1)}, where="vit.pth")
    with pytest.raises(SettingsError, match="region_heads"):
        infer_aggregator_settings(aggregator(0).state_dict(), region_heads=5)
