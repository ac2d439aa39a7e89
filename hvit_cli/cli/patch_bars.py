"""How far the slides are that are being embedded, a bar each below the bar of the run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

if TYPE_CHECKING:
    from hvit_cli.steps.watch import Watch


class PatchBars:
    """Bars of single slides, told by whichever thread or process embeds them.

    Nothing is shown before `show_on`, and nobody is asked to tell where there is no terminal.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    @property
    def watch(self) -> Watch | None:
        """Who is to be told how far slides are; None where nothing is shown."""
        return self._tell if Console(stderr=True).is_terminal else None

    def show_on(self, progress: Progress) -> None:
        """Adds the bars to a display."""
        with self._lock:
            self._progress = progress

    def end(self, slide_id: str) -> None:
        """Takes a slide's bar away."""
        with self._lock:
            task = self._tasks.pop(slide_id, None)
            if task is not None and self._progress is not None:
                self._progress.remove_task(task)

    def _tell(self, slide_id: str, done: int, total: int) -> None:
        with self._lock:
            if self._progress is None or not total:
                return
            if slide_id not in self._tasks:
                self._tasks[slide_id] = self._progress.add_task(
                    "patches", total=total, slide=escape(slide_id)
                )
            self._progress.update(self._tasks[slide_id], completed=done, total=total)
