"""Commands that are killed (SIGKILL) end as if they had not been, once they are started again."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

_HERE = Path(__file__).parent
_KILLS = SimpleNamespace(**runpy.run_path(str(_HERE / "kills.py")))
_INPUTS = SimpleNamespace(**runpy.run_path(str(_HERE / "small_inputs.py")))


def test_a_command_that_is_killed_three_times_leaves_what_one_run_leaves(tmp_path: Path) -> None:
    inputs = _INPUTS.draw_inputs(tmp_path / "inputs", slides=3)
    outcome = _KILLS.campaign(inputs, tmp_path, "tile", 3)
    assert outcome.kills == 3
    assert outcome.differences == []


@pytest.mark.slow
@pytest.mark.parametrize("command", _KILLS.COMMANDS)
def test_every_command_survives_being_killed_six_times(tmp_path: Path, command: str) -> None:
    outcome = _KILLS.campaign(_INPUTS.draw_inputs(tmp_path / "inputs"), tmp_path, command, 6)
    assert outcome.kills == 6
    assert outcome.differences == []
