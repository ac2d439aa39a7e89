"""The figures of an evaluation: confusion matrix, score against label, labels of each set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hvit_cli.training.calibration import Calibration
from hvit_cli.training.lettered import save_figure, shortened
from hvit_cli.training.measures import Graded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 150
_INK, _PALE, _ACCENT = "#1b3a4b", "#c9d6df", "#b5452c"
_SHADES = ("#1b3a4b", "#5b8ba0", "#b5452c", "#d99a5b", "#7d9c5b", "#8a6fa8", "#9a9a9a")
_JITTER_SEED = 7
_MOST_DOTS = 4000
_SHORT_NAME = 16


def confusion_figure(counts: Sequence[Sequence[int]], path: Path, caption: str) -> None:
    """Draws the confusion matrix; colour is the share of a label's slides.

    Args:
        counts: Rows are labels, columns predicted grades.
        path: The PNG file.
        caption: A line above the matrix, such as kappa and its interval.
    """
    matrix = np.asarray(counts)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, axes = _figure(5.4, 5.2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(matrix.shape):
        text = f"{matrix[row, column]}\n{shares[row, column]:.0%}"
        colour = "white" if shares[row, column] > 0.55 else "#222222"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    ticks = range(len(matrix))
    axes.set_xticks(ticks, [str(i) for i in ticks])
    axes.set_yticks(ticks, [f"{i}  (n = {matrix[i].sum()})" for i in ticks])
    axes.set_xlabel("predicted grade")
    axes.set_ylabel("label")
    axes.set_title(caption, fontsize=10)
    axes.tick_params(length=0)
    save_figure(figure, path, _DPI)


def score_figure(slides: Graded, calibrated: Calibration | None, grades: int, path: Path) -> None:
    """Draws every score above its label, and the mean label of slides of similar score.

    Args:
        slides: Slides that all have scores.
        calibrated: Their calibration.
        grades: Number of classes.
        path: The PNG file.
    """
    figure, (left, right) = _figure(9.6, 4.4, columns=2)
    generator = np.random.default_rng(_JITTER_SEED)
    shown = np.arange(len(slides.label))
    if len(shown) > _MOST_DOTS:
        shown = generator.choice(shown, _MOST_DOTS, replace=False)
    across = slides.label[shown] + generator.uniform(-0.3, 0.3, len(shown))
    left.scatter(across, slides.score[shown], s=5, color=_PALE, linewidths=0, zorder=1)
    present = [g for g in range(grades) if (slides.label == g).any()]
    left.boxplot(
        [slides.score[slides.label == g] for g in present],
        positions=present,
        widths=0.5,
        showfliers=False,
        medianprops={"color": _ACCENT, "linewidth": 1.6},
        boxprops={"color": _INK},
        whiskerprops={"color": _INK},
        capprops={"color": _INK},
        zorder=2,
    )
    for edge in np.arange(grades - 1) + 0.5:
        left.axhline(edge, color="#dddddd", linewidth=0.8, zorder=0)
    left.set_xticks(range(grades), [str(g) for g in range(grades)])
    left.set_xlabel("label")
    left.set_ylabel("score")
    dots = (
        f", {_MOST_DOTS} of {len(slides.label)} slides as dots"
        if len(across) < len(slides.label)
        else ""
    )
    left.set_title(f"score by label{dots}", fontsize=10)
    ends = (-0.5, grades - 0.5)
    right.plot(ends, ends, color="#999999", linewidth=1, linestyle=":", label="ideal")
    if calibrated is not None:
        right.plot(
            [b.score for b in calibrated.bins],
            [b.label for b in calibrated.bins],
            marker="o",
            color=_INK,
            label="bins of equally many slides",
        )
        slope = "undefined" if calibrated.slope is None else f"{calibrated.slope:.3f}"
        right.set_title(
            f"calibration: slope {slope}, bias {calibrated.bias:+.3f}, "
            f"error {calibrated.error:.3f}",
            fontsize=10,
        )
    right.set_xlabel("mean score")
    right.set_ylabel("mean label")
    right.set_xlim(ends)
    right.set_ylim(ends)
    right.set_aspect("equal")
    right.legend(frameon=False, loc="upper left")
    save_figure(figure, path, _DPI)


def label_figure(counts: Mapping[str, Sequence[int]], path: Path) -> None:
    """Draws the share of each grade in every set, the numbers of slides above the bars.

    Args:
        counts: Slides of each grade by set.
        path: The PNG file.
    """
    grades = len(next(iter(counts.values())))
    width = 0.84 / len(counts)
    figure, axes = _figure(max(6.4, 1.1 * grades * max(1, len(counts) / 2)), 3.9)
    for k, (name, of_set) in enumerate(counts.items()):
        total = max(sum(of_set), 1)
        left = np.arange(grades) + (k - (len(counts) - 1) / 2) * width
        bars = axes.bar(
            left,
            [100 * n / total for n in of_set],
            width * 0.94,
            color=_SHADES[k % len(_SHADES)],
            label=f"{shortened(name)} (n = {sum(of_set)})",
        )
        axes.bar_label(bars, [str(n) for n in of_set], fontsize=7, padding=1)
    axes.set_xticks(range(grades), [str(g) for g in range(grades)])
    axes.set_xlabel("label")
    axes.set_ylabel("share of the set's slides in %")
    axes.margins(y=0.12)
    # Below the bars, wherever they are tallest.
    columns = 3 if max(map(len, counts)) <= _SHORT_NAME else 1
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)
    save_figure(figure, path, _DPI)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    # Without pyplot: no global state, no display, and nothing loaded before a figure is wanted.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    for one in np.atleast_1d(axes):
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes
