"""Training as it goes: a line per epoch with loss, kappa and the time left, a bar on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hvit_cli.cli import console

if TYPE_CHECKING:
    from hvit_cli.training.epochs import EpochRecord

Watch = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An epoch, and where it stands among all.

    Attributes:
        record: The epoch.
        member: Name of the member, where there are several.
        number: Number of the member, from 1.
    """

    record: EpochRecord
    member: str = ""
    number: int = 1


def follow(
    start: Callable[[Watch | None], Iterable[Shown]], *, members: int, epochs: int, slides: int
) -> list[Shown]:
    """Runs a training and shows each epoch as it is done.

    Args:
        start: Begins it, given who watches the slides of the present epoch.
        members: Trainings in all.
        epochs: Most epochs of each.
        slides: Training slides of each.
    """
    screen = Console(stderr=True, highlight=False)
    if not screen.is_terminal:
        return list(_said(start(None), members, epochs))
    done: list[Shown] = []
    with _bar(screen) as progress:
        task = progress.add_task("epoch 1", total=members * epochs * slides)

        def reached(extra: int) -> int:
            before = (done[-1].number - 1) * epochs + done[-1].record.epoch if done else 0
            return before * slides + extra

        for shown in start(lambda seen: progress.update(task, completed=reached(seen))):
            if done and shown.number > done[-1].number and shown.record.epoch == 1:
                progress.update(task, completed=(shown.number - 1) * epochs * slides)
            done.append(shown)
            mean = sum(one.record.seconds for one in done) / len(done)
            progress.console.print(_line(shown, members, epochs, mean), markup=False)
            present = min(shown.record.epoch + 1, epochs)
            name = f"{shown.member}, epoch {present}" if shown.member else f"epoch {present}"
            progress.update(task, completed=reached(0), description=name)
    return done


@contextmanager
def _bar(screen: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slides"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        yield progress


def _said(shown: Iterable[Shown], members: int, epochs: int) -> Iterator[Shown]:
    seconds: list[float] = []

    def line(one: Shown) -> str:
        seconds.append(one.record.seconds)
        return _line(one, members, epochs, sum(seconds) / len(seconds))

    yield from console.each_said(shown, line)


def _line(shown: Shown, members: int, epochs: int, mean_seconds: float) -> str:
    record = shown.record
    if record.tune_auroc is not None:
        judged = f"AUROC {record.tune_auroc:.4f}"
    else:
        judged = "kappa " + (
            "undefined" if record.tune_kappa is None else f"{record.tune_kappa:.4f}"
        )
    left = (epochs - record.epoch + (members - shown.number) * epochs) * mean_seconds
    parts = [
        f"{shown.member} ({shown.number}/{members})" if shown.member else "",
        f"epoch {record.epoch}/{epochs}",
        f"loss {record.train_loss:.4f}",
        f"tune loss {record.tune_loss:.4f}",
        judged,
        f"MAE {record.tune_mae:.3f}",
        f"{record.seconds:.1f} s",
        f"left {_duration(left)}" if left else "",
        "best so far" if record.best else "",
    ]
    return "  ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
