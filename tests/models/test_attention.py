from __future__ import annotations

import math

import pytest
import torch
from timm.models.vision_transformer import Block as TimmBlock

from hvit_cli.models.attention import (
    Attention,
    Block,
    Span,
    attend,
    run_blocks,
    run_packed,
    set_checkpointing,
    set_drop_path,
)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def apply(module: Attention | Block, x: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
    """A module over sequences of one length, (B, N, D) → (B, N, D)."""
    span = Span(sequences=x.shape[0], length=x.shape[1], visible=visible)
    return module(x.flatten(0, 1), [span]).view_as(x)


@pytest.fixture
def pct() -> torch.Tensor:
    """Tissue percentage as the paper's Algorithm 1 takes it: (M, 1, 64)."""
    pct = drawn(1, 5, 1, 64).clamp(min=0)
    pct[3] = 0  # a region that is all glass
    pct[4] = 0.5  # and one without any
    return pct


def algorithm_1(attention: Attention, x: torch.Tensor, pct: torch.Tensor) -> torch.Tensor:
    """Masked self-attention as the paper prints it: −inf on the keys whose pct is 0."""
    m, n, d = x.shape
    heads = attention.num_heads
    tissue = torch.cat([torch.ones(m, 1, 1, dtype=pct.dtype), pct], dim=2)  # CLS is never masked
    mask = torch.zeros_like(tissue).masked_fill(tissue == 0, -math.inf)  # (M, 1, 65)
    qkv = x @ attention.qkv.weight.T + attention.qkv.bias
    q, k, v = qkv.reshape(m, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) / math.sqrt(d // heads) + mask[:, None]
    out = (torch.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(m, n, d)
    return out @ attention.proj.weight.T + attention.proj.bias


def test_attention_is_the_papers_algorithm_1(pct: torch.Tensor) -> None:
    attention = Attention(24, 3).double()
    x = drawn(2, 5, 65, 24)
    visible = torch.cat([torch.ones(5, 1, dtype=torch.bool), pct[:, 0] > 0], dim=1)
    torch.testing.assert_close(apply(attention, x, visible), algorithm_1(attention, x, pct))


def test_block_is_timms_block_with_a_boolean_key_mask(pct: torch.Tensor) -> None:
    def norm(dim: int, **kwargs: object) -> torch.nn.Module:
        return torch.nn.LayerNorm(dim, eps=1e-6)

    timm_block = TimmBlock(24, 3, qkv_bias=True, norm_layer=norm).double()
    block = Block(24, 3).double()
    block.load_state_dict(timm_block.state_dict())
    x = drawn(3, 5, 65, 24)
    visible = torch.cat([torch.ones(5, 1, dtype=torch.bool), pct[:, 0] > 0], dim=1)
    expected = timm_block(x, attn_mask=visible[:, None, None, :])
    torch.testing.assert_close(apply(block, x, visible), expected)


@pytest.mark.parametrize("masked", [True, False])
def test_last_block_for_cls_alone_equals_the_whole_block(pct: torch.Tensor, masked: bool) -> None:
    blocks = torch.nn.ModuleList([Block(24, 3), Block(24, 3)]).double()
    x = drawn(4, 5, 65, 24)
    visible = torch.cat([torch.ones(5, 1, dtype=torch.bool), pct[:, 0] > 0], dim=1)
    visible = visible if masked else None
    whole = apply(blocks[1], apply(blocks[0], x, visible), visible)
    cls, attention = run_blocks(blocks, x, visible)
    torch.testing.assert_close(cls, whole[:, 0])
    torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention.sum(-1)))
    if visible is not None:
        assert (attention.transpose(0, 1)[:, ~visible] == 0).all()
        assert (attention[3, :, 0] == 1).all()  # all glass: CLS can only see itself


def test_last_block_for_cls_alone_has_the_same_gradients() -> None:
    block = Block(24, 3).double()
    x = drawn(5, 2, 9, 24).requires_grad_()
    spans = [Span(sequences=2, length=9)]
    cls = block.forward_cls(x.flatten(0, 1), spans)[0]
    whole = torch.autograd.grad(apply(block, x, None)[:, 0].sin().sum(), [x, *block.parameters()])
    alone = torch.autograd.grad(cls.sin().sum(), [x, *block.parameters()])
    for a, b in zip(whole, alone, strict=True):
        torch.testing.assert_close(a, b)


def test_sequences_of_different_length_in_one_row_do_not_know_each_other() -> None:
    blocks = torch.nn.ModuleList([Block(24, 3), Block(24, 3)]).double()
    short, long = drawn(6, 3, 4, 24), drawn(7, 2, 9, 24)
    seen = drawn(8, 2, 9) > 0
    seen[:, 0] = True
    together, attentions = run_packed(
        blocks,
        torch.cat([short.flatten(0, 1), long.flatten(0, 1)]),
        [Span(sequences=3, length=4), Span(sequences=2, length=9, visible=seen)],
    )
    alone = [run_blocks(blocks, short), run_blocks(blocks, long, seen)]
    torch.testing.assert_close(together, torch.cat([cls for cls, _ in alone]))
    for a, (_, b) in zip(attentions, alone, strict=True):
        torch.testing.assert_close(a, b)


def two_blocks(rate: float) -> torch.nn.ModuleList:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        blocks = torch.nn.ModuleList([Block(24, 3), Block(24, 3), Block(24, 3)]).double()
    set_drop_path(blocks, rate)
    return blocks


def test_stochastic_depth_rises_evenly_and_is_absent_outside_training() -> None:
    blocks = two_blocks(0.4)
    assert [block.drop_path for block in blocks] == pytest.approx([0, 0.2, 0.4])
    assert not [name for name in blocks.state_dict() if "drop" in name]
    x = drawn(9, 4, 7, 24)
    wanted = run_blocks(two_blocks(0.0).train(), x)[0]
    assert torch.equal(run_blocks(blocks.eval(), x)[0], wanted)
    assert not torch.equal(run_blocks(blocks.train(), x)[0], wanted)


def test_stochastic_depth_skips_whole_sequences_and_keeps_the_expectation() -> None:
    """An update of 1 everywhere: each sequence gets 0 or 1 / kept, equal over its tokens."""
    block = Block(24, 3).double().train()
    block.drop_path = 0.25
    for layer in (block.attn.proj, block.mlp.fc2):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.nn.init.ones_(block.attn.proj.bias)
    spans = [Span(sequences=4000, length=2), Span(sequences=2000, length=5)]
    x = torch.zeros(18000, 24, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        out = block(x, spans).detach()
        cls = block.forward_cls(x, spans)[0].detach()
    short, long = out[:8000].view(4000, 2, 24), out[8000:].view(2000, 5, 24)
    for part in (short, long):
        assert torch.equal(part, part[:, :1, :1].expand_as(part))
        assert set(part.unique().tolist()) == {0.0, 1 / 0.75}
        assert float(part.mean()) == pytest.approx(1, abs=4 * math.sqrt(1 / 3 / len(part)))
    assert cls.shape == (6000, 24)
    assert float(cls.mean()) == pytest.approx(1, abs=4 * math.sqrt(1 / 3 / 6000))


def test_checkpointing_changes_neither_output_nor_gradients() -> None:
    x = drawn(10, 5, 7, 24)
    found = []
    for wanted in (False, True):
        blocks = two_blocks(0.5).train()
        set_checkpointing(blocks, wanted)
        with torch.random.fork_rng():
            torch.manual_seed(4)
            cls = run_blocks(blocks, x)[0]
            gradients = torch.autograd.grad(cls.sin().sum(), list(blocks.parameters()))
        found.append((cls, *gradients))
    for plain, checkpointed in zip(*found, strict=True):
        assert torch.equal(plain, checkpointed)


@pytest.mark.parametrize("masked", [False, True])
def test_training_in_bfloat16_on_a_processor_attends_as_everywhere(masked: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(3, 2, 9, 8, generator=generator) for _ in range(3))
    mask = torch.rand(3, 1, 1, 9, generator=generator) > 0.4 if masked else None
    if mask is not None:
        mask[..., 0] = True
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    halves = [x.bfloat16().requires_grad_() for x in (q, k, v)]
    found = attend(*halves, mask)
    assert found.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits: relative steps of 1/256 in values of about 1.
    torch.testing.assert_close(found.float(), wanted, atol=0.03, rtol=0.03)
    found.sum().backward()
    if mask is not None:
        hidden = ~mask[:, :, 0, :, None].expand_as(v)
        assert halves[2].grad is not None
        assert not halves[2].grad[hidden].any()
