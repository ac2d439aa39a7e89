"""The aggregator written a second time, from its formulas, in numpy and float64.

It knows nothing of the package: the names are those of the original's state dicts and the
weights follow the rule of the reference numbers.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[np.float64]
State = dict[str, Array]


def _rule(seed: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, npt.NDArray[np.float32]]:
    state = {}
    for key, shape in shapes.items():
        generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(key.encode())]))
        w = generator.standard_normal(shape).astype(np.float32) * np.float32(0.05)
        if "norm" in key and key.endswith("weight"):
            w = w + np.float32(1)
        state[key] = w
    return state


def _linear(state: State, name: str, x: Array) -> Array:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _norm(state: State, name: str, x: Array, eps: float) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def _softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _attend(q: Array, k: Array, v: Array, heads: int, hidden: npt.NDArray[np.bool_] | None):
    """One sequence (N, D) at a time and one head at a time, −inf at hidden keys."""
    width = q.shape[-1] // heads
    outputs, maps = [], []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        logits = q[:, part] @ k[:, part].T / math.sqrt(width)
        if hidden is not None:
            logits = np.where(hidden[None, :], -np.inf, logits)
        maps.append(_softmax(logits))
        outputs.append(maps[-1] @ v[:, part])
    return np.concatenate(outputs, -1), np.stack(maps)


def _cubic(t: float) -> float:
    """Keys' kernel with a = -0.75."""
    a, t = -0.75, abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    if t < 2:
        return a * (t**3 - 5 * t**2 + 8 * t - 4)
    return 0.0


def _bicubic(grid: Array, side: int) -> Array:
    """(n, n, D) → (side, side, D), half-pixel centres, edges repeated, no antialiasing."""
    n = len(grid)
    matrix = np.zeros((side, n))
    for i in range(side):
        centre = (i + 0.5) * n / side - 0.5
        for j in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[i, min(max(j, 0), n - 1)] += _cubic(centre - j)
    return np.einsum("ia,jb,abd->ijd", matrix, matrix, grid)


def _positions(pos_embed: Array, side: int) -> Array:
    learned = math.isqrt(pos_embed.shape[1] - 1)
    grid = pos_embed[0, 1:].reshape(learned, learned, -1)
    if learned != side:
        grid = _bicubic(grid, side)
    return np.concatenate([pos_embed[0, :1], grid.reshape(side * side, -1)])


def _blocks(state: State, prefix: str, x: Array, heads: int, hidden: npt.NDArray[np.bool_] | None):
    """Pre-norm blocks on one sequence, then the last norm; also the last block's attention."""
    depth = len(
        {k.split("blocks.")[1].split(".")[0] for k in state if k.startswith(prefix + "blocks.")}
    )
    attention = np.zeros(0)
    for i in range(depth):
        name = f"{prefix}blocks.{i}"
        q, k, v = np.split(
            _linear(state, f"{name}.attn.qkv", _norm(state, f"{name}.norm1", x, 1e-6)), 3, -1
        )
        update, attention = _attend(q, k, v, heads, hidden)
        x = x + _linear(state, f"{name}.attn.proj", update)
        middle = _gelu(_linear(state, f"{name}.mlp.fc1", _norm(state, f"{name}.norm2", x, 1e-6)))
        x = x + _linear(state, f"{name}.mlp.fc2", middle)
    return _norm(state, f"{prefix}norm", x, 1e-6), attention


def _region(state: State, features: Array, background: npt.NDArray[np.bool_], heads: int):
    side = math.isqrt(len(features))
    positions = _positions(state["vit_region.pos_embed"], side)
    tokens = _gelu(_linear(state, "vit_region.phi.0", features)) + positions[1:]
    prefix = [state["vit_region.cls_token"][0] + positions[:1]]
    if "vit_region.register_tokens" in state:
        prefix.append(state["vit_region.register_tokens"][0])
    x = np.concatenate([*prefix, tokens])
    hidden = np.concatenate([np.zeros(len(x) - len(tokens), bool), background])
    x, attention = _blocks(state, "vit_region.", x, heads, hidden)
    return x[0], attention[:, 0]


def _slide(state: State, x: Array, heads: int):
    x = np.maximum(_linear(state, "global_phi.0", x), 0)
    layers = {k.split(".")[2] for k in state if k.startswith("global_transformer.layers.")}
    for i in range(len(layers)):
        name = f"global_transformer.layers.{i}"
        qkv = (
            x @ state[f"{name}.self_attn.in_proj_weight"].T
            + state[f"{name}.self_attn.in_proj_bias"]
        )
        update, _ = _attend(*np.split(qkv, 3, -1), heads, None)
        x = _norm(
            state, f"{name}.norm1", x + _linear(state, f"{name}.self_attn.out_proj", update), 1e-5
        )
        update = _linear(
            state, f"{name}.linear2", np.maximum(_linear(state, f"{name}.linear1", x), 0)
        )
        x = _norm(state, f"{name}.norm2", x + update, 1e-5)
    a = np.tanh(_linear(state, "global_attn_pool.attention_a.0", x))
    b = 1 / (1 + np.exp(-_linear(state, "global_attn_pool.attention_b.0", x)))
    weights = _softmax(_linear(state, "global_attn_pool.attention_c", a * b).T)
    pooled = np.maximum(_linear(state, "global_rho.0", weights @ x), 0)
    return _linear(state, "classifier", pooled), weights[0]


def _aggregate(
    state: State,
    features: npt.ArrayLike,
    background: npt.NDArray[np.bool_],
    *,
    region_heads: int = 6,
    slide_heads: int = 3,
) -> SimpleNamespace:
    """Score, region embeddings and attention of one slide; features (M, K, D)."""
    state = {name: np.asarray(w, np.float64) for name, w in state.items()}
    read = [
        _region(state, f, b, region_heads)
        for f, b in zip(np.asarray(features, np.float64), background, strict=True)
    ]
    embeddings = np.stack([r[0] for r in read])
    output, weights = _slide(state, embeddings, slide_heads)
    return SimpleNamespace(
        output=output,
        region_embeddings=embeddings,
        region_cls_attention=np.stack([r[1] for r in read]),
        slide_attention=weights,
    )


def _embed(
    state: State,
    pixels: npt.ArrayLike,
    heads: int,
    visible: npt.NDArray[np.bool_] | None = None,
) -> SimpleNamespace:
    """CLS embedding and attention of a DINO ViT for images (n, 3, h, h)."""
    state = {name: np.asarray(w, np.float64) for name, w in state.items()}
    kernel = state["patch_embed.proj.weight"]
    p = kernel.shape[-1]
    embeddings, attentions = [], []
    for i, image in enumerate(np.asarray(pixels, np.float64)):
        side = image.shape[-1] // p
        squares = image.reshape(3, side, p, side, p).transpose(1, 3, 0, 2, 4).reshape(side**2, -1)
        tokens = squares @ kernel.reshape(len(kernel), -1).T + state["patch_embed.proj.bias"]
        positions = _positions(state["pos_embed"], side)
        x = np.concatenate([state["cls_token"][0] + positions[:1], tokens + positions[1:]])
        hidden = None if visible is None else np.concatenate([[False], ~visible[i]])
        x, attention = _blocks(state, "", x, heads, hidden)
        embeddings.append(x[0])
        attentions.append(attention[:, 0])
    return SimpleNamespace(embedding=np.stack(embeddings), cls_attention=np.stack(attentions))


@pytest.fixture(scope="session")
def rule() -> Callable[..., dict[str, npt.NDArray[np.float32]]]:
    """`rule(seed, shapes)`: the reference weights for entries of these shapes."""
    return _rule


@pytest.fixture(scope="session")
def oracle() -> SimpleNamespace:
    """`aggregate`, `embed`, `positions` and `linear`, written from the formulas."""
    return SimpleNamespace(aggregate=_aggregate, embed=_embed, positions=_positions)
