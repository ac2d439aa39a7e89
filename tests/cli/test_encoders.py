from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hvit_cli.cli.encoders import encoders
from hvit_cli.models.encoder_specs import KNOWN_ENCODERS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "encoders.md"


def test_json_has_every_fact(capsys: pytest.CaptureFixture[str]) -> None:
    encoders(as_json=True)
    (first, *_) = listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == [spec.name for spec in KNOWN_ENCODERS]
    assert first["width"] == 384 and first["licence"] == "Apache-2.0"


def test_table_goes_to_stdout_and_the_remark_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    encoders()
    out, err = capsys.readouterr()
    assert out.count("Apache-2.0") == sum(s.licence == "Apache-2.0" for s in KNOWN_ENCODERS)
    assert "hf-hub:" in err


def test_listing_loads_neither_torch_nor_timm() -> None:
    script = "from hvit_cli.cli.encoders import encoders; encoders(); import sys; "
    script += "sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == 0


def test_the_page_of_encoders_lists_what_the_command_lists() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    for spec in KNOWN_ENCODERS:
        (row,) = (row for row in rows if row.startswith(f"| `{spec.name}` | {spec.width} |"))
        assert spec.licence in row and spec.pretraining in row
        assert ("| yes |" in row) == bool(spec.gate)
