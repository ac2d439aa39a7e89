"""Every writer, killed at exact points of its work, leaves the old file or the new one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_no_writer_leaves_half_a_file_wherever_it_is_killed_or_out_of_room() -> None:
    script = Path(__file__).with_name("kill_points.py")
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("survived") == 8
