"""`hvit doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvit_cli.cli import console, options
from hvit_cli.errors import HvitError


def doctor(
    work: options.Work = options.WORK_DEFAULT,
    model: Annotated[
        Path | None, typer.Option("--model", help="Model folder whose weights are hashed, too.")
    ] = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Try whether hvit can work here: libraries, decoders, devices, output folder, models."""
    from hvit_cli.pipelines.doctor import examine

    checks = []
    for check in examine(work, model):
        checks.append(check)
        if not as_json:
            hint = f"; try {check.hint}" if check.hint else ""
            console.say(f"{check.state:6} {check.name}: {check.found}{hint}")
    if as_json:
        console.say_json(checks)
    broken = [check.name for check in checks if check.state == "broken"]
    if broken:
        raise HvitError(f"{len(broken)} of {len(checks)} checks failed", found=", ".join(broken))
