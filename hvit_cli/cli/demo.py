"""`hvit demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvit_cli.cli import console, options
from hvit_cli.settings import EmbeddingSettings


def demo(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for everything the demonstration writes.")
    ] = Path("hvit-demo"),
    seed: Annotated[
        int | None, typer.Option("--seed", help="Draw another biopsy than the documented one.")
    ] = None,
    device: options.Device = EmbeddingSettings.device,
    verbose: options.Verbose = False,
) -> None:
    """Draw a synthetic biopsy, grade it, and show where the model looked, masked and plain."""
    from hvit_cli.pipelines.demo import DemoFile
    from hvit_cli.pipelines.demo import demo as run

    for record in run(out, seed=seed, embedding=EmbeddingSettings(device=device)):
        if isinstance(record, DemoFile):
            console.say(f"{record.path}  {record.what}")
            continue
        console.say(f"Drawn as Gleason {record.true_gleason}, ISUP grade {record.true_grade}.")
        for verdict in record.heatmap.verdicts:
            console.say(
                f"Graded with {verdict.attention} attention: ISUP grade {verdict.grade}, "
                f"score {verdict.score:.2f}."
            )
        console.say(f"Open {record.heatmap.picture} first.")
        console.say(f"Note: {record.note}. {console.NOT_A_DEVICE}")
