"""Trains the two aggregators, masked and plain, on the same features, and packs the model.

    python examples/demo_model/4_train_aggregators.py /tmp/demo-model

The same as, for `--masked` and `--plain`,

    hvit train work/fit fit.csv --tune tune.csv --encoder encoder -o model ...

Then every weight is stored as float16, which is what the package ships and what is measured.
`--install` copies the model into the package.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hvit_cli.demo.model import DEMO_NOTE, demo_model_folder
from hvit_cli.pipelines.train import TrainingRequest, prepare, train
from hvit_cli.settings import AggregatorSettings, Attention, TrainingSettings
from hvit_cli.storage.models import read_model, sha256_of, write_model

SIZES = AggregatorSettings(
    region_dim=96, region_depth=2, region_heads=3, slide_dim=96, slide_depth=2, slide_heads=3
)
SETTINGS = TrainingSettings(
    epochs=40, learning_rate=5e-4, step_epochs=15, batch_slides=16, mean_label_bias=True, seed=31
)
ATTENTIONS: tuple[Attention, ...] = ("masked", "plain")


def main() -> None:
    """Trains both members, packs them, and installs them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that 3_embed_cohorts.py filled")
    parser.add_argument("--only", choices=ATTENTIONS, help="train one and pack nothing")
    parser.add_argument("--install", action="store_true", help="copy the model into the package")
    arguments = parser.parse_args()
    # Sums of several threads come in any order; of one, the same command gives the same bits.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    join_tables(arguments.out)
    for attention in ATTENTIONS if arguments.only is None else (arguments.only,):
        train_member(arguments.out, attention)
    if arguments.only is None:
        pack(arguments.out / "trained", arguments.out / "model")
        if arguments.install:
            shutil.copytree(arguments.out / "model", demo_model_folder(), dirs_exist_ok=True)


def join_tables(out: Path) -> None:
    """Writes `fit.csv`: id and grade of training and tuning slides."""
    with (out / "fit.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["slide_id", "isup_grade"])
        for cohort in ("train", "tune"):
            with (out / f"{cohort}.csv").open(newline="") as table:
                writer.writerows((r["slide_id"], r["isup_grade"]) for r in csv.DictReader(table))


def train_member(out: Path, attention: Attention) -> None:
    """Trains one aggregator on the features of `work/fit`."""
    job = prepare(
        TrainingRequest(
            features=out / "work" / "fit",
            labels=out / "fit.csv",
            tune_table=out / "tune.csv",
            label_column="isup_grade",
            out=out / "trained",
            settings=replace(SETTINGS, attention=attention),
            sizes=SIZES,
            encoder=str(out / "encoder"),
            note=DEMO_NOTE,
            watermark=DEMO_NOTE,
            licence="Apache-2.0",
        )
    )
    for record in train(job):
        print(
            f"{attention} epoch {record.epoch}: loss {record.train_loss:.3f}, tuning loss "
            f"{record.tune_loss:.3f}, kappa {record.tune_kappa}{' *' if record.best else ''}",
            flush=True,
        )


def pack(trained: Path, packed: Path) -> None:
    """Copies a model folder with every weight as float16."""
    model = read_model(trained)
    packed.mkdir(exist_ok=True)
    for file in [model.encoder.file, *(member.file for member in model.members)]:
        weights = load_file(trained / file)
        save_file({key: tensor.half() for key, tensor in weights.items()}, packed / file)
        (packed / file).chmod(0o644)
    members = tuple(
        replace(member, sha256=sha256_of(packed / member.file)) for member in model.members
    )
    write_model(replace(model, path=packed, name="demo", members=members))


if __name__ == "__main__":
    main()
