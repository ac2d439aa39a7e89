from __future__ import annotations

import csv
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "panda"


@pytest.fixture(scope="module")
def script() -> Callable[[str], SimpleNamespace]:
    """The names that a script of the example defines."""
    return lambda name: SimpleNamespace(**runpy.run_path(str(FOLDER / f"{name}.py")))


def write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def panda(data: Path) -> list[dict[str, object]]:
    """The rows of PANDA's table of labels."""
    with (data / "panda" / "train_5fold.csv").open(newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


def test_pandas_labels_agree_and_the_rest_is_said_to_be_unknown(
    script: Callable[[str], SimpleNamespace], data: Path
) -> None:
    counts = script("check_counts").check(data / "panda" / "train_5fold.csv")
    verdicts = {count.what: count.verdict for count in counts}
    assert verdicts.pop("slides with a label mask") == "cannot be checked"
    (scanners,) = (what for what in verdicts if "scanner" in what)
    assert verdicts.pop(scanners) == "cannot be checked"
    assert set(verdicts.values()) == {"ok"} and len(verdicts) == 9


def test_scanners_are_told_apart_by_spacing(
    script: Callable[[str], SimpleNamespace],
    panda: list[dict[str, object]],
    data: Path,
    tmp_path: Path,
) -> None:
    labels = data / "panda" / "train_5fold.csv"
    spacing = {"radboud": ["0.486"] * 5160, "karolinska": ["0.4523"] * 2193 + ["0.5032"] * 3263}
    info = [
        {"slide_id": row["image_id"], "spacing_um_level0": spacing[str(row["data_provider"])].pop()}
        for row in panda
    ]
    check = script("check_counts").check

    def about(rows: list[dict[str, object]], word: str) -> SimpleNamespace:
        counts = check(labels, write_csv(tmp_path / "info.csv", rows))
        (found,) = (count for count in counts if word in count.what)
        return found  # type: ignore[no-any-return]

    assert about(info, "scanner").verdict == "ok"
    assert about(info, "not their centre's").verdict == "ok"
    strange = [{**info[0], "spacing_um_level0": "0.25"}, *info[1:]]
    assert about(strange, "not their centre's").verdict == "differs"
    unread = about([{**info[0], "spacing_um_level0": ""}, *info[1:]], "scanner")
    assert unread.verdict == "cannot be checked" and str(info[0]["slide_id"]) in unread.note


def test_a_copy_with_a_slide_too_few_ends_with_1(
    panda: list[dict[str, object]], tmp_path: Path
) -> None:
    labels = write_csv(tmp_path / "train.csv", panda[1:])
    ended = subprocess.run(
        [sys.executable, str(FOLDER / "check_counts.py"), str(labels)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "differs            5455 of 5456 slides of karolinska" in ended.stdout


def test_centres_are_divided_without_losing_a_row(
    script: Callable[[str], SimpleNamespace], data: Path, tmp_path: Path
) -> None:
    divide = script("by_centre").by_centre
    found = divide(data / "panda" / "train_5fold.csv", tmp_path)
    assert found == {"karolinska": 5456, "radboud": 5160}
    with (tmp_path / "radboud.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["data_provider"] for row in rows} == {"radboud"} and len(rows) == 5160


def test_the_estimates_on_the_page_are_what_the_script_computes(
    script: Callable[[str], SimpleNamespace], tmp_path: Path
) -> None:
    names = script("estimate")
    # What `hvit tile` found on the four biopsies.
    tiled = [(10, 452), (4, 149), (14, 483), (16, 524)]
    status = [{"stage": "tile", "n_regions": m, "n_patches": p} for m, p in tiled]
    status.append({"stage": "segment", "n_regions": "", "n_patches": ""})
    cohort = names.cohort_of(write_csv(tmp_path / "status.csv", status), 10616)
    text = (FOLDER / "README.md").read_text()
    for plain in (False, True):
        slow, fast = (
            names.estimate(cohort, plain=plain, patches_per_second=rate) for rate in (11.8, 21.4)
        )
        row = (
            f"| {'plain' if plain else 'masked'} | {slow.patches / 1e6:.2f} M | "
            f"{slow.read_hours:.1f} h | {slow.embed_hours:.0f} h | {fast.embed_hours:.0f} h | "
            f"{slow.gigabytes:.1f} GB | {slow.epoch_hours:.2f} h |"
        )
        assert row in text
    # By hand: 10,616 slides of 11 regions of 64 patches at 11.8 a second.
    assert names.estimate(cohort, plain=True).embed_hours == pytest.approx(
        10616 * 11 * 64 / 11.8 / 3600
    )


def test_every_line_of_the_script_is_on_the_page() -> None:
    text = (FOLDER / "README.md").read_text().replace("\\\n", " ")
    page = [shlex.split(line) for line in re.findall(r"^(?:hvit|python) .*$", text, re.MULTILINE)]
    stands_for = {"PANDA": "panda", "ENCODER": "ENCODER", "TOLERANCE": "0.11", "SEEDS": "3"}
    script = (FOLDER / "to_table1.sh").read_text().replace('--epochs "$EPOCHS" ', "")
    script = script.replace("$HERE", "examples/panda").replace(" || true", "")
    for name, value in stands_for.items():
        script = script.replace(f"${name}", value)
    lines = re.findall(r"^(?:hvit|python) .*$", script, re.MULTILINE)
    assert len(lines) >= 10
    assert not [line for line in lines if shlex.split(line) not in page]
