"""What dropping tokens without tissue inside the patch encoder gives, on real slides.

    python tests/benchmarks/token_masking.py SLIDE… [--patches 96] [--repeats 5] [--mask-spacing 2]

A patch with tissue has glass as well. With `--mask-level both` tokens without a pixel of tissue are
dropped before the first block. This says which share of the tokens stays (16 px), how much faster
ViT-S/16 becomes (fresh weights, `PatchEncoder.embed` with and without tokens, both in turns, time
of the processor), and how far the bundled model's features and scores move, which was not trained
with it. Prints a JSON object per slide.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import openslide  # noqa: F401 - before torch

from hvit_cli.benchmarks.reading import read_tissue
from hvit_cli.benchmarks.turns import ratio_of, take_turns
from hvit_cli.benchmarks.workload import Workload, prepared
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import EmbeddingSettings, Precision, ReadingSettings, TissueSettings
from hvit_cli.steps.embed import embed_slide
from hvit_cli.steps.grade import Grader
from hvit_cli.tissue.segmentation import segment_slide
from hvit_cli.tissue.tokens import tokens_with_tissue

Bits = npt.NDArray[np.bool_]


def token_bits(workload: Workload, mask_spacing_um: float, token_px: int) -> Bits:
    """(P, N) which tokens of the tissue patches hold a tissue pixel, row by row."""
    settings = replace(TissueSettings(), segment_spacing_um=mask_spacing_um)
    mask = segment_slide(workload.slide, settings)
    regions = workload.tiles.regions
    side = regions.patch_px // token_px
    origins = regions.patch_origin_level0[workload.wanted]
    return tokens_with_tissue(
        mask, origins, regions.patch_level0, side, where=workload.entry.slide_id
    )


def spread(rows: int, wanted: int) -> npt.NDArray[np.int64]:
    """Evenly spread row numbers."""
    return np.unique(np.linspace(0, rows - 1, min(rows, wanted)).round().astype(np.int64))


def measure(
    path: Path, patches: int, repeats: int, mask_spacing_um: float, precision: Precision
) -> dict[str, object]:
    """Shares, seconds and differences on one slide."""
    embedding = EmbeddingSettings(device="cpu", precision="float32")
    with prepared(path, model="demo", embedding=embedding, reading=ReadingSettings()) as workload:
        demo = workload.embedder.encoder
        assert demo.spec.token_px is not None
        pixels = np.concatenate(list(read_tissue(workload.slide, workload.tiles)))
        coarse = token_bits(workload, mask_spacing_um, demo.spec.token_px)
        fine = token_bits(workload, mask_spacing_um, 16)
        # The regions were laid on another mask; a patch that holds none in this one is kept whole.
        for bits in (coarse, fine):
            bits[~bits.any(axis=1)] = True
        vit = PatchEncoder(
            VisionTransformer(VitShape(grid_side=16)),
            replace(demo.spec, token_px=16, width=384),
            precision=precision,
        )
        some = spread(len(pixels), patches)
        ways = {
            "whole": lambda: vit.embed(pixels[some]),
            "packed": lambda: vit.embed(pixels[some], fine[some]),
        }
        everything = np.ones_like(fine[some])
        same = vit.embed(pixels[some], everything) - ways["whole"]()
        seconds = take_turns(ways, repeats, clock=time.process_time)
        plain, masked = demo.embed(pixels), demo.embed(pixels, coarse)
        features = embed_slide(
            workload.slide, workload.tiles, workload.embedder, workload.tiles.recipe
        )
        grader = Grader(workload.model, embedding)
        scores = [
            grader.grade(replace(features, features=x.astype(np.float16))).score
            for x in (plain, masked)
        ]
        lengths = np.linalg.norm(plain, axis=1) * np.linalg.norm(masked, axis=1)
        cosine = (plain * masked).sum(axis=1) / lengths
        return {
            "slide": path.name,
            "precision": precision,
            "tissue patches": len(pixels),
            "tokens that stay": float(fine.mean()),
            "of those timed": float(fine[some].mean()),
            "patches with every token": float(fine.all(axis=1).mean()),
            "times as fast": ratio_of(seconds["whole"], seconds["packed"]),
            "difference with every token": float(np.abs(same).max()),
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
    parser.add_argument("--mask-spacing", type=float, default=2.0, help="µm per pixel of the mask")
    parser.add_argument("--precision", choices=get_args(Precision)[1:3], default="float32")
    asked = parser.parse_args()
    for path in asked.slides:
        found = measure(path, asked.patches, asked.repeats, asked.mask_spacing, asked.precision)
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
