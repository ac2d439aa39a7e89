from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pretraining.labelled_patches import (
    LabelledPatch,
    LabelledPatches,
    Part,
    PatchTable,
)
from hvit_cli.pretraining.neighbours import vote
from hvit_cli.pretraining.probe import Probe, probe_features
from hvit_cli.settings import ProbeSettings


def patches_of(
    labels: list[str], groups: list[str], parts: list[Part] | None = None, seed: int = 0
) -> LabelledPatches:
    rows = tuple(
        LabelledPatch(
            slide_id=group,
            path=Path(f"{group}.tiff"),
            xy_level0=(0.0, 0.0),
            label=label,
            group=group,
            part=None if parts is None else parts[n],
        )
        for n, (label, group) in enumerate(zip(labels, groups, strict=True))
    )
    pixels = np.random.default_rng(seed).integers(0, 256, (len(rows), 32, 32, 3), dtype=np.uint8)
    return LabelledPatches(
        table=PatchTable(path=Path("patches.csv"), rows=rows), pixels=pixels, spacing_um=0.5
    )


def told_by_loops(
    features: Any,
    label: Any,
    group: Any,
    bank: Iterable[int],
    told: Iterable[int],
    *,
    k: int,
    classes: int,
    temperature: float = 0.07,
) -> Any:
    """The same vote, patch by patch and neighbour by neighbour."""
    shares = []
    for q in told:
        near = []
        for b in bank:
            if group[b] == group[q]:
                continue
            dot = sum(x * y for x, y in zip(features[q], features[b], strict=True))
            lengths = math.hypot(*features[q]) * math.hypot(*features[b])
            near.append((dot / lengths, b))
        near.sort(key=lambda pair: -pair[0])
        votes = [0.0] * classes
        for similarity, b in near[:k]:
            votes[label[b]] += math.exp(similarity / temperature)
        shares.append([v / sum(votes) for v in votes])
    return np.array(shares)


@pytest.mark.parametrize("k", [1, 5, 20, 500])
@pytest.mark.parametrize("with_bank", [False, True])
def test_the_votes_equal_a_double_loop(k: int, with_bank: bool) -> None:
    rng = np.random.default_rng(3)
    n, classes = 60, 3
    features = (rng.normal(size=(n, 7)) * rng.uniform(0.1, 9, (n, 1))).astype(np.float32)
    label, group = rng.integers(0, classes, n), rng.integers(0, 6, n)
    label[:classes] = range(classes)
    is_bank = group < 3 if with_bank else None
    told, share = vote(
        features, label, group, is_bank, ProbeSettings(neighbours=k, temperature=0.07)
    )
    bank = np.flatnonzero(group < 3) if with_bank else range(n)
    assert told.tolist() == [i for i in range(n) if not with_bank or group[i] >= 3]
    expected = told_by_loops(features.astype(float), label, group, bank, told, k=k, classes=classes)
    np.testing.assert_allclose(share, expected, rtol=1e-9, atol=1e-12)


def test_the_votes_equal_those_of_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(4)
    features = rng.normal(size=(200, 16)).astype(np.float32)
    label = rng.integers(0, 4, 200)
    label[:4] = range(4)
    is_bank = np.arange(200) < 120
    told, share = vote(features, label, np.arange(200), is_bank, ProbeSettings())
    reference = KNeighborsClassifier(
        20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    )
    reference.fit(features[is_bank], label[is_bank])
    np.testing.assert_allclose(share, reference.predict_proba(features[~is_bank]), atol=1e-5)
    assert len(told) == 80


def test_many_patches_are_told_in_parts_and_as_if_they_were_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    features = rng.normal(size=(50, 4)).astype(np.float32)
    label, group = rng.integers(0, 2, 50), rng.integers(0, 5, 50)
    whole = vote(features, label, group, None, ProbeSettings())
    monkeypatch.setattr("hvit_cli.pretraining.neighbours._TOLD_AT_ONCE", 7)
    in_parts = vote(features, label, group, None, ProbeSettings())
    np.testing.assert_array_equal(whole[0], in_parts[0])
    np.testing.assert_allclose(whole[1], in_parts[1], rtol=1e-12)


def test_no_patch_is_told_by_its_own_group() -> None:
    # Groups are clusters of one label each: whoever asked its own group would be always right.
    labels = ["x", "y"] * 10
    groups = [str(n) for n in range(20) for _ in range(1)]
    patches = patches_of(
        [label for label in labels for _ in range(5)], np.repeat(groups, 5).tolist()
    )
    centres = np.random.default_rng(0).normal(size=(20, 8))
    features = np.repeat(centres, 5, axis=0).astype(np.float32)
    nearest = ProbeSettings(neighbours=1)
    similarity = centres @ centres.T
    norm = np.linalg.norm(centres, axis=1)
    similarity = similarity / norm[:, None] / norm[None, :]
    np.fill_diagonal(similarity, -2)
    right = np.array(labels)[similarity.argmax(1)] == np.array(labels)
    assert probe_features(patches, features, nearest).accuracy == pytest.approx(right.mean())
    assert 0 < right.mean() < 1


def test_features_that_tell_all_are_right_and_those_that_tell_nothing_are_at_chance() -> None:
    labels = ["a", "b", "c"] * 40
    groups = [str(n // 12) for n in range(120)]
    patches = patches_of(labels, groups)
    told = probe_features(patches, np.eye(3, dtype=np.float32)[patches.label])
    assert (told.balanced_accuracy, told.accuracy, told.auroc) == (1, 1, 1)
    assert (told.patches, told.bank, told.groups, told.classes) == (120, 120, 10, ("a", "b", "c"))
    nothing = probe_features(patches, np.ones((120, 3), np.float32))
    assert nothing.balanced_accuracy == pytest.approx(1 / 3)


def net(depth: int = 1) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(VitShape(width=32, depth=depth, heads=2, grid_side=2))


SPEC = EncoderSpec(name="net", width=32, input_px=32, token_px=16)


def test_a_network_is_probed_as_it_is_and_left_as_it_was() -> None:
    patches = patches_of(["a", "b"] * 10, [str(n // 4) for n in range(20)])
    network = net()
    network.train()
    network.norm.eval()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    probe = Probe(patches, SPEC, batch_size=3)
    result = probe.score(network)
    assert torch.equal(torch.get_rng_state(), before)
    assert network.training and network.blocks.training and not network.norm.training
    # The same numbers by hand: ImageNet's normalisation, the whole batch at once.
    x = torch.from_numpy(patches.pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (SPEC.mean, SPEC.std))
    with torch.no_grad():
        features = network.eval()((x - mean) / std).numpy()
    assert probe_features(patches, features).told.share == pytest.approx(
        result.told.share, abs=1e-4
    )
    # Weights that were probed can still be trained.
    network.train()
    network(torch.rand(1, 3, 32, 32)).sum().backward()


def test_a_network_that_returns_no_numbers_is_named() -> None:
    patches = patches_of(["a", "b"] * 4, list("01234567"))
    network = net()
    with torch.no_grad():
        network.norm.weight.fill_(torch.nan)
    network.train()
    with pytest.raises(ModelError, match="not finite"):
        Probe(patches, SPEC).score(network)
    assert network.training
    with pytest.raises(ModelError, match="one vector per patch"):
        Probe(patches, EncoderSpec(name="n", width=7, input_px=32, token_px=16)).score(net())


def test_bank_and_query() -> None:
    patches = patches_of(["a", "b", "a", "b"], list("0123"), ["bank", "bank", "query", "query"])
    features = np.array([[1, 0], [0, 1], [1, 0.1], [1, 0.2]], np.float32)
    result = probe_features(patches, features, ProbeSettings(neighbours=1))
    assert (result.patches, result.bank, result.groups) == (2, 2, 2)
    assert result.told.said.tolist() == [0, 0]
    assert result.balanced_accuracy == 0.5


def test_a_timm_network_of_fixed_size_gets_resized_patches() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[-2:] == (8, 8)
            return x.flatten(1) * self.scale

    patches = patches_of(["a", "b"] * 4, list("01234567"))
    spec = EncoderSpec(name="fixed", width=192, input_px=8, token_px=None)
    assert Probe(patches, spec).score(Fixed()).patches == 8
