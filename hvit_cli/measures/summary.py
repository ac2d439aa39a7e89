"""Means over slides with their intervals, and differences from plain on the same slides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvit_cli.measures.records import MEASURES, MapMeasures, MapRow
from hvit_cli.training.bootstrap import Interval, interval, resample

Floats = npt.NDArray[np.float64]
Values = Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class MeanOverSlides:
    """The mean of one measure over the slides on which it is defined.

    Attributes:
        mean: With its percentile interval.
        slides: How many slides it is the mean of.
    """

    mean: Interval
    slides: int


@dataclass(frozen=True, kw_only=True)
class RowSummary:
    """One row of the table.

    Attributes:
        row: Which maps.
        measures: By name, see `MapMeasures`.
        against_plain: The row less the same kind of map of plain attention as it is, on the
            slides that have both; empty for that row itself and for floors.
    """

    row: MapRow
    measures: Mapping[str, MeanOverSlides]
    against_plain: Mapping[str, MeanOverSlides]


def summarise(records: Sequence[MapMeasures], draws: int, seed: int) -> list[RowSummary]:
    """Averages every row over slides, in the order in which rows were first met.

    Args:
        records: One for each slide and row.
        draws: Draws of the bootstrap over slides; 0 gives no intervals.
        seed: Their seed.
    """
    slides = sorted({record.slide_id for record in records})
    by_row: dict[MapRow, list[MapMeasures]] = {}
    for record in records:
        by_row.setdefault(record.row, []).append(record)
    found = []
    for row, group in by_row.items():
        plain = _plain_row(row, by_row)
        other = by_row[plain] if plain is not None else []
        own, theirs = {}, {}
        for name in MEASURES:
            values = _values(group, name)
            own[name] = mean_over_slides(_column(values, slides), draws, seed)
            if other:
                difference = _column(values, slides) - _column(_values(other, name), slides)
                theirs[name] = mean_over_slides(difference, draws, seed)
        found.append(RowSummary(row=row, measures=own, against_plain=theirs))
    return found


def mean_over_slides(values: Floats, draws: int, seed: int) -> MeanOverSlides:
    """Mean of (S,) values, NaN where undefined, with the interval of slides drawn again."""
    defined = np.isfinite(values)
    count = int(defined.sum())
    if not count:
        return MeanOverSlides(mean=Interval(value=None), slides=0)
    mean = float(values[defined].mean())
    statistics = np.stack([np.where(defined, values, 0.0), defined.astype(np.float64)], axis=1)
    drawn = [
        np.divide(s[:, 0], s[:, 1], out=np.full(len(s), np.nan), where=s[:, 1] > 0)
        for s in resample(statistics, draws, seed)
    ]
    return MeanOverSlides(
        mean=interval(mean, np.concatenate(drawn) if drawn else np.zeros(0)), slides=count
    )


def _plain_row(row: MapRow, rows: Iterable[MapRow]) -> MapRow | None:
    for other in rows:
        as_it_is = (other.trained, other.run, other.glass, other.weights) == (
            "plain",
            "plain",
            "seen",
            "trained",
        )
        if as_it_is and other.map == row.map:
            return None if other == row else other
    return None


def _values(records: Sequence[MapMeasures], name: str) -> dict[str, float | None]:
    return {record.slide_id: getattr(record, name) for record in records}


def _column(values: Values, slides: Sequence[str]) -> Floats:
    """(S,) NaN where a slide has no value."""
    found = [values.get(slide) for slide in slides]
    return np.array([np.nan if value is None else value for value in found], np.float64)
