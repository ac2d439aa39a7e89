"""Tiles and embeds the cohorts with hvit: every patch of every region, glass included.

    python examples/demo_model/3_embed_cohorts.py /tmp/demo-model

The same as, for each cohort (training and tuning slides share a work folder),

    hvit embed slides/train slides/tune --plain --encoder encoder --precision bfloat16 -w work/fit

Plain features serve masked training, too: the tissue fraction of each patch is stored.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from hvit_cli.pipelines.embed import embed
from hvit_cli.settings import (
    EmbeddingSettings,
    EncoderInput,
    Precision,
    ReadingSettings,
    TilingSettings,
    TissueSettings,
)
from hvit_cli.storage.work import WorkFolder

WORK_FOLDERS = {"fit": ("train", "tune"), "held_plain": ("held_plain",), "held_dot": ("held_dot",)}


def main() -> None:
    """Embeds the cohorts of each work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that 1_draw_cohort.py filled")
    parser.add_argument("--only", nargs="+", default=list(WORK_FOLDERS), choices=WORK_FOLDERS)
    parser.add_argument("--precision", default="bfloat16", help="float32 takes twice as long")
    parser.add_argument("--encoder-input", default="auto", help="resize for a pretrained encoder")
    arguments = parser.parse_args()
    for name in arguments.only:
        embed_cohorts(arguments.out, name, arguments.precision, arguments.encoder_input)


def embed_cohorts(
    out: Path, name: str, precision: Precision, encoder_input: EncoderInput = "auto"
) -> None:
    """Embeds the slides of one work folder; says how many patches a second."""
    started, slides, patches = time.perf_counter(), 0, 0
    for record in embed(
        [out / "slides" / cohort for cohort in WORK_FOLDERS[name]],
        work=WorkFolder(out / "work" / name),
        model=None,
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        tiling=TilingSettings(),
        embedding=EmbeddingSettings(
            encoder=str(out / "encoder"),
            attention="plain",
            precision=precision,
            encoder_input=encoder_input,
        ),
    ):
        if record.row.status != "done":
            raise SystemExit(f"{record.row.slide_id}: {record.row.status} {record.row.reason}")
        slides, patches = slides + 1, patches + record.row.n_patches
        if slides % 25 == 0:
            rate = patches / (time.perf_counter() - started)
            print(f"{name}: {slides} slides, {patches} patches, {rate:.0f} patches/s", flush=True)
    print(f"{name}: {slides} slides, {patches} patches, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
