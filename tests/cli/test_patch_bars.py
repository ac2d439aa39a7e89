from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from hvit_cli.cli import console
from hvit_cli.cli.patch_bars import PatchBars
from hvit_cli.engine.run import SlideRecord
from hvit_cli.storage.status import StatusRow


def record(slide_id: str, number: int) -> SlideRecord[None]:
    row = StatusRow(slide_id=slide_id, path="x.svs", stage="embed", status="done")
    return SlideRecord(number=number, total=2, row=row, product=None)


def test_the_slides_at_hand_have_a_bar_each_until_they_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(console, "_stderr", lambda: screen)
    bars = PatchBars()
    watch = bars.watch
    assert watch is not None
    shown: list[str] = []

    def look() -> None:
        assert bars._progress is not None
        paper = Console(file=io.StringIO(), width=120)
        with paper.capture() as seen:
            paper.print(bars._progress.get_renderable())
        shown.append(seen.get())

    def records() -> Iterator[SlideRecord[None]]:
        watch("large [1]", 32, 640)
        watch("next", 0, 64)
        watch("glass", 0, 0)
        look()
        yield record("large [1]", 1)
        watch("next", 64, 64)
        look()
        yield record("next", 2)
        look()

    console.follow(records(), "embed", bars=bars)
    assert "32/640" in shown[0]
    assert "large [1]" in shown[0]
    assert "0/64" in shown[0]
    assert "glass" not in shown[0]
    assert "/640" not in shown[1]
    assert "64/64" in shown[1]
    assert "patches" not in shown[2]


def test_nobody_is_asked_to_tell_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    bars = PatchBars()
    assert bars.watch is None
    console.follow([record("a", 1)], "embed", bars=bars)
    assert capsys.readouterr().err == "[1/2] embed done a · 0.0 s\n"
