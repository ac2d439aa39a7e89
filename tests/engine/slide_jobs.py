"""Jobs that other processes can import: they write a line for each slide, and misbehave by name."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.job import SlideJob
from hvit_cli.errors import ModelError, PixelError
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.watch import Watch, unwatched
from hvit_cli.storage.status import StatusRow


@dataclass(frozen=True, kw_only=True)
class WritingJob(SlideJob[str]):
    """Writes `<slide_id>.txt`, or says that it is there; a slide's name says what befalls it.

    Attributes:
        seconds: Time that each slide takes.
        refused: Whether the job cannot be opened.
    """

    stage: ClassVar[str] = "tile"

    seconds: float = 0.0
    refused: bool = False

    def open(self) -> Step[str]:
        if self.refused:
            raise ModelError("there is no such model", where="--model")
        return self.step

    def step(self, entry: SlideEntry) -> tuple[StatusRow, str]:
        product = self.work.path / f"{entry.slide_id}.txt"
        reused = product.exists()
        time.sleep(self.seconds)
        misbehave(entry.slide_id, self.work.path)
        if not reused:
            product.write_text(entry.slide_id.upper())
        row = StatusRow(
            slide_id=entry.slide_id,
            path=str(entry.path),
            stage=self.stage,
            status="done",
            reason="reused" if reused else "",
        )
        return row, f"{entry.slide_id} {os.getpid()}"

    def light(self, product: str) -> str:
        return f"light {product}"


@dataclass(frozen=True, kw_only=True)
class ToldJob(SlideJob[str]):
    """Tells how far each slide is, a step of 0.2 s at a time."""

    stage: ClassVar[str] = "tile"

    steps: int = 4

    def open(self) -> Step[str]:
        return self.open_watched(unwatched)

    def open_watched(self, watch: Watch) -> Step[str]:
        def step(entry: SlideEntry) -> tuple[StatusRow, str]:
            for done in range(self.steps + 1):
                watch(entry.slide_id, done, self.steps)
                time.sleep(0.2 if done else 0.0)
            row = StatusRow(
                slide_id=entry.slide_id, path=str(entry.path), stage=self.stage, status="done"
            )
            return row, entry.slide_id

        return step


def misbehave(slide_id: str, folder: Path) -> None:
    """What a slide's name says: `killed…`, `hung…`, `greedy…`, `bad…`, `bug…`, `once…`."""
    if slide_id.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if slide_id.startswith("hung"):
        time.sleep(600)
    if slide_id.startswith("greedy"):
        kept = [bytearray(2**20) for _ in range(700)]
        time.sleep(600 + len(kept))
    if slide_id.startswith("bad"):
        raise PixelError("a tile cannot be decoded")
    if slide_id.startswith("bug"):
        raise ZeroDivisionError
    if slide_id.startswith("once"):
        before = folder / f"{slide_id}-met"
        if not before.exists():
            before.touch()
            raise OSError("stale file handle")
