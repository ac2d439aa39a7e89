from __future__ import annotations

import os
import signal

import pytest

from hvit_cli.cli.app import _ended_like_ctrl_c


def test_a_scheduler_that_ends_the_job_is_taken_for_ctrl_c_while_a_command_runs() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), _ended_like_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) == before
