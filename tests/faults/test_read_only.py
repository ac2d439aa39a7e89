"""Folders that may only be read: one clear line, before any work, and nothing done before is lost.

By permissions, which hold for root here as well; and on a file system that is mounted read-only,
where the system lets this process mount one.
"""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openslide  # noqa: F401 - before torch
import pytest
from typer.testing import CliRunner, Result

from hvit_cli.cli.app import app
from hvit_cli.errors import StorageError
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    TissueSettings,
)
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.storage.plan import read_plan
from hvit_cli.storage.work import WorkFolder

_HERE = Path(__file__).parent
_INPUTS = SimpleNamespace(**runpy.run_path(str(_HERE / "small_inputs.py")))
_LOCK = SimpleNamespace(**runpy.run_path(str(_HERE / "read_only.py")))

Arguments = Callable[[Any, Path, Path, Path], list[object]]
_SMALL = ("--device", "cpu", "--batch-size", "16")


def _on_slides(name: str, *more: str) -> Arguments:
    def arguments(given: Any, slides: Path, work: Path, out: Path) -> list[object]:
        model = () if name in ("segment", "tile") else ("--model", given.model, *_SMALL)
        cut = ("--region", "1024", "--patch", "128") if name == "tile" else ()
        own = ("-o", out / name) if name in _OF_THEIR_OWN else ()
        return [name, slides, "-w", work, *own, *model, *cut, *more]

    return arguments


# Commands that work in -w and write their product to -o.
_OF_THEIR_OWN = ("heatmap", "stress", "measure", "report")
ON_SLIDES: dict[str, Arguments] = {
    "segment": _on_slides("segment"),
    "tile": _on_slides("tile"),
    "embed": _on_slides("embed"),
    "predict": _on_slides("predict"),
    "heatmap": _on_slides("heatmap"),
    "stress": _on_slides("stress", "--draws", "0", "--glass", "white"),
    "measure": _on_slides("measure", "--steps", "0", "--draws", "0", "--map", "attention"),
    "report": _on_slides("report"),
    "report --blind": _on_slides("report", "--blind"),
    "pretrain": lambda given, slides, work, out: [
        *("pretrain", slides, "-w", work, "-o", out / "encoder"),
        *given.command("pretrain", work)[6:],
    ],
}
OTHERS: dict[str, Arguments] = {
    "info": lambda _, slides, __, out: ["info", slides, "--csv", out / "info.csv"],
    "split": lambda given, _, __, out: ["split", given.labels, "-o", out / "folds.csv"],
    "probe": lambda given, _, __, out: [
        *("probe", given.labels, "--baseline", "random", "-o", out / "probe.csv")
    ],
    "train": lambda given, _, __, out: [*given.command("train", out)],
    "evaluate": lambda given, _, __, out: [
        *("evaluate", _predictions(given), given.labels, "--draws", "0", "-o", out / "numbers")
    ],
    "convert --to": lambda given, _, __, out: [
        *("convert", given.features, "--to", "dense", "-o", out / "dense")
    ],
    "demo": lambda _, __, ___, out: ["demo", "-o", out / "demo", "--device", "cpu"],
    "bench": lambda _, __, ___, out: ["bench", "--record", out / "ratios.json"],
}


def _predictions(given: Any) -> Path:
    """A table of predictions that are right."""
    table: Path = given.labels.with_name("predictions.csv")
    rows = [line.split(",") for line in given.labels.read_text().splitlines()[1:]]
    lines = [f"{slide},{grade}.0,{grade}" for slide, grade in rows]
    table.write_text("\n".join(["slide_id,score,grade", *lines]) + "\n")
    return table


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("drawn") / "inputs"
    drawn = _INPUTS.draw_inputs(folder, slides=2)
    (folder / "one").mkdir()
    shutil.copy(drawn.slides / "drawn0.tiff", folder / "one")
    return drawn


def hvit(arguments: list[object]) -> Result:
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    assert "Traceback" not in ended.output
    return ended


def one_line(ended: Result, folder: Path) -> str:
    """The error of a command that ended by it: one line, which names the folder."""
    assert ended.exit_code == 1, ended.output
    (line,) = [line for line in ended.output.splitlines() if line.startswith("Error ")]
    assert str(folder) in line
    assert "Permission denied" in line
    return line


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write to the folder meanwhile; nothing in it is altered, added or missing."""
    folder.mkdir(exist_ok=True)
    before = contents(folder)
    with _LOCK.locked(folder):
        yield
    assert contents(folder) == before


@pytest.mark.parametrize("command", [*ON_SLIDES, *OTHERS])
def test_a_new_folder_inside_is_refused_in_one_line(
    command: str, inputs: Any, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    arguments = {**ON_SLIDES, **OTHERS}[command]
    with read_only(closed):
        ended = hvit(arguments(inputs, inputs.slides, closed / "work", closed / "work"))
    one_line(ended, closed)


@pytest.mark.parametrize("command", ON_SLIDES)
def test_what_is_done_stays_where_a_further_slide_is_asked_for(
    command: str, inputs: Any, tmp_path: Path
) -> None:
    arguments, work = ON_SLIDES[command], tmp_path / "work"
    first = "embed" if command in ("report --blind", "pretrain") else command
    # A single slide's heatmap goes to a file, or to a folder that is there.
    (work / "heatmap").mkdir(parents=True)
    assert hvit(ON_SLIDES[first](inputs, inputs.slides.parent / "one", work, work)).exit_code == 0
    with read_only(work):
        ended = hvit(arguments(inputs, inputs.slides, work, work))
    one_line(ended, work)
    # Once it may be written to again, the same command goes on where it was.
    assert hvit(arguments(inputs, inputs.slides, work, work)).exit_code == 0


@pytest.mark.parametrize("command", [*_OF_THEIR_OWN, "report --blind", "pretrain"])
def test_no_slide_is_worked_on_for_a_product_that_has_no_place(
    command: str, inputs: Any, tmp_path: Path
) -> None:
    work, closed = tmp_path / "work", tmp_path / "closed"
    with read_only(closed):
        ended = hvit(ON_SLIDES[command](inputs, inputs.slides, work, closed))
    one_line(ended, closed)
    assert not (work / "masks").exists()


def test_a_training_begins_with_the_place_of_its_model(inputs: Any, tmp_path: Path) -> None:
    with read_only(tmp_path / "closed"):
        ended = hvit(OTHERS["train"](inputs, inputs.slides, tmp_path, tmp_path / "closed"))
    assert "epoch" not in ended.output


@pytest.mark.parametrize("folder", ["masks", "contours", "qc", "tiles", "features", "status"])
def test_one_folder_that_is_closed_fails_the_slides_that_need_it(
    folder: str, inputs: Any, tmp_path: Path
) -> None:
    work, arguments = tmp_path / "work", ON_SLIDES["embed"]
    assert hvit(arguments(inputs, inputs.slides.parent / "one", work, work)).exit_code == 0
    with read_only(work / folder):
        ended = hvit([*arguments(inputs, inputs.slides, work, work), "--json"])
    if folder == "status":
        one_line(ended, work / folder)
    else:
        assert ended.exit_code == 3
        rows = {row["slide_id"]: row for row in json.loads(ended.stdout)}
        assert rows["drawn0"]["status"] == "done"
        assert rows["drawn1"]["reason"].startswith(f"{work / folder}")
        assert "Permission denied" in rows["drawn1"]["reason"]
    assert hvit(arguments(inputs, inputs.slides, work, work)).exit_code == 0


def test_what_only_reads_works_in_a_folder_that_may_only_be_read(
    inputs: Any, tmp_path: Path
) -> None:
    work, other = tmp_path / "work", tmp_path / "other"
    embedded = ON_SLIDES["embed"](inputs, inputs.slides, work, work)
    assert hvit(embedded).exit_code == 0
    assert hvit(OTHERS["train"](inputs, inputs.slides, work, work)).exit_code == 0
    # As where another process is at work: its signs of life are told by this machine's clock.
    claims = work / "claims" / "embed"
    claims.mkdir(parents=True)
    claim = {"slide_id": "drawn1", "host": "elsewhere", "process_id": 7}
    claim |= {"machine": "other", "process_start": "1", "token": "ab"}
    (claims / "drawn1.json").write_text(json.dumps(claim))
    features = next((work / "features").iterdir())
    with read_only(work):
        told = json.loads(hvit(["status", work, "--json"]).stdout)
        (row,) = [row for row in told if row["stage"] == "embed"]
        assert (row["done"], [held["holder"] for held in row["held"]]) == (2, ["elsewhere:7"])
        assert hvit(["info", features / "drawn0.h5"]).exit_code == 0
        for command in (
            [*embedded, "--dry-run"],
            ["convert", features, "--to", "dense", "-o", other],
            ["predict", features, "-w", other, "--model", inputs.model, *_SMALL],
            # A training that is done is told again.
            OTHERS["train"](inputs, inputs.slides, work, work),
        ):
            assert hvit(command).exit_code == 0, command
        # The self-test tells of it, and ends with the code for it.
        told = hvit(["doctor", "-w", work, "--json"])
    assert told.exit_code == 1
    (check,) = [check for check in json.loads(told.stdout) if check["name"] == "output folder"]
    assert check["state"] == "broken"
    assert "Permission denied" in check["found"]


def test_a_slide_is_viewed_where_its_features_lie_and_refused_where_they_cannot_be_made(
    inputs: Any, tmp_path: Path
) -> None:
    from hvit_cli.pipelines.view import view

    work = tmp_path / "work"
    assert hvit(ON_SLIDES["embed"](inputs, inputs.slides.parent / "one", work, work)).exit_code == 0

    def viewed(name: str) -> None:
        view(
            inputs.slides / f"{name}.tiff",
            work=WorkFolder(work),
            settings=HeatmapSettings(),
            request=ModelRequest(model=str(inputs.model)),
            reading=ReadingSettings(),
            tissue=TissueSettings(),
            embedding=EmbeddingSettings(device="cpu"),
            maps=("attention",),
        ).close()

    with read_only(work):
        viewed("drawn0")
        with pytest.raises(StorageError, match="cannot be written; found Permission denied"):
            viewed("drawn1")


def test_a_list_of_slides_that_another_user_wrote_is_used_again(
    inputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that is shared, times of files can be set by those who own them alone."""
    work = tmp_path / "work"
    arguments = ON_SLIDES["segment"](inputs, inputs.slides, work, work)
    assert hvit(arguments).exit_code == 0

    def not_mine(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("hvit_cli.storage.plan.os.utime", not_mine)
    assert hvit(arguments).exit_code == 0
    assert set(read_plan(work, "segment").wanted) == {"drawn0", "drawn1"}


_MOUNTED = """
import json, sys
import openslide
from typer.testing import CliRunner
from hvit_cli.cli.app import app
said = []
for arguments in json.loads(sys.argv[1]):
    ended = CliRunner().invoke(app, arguments)
    odd = ended.exception is not None and not isinstance(ended.exception, SystemExit)
    said.append([ended.exit_code, odd, ended.output])
print(json.dumps(said))
"""


def test_a_file_system_that_is_mounted_read_only(inputs: Any, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    for command, arguments in ON_SLIDES.items():
        if command in ("segment", "embed"):
            work = mounted / command
            ended = hvit(arguments(inputs, inputs.slides.parent / "one", work, work))
            assert ended.exit_code == 0
    before = contents(mounted)
    asked = {
        command: [str(a) for a in arguments(inputs, inputs.slides, work, work)]
        for command, arguments in {**ON_SLIDES, **OTHERS}.items()
        for work in [mounted / ("segment" if command == "segment" else "embed")]
    }
    # Where every slide is done, nothing is written but that it was asked for.
    again = ON_SLIDES["embed"](inputs, inputs.slides.parent / "one", *[mounted / "embed"] * 2)
    asked |= {"again": [str(a) for a in again], "spread": [*asked["embed"], "--jobs", "2"]}
    bind = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    run = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", f"({bind}) || exit 77", "sh", str(mounted)),
            *(sys.executable, "-c", _MOUNTED, json.dumps(list(asked.values()))),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare: " in run.stderr or run.returncode == 77:
        pytest.skip(f"nothing can be mounted here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    for (command, _), (code, odd, output) in zip(
        asked.items(), json.loads(run.stdout), strict=True
    ):
        assert (code, odd) == (1, False), (command, output)
        (line,) = [line for line in output.splitlines() if line.startswith("Error ")]
        assert str(mounted) in line and "Read-only file system" in line, command
    assert contents(mounted) == before
