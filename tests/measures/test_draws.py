from __future__ import annotations

import subprocess
import sys

from hvit_cli.measures.draws import drawn_for


def test_a_slides_draws_are_its_own_in_every_process() -> None:
    assert drawn_for("a") != drawn_for("b")
    program = "from hvit_cli.measures.draws import drawn_for; print(drawn_for('a'))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(ended.stdout) == drawn_for("a")
