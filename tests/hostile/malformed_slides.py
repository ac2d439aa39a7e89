"""Every malformed slide through every command, each with the memory and time that it took.

`python tests/hostile/malformed_slides.py FOLDER MODEL` prints a line of JSON for each try: file,
command, exit code, MiB beyond the loaded program, seconds of processor.
"""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
from pathlib import Path

import openslide  # noqa: F401 - before torch
import torch
from typer.testing import CliRunner

from hvit_cli.cli.app import app

# Far beyond what is allowed: a process that would not end by itself is ended by this.
PROCESSOR_S, MEMORY_MIB = 60.0, 1e6
COMMANDS = ("info", "segment", "tile", "embed", "predict")


def main(slides: Path, model: Path) -> None:
    """Tries all of them in this process."""
    torch.set_num_threads(1)
    bounds = runpy.run_path(str(Path(__file__).with_name("bounds.py")))["Bounds"]
    # What the first try loads is the program's, and no slide's.
    CliRunner().invoke(app, ["encoders"])
    since = bounds(MEMORY_MIB, PROCESSOR_S)
    for file in sorted(slides.iterdir()):
        with tempfile.TemporaryDirectory() as work:
            for command in COMMANDS:
                arguments = [command, str(file), "--spacing-override", "0.5"]
                arguments += [] if command == "info" else ["-w", work]
                if command in ("embed", "predict"):
                    arguments += ["--model", str(model), "--device", "cpu"]
                since.most_mib = since.longest_s = 0.0
                with since.one(file.name):
                    ended = CliRunner().invoke(app, arguments)
                odd = ended.exception is not None and not isinstance(ended.exception, SystemExit)
                said = {
                    "file": file.name,
                    "command": command,
                    "code": -1 if odd or "Traceback" in ended.output else ended.exit_code,
                    "mib": round(since.most_mib, 1),
                    "processor_s": round(since.longest_s, 3),
                    "unexpected": "unexpected" in ended.output,
                }
                print(json.dumps(said), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
