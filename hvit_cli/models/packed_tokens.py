"""Images through a Vision Transformer without some of their tokens, computed as if masked.

A token that nothing may attend to changes nothing but itself, and only CLS is read. So it is
dropped before the first block, which equals −inf on its key in every layer. CLS and registers
always stay; an image without any token is CLS and registers alone.

What stays of several images is packed one behind the other. Linear layers take the rows in blocks
of one shape, the last one filled up, and attention runs image by image, so that a feature has the
same bits whatever its image shares a step with. `docs/decisions/0013-tokens-without-tissue.md`
has the measurements.

Letters as in `fast_vit`: n images, N tokens of an image, T rows of all, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hvit_cli.models.fast_vit import FastBlock, FastVit, attend, cut_tokens

PACKED_STEP = 32
"""Images per step on a processor: enough that rows which only fill a block are few."""

_BLOCK_ROWS = 256
_CLS_ROWS = 32
_CUT_AT_ONCE = 8

Spans = list[tuple[int, int]]
"""The first row of each image and the one behind its last."""


def packed_features(
    network: FastVit, images: Tensor, present: Tensor, normalised: Callable[[Tensor], Tensor]
) -> Tensor:
    """Features of images, some of whose tokens are absent.

    Args:
        network: The fast form of the encoder.
        images: (n, 3, h, h), in whatever form `normalised` takes.
        present: (n, N) bool, tokens row by row; where it is false, pixels change nothing.
        normalised: Images as the network takes them, each by itself.

    Returns:
        (n, D) CLS, in the network's number format.
    """
    # A few images at a time, so that their pixels lie in the cache from one step to the next.
    parts = [slice(i, i + _CUT_AT_ONCE) for i in range(0, len(images), _CUT_AT_ONCE)]
    pixels = [
        cut_tokens(normalised(images[some]).to(network.dtype), network.token_px)[
            present[some].flatten()
        ]
        for some in parts
    ]
    x, spans = _packed(network, torch.cat(pixels), present)
    *earlier, last = network.blocks
    for block in earlier:
        x = _through(block, x, spans)
    return network.norm(_first(last, x, spans))


def _packed(network: FastVit, pixels: Tensor, present: Tensor) -> tuple[Tensor, Spans]:
    """(T, D) what stays, filled up with zeros to whole blocks, and where each image lies."""
    flat = present.flatten()
    projected = _by_blocks(network.embed, _filled(pixels, _BLOCK_ROWS), rows=_BLOCK_ROWS)
    width = projected.shape[1]
    # Absent tokens are given a place, too, so that the others get theirs; they are not computed.
    tokens = projected.new_zeros((len(flat), width))
    tokens[flat] = projected[: int(flat.sum())]
    placed = network.place(tokens.view(*present.shape, width)).to(network.dtype)
    before = placed.shape[1] - present.shape[1]
    stays = torch.cat([present.new_ones((len(present), before)), present], dim=1)
    ends = stays.sum(dim=1).cumsum(0).tolist()
    return _filled(placed[stays], _BLOCK_ROWS), list(zip([0, *ends], ends, strict=False))


def _through(block: FastBlock, x: Tensor, spans: Spans) -> Tensor:
    """As `FastBlock` for images of several lengths."""
    layer = block.attention
    (to_qkv,) = layer.inputs
    qkv = _by_blocks(lambda part: to_qkv(block.norm1(part)), x, rows=_BLOCK_ROWS)
    parts = qkv.view(len(x), 3, layer.heads, layer.head_dim).permute(1, 2, 0, 3)
    attended = torch.zeros_like(x)
    for start, end in spans:
        q, k, v = (part[None, :, start:end] for part in parts)
        attended[start:end] = attend(q, k, v)[0].transpose(0, 1).reshape(end - start, -1)
    return _by_blocks(_rest_of(block), attended, x, rows=_BLOCK_ROWS)


def _first(block: FastBlock, x: Tensor, spans: Spans) -> Tensor:
    """As `FastBlock.first` for images of several lengths: (T, D) → (n, D)."""
    layer = block.attention
    to_q, to_kv = layer.inputs
    cls = _filled(x[[start for start, _ in spans]], _CLS_ROWS)
    q = _by_blocks(lambda part: to_q(block.norm1(part)), cls, rows=_CLS_ROWS)
    q = q.view(len(cls), layer.heads, layer.head_dim).float() * layer.head_dim**-0.5
    kv = _by_blocks(lambda part: to_kv(block.norm1(part)), x, rows=_BLOCK_ROWS)
    k, v = kv.view(len(x), 2, layer.heads, layer.head_dim).unbind(1)
    attended = torch.zeros_like(cls)
    for image, (start, end) in enumerate(spans):
        weights = (q[image] * k[start:end]).sum(-1, keepdim=True).softmax(dim=0)
        attended[image] = (weights * v[start:end]).sum(0).flatten().to(x.dtype)
    return _by_blocks(_rest_of(block), attended, cls, rows=_CLS_ROWS)[: len(spans)]


def _rest_of(block: FastBlock) -> Callable[[Tensor, Tensor], Tensor]:
    """What a block does with the result of its attention: (update, residual) → residual."""

    def rest(update: Tensor, residual: Tensor) -> Tensor:
        residual = block.attention.proj.added_to(update, residual)
        return block.mlp.added_to(residual, block.norm2(residual))

    return rest


def _by_blocks(layer: Callable[..., Tensor], *inputs: Tensor, rows: int) -> Tensor:
    """A function of rows, applied to so many at a time; inputs hold whole blocks."""
    starts = range(0, len(inputs[0]), rows)
    return torch.cat([layer(*(x[start : start + rows] for x in inputs)) for start in starts])


def _filled(x: Tensor, rows: int) -> Tensor:
    """Zeros behind the rows, up to one whole block or more."""
    missing = -len(x) % rows if len(x) else rows
    return torch.cat([x, x.new_zeros((missing, *x.shape[1:]))])
