"""What dropping tokens without tissue inside the patch encoder would give, on real slides.

    python tests/benchmarks/token_masking.py SLIDE… [--patches 96] [--repeats 5] [--mask-spacing 8]

A patch with tissue has glass as well. `hvit` masks patches; this measures the same one level
down: tokens of 16 px without a pixel of tissue are dropped before the first block, images of
different lengths are packed one behind the other, and attention runs image by image. It says
which share of the tokens stays, how much faster ViT-S/16 becomes (fresh weights, the fast form of
`models/fast_vit.py`, both ways in turns), and how far the bundled model's features and scores
move, which was not trained with it. Prints a JSON object per slide.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openslide  # noqa: F401 - before torch
import torch
from torch import Tensor

from hvit_cli.benchmarks.reading import read_tissue
from hvit_cli.benchmarks.turns import ratio_of, take_turns
from hvit_cli.benchmarks.workload import Workload, prepared
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.fast_forms import fast_form
from hvit_cli.models.fast_vit import FastAttention, FastBlock, FastVit, attend, cut_tokens
from hvit_cli.models.fixed_steps import PROCESSOR_STEP
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, TissueSettings
from hvit_cli.steps.embed import embed_slide
from hvit_cli.steps.grade import Grader
from hvit_cli.tissue.coverage import count_pixels
from hvit_cli.tissue.segmentation import segment_slide

Bits = npt.NDArray[np.bool_]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def token_bits(workload: Workload, mask_spacing_um: float, token_px: int) -> Bits:
    """(P, N) which tokens of the tissue patches hold a tissue pixel, row by row."""
    settings = replace(TissueSettings(), segment_spacing_um=mask_spacing_um)
    mask = segment_slide(workload.slide, settings)
    regions = workload.tiles.regions
    side = regions.patch_px // token_px
    steps = np.arange(side + 1) * regions.patch_level0 / side
    origins = regions.patch_origin_level0[workload.wanted]
    counts, _ = count_pixels(mask, origins[:, :1] + steps, origins[:, 1:] + steps)
    return (counts > 0).reshape(len(origins), -1)


def packed_attention(layer: FastAttention, residual: Tensor, x: Tensor, ends: list[int]) -> Tensor:
    """As `FastAttention.added_to`, for images of several lengths."""
    (qkv,) = layer.inputs
    parts = qkv(x).view(len(x), 3, layer.heads, layer.head_dim).permute(1, 2, 0, 3)
    out = torch.empty_like(x)
    for start, end in zip([0, *ends], ends, strict=False):
        q, k, v = (part[None, :, start:end] for part in parts)
        out[start:end] = attend(q, k, v)[0].transpose(0, 1).reshape(end - start, -1)
    return layer.proj.added_to(out, residual)


def last_block(block: FastBlock, x: Tensor, ends: list[int]) -> Tensor:
    """As `FastBlock.first`, for images of several lengths."""
    layer, normed = block.attention, block.norm1(x)
    starts = [0, *ends[:-1]]
    to_q, to_kv = layer.inputs
    cls = x[starts]
    q = to_q(normed[starts]).view(len(ends), layer.heads, layer.head_dim).float()
    k, v = to_kv(normed).view(len(x), 2, layer.heads, layer.head_dim).unbind(1)
    rows = []
    for n, (start, end) in enumerate(zip(starts, ends, strict=True)):
        weights = (q[n] * layer.head_dim**-0.5 * k[start:end]).sum(-1, keepdim=True).softmax(dim=0)
        rows.append((weights * v[start:end]).sum(0).flatten())
    cls = layer.proj.added_to(torch.stack(rows).to(x.dtype), cls)
    return block.mlp.added_to(cls, block.norm2(cls))


def packed(network: FastVit, images: Tensor, bits: Tensor) -> Tensor:
    """(n, 3, h, h) normalised, (n, N) tokens that stay → (n, D)."""
    tokens = cut_tokens(images.to(network.dtype), network.token_px)
    # Absent tokens are not projected; positions are added to all, which is cheap.
    projected = torch.zeros(len(tokens), network.norm.weight.shape[0], dtype=network.dtype)
    projected[bits.flatten()] = network.embed(tokens[bits.flatten()])
    x = network.place(projected.view(len(images), -1, projected.shape[-1])).to(network.dtype)
    extra = x.shape[1] - bits.shape[1]
    stay = torch.cat([torch.ones(len(bits), extra, dtype=torch.bool), bits], dim=1)
    ends = stay.sum(1).cumsum(0).tolist()
    x = x[stay]
    *earlier, last = network.blocks
    for block in earlier:
        x = packed_attention(block.attention, x, block.norm1(x), ends)
        x = block.mlp.added_to(x, block.norm2(x))
    return network.norm(last_block(last, x, ends))


def embed_both(
    encoder: PatchEncoder, network: FastVit | None, pixels: Tensor, bits: Tensor | None
) -> Tensor:
    """(n, 3, h, h) uint8 → (n, D), in steps; whole patches where there are no bits."""
    assert network is not None
    done = []
    with torch.inference_mode():
        for start in range(0, len(pixels), PROCESSOR_STEP):
            step = slice(start, start + PROCESSOR_STEP)
            x = encoder.network_input(pixels[step])
            done.append(network(x) if bits is None else packed(network, x, bits[step]))
    return torch.cat(done).float()


def spread(rows: int, wanted: int) -> npt.NDArray[np.int64]:
    """Evenly spread row numbers."""
    return np.unique(np.linspace(0, rows - 1, min(rows, wanted)).round().astype(np.int64))


def measure(
    path: Path, patches: int, repeats: int, mask_spacing_um: float, precision: str
) -> dict[str, object]:
    """Shares, seconds and differences on one slide."""
    embedding = EmbeddingSettings(device="cpu", precision="float32")
    with prepared(path, model="demo", embedding=embedding, reading=ReadingSettings()) as workload:
        demo = workload.embedder.encoder
        assert demo.spec.token_px is not None
        whole = np.concatenate(list(read_tissue(workload.slide, workload.tiles)))
        pixels = torch.from_numpy(whole).permute(0, 3, 1, 2)
        coarse = torch.from_numpy(token_bits(workload, mask_spacing_um, demo.spec.token_px))
        fine = torch.from_numpy(token_bits(workload, mask_spacing_um, 16))
        # A patch whose mask differs from that of the regions keeps its tokens.
        for bits in (coarse, fine):
            bits[~bits.any(1)] = True
        vit = PatchEncoder(
            VisionTransformer(VitShape(grid_side=16)), replace(demo.spec, token_px=16, width=384)
        )
        forms = {encoder: fast_form(encoder.network, DTYPES[precision]) for encoder in (demo, vit)}
        some = spread(len(whole), patches)
        ways = {
            "whole": lambda: embed_both(vit, forms[vit], pixels[some], None),
            "packed": lambda: embed_both(vit, forms[vit], pixels[some], fine[some]),
        }
        everything = torch.ones_like(fine[some])
        same = embed_both(vit, forms[vit], pixels[some], everything) - ways["whole"]()
        seconds = take_turns(ways, repeats)
        plain = embed_both(demo, forms[demo], pixels, None)
        masked = embed_both(demo, forms[demo], pixels, coarse)
        features = embed_slide(
            workload.slide, workload.tiles, workload.embedder, workload.tiles.recipe
        )
        grader = Grader(workload.model, embedding)
        scores = [
            grader.grade(replace(features, features=x.half().numpy())).score
            for x in (plain, masked)
        ]
        cosine = torch.nn.functional.cosine_similarity(plain, masked)
        return {
            "slide": path.name,
            "tissue patches": len(whole),
            "tokens that stay": float(fine.float().mean()),
            "of those timed": float(fine[some].float().mean()),
            "patches with every token": float(fine.all(1).float().mean()),
            "times as fast": ratio_of(seconds["whole"], seconds["packed"]),
            "difference with every token": float(same.abs().max()),
            "cosine of the bundled model, mean and lowest": [
                float(cosine.mean()),
                float(cosine.min()),
            ],
            "scores, whole and packed": scores,
        }


def main() -> None:
    """Prints a JSON object per slide."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("slides", nargs="+", type=Path)
    parser.add_argument("--patches", type=int, default=96, help="to time; all are compared")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--mask-spacing", type=float, default=8.0, help="µm per pixel of the mask")
    parser.add_argument("--precision", choices=DTYPES, default="float32")
    asked = parser.parse_args()
    for path in asked.slides:
        found = measure(path, asked.patches, asked.repeats, asked.mask_spacing, asked.precision)
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
