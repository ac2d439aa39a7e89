from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.errors import LabelError, RecipeError, UsageError
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.pipelines.pretrain import (
    PretrainingRequest,
    cache_patches,
    cached_pool,
    find_patches,
    foretell,
    list_slides,
    pool_of,
    prepare_patches,
    prepare_regions,
    pretrain,
)
from hvit_cli.pretraining.job import PretrainingJob
from hvit_cli.pretraining.records import PretrainingRecord
from hvit_cli.settings import (
    CropSettings,
    PretrainingSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
)
from hvit_cli.slides.reader import Slide
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.workers import Workers

SETTINGS = PretrainingSettings(
    width=32,
    depth=2,
    heads=2,
    token_px=16,
    out_dim=64,
    head_hidden=32,
    head_bottleneck=16,
    epochs=2,
    warmup_epochs=1,
    batch=4,
    save_steps=2,
    precision="float32",
)
CROPS = CropSettings(global_px=64, local_px=32, local_crops=2)


def request_of(slides: Path, tmp_path: Path, **changes: object) -> PretrainingRequest:
    asked = PretrainingRequest(
        sources=(slides,),
        work=WorkFolder(tmp_path / "work"),
        out=tmp_path / "encoder",
        tiling=TilingSettings(region_px=1024, patch_px=128),
        crops=CROPS,
        settings=SETTINGS,
        device="cpu",
        threads=1,
    )
    return replace(asked, **changes)  # type: ignore[arg-type]  # fields by name


def job_of(request: PretrainingRequest) -> PretrainingJob:
    pool = pool_of(request, list(find_patches(request, list_slides(request))))
    list(cache_patches(request, pool))
    return prepare_patches(request, cached_pool(request, pool))


def run(request: PretrainingRequest) -> list[PretrainingRecord]:
    return list(pretrain(job_of(request)))


def write_folds(path: Path, rows: Sequence[str]) -> Path:
    path.write_text("slide_id,label,fold,set\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_slides_become_an_encoder_that_embed_takes_and_that_names_its_slides(
    slides: Path, tmp_path: Path
) -> None:
    request = request_of(slides, tmp_path)
    records = run(request)
    assert [record.epoch for record in records] == [1, 2]
    encoder = load_encoder(tmp_path / "encoder", device="cpu")
    # The slide of bare glass has nothing to learn from, and is not among them.
    assert encoder.spec.pretraining_slides == ("drawn",)
    assert encoder.spec.width == 32
    assert encoder.spec.input_px == 64
    assert not (tmp_path / "encoder" / "training_state.pt").exists()
    for name in ("metrics.csv", "curves.png", "README.md", "recipe.json"):
        assert (tmp_path / "encoder" / name).stat().st_size


def test_a_run_stopped_inside_an_epoch_ends_with_the_same_weights(
    slides: Path, tmp_path: Path
) -> None:
    whole = request_of(slides, tmp_path, out=tmp_path / "whole")
    run(whole)
    stopped = request_of(slides, tmp_path, out=tmp_path / "stopped")
    job = job_of(stopped)
    # Not a multiple of save_steps: the steps since the last saved state are done again.
    at = job.steps_per_epoch + 3
    assert job.steps_per_epoch > 3

    class StoppedError(Exception):
        pass

    def stop(step: int) -> None:
        if step == at:
            raise StoppedError

    with pytest.raises(StoppedError):
        list(pretrain(job, stop))
    assert not (tmp_path / "stopped" / "encoder.json").exists()
    records = run(stopped)
    assert [record.epoch for record in records] == [1, 2]
    weights = [load_file(tmp_path / n / "encoder.safetensors") for n in ("whole", "stopped")]
    assert weights[0].keys() == weights[1].keys()
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_a_finished_run_is_not_repeated_and_another_is_refused(
    slides: Path, tmp_path: Path
) -> None:
    request = request_of(slides, tmp_path)
    first = run(request)
    before = (tmp_path / "encoder" / "encoder.safetensors").stat().st_mtime_ns
    assert [(r.epoch, r.loss) for r in run(request)] == [(r.epoch, r.loss) for r in first]
    assert (tmp_path / "encoder" / "encoder.safetensors").stat().st_mtime_ns == before
    other = replace(request, settings=replace(SETTINGS, seed=1))
    with pytest.raises(RecipeError, match="seed"):
        run(other)
    run(replace(other, overwrite=True))
    recipe = json.loads((tmp_path / "encoder" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["settings"]["pretraining"]["seed"] == 1


def test_a_cache_gives_the_same_patches_as_the_slides(slides: Path, tmp_path: Path) -> None:
    run(request_of(slides, tmp_path, out=tmp_path / "read"))
    run(request_of(slides, tmp_path, out=tmp_path / "cached", cache=tmp_path / "cache"))
    # One slide: windows of slides and a shuffle of all are the same order.
    read, cached = (load_file(tmp_path / n / "encoder.safetensors") for n in ("read", "cached"))
    assert all((read[name] == cached[name]).all() for name in read)
    with pytest.raises(RecipeError, match="patch_px"):
        run(
            request_of(
                slides,
                tmp_path,
                work=WorkFolder(tmp_path / "other"),
                tiling=TilingSettings(region_px=1024, patch_px=256),
                cache=tmp_path / "cache",
            )
        )


def test_only_the_training_slides_of_the_fold_are_learned_from(
    slides: Path, tmp_path: Path
) -> None:
    for name in ("second", "third"):
        shutil.copy(slides / "drawn.tiff", slides / f"{name}.tiff")
    folds = write_folds(tmp_path / "folds.csv", ["drawn,0,0,", "second,1,1,", "third,2,,test"])
    request = request_of(slides, tmp_path, folds=folds, fold=1)
    run(request)
    assert load_encoder(tmp_path / "encoder").spec.pretraining_slides == ("drawn",)
    with pytest.raises(LabelError, match="no such fold"):
        list_slides(replace(request, fold=7))
    with pytest.raises(UsageError, match="given together"):
        request_of(slides, tmp_path, folds=folds)


def test_the_probe_must_not_judge_what_is_learned_from(slides: Path, tmp_path: Path) -> None:
    table = tmp_path / "patches.csv"
    rows = [f"drawn,slides/drawn.tiff,{400 + 20 * i},300,{'ab'[i % 2]},g{i}" for i in range(6)]
    table.write_text("slide_id,path,x_level0,y_level0,label,group\n" + "\n".join(rows) + "\n")
    with pytest.raises(LabelError, match="judges slides that the encoder learns from"):
        job_of(request_of(slides, tmp_path, probe=table))
    shutil.copytree(slides, tmp_path / "others")
    (tmp_path / "others" / "drawn.tiff").rename(tmp_path / "others" / "other.tiff")
    records = run(request_of(tmp_path / "others", tmp_path, probe=table))
    assert all(record.probe is not None for record in records)
    assert any(record.best for record in records)


def test_a_dry_run_finds_what_the_probe_must_not_judge(slides: Path, tmp_path: Path) -> None:
    table = tmp_path / "patches.csv"
    rows = [f"drawn,slides/drawn.tiff,{400 + 20 * i},300,{'ab'[i % 2]},g{i}" for i in range(6)]
    table.write_text("slide_id,path,x_level0,y_level0,label,group\n" + "\n".join(rows) + "\n")
    arguments = [
        *("pretrain", str(slides), "-w", str(tmp_path / "work"), "--dry-run"),
        *("--region", "1024", "--patch", "128", "--width", "32", "--depth", "2", "--heads", "2"),
        *("--batch", "4", "--epochs", "2", "--warmup-epochs", "1", "--out-dim", "64"),
    ]
    ended = CliRunner().invoke(app, [*arguments, "--probe", str(table)])
    assert ended.exit_code == 1
    assert "the probe judges slides that the encoder learns from; found drawn" in ended.stderr
    table.write_text(table.read_text().replace("\ndrawn,", "\nelsewhere,"))
    assert CliRunner().invoke(app, [*arguments, "--probe", str(table)]).exit_code == 0
    # Patience needs a probe here, too.
    assert CliRunner().invoke(app, [*arguments, "--patience", "1"]).exit_code == 2
    assert not (tmp_path / "work").exists()
    # Nor may it judge slides of the encoder that is started from.
    own = request_of(slides, tmp_path, start_from=str(tmp_path / "encoder"), probe=table)
    run(request_of(slides, tmp_path))
    with pytest.raises(LabelError, match="found drawn"):
        table.write_text(table.read_text().replace("\nelsewhere,", "\ndrawn,"))
        foretell(own, 100, slides=("other",))


def test_the_probe_gives_patches_as_asked_and_says_so_in_the_recipe(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "patches.csv"
    rows = [
        f"other,slides/drawn.tiff,{200 + 90 * i},{300 + 10 * i},{'ab'[i % 2]},g{i}"
        for i in range(8)
    ]
    table.write_text("slide_id,path,x_level0,y_level0,label,group\n" + "\n".join(rows) + "\n")
    jobs = {
        how: job_of(request_of(slides, tmp_path, out=tmp_path / how, probe=table, probe_input=how))
        for how in ("auto", "native", "resize")
    }
    given: list[str] = []

    class Noted(PatchEncoder):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            given.append(options["encoder_input"])
            super().__init__(*arguments, **options)

    monkeypatch.setattr("hvit_cli.pretraining.probe.PatchEncoder", Noted)
    for job in jobs.values():
        assert job.probe is not None
        job.probe(job.backbones.teacher)
    assert given == list(jobs)
    voting = {how: job.recipe["settings"]["probe"] for how, job in jobs.items()}
    assert "input" not in voting["auto"]
    assert (voting["native"]["input"], voting["resize"]["input"]) == ("native", "resize")
    with pytest.raises(UsageError, match="--probe"):
        request_of(slides, tmp_path, probe_input="native")


def test_too_few_patches_for_a_batch_are_one_clear_line(slides: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too few tissue patches") as caught:
        job_of(request_of(slides, tmp_path, settings=replace(SETTINGS, batch=4096)))
    assert "4096" in str(caught.value)


def test_patience_without_a_probe_is_refused(slides: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="patience"):
        job_of(request_of(slides, tmp_path, settings=replace(SETTINGS, patience=2)))


def test_the_region_level_takes_one_folder_of_features(tmp_path: Path) -> None:
    request = PretrainingRequest(
        sources=(tmp_path, tmp_path),
        work=WorkFolder(tmp_path),
        settings=replace(SETTINGS, level="region"),
    )
    with pytest.raises(UsageError, match="one folder of features"):
        prepare_regions(request)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "mine"}, "--name"),
        ({"threads": 2}, "--threads"),
        ({"running": RunSettings(jobs=3)}, "how slides are spread"),
        ({"probe": Path("table.csv")}, "--probe"),
        ({"reading": ReadingSettings(spacing_um=0.25)}, "how slides are read"),
        ({"tiling": TilingSettings(region_px=4096)}, "regions and patches"),
    ],
)
def test_what_the_features_have_decided_cannot_be_asked_of_the_region_level(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    region = {"settings": replace(SETTINGS, level="region"), "work": WorkFolder(tmp_path)}
    with pytest.raises(UsageError, match="from features") as caught:
        PretrainingRequest(sources=(tmp_path,), **region, **change)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_the_command_pretrains_and_says_where_the_encoder_lies(
    slides: Path, tmp_path: Path
) -> None:
    sizes = {"--region": 1024, "--patch": 128, "--width": 32, "--depth": 2, "--heads": 2}
    head = {"--out-dim": 64, "--head-hidden": 32, "--head-bottleneck": 16}
    crops = {"--global-px": 64, "--local-px": 32, "--local-crops": 2, "--threads": 1}
    run_for = {"--epochs": 1, "--warmup-epochs": 0, "--batch": 8}
    options = {**sizes, **head, **crops, **run_for}
    arguments = [str(part) for pair in options.items() for part in pair]
    ended = CliRunner().invoke(
        app, ["pretrain", str(slides), *arguments, "-w", str(tmp_path / "w"), "--name", "mine"]
    )
    assert ended.exit_code == 0, ended.output
    folder = tmp_path / "w" / "encoders" / "patch"
    assert load_encoder(folder).spec.name == "mine"
    assert "epoch kept" in ended.stdout


def test_patches_do_not_depend_on_processes_or_on_the_order_in_which_slides_end(
    slides: Path, tmp_path: Path
) -> None:
    for name in ("a", "z"):
        shutil.copy(slides / "drawn.tiff", slides / f"{name}.tiff")
    pools, caches = [], []
    for jobs in (1, 2):
        request = request_of(
            slides,
            tmp_path,
            work=WorkFolder(tmp_path / f"work{jobs}"),
            cache=tmp_path / f"cache{jobs}",
            running=RunSettings(jobs=jobs),
        )
        records = list(find_patches(request, list_slides(request)))
        pool = pool_of(request, records[::-1])
        assert {r.row.status for r in cache_patches(request, pool)} == {"done"}
        # What is there is not copied again.
        assert not list(cache_patches(request, pool))
        pools.append([(s.slide_id, s.origin_level0.tolist(), s.recipe) for s in pool.slides])
        files = sorted((tmp_path / f"cache{jobs}").iterdir())
        caches.append([(file.name, file.read_bytes()) for file in files])
    assert [name for name, _, _ in pools[0]] == ["a", "drawn", "z"]
    assert pools[0] == pools[1]
    assert caches[0] == caches[1]


def test_a_slide_that_cannot_be_copied_is_left_out_and_said(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(slides / "drawn.tiff", slides / "other.tiff")
    request = request_of(slides, tmp_path, cache=tmp_path / "cache")
    pool = pool_of(request, list(find_patches(request, list_slides(request))))
    read = Slide.read_patch

    def refused(self: Slide, *args: object) -> object:
        if self.slide_id == "other":
            raise OSError("stale file handle")
        return read(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Slide, "read_patch", refused)
    rows = [record.row for record in cache_patches(request, pool)]
    assert {row.slide_id: row.status for row in rows} == {"drawn": "done", "other": "failed"}
    left = cached_pool(request, pool)
    assert [slide.slide_id for slide in left.slides] == ["drawn"]
    assert prepare_patches(request, left).slides == ("drawn",)


def test_processes_that_train_together_leave_out_what_one_of_them_could_not_find(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(slides / "drawn.tiff", slides / "other.tiff")
    request = request_of(slides, tmp_path)
    records = list(find_patches(request, list_slides(request)))
    # The other process found `other` alone: bare, drawn, other.
    theirs = torch.tensor([0.0, 0.0, 1.0])
    monkeypatch.setattr(Workers, "add", lambda self, values: values + theirs)
    pool = pool_of(request, records, Workers(rank=0, count=2))
    assert [slide.slide_id for slide in pool.slides] == ["other"]


def test_a_dry_run_says_what_would_be_learned_from_and_writes_nothing(
    slides: Path, tmp_path: Path
) -> None:
    sizes = ["--region", "1024", "--patch", "128", "--width", "32", "--depth", "2", "--heads", "2"]
    crops = ["--global-px", "64", "--local-px", "32", "--batch", "4", "--epochs", "3"]
    crops += ["--warmup-epochs", "1"]
    work = tmp_path / "w"
    arguments = ["pretrain", str(slides), *sizes, *crops, "-w", str(work), "--dry-run"]
    ended = CliRunner().invoke(app, [*arguments, "--cache", str(tmp_path / "c"), "--json"])
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert not work.exists()
    assert not (tmp_path / "c").exists()
    request = request_of(slides, tmp_path)
    pool = pool_of(request, list(find_patches(request, list_slides(request))))
    assert told["pretraining"]["samples"] == told["slides"]["patches"] == len(pool)
    assert told["pretraining"]["steps_per_epoch"] == len(pool) // 4
    assert told["pretraining"]["cache_bytes"] == len(pool) * 128 * 128 * 3
    said = CliRunner().invoke(app, arguments)
    assert "time to learn: unknown" in said.stdout
    few = CliRunner().invoke(app, [*arguments, "--batch", "4096"])
    assert few.exit_code == 2
    assert "fewer patches than a batch holds" in few.stderr
