"""Rollout against the formulas, with every attention matrix written out."""

from __future__ import annotations

from collections.abc import Callable
from math import erf

import numpy as np
import numpy.typing as npt
import pytest

from hvit_cli.attribution.rollout import rollout
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.position import resize_positions
from hvit_cli.settings import Attention
from hvit_cli.storage.features import SlideFeatures

Array = npt.NDArray[np.float64]
State = dict[str, Array]


def state_of(aggregator: Aggregator) -> State:
    """All weights in float64."""
    return {k: v.double().numpy() for k, v in aggregator.state_dict().items()}


def _norm(state: State, name: str, x: Array, eps: float) -> Array:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return x * state[f"{name}.weight"] + state[f"{name}.bias"]


def _linear(state: State, name: str, x: Array) -> Array:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _gelu(x: Array) -> Array:
    phi: Array = np.vectorize(erf)(x / np.sqrt(2))
    return x * 0.5 * (1 + phi)


def _attend(qkv: Array, heads: int, hidden: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """What every token gets (N, D), and the matrices (H, N, N)."""
    q, k, v = (part.reshape(len(qkv), heads, -1).swapaxes(0, 1) for part in np.split(qkv, 3, 1))
    logits = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    logits[:, :, hidden] = -np.inf
    share = np.exp(logits - logits.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    return (share @ v).swapaxes(0, 1).reshape(len(qkv), -1), share


def region(
    aggregator: Aggregator, features: Array, hidden: npt.NDArray[np.bool_], positions: Array
) -> tuple[Array, list[Array]]:
    """Embedding of one region, and each block's attention (H, 1 + R + K, 1 + R + K).

    Args:
        aggregator: Whose weights are used.
        features: (K, D).
        hidden: (K,).
        positions: (1 + K, C), resized.
    """
    state = state_of(aggregator)
    name = "region_transformer"
    tokens = _gelu(_linear(state, f"{name}.project", features)) + positions[1:]
    prefix = [state[f"{name}.cls_token"][0] + positions[:1]]
    if f"{name}.register_tokens" in state:
        prefix.append(state[f"{name}.register_tokens"][0])
    x = np.concatenate([*prefix, tokens])
    unseen = np.concatenate([np.zeros(len(x) - len(tokens), bool), hidden])
    matrices = []
    for i in range(aggregator.settings.region_depth):
        at = f"{name}.blocks.{i}"
        qkv = _linear(state, f"{at}.attn.qkv", _norm(state, f"{at}.norm1", x, 1e-6))
        update, share = _attend(qkv, aggregator.settings.region_heads, unseen)
        matrices.append(share)
        x = x + _linear(state, f"{at}.attn.proj", update)
        middle = _gelu(_linear(state, f"{at}.mlp.fc1", _norm(state, f"{at}.norm2", x, 1e-6)))
        x = x + _linear(state, f"{at}.mlp.fc2", middle)
    return _norm(state, f"{name}.norm", x, 1e-6)[0], matrices


def slide(aggregator: Aggregator, x: Array) -> tuple[Array, list[Array]]:
    """Pooling weights (M,) of a slide's regions, and each layer's attention (H, M, M)."""
    state = state_of(aggregator)
    name = "slide_transformer"
    x = np.maximum(_linear(state, f"{name}.project", x), 0)
    matrices = []
    for i in range(aggregator.settings.slide_depth):
        at = f"{name}.encoder.layers.{i}"
        qkv = x @ state[f"{at}.self_attn.in_proj_weight"].T + state[f"{at}.self_attn.in_proj_bias"]
        update, share = _attend(qkv, aggregator.settings.slide_heads, np.zeros(len(x), bool))
        matrices.append(share)
        update = _linear(state, f"{at}.self_attn.out_proj", update)
        x = _norm(state, f"{at}.norm1", x + update, 1e-5)
        update = _linear(state, f"{at}.linear2", np.maximum(_linear(state, f"{at}.linear1", x), 0))
        x = _norm(state, f"{at}.norm2", x + update, 1e-5)
    a = np.tanh(_linear(state, f"{name}.pool.tanh", x))
    b = 1 / (1 + np.exp(-_linear(state, f"{name}.pool.sigmoid", x)))
    logits = _linear(state, f"{name}.pool.logit", a * b)[:, 0]
    weights = np.exp(logits - logits.max())
    return weights / weights.sum(), matrices


def product(matrices: list[Array]) -> Array:
    """The last layer's mixed matrix times the one before it, down to the first."""
    whole = np.eye(len(matrices[0][0]))
    for matrix in matrices:
        mixed = 0.5 * matrix.mean(axis=0) + 0.5 * np.eye(len(whole))
        whole = mixed @ whole
    return whole


def expected(
    aggregator: Aggregator, features: SlideFeatures, attention: Attention
) -> tuple[Array, Array]:
    """Rollout to all 5 × 9 patches, and to the 5 regions."""
    positions = resize_positions(aggregator.region_transformer.pos_embed, 3)[0].detach().numpy()
    visible = features.visible(attention).reshape(5, 9)
    values = np.nan_to_num(features.features.astype(np.float64)).reshape(5, 9, -1)
    patches, embeddings = [], []
    for m in range(5):
        embedding, matrices = region(aggregator, values[m], ~visible[m], positions)
        patches.append(product(matrices)[0, 3:])
        embeddings.append(embedding)
    weights, matrices = slide(aggregator, np.stack(embeddings))
    return np.concatenate(patches), weights @ product(matrices)


@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_rollout_is_the_product_of_the_mixed_matrices(
    make_aggregator: Callable[..., Aggregator],
    make_features: Callable[..., SlideFeatures],
    attention: Attention,
) -> None:
    aggregators, features = [make_aggregator(1), make_aggregator(2)], make_features()
    both = [expected(one, features, attention) for one in aggregators]
    patches, regions = (np.mean(parts, axis=0) for parts in zip(*both, strict=True))
    within = rollout(aggregators, features, attention)
    np.testing.assert_allclose(within.value, patches, atol=1e-7)
    assert (within.value[~within.visible] == 0).all()
    across = rollout(aggregators, features, attention, level="slide")
    seen = across.visible
    np.testing.assert_allclose(across.value[seen], regions[features.region_index][seen], atol=1e-7)
    assert regions.sum() == pytest.approx(1)
    both_levels = rollout(aggregators, features, attention, level="region×slide")
    np.testing.assert_allclose(
        both_levels.value, patches * regions[features.region_index], atol=1e-7
    )
    assert (within.within, across.within, both_levels.within) == ("region", "slide", "slide")


def test_masked_rollout_does_not_know_the_glass(
    make_aggregator: Callable[..., Aggregator], make_features: Callable[..., SlideFeatures]
) -> None:
    aggregators = [make_aggregator(1)]
    clean, dirty = (rollout(aggregators, make_features(0, b), "masked") for b in (0, float("nan")))
    np.testing.assert_array_equal(clean.value, dirty.value)
