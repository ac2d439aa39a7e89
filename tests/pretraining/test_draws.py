from __future__ import annotations

import numpy as np

from hvit_cli.pretraining.draws import Purpose, generator


def test_the_same_place_draws_the_same_numbers_and_other_places_others() -> None:
    places = [
        (0, Purpose.CROPS, 0, 0),
        (1, Purpose.CROPS, 0, 0),
        (0, Purpose.ORDER, 0, 0),
        (0, Purpose.CROPS, 1, 0),
        (0, Purpose.CROPS, 0, 1),
    ]
    drawn = [tuple(generator(*place).random(4)) for place in places]
    assert len(set(drawn)) == len(places)
    assert drawn == [tuple(generator(*place).random(4)) for place in places]


def test_numbers_of_neighbouring_places_are_uniform_and_uncorrelated() -> None:
    numbers = np.array([generator(7, Purpose.CROPS, 3, place).random(8) for place in range(2000)])
    assert abs(numbers.mean() - 0.5) < 4 * np.sqrt(1 / 12 / numbers.size)
    assert np.abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 4 / np.sqrt(2000)
