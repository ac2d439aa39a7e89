from __future__ import annotations

import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--truth", ".", "--tumour-values", "1"], "both must be said"),
        (["--truth", ".", "--tumour-values", "1", "--other-values", "1"], "two things"),
        (["--truth", ".", "--tumour-values", "a", "--other-values", "1"], "no mask values"),
        (["--truth", ".", "--preset", "panda-radboud", "--other-values", "1"], "every value"),
        (["--truth", "."], "--preset"),
        (["--preset", "panda-radboud"], "--truth FOLDER"),
        (["--map", "rainbow"], "rainbow"),
    ],
)
def test_contradictions_are_usage_errors(arguments: list[str], said: str) -> None:
    ended = CliRunner().invoke(app, ["measure", "slide.tiff", *arguments])
    assert ended.exit_code == 2
    assert said in " ".join(ended.stderr.split())


def test_evaluate_says_where_maps_are_measured() -> None:
    ended = CliRunner().invoke(app, ["evaluate", "--maps"])
    assert ended.exit_code == 2
    assert "hvit measure" in " ".join(ended.stderr.split())
