"""A large slide that is killed half-way goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.pipelines.embed import embed
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.steps import saved_rows
from hvit_cli.storage.partial import FOLDER
from hvit_cli.storage.work import WorkFolder

# Slow enough to be hit in the middle of its slide, and saving whatever is finished.
KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.steps import saved_rows
import test_resume_inside_a_slide as test

saved_rows.SAVE_EVERY_S = 0.0
quick = PatchEncoder.embed

def slow(self, patches):
    time.sleep(0.3)
    return quick(self, patches)

PatchEncoder.embed = slow
test.run(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
"""


def run(
    slide: Path, work: Path, weights: str, attention: str = "plain", batch_size: int = 16
) -> str:
    (record,) = embed(
        [slide],
        work=WorkFolder(work),
        model=None,
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        tiling=TilingSettings(region_px=1024, patch_px=128),
        embedding=EmbeddingSettings(
            encoder=weights,
            device="cpu",
            batch_size=batch_size,
            attention=attention,  # type: ignore[arg-type]
        ),
    )
    return record.row.status


@pytest.fixture
def weights(model: Path) -> str:
    return str(model / "encoder.safetensors")


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Patches of each call of the encoder, from here on."""
    counts: list[int] = []
    quick = PatchEncoder.embed

    def counted(self: PatchEncoder, patches: np.ndarray) -> np.ndarray:
        counts.append(len(patches))
        return quick(self, patches)

    monkeypatch.setattr(PatchEncoder, "embed", counted)
    return counts


def feature_bytes(work: Path) -> bytes:
    (path,) = work.glob("features/*/drawn.h5")
    return path.read_bytes()


def test_a_slide_that_is_killed_half_way_goes_on_where_it_was(
    slides: Path, weights: str, embedded: list[int], tmp_path: Path
) -> None:
    slide = slides / "drawn.tiff"
    assert run(slide, tmp_path / "whole", weights) == "done"
    total = sum(embedded)
    expected = feature_bytes(tmp_path / "whole")

    work = tmp_path / "killed"
    child = subprocess.Popen(
        [
            *(sys.executable, "-c", KILLED),
            *map(str, (Path(__file__).parent, slide, work, weights)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 120
    # Two batches of 16 rows of 32 numbers, and what is around them.
    while not any(p.stat().st_size > 2200 for p in work.glob(f"features/*/{FOLDER}/drawn")):
        assert child.poll() is None, "it ended before it was hit"
        assert time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not list(work.glob("features/*/*.h5"))

    embedded.clear()
    assert run(slide, work, weights) == "done"
    assert 0 < sum(embedded) <= total - 32
    assert feature_bytes(work) == expected
    assert not list(work.glob(f"features/*/{FOLDER}"))


def interrupted(slide: Path, work: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stops a run after its third batch; returns where its rows lie."""
    quick, calls = PatchEncoder.embed, []

    def stopped(self: PatchEncoder, patches: np.ndarray) -> np.ndarray:
        calls.append(len(patches))
        if len(calls) > 3:
            raise KeyboardInterrupt
        return quick(self, patches)

    with monkeypatch.context() as patched:
        patched.setattr(PatchEncoder, "embed", stopped)
        patched.setattr(saved_rows, "SAVE_EVERY_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            run(slide, work, weights)
    (partial,) = work.glob(f"features/*/{FOLDER}/drawn")
    return partial


@pytest.mark.parametrize(("damage", "again"), [("none", 48), ("torn", 32), ("flipped", 16)])
def test_what_is_damaged_of_the_rows_is_embedded_again(
    damage: str,
    again: int,
    slides: Path,
    weights: str,
    embedded: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slide = slides / "drawn.tiff"
    run(slide, tmp_path / "whole", weights)
    total = sum(embedded)
    partial = interrupted(slide, tmp_path / "cut", weights, monkeypatch)
    content = bytearray(partial.read_bytes())
    if damage == "flipped":
        content[-16 * 64 - 40] ^= 1  # near the end of the second chunk
    partial.write_bytes(content[:-5] if damage == "torn" else content)
    embedded.clear()
    run(slide, tmp_path / "cut", weights)
    assert sum(embedded) == total - again
    assert feature_bytes(tmp_path / "cut") == feature_bytes(tmp_path / "whole")


def test_it_goes_on_with_other_batches_and_comes_to_the_same_bytes(
    slides: Path,
    weights: str,
    embedded: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slide = slides / "drawn.tiff"
    run(slide, tmp_path / "whole", weights)
    total = sum(embedded)
    interrupted(slide, tmp_path / "cut", weights, monkeypatch)
    embedded.clear()
    run(slide, tmp_path / "cut", weights, batch_size=7)
    assert sum(embedded) == total - 48
    assert feature_bytes(tmp_path / "cut") == feature_bytes(tmp_path / "whole")


def test_rows_of_other_patches_are_not_taken(
    slides: Path,
    weights: str,
    embedded: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slide = slides / "drawn.tiff"
    run(slide, tmp_path / "whole", weights, "masked")
    total = sum(embedded)
    interrupted(slide, tmp_path / "cut", weights, monkeypatch)
    embedded.clear()
    run(slide, tmp_path / "cut", weights, "masked")
    assert sum(embedded) == total
    assert feature_bytes(tmp_path / "cut") == feature_bytes(tmp_path / "whole")
    assert not list(tmp_path.glob(f"cut/features/*/{FOLDER}"))


def test_a_slide_that_is_quickly_done_writes_nothing_but_its_file(
    slides: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("rows were saved")

    monkeypatch.setattr("hvit_cli.storage.partial.PartialFeatures.append", never)
    assert run(slides / "drawn.tiff", tmp_path, weights) == "done"
