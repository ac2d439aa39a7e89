"""`curves.png`: how a pretraining run learned, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvit_cli.pretraining.records import PretrainingRecord, best_record
from hvit_cli.training.lettered import save_figure, shortened

_LOSS, _ENTROPY, _KL = "#1f5fa8", "#8a8a8a", "#2c8c5a"
_BEST, _ALARM = "#c2571a", "#c02020"


def draw_curves(
    path: Path, records: Sequence[PretrainingRecord], *, title: str, outputs: int
) -> None:
    """Draws loss and entropy, the features' measures, and the probe where one was asked.

    Args:
        path: The picture, a PNG.
        records: One or more epochs.
        title: Written above.
        outputs: K, of which log K is the highest entropy.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    probed = any(record.probe is not None for record in records)
    epoch = [record.epoch for record in records]
    # A figure of its own, not pyplot's: nothing global, no window, any thread.
    figure = Figure(figsize=(12.5 if probed else 8.6, 3.6), layout="constrained")
    panels = figure.subplots(1, 3 if probed else 2)
    _draw_loss(panels[0], epoch, records, outputs)
    _draw_features(panels[1], epoch, records)
    if probed:
        _draw_probe(panels[2], records)
    for axes in panels:
        for number, record in enumerate(r for r in records if r.alarm):
            label = None if number or axes is not panels[1] else "alarm: collapse"
            axes.axvline(record.epoch, color=_ALARM, linewidth=0.8, linestyle=":", label=label)
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize="small")
    figure.suptitle(shortened(title))
    save_figure(figure, path, 120)


def _draw_loss(
    axes: Any, epoch: list[int], records: Sequence[PretrainingRecord], outputs: int
) -> None:
    axes.plot(epoch, [r.loss for r in records], ".-", color=_LOSS, label="loss")
    axes.plot(
        epoch, [r.teacher_entropy for r in records], ".-", color=_ENTROPY, label="teacher's entropy"
    )
    axes.plot(epoch, [r.kl for r in records], ".-", color=_KL, label="their difference (KL)")
    axes.axhline(math.log(outputs), color=_ENTROPY, linewidth=0.8, linestyle="--")
    axes.set(ylabel="nats (dashed: highest entropy)", ylim=(0, None))


def _draw_features(axes: Any, epoch: list[int], records: Sequence[PretrainingRecord]) -> None:
    axes.plot(epoch, [r.effective_rank for r in records], ".-", color=_LOSS, label="rank")
    axes.set(ylabel="effective rank of the features", ylim=(0, None))


def _draw_probe(axes: Any, records: Sequence[PretrainingRecord]) -> None:
    asked = [(r.epoch, r.probe) for r in records if r.probe is not None]
    axes.plot([e for e, _ in asked], [p for _, p in asked], ".-", color=_LOSS, label="probe")
    best = best_record(records)
    if best is not None:
        axes.axvline(best.epoch, color=_BEST, linewidth=1, label=f"kept: epoch {best.epoch}")
    axes.set(ylabel="nearest-neighbour probe")
