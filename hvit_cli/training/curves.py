"""`curves.png`: how loss and agreement went from epoch to epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from hvit_cli.training.epochs import EpochRecord, best_epoch
from hvit_cli.training.lettered import save_figure, shortened

_TRAIN, _TUNE, _BEST = "#8a8a8a", "#1f5fa8", "#c2571a"


def draw_curves(path: Path, records: Sequence[EpochRecord], *, title: str) -> None:
    """Draws both losses beside the measure that chose the epoch, which is marked.

    Args:
        path: The picture, a PNG.
        records: One or more epochs.
        title: Written above.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epoch = [record.epoch for record in records]
    binary = any(record.tune_auroc is not None for record in records)
    judged = [r.tune_auroc if binary else r.tune_kappa for r in records]
    # A figure of its own, not pyplot's: nothing global, no window, any thread.
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epoch, [r.train_loss for r in records], ".-", color=_TRAIN, label="training")
    left.plot(epoch, [r.tune_loss for r in records], ".-", color=_TUNE, label="tuning")
    left.set(ylabel="loss")
    right.plot(epoch, [math.nan if v is None else v for v in judged], ".-", color=_TUNE)
    right.set(ylabel="AUROC on tuning slides" if binary else "quadratic kappa on tuning slides")
    best = best_epoch(records)
    if best is not None:
        for axes in (left, right):
            axes.axvline(best.epoch, color=_BEST, linewidth=1, label=f"kept: epoch {best.epoch}")
    for axes in (left, right):
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    left.legend(frameon=False)
    figure.suptitle(shortened(title))
    save_figure(figure, path, 120)
