from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.demo.gleason import gleason_of_areas, isup_of_areas
from hvit_cli.errors import LabelError
from hvit_cli.training.gleason import Gleason

# The table of the ISUP consensus (2014), written out.
ISUP = {
    (3, 3): 1,
    (3, 4): 2,
    (4, 3): 3,
    (4, 4): 4,
    (3, 5): 4,
    (5, 3): 4,
    (4, 5): 5,
    (5, 4): 5,
    (5, 5): 5,
}


@pytest.mark.parametrize(("score", "isup"), ISUP.items())
def test_isup_of_every_score(score: tuple[int, int], isup: int) -> None:
    assert Gleason(primary=score[0], secondary=score[1]).isup == isup


@pytest.mark.parametrize(
    ("area", "score"),
    [
        ({}, None),
        ({0: 9.0, 1: 5.0}, None),
        ({1: 5.0, 3: 0.1}, "3+3"),
        ({3: 0.7, 4: 0.3}, "3+4"),
        ({3: 0.3, 4: 0.7}, "4+3"),
        ({3: 0.96, 4: 0.04}, "3+3"),
        ({3: 0.95, 4: 0.05}, "3+4"),
        ({3: 0.60, 4: 0.34, 5: 0.06}, "3+5"),
        ({3: 0.60, 4: 0.36, 5: 0.04}, "3+4"),
        ({4: 0.5, 5: 0.5}, "5+4"),
        ({5: 2.0}, "5+5"),
    ],
)
def test_score_of_areas(area: dict[int, float], score: str | None) -> None:
    found = gleason_of_areas(area)
    assert (None if found is None else str(found)) == score


areas = st.fixed_dictionaries(
    {p: st.integers(0, 1000).map(float) for p in (3, 4, 5)} | {1: st.just(7.0)}
)


@given(areas)
def test_grade_does_not_depend_on_the_unit_of_area(area: dict[int, float]) -> None:
    assert isup_of_areas(area) == isup_of_areas({p: 4 * a for p, a in area.items()})


@given(areas)
def test_primary_is_largest_and_both_patterns_are_present(area: dict[int, float]) -> None:
    score = gleason_of_areas(area)
    tumour = {p: area[p] for p in (3, 4, 5)}
    if score is None:
        assert not any(tumour.values())
        assert isup_of_areas(area) == 0
    else:
        assert tumour[score.primary] == max(tumour.values())
        assert tumour[score.secondary] >= 0.05 * sum(tumour.values())


def test_impossible_patterns_and_areas_are_refused() -> None:
    with pytest.raises(LabelError, match="no such Gleason pattern; found 2"):
        Gleason(primary=2, secondary=3)
    with pytest.raises(LabelError, match="negative area"):
        gleason_of_areas({3: -1.0})
