from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hvit_cli.errors import DamagedFileError, ModelError, RecipeError, UsageError
from hvit_cli.pretraining.fit import Pretraining, pretrain, steps_per_epoch
from hvit_cli.pretraining.networks import new_backbones
from hvit_cli.pretraining.records import PretrainingRecord
from hvit_cli.pretraining.state import resume_pretraining, save_pretraining
from hvit_cli.settings import PretrainingSettings
from hvit_cli.training.workers import Workers

RECIPE = {"settings": {"out_dim": 32}, "inputs": {"slides": ["a"]}}


def new_run(
    toy: SimpleNamespace, settings: PretrainingSettings | None = None, **arguments: Any
) -> Pretraining:
    asked = settings or toy.SETTINGS
    source = toy.ToySource(asked)
    return Pretraining(new_backbones(asked, toy.CROPS), source, asked, **arguments)


def timeless(records: list[PretrainingRecord]) -> list[PretrainingRecord]:
    return [dataclasses.replace(r, seconds=0, patches_per_s=0) for r in records]


def assert_same_bits(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name


def test_it_learns_the_colours_within_seconds_and_tells_them_apart(toy: SimpleNamespace) -> None:
    """Features of another crop of another brightness fall to the same colour's mean."""
    settings = dataclasses.replace(
        toy.SETTINGS, epochs=8, batch=16, patches_per_epoch=160, warmup_epochs=1
    )
    run = new_run(toy, settings)
    records = list(pretrain(run))
    assert records[-1].loss < 0.6 * records[0].loss
    assert records[-1].information > 1  # of log 8 = 2.08
    assert not any(record.alarm for record in records)
    assert [record.step for record in records] == list(range(10, 81, 10))

    network = new_backbones(settings, toy.CROPS).teacher
    network.load_state_dict(run.result)
    generator = torch.Generator().manual_seed(9)
    patch = torch.arange(8).repeat(16)
    pixels = toy.colour(patch)[:, :, None, None] * (
        torch.rand(128, 1, 1, 1, generator=generator) + 0.5
    )
    pixels = pixels + 0.3 * torch.randn(128, 3, 32, 32, generator=generator)
    with torch.no_grad():
        features = torch.nn.functional.normalize(network(pixels), dim=-1)
    means = torch.stack([features[:64][patch[:64] == k].mean(0) for k in range(8)])
    assert float(((features[64:] @ means.T).argmax(1) == patch[64:]).float().mean()) > 0.95


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"teacher_temperature": 2.0}, "all outputs of the teacher have become alike"),
        ({"centre_momentum": 1.0}, "one output of the teacher has taken everything"),
    ],
)
def test_the_alarm_sounds_without_sharpening_and_without_centring(
    toy: SimpleNamespace, changes: dict[str, float], sentence: str
) -> None:
    """The two collapses of the paper's section 5.3, each with the remedy for the other."""
    settings = dataclasses.replace(
        toy.SETTINGS, batch=16, patches_per_epoch=256, warmup_epochs=0, **changes
    )
    last = list(pretrain(new_run(toy, settings)))[-1]
    assert sentence in last.alarm
    assert last.kl < 0.1


def test_a_run_resumed_in_the_middle_of_an_epoch_ends_with_the_same_bits(
    tmp_path: Path, toy: SimpleNamespace
) -> None:
    """5 steps an epoch, saved every 3: stopped at 3, 6, 9 and 12 and after each epoch."""
    settings = dataclasses.replace(toy.SETTINGS, save_steps=3)
    whole = new_run(toy, settings, probe=lambda backbone: float(backbone.pos_embed.sum()))
    records = list(pretrain(whole))
    path, stops = tmp_path / "training_state.pt", 0
    while True:
        torch.manual_seed(100 + stops)  # the caller's randomness must not matter
        part = new_run(toy, settings, probe=lambda backbone: float(backbone.pos_embed.sum()))
        before = resume_pretraining(path, part, RECIPE)

        class Stopped(Exception):  # noqa: N818 - no error: the power went off
            pass

        def stop(run: Pretraining) -> None:
            save_pretraining(path, run, RECIPE)
            raise Stopped

        try:
            list(pretrain(part, stop))
        except Stopped:
            stops += 1
            assert part.step > before or part.records
            continue
        break
    assert stops == 7  # at 3, 5, 6, 9, 10, 12 and 15
    assert timeless(part.records) == timeless(records)
    assert_same_bits(part.result, whole.result)
    found, wanted = part.state(), whole.state()
    assert_same_bits(found["student"], wanted["student"])  # type: ignore[arg-type]  # weights
    assert_same_bits(found["teacher"], wanted["teacher"])  # type: ignore[arg-type]  # weights
    assert torch.equal(found["centre"], wanted["centre"])  # type: ignore[arg-type]  # a tensor


def test_a_resumed_run_asks_only_for_the_steps_that_are_left(
    tmp_path: Path, toy: SimpleNamespace
) -> None:
    run = new_run(toy)
    run.run_epoch()
    save_pretraining(tmp_path / "state.pt", run, RECIPE)
    source = toy.ToySource()
    fresh = Pretraining(new_backbones(toy.SETTINGS, toy.CROPS), source, toy.SETTINGS)
    assert resume_pretraining(tmp_path / "state.pt", fresh, RECIPE) == 5
    list(pretrain(fresh))
    assert source.asked == list(range(5, 15))
    fresh.close()
    assert source.closed


def test_another_recipe_and_a_damaged_state_are_refused(
    tmp_path: Path, toy: SimpleNamespace
) -> None:
    path, run = tmp_path / "training_state.pt", new_run(toy)
    assert resume_pretraining(path, run, RECIPE) == 0
    save_pretraining(path, run, RECIPE)
    other = {**RECIPE, "settings": {"out_dim": 64}}
    with pytest.raises(RecipeError, match="out_dim: 32 → 64"):
        resume_pretraining(path, run, other)
    content = path.read_bytes()
    for broken in (b"", content[: len(content) // 2], b"not a state"):
        path.write_bytes(broken)
        with pytest.raises(DamagedFileError, match="saved state is not what was written"):
            resume_pretraining(path, run, RECIPE)


def test_the_seed_decides_and_the_caller_does_not(toy: SimpleNamespace) -> None:
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed + 17 * len(runs))
        before = torch.random.get_rng_state()
        run = new_run(toy, dataclasses.replace(toy.SETTINGS, epochs=2, seed=seed))
        list(pretrain(run))
        assert torch.equal(torch.random.get_rng_state(), before)
        runs.append(run)
    assert_same_bits(runs[0].result, runs[1].result)
    assert timeless(runs[0].records) == timeless(runs[1].records)
    assert timeless(runs[0].records) != timeless(runs[2].records)


def test_the_best_probe_decides_what_is_kept_and_when_to_stop(toy: SimpleNamespace) -> None:
    said = iter([0.5, 0.7, 0.6, 0.7, 0.9, 0.1])
    seen: list[Tensor] = []

    def probe(backbone: nn.Module) -> float:
        assert not backbone.training
        seen.append(backbone.state_dict()["pos_embed"].clone())
        return next(said)

    settings = dataclasses.replace(toy.SETTINGS, epochs=12, patience=2, probe_every=2)
    run = new_run(toy, settings, probe=probe)
    records = list(pretrain(run))
    # Asked at 2, 4, 6 and 8; epoch 4 was best, and two more were not better.
    assert [r.probe for r in records] == [None, 0.5, None, 0.7, None, 0.6, None, 0.7]
    assert [r.epoch for r in records if r.best] == [2, 4]
    assert torch.equal(run.result["pos_embed"], seen[1])


def test_without_a_probe_the_last_teacher_is_kept(toy: SimpleNamespace) -> None:
    run = new_run(toy)
    records = list(pretrain(run))
    assert [record.probe for record in records] == [None] * 3
    assert [record.skipped_slides for record in records] == [1] * 3
    teacher = run.state()["teacher"]
    assert_same_bits(run.result, {k[2:]: v for k, v in teacher.items() if k.startswith("0.")})  # type: ignore[attr-defined]  # weights


def test_every_step_is_reported(toy: SimpleNamespace) -> None:
    steps: list[Any] = []
    run = new_run(toy, watch_step=steps.append)
    (record, *_) = list(pretrain(run))
    assert [step.step for step in steps] == list(range(15))
    assert record.loss == pytest.approx(sum(step.loss for step in steps[:5]) / 5)
    assert record.kl == pytest.approx(sum(step.kl for step in steps[:5]) / 5)
    assert record.learning_rate == steps[4].learning_rate


def test_too_few_patches_for_a_batch_say_what_would_do() -> None:
    settings = PretrainingSettings(batch=64)
    assert steps_per_epoch(settings, 200) == 3
    assert steps_per_epoch(dataclasses.replace(settings, patches_per_epoch=640), 200) == 10
    with pytest.raises(UsageError) as caught:
        steps_per_epoch(settings, 40)
    assert "found 40 patches, a batch of 64; try more slides, or --batch 32" in str(caught.value)
    with pytest.raises(UsageError, match="10 regions"):
        steps_per_epoch(dataclasses.replace(settings, level="region", patches_per_epoch=10), 200)


def test_a_batch_smaller_than_the_processes_is_refused(toy: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match="wanted 9 or more"):
        new_run(toy, workers=Workers(rank=0, count=9))


def test_a_run_that_diverges_keeps_its_last_state(tmp_path: Path, toy: SimpleNamespace) -> None:
    settings = dataclasses.replace(toy.SETTINGS, learning_rate=1e30, warmup_epochs=0, save_steps=1)
    run = new_run(toy, settings)
    path = tmp_path / "state.pt"
    with pytest.raises(ModelError, match="pretraining diverged"):
        list(pretrain(run, lambda r: save_pretraining(path, r, RECIPE)))
    content = torch.load(path, weights_only=True)
    assert content["step"] == run.step
    assert all(torch.isfinite(weight).all() for weight in content["centre"])


SCRIPT = """
import runpy, sys, dataclasses
from pathlib import Path
import torch
from hvit_cli.pretraining.fit import Pretraining, pretrain
from hvit_cli.pretraining.networks import new_backbones
from hvit_cli.training.workers import joined_workers

toy = runpy.run_path(sys.argv[1])
settings = dataclasses.replace(toy["SETTINGS"], batch=7, drop_path=0.0)
with joined_workers() as workers:
    source = toy["ToySource"](settings, workers=workers)
    asked = []
    def probe(backbone):
        asked.append(1)
        return float(backbone.pos_embed.sum())
    run = Pretraining(
        new_backbones(settings, toy["CROPS"]), source, settings, workers=workers, probe=probe
    )
    records = [dataclasses.asdict(record) for record in pretrain(run)]
    assert len(asked) == (3 if workers.first else 0)
    if workers.first:
        torch.save({"records": records, **run.state()}, sys.argv[2])
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """torchrun on the loopback, a batch of 7: shares of 4 and 3 patches."""
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = str(listening.getsockname()[1])
    torchrun = [
        "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-addr", "127.0.0.1", "--master-port", port,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    found = []
    for name, start in (("one", []), ("two", torchrun)):
        line = [sys.executable, *start, script, Path(__file__).with_name("toy_source.py")]
        ended = subprocess.run(
            [*map(str, line), str(tmp_path / name)],
            check=False, capture_output=True, text=True, env=environment, timeout=120,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr[-3000:]
        found.append(torch.load(tmp_path / name, weights_only=True))
    one, two = found
    for a, b in zip(one["records"], two["records"], strict=True):
        for name in ("loss", "teacher_entropy", "kl", "information", "probe"):
            assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-4), name
    torch.testing.assert_close(one["centre"], two["centre"], atol=1e-4, rtol=1e-3)
    for name, weight in one["teacher"].items():
        torch.testing.assert_close(two["teacher"][name], weight, atol=1e-4, rtol=1e-3)
