from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from typer.testing import CliRunner, Result

from hvit_cli.cli.app import app
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pretraining.encoder_folder import write_encoder_folder

SIDE = 32


def hvit_probe(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["probe", *map(str, arguments)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve patches on each of four slides: red noise and blue noise, one half each."""
    rng = np.random.default_rng(0)
    lines = ["slide_id,path,x_level0,y_level0,label,group,part"]
    for s in range(4):
        pixels = rng.integers(0, 90, (3 * SIDE, 4 * SIDE, 3), dtype=np.uint8)
        pixels[:, : 2 * SIDE, 0] += 120
        pixels[:, 2 * SIDE :, 2] += 120
        path = tmp_path / f"s{s}.tiff"
        pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").tiffsave(
            str(path), compression="deflate", tile=True, xres=2000, yres=2000, resunit="cm"
        )
        lines += [
            f"s{s},s{s}.tiff,{x * SIDE},{y * SIDE},{'red' if x < 2 else 'blue'},,"
            for y in range(3)
            for x in range(4)
        ]
    path = tmp_path / "patches.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_encoder(folder: Path, *, slides: tuple[str, ...], spacing_um: float = 0.5) -> Path:
    torch.manual_seed(0)
    write_encoder_folder(
        folder,
        VisionTransformer(VitShape(width=16, depth=1, heads=2, grid_side=2)),
        EncoderSpec(
            name=folder.name,
            width=16,
            input_px=32,
            token_px=16,
            spacing_um=spacing_um,
            pretraining_slides=slides,
        ),
        recipe={"settings": {}, "inputs": {}},
    )
    return folder


def test_a_table_of_features_and_baselines(table: Path, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "enc", slides=("elsewhere",))
    out = tmp_path / "probe.csv"
    ended = hvit_probe(
        table, "--encoder", encoder, "--baseline", "colour-histogram", "random",
        "--patch", SIDE, "--draws", 100, "--neighbours", 5, "-o", out,
    )  # fmt: skip
    assert ended.exit_code == 0, ended.output
    assert "48 patches, each by those of the other 3 groups (blue 24, red 24)" in ended.stdout
    assert "5 neighbours, temperature 0.07, 0.5 µm/px" in ended.stdout
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["features"] for row in rows] == [str(encoder), "colour-histogram", "random"]
    assert [row["width"] for row in rows] == ["16", "512", "16"]
    # Red and blue share no colour of the histogram.
    assert {rows[1][name] for name in ("balanced_accuracy", "accuracy", "auroc")} == {"1.0"}
    # Fresh weights of the same sizes; other weights only by another seed.
    assert "− colour-histogram" in ended.stdout
    assert all(0 <= float(rows[2][name]) <= 1 for name in ("balanced_accuracy", "auroc"))


def test_json_has_the_confusion_matrix(table: Path) -> None:
    ended = hvit_probe(
        table, "--baseline", "colour-histogram", "--patch", SIDE, "--draws", 0, "--json"
    )
    answer = json.loads(ended.stdout)
    (found,) = answer["features"]
    assert answer["gains"] == []
    assert found["confusion"] == [[24, 0], [0, 24]]
    assert found["classes"] == ["blue", "red"]
    assert found["balanced_accuracy_low"] is None
    assert (found["patches"], found["bank"], found["groups"]) == (48, 48, 4)


def test_slides_that_trained_an_encoder_do_not_judge_it(table: Path, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "enc", slides=("s2", "x"))
    asked = (table, "--encoder", encoder, "--patch", SIDE, "--draws", 0)
    ended = hvit_probe(*asked)
    assert ended.exit_code == 1
    assert "slides that trained the patch encoder would judge it; found 1 slides (s2)" in (
        " ".join(ended.stderr.split())
    )
    ended = hvit_probe(*asked, "--allow-seen")
    assert ended.exit_code == 0
    assert "was trained on 1 of the slides that judge it" in " ".join(ended.stdout.split())
    # In the bank they may stand: those tell, and are not told.
    text = table.read_text().split("\n")
    parted = [
        line + ("part" if n == 0 else "query" if line.startswith(("s0", "s1")) else "bank")
        if n
        else line
        for n, line in enumerate(text)
        if line
    ]
    table.write_text("\n".join(parted) + "\n")
    ended = hvit_probe(*asked)
    assert ended.exit_code == 0, ended.output
    assert "24 patches of 2 groups by 24 others (blue 12, red 12)" in ended.stdout


def test_mistakes_are_one_line(table: Path, tmp_path: Path) -> None:
    ended = hvit_probe(table)
    assert (ended.exit_code, "what is to be probed?" in ended.stderr) == (2, True)
    one = write_encoder(tmp_path / "one", slides=("x",))
    two = write_encoder(tmp_path / "two", slides=("x",), spacing_um=1.0)
    asked = (table, "--encoder", one, "--encoder", two, "--patch", SIDE, "--draws", 0)
    ended = hvit_probe(*asked)
    assert ended.exit_code == 2
    assert "expect different spacings" in ended.stderr
    assert hvit_probe(*asked, "--spacing", "0.5").exit_code == 0
    ended = hvit_probe(table, "--baseline", "random", "--neighbours", 0)
    assert ended.exit_code == 2
    assert "--neighbours" in ended.stderr
    ended = hvit_probe(tmp_path / "none.csv", "--baseline", "random")
    assert ended.exit_code == 1
    assert "Traceback" not in ended.output


def test_a_dry_run_says_what_would_be_judged_and_writes_nothing(
    table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "probe.csv"
    encoder = write_encoder(tmp_path / "enc", slides=("elsewhere",))
    before = sorted(tmp_path.rglob("*"))
    arguments = (
        *(table, "--encoder", encoder, "--baseline", "colour-histogram", "random"),
        *("--patch", SIDE, "--device", "cpu", "-o", out, "--dry-run"),
    )
    told = json.loads(hvit_probe(*arguments, "--json").stdout)
    assert (told["patches"], told["slides"]) == (48, 4)
    assert told["labels"] == {"blue": 24, "red": 24}
    assert told["features"] == [str(encoder), "colour-histogram", "random"]
    assert told["memory_bytes"] == 48 * SIDE * SIDE * 3
    assert 0 < told["seconds"] < 100
    assert "48 of 4 slides in 4 groups (blue: 24, red: 24)" in hvit_probe(*arguments).stdout
    assert sorted(tmp_path.rglob("*")) == before
    # What could not begin ends as it would.
    seen = write_encoder(tmp_path / "seen", slides=("s1",))
    ended = hvit_probe(table, "--encoder", seen, "--patch", SIDE, "--device", "cpu", "--dry-run")
    assert ended.exit_code == 1
    ended = hvit_probe(
        *(table, "--encoder", seen, "--patch", SIDE, "--device", "cpu", "--dry-run"), "--allow-seen"
    )
    assert "leaks: 1 slides, allowed" in ended.stdout
