"""Every malformed slide, through every command that reads slides, in little memory and soon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hvit_cli.demo.model import demo_model_folder

MEMORY_MIB, PROCESSOR_S = 384.0, 10.0


def test_every_malformed_slide_ends_within_bounds(data: Path) -> None:
    # A process of its own: what other tests left in memory is not the slides'.
    script = Path(__file__).with_name("malformed_slides.py")
    run = subprocess.run(
        [sys.executable, script, data / "malformed", demo_model_folder()],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    tries = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(tries) == 5 * len(list((data / "malformed").iterdir()))
    for tried in tries:
        assert tried["code"] in (0, 1), tried
        assert not tried["unexpected"], tried
        assert tried["mib"] <= MEMORY_MIB, tried
        assert tried["processor_s"] <= PROCESSOR_S, tried
