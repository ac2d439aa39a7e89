"""Commands that are killed (SIGKILL) end as if they had not been, once they are started again."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

_HERE = Path(__file__).parent
_KILLS = SimpleNamespace(**runpy.run_path(str(_HERE / "kills.py")))
_INPUTS = SimpleNamespace(**runpy.run_path(str(_HERE / "small_inputs.py")))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _INPUTS.draw_inputs(tmp_path_factory.mktemp("drawn") / "inputs")


def test_a_command_that_is_killed_three_times_leaves_what_one_run_leaves(
    inputs: Any, tmp_path: Path
) -> None:
    outcome = _KILLS.campaign(inputs, tmp_path, "tile", 3)
    assert outcome.kills == 3
    assert outcome.differences == []


@pytest.mark.slow
@pytest.mark.parametrize("command", _KILLS.COMMANDS)
def test_every_command_survives_being_killed_six_times(
    inputs: Any, tmp_path: Path, command: str
) -> None:
    outcome = _KILLS.campaign(inputs, tmp_path, command, 6)
    assert outcome.kills == 6
    assert outcome.differences == []


@pytest.mark.slow
@pytest.mark.parametrize("command", _KILLS.SHARED)
def test_a_run_of_two_processes_survives_being_killed(
    inputs: Any, tmp_path: Path, command: str
) -> None:
    outcome = _KILLS.campaign(inputs, tmp_path, command, 4, jobs=2)
    assert outcome.kills == 4
    assert outcome.differences == []


@pytest.mark.slow
@pytest.mark.parametrize("command", _KILLS.SHARED)
def test_a_run_survives_the_death_of_one_of_its_two_processes(
    inputs: Any, tmp_path: Path, command: str
) -> None:
    outcome = _KILLS.deaths(inputs, tmp_path, command, 4)
    assert outcome.kills == 4
    # Runs that ended before the moment came are compared, too.
    assert outcome.endings >= outcome.kills
    assert outcome.differences == []


@pytest.mark.slow
@pytest.mark.parametrize("command", _KILLS.LONG)
def test_one_training_survives_being_killed_again_and_again(
    inputs: Any, tmp_path: Path, command: str
) -> None:
    outcome = _KILLS.in_a_row(inputs, tmp_path, command)
    assert outcome.kills >= 3
    assert outcome.differences == []
